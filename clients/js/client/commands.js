/** Commands on their way: their order, their repetition after a lost connection, and their answers. */

import { TrunklineError, byteLength, localError } from "./values.js";

/** How often a command is tried again that the gateway could not carry out for the moment. */
const TRIES = 8;

/** The longest random wait between such tries, in milliseconds. */
const LONGEST_WAIT = 5_000;

/** How many questions may be without an answer. Others wait here. The gateway allows 32. */
const QUESTIONS = 16;

/** Commands that read. The gateway bounds how many of them may wait. */
const READS = new Set([
  "receipts", "sync", "history", "get", "conversations", "search", "group_info", "reactions", "contacts", "presence",
  "blocked",
]);

/** Commands that change something and can be repeated: doing it twice changes nothing more. */
const REPEATABLE = new Set([
  "send", "group_create", "edit", "recall", "delete", "react", "pin", "unpin", "settings", "block", "unblock", "subscribe", "ping",
]);

/**
 * What the commands of a name change. Those that change the same thing go one after another, so that a repetition never
 * undoes what was asked for later.
 */
const CHANGED = {
  edit: ({ conversation, seq }) => `message ${conversation} ${seq}`,
  react: ({ conversation, seq }) => `message ${conversation} ${seq}`,
  recall: ({ conversation, seq }) => `message ${conversation} ${seq}`,
  pin: ({ conversation }) => `pins ${conversation}`,
  unpin: ({ conversation }) => `pins ${conversation}`,
  settings: ({ conversation }) => `settings ${conversation}`,
  block: ({ user }) => `block ${user}`,
  unblock: ({ user }) => `block ${user}`,
  subscribe: ({ topic }) => `topic ${topic}`,
  unsubscribe: ({ topic }) => `topic ${topic}`,
  contacts: ({ add, remove }) => (add || remove ? "contacts" : undefined),
  presence: ({ watch, unwatch }) => (watch || unwatch ? "watches" : undefined),
};
for (const name of ["add", "remove", "leave", "rename", "role", "set", "join"]) CHANGED[`group_${name}`] = ({ group }) => `group ${group}`;

/**
 * Commands whose order matters to others, and which do not wait for each other: a repetition would come behind later ones.
 * They are rejected where others are tried again.
 */
const STREAMED = new Set(["publish", "signal"]);

/** One command without an answer. */
class Command {
  constructor(id, name, body, settle) {
    this.id = id;
    this.name = name;
    this.body = body;
    this.settle = settle;
    /** The commands that change the same thing, in whose order it is; undefined for none. */
    this.lane = undefined;
    /** Whether it was written to the present session. */
    this.isWritten = false;
    /** Whether it was ever written. */
    this.wasWritten = false;
    /** Whether it ends with its session. */
    this.isOnce = false;
    this.tries = 0;
    /** Runs while it waits to be tried again. */
    this.timer = undefined;
  }

  get isRead() {
    return READS.has(this.name);
  }

  get isRepeatable() {
    return !this.isOnce && (READS.has(this.name) || REPEATABLE.has(this.name));
  }
}

export class Commands {
  #pipeline;
  #most;
  #random;
  #write;
  #nextId = 1;
  /** Commands without an answer by their id, in their order. */
  #pending = new Map();
  /** The commands that change the same thing. The first ones are on their way. */
  #lanes = new Map();
  #questions = 0;
  /** The most bytes of a command; 0 without a session. */
  #bytes = 0;

  /**
   * @param {{pipeline: number, maxPending: number, random: () => number}} options
   * @param {(text: string) => void} write writes to the session
   */
  constructor({ pipeline, maxPending, random }, write) {
    this.#pipeline = pipeline;
    this.#most = maxPending;
    this.#random = random;
    this.#write = write;
  }

  get size() {
    return this.#pending.size;
  }

  /** Returns an id for a command. */
  takeId() {
    const id = this.#nextId;
    this.#nextId = id === 2 ** 32 - 1 ? 1 : id + 1;
    return id;
  }

  /** Returns whether a message with this key is on its way. */
  sends(key) {
    for (const { name, body } of this.#pending.values()) if (name === "send" && body.key === key) return true;
    return false;
  }

  /**
   * Carries a command out. `lane` names what it changes, if the table does not say it. `isOnce`: it ends with its session.
   * `first` sees the reply before everything that follows it.
   */
  run(name, body, { lane, isOnce = false, first } = {}) {
    if (this.#pending.size >= this.#most) {
      const text = `${this.#pending.size} commands have no answer yet: wait for some of them`;
      return Promise.reject(localError("queue_full", text));
    }
    try {
      // What cannot be written must not get into the order: it would hold up all behind it.
      JSON.stringify(body);
    } catch (error) {
      return Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      const settle = (error, reply) => {
        if (error) return reject(error);
        first?.(reply);
        resolve(reply);
      };
      const command = new Command(this.takeId(), name, body, settle);
      command.isOnce = isOnce;
      this.#pending.set(command.id, command);
      this.#queue(command, lane ?? CHANGED[name]?.(body));
      this.#push(command);
    });
  }

  /** Puts a command behind those that change the same thing. */
  #queue(command, name) {
    if (name === undefined) return;
    const width = command.name === "send" ? this.#pipeline : 1;
    if (!this.#lanes.has(name)) this.#lanes.set(name, { name, width, commands: [] });
    command.lane = this.#lanes.get(name);
    command.lane.commands.push(command);
  }

  /** A session has begun: writes what has no answer, in its order. */
  begin({ message_bytes: bytes }) {
    this.#bytes = bytes;
    for (const command of [...this.#pending.values()]) this.#push(command);
  }

  /** The session is lost. Rejects what may have been carried out and must not be repeated. */
  lose() {
    this.#bytes = 0;
    this.#questions = 0;
    for (const command of [...this.#pending.values()]) {
      clearTimeout(command.timer);
      command.timer = undefined;
      if (!command.isWritten && !command.isOnce) continue;
      command.isWritten = false;
      if (command.isRepeatable) continue;
      const text = `the connection was lost before the answer to ${command.name}`;
      this.#finish(command, localError("connection_lost", text, command.wasWritten));
    }
  }

  /** Rejects everything. */
  end({ kind, message }) {
    this.lose();
    for (const command of this.#pending.values()) command.settle(localError(kind, message, command.wasWritten));
    this.#pending.clear();
    this.#lanes.clear();
  }

  /** Takes an answer. Returns whether it belongs to a command. */
  answer({ id, error, ...reply }) {
    const command = this.#pending.get(id);
    if (!command) return false;
    if (error) this.#failed(command, error);
    else this.#finish(command, undefined, reply[command.name]);
    return true;
  }

  /** Writes a command if it is its turn. */
  #push(command) {
    if (this.#bytes === 0 || command.isWritten || command.timer !== undefined) return;
    if (command.lane && command.lane.commands.indexOf(command) >= command.lane.width) return;
    if (command.isRead && this.#questions >= QUESTIONS) return;
    const text = JSON.stringify({ id: command.id, [command.name]: command.body });
    // The gateway would end the session for it.
    if (3 * text.length > this.#bytes && byteLength(text) > this.#bytes) {
      const message = `${command.name} has more than the ${this.#bytes} bytes that the gateway takes`;
      return this.#finish(command, new TrunklineError({ code: 106, name: "limit_exceeded", message }));
    }
    if (command.isRead) this.#questions++;
    command.isWritten = command.wasWritten = true;
    this.#write(text);
  }

  #failed(command, error) {
    // After 111 nothing was done. After the others that is not known, so only what can be repeated is.
    const isRefused = error.code === 111;
    const again = isRefused
      ? !STREAMED.has(command.name)
      : [100, 115, 120].includes(error.code) && command.isRepeatable && command.tries++ < TRIES;
    if (!again) return this.#finish(command, new TrunklineError(error));
    const range = Math.min(100 * 2 ** command.tries, LONGEST_WAIT);
    const delay = (error.retry_ms ?? 0) + this.#random() * range;
    this.#answerCame(command);
    command.isWritten = false;
    if (isRefused && !command.isRepeatable) command.wasWritten = false;
    command.timer = setTimeout(() => {
      command.timer = undefined;
      this.#push(command);
    }, delay);
  }

  #answerCame(command) {
    if (!command.isRead || !command.isWritten) return;
    this.#questions--;
    for (const other of this.#pending.values()) {
      if (this.#questions >= QUESTIONS) return;
      if (other.isRead && other !== command) this.#push(other);
    }
  }

  #finish(command, error, reply) {
    this.#pending.delete(command.id);
    this.#answerCame(command);
    command.settle(error, reply);
    const { lane } = command;
    if (!lane) return;
    lane.commands.splice(lane.commands.indexOf(command), 1);
    if (lane.commands.length === 0) this.#lanes.delete(lane.name);
    else lane.commands.slice(0, lane.width).forEach((next) => this.#push(next));
  }
}
