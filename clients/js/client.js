/**
 * The client of Trunkline for browsers and Node.js: one session that comes back by itself.
 *
 * It keeps the position in the user's event order, sends every message with a key, and hands every message to
 * the program once and in order. README.md says how to use it; docs/protocol.md of Trunkline, what it speaks.
 */

import { Commands } from "./client/commands.js";
import { Delays, LONGEST_TIMER_MS, OWN_FAULTS } from "./client/delays.js";
import { Events } from "./client/events.js";
import { Marks } from "./client/marks.js";
import { Listeners, TrunklineError, localError, randomKey, socketUrl } from "./client/values.js";

export { Timeline } from "./client/timeline.js";
export { TrunklineError, base64, conversationOf, randomKey } from "./client/values.js";

/** How long an attempt to connect may take, in milliseconds, and how long the program may take for a token before it. */
const ATTEMPT_MS = 10_000;

/** How long the gateway may be silent after a question whether it is there, in milliseconds. */
const SILENCE_MS = 10_000;

/** The most users in a `presence` of this client. The gateway allows 1,000. */
const WATCHED = 500;

/** The most publications of a topic that wait for the reply to `subscribe`. The gateway keeps 100 by default. */
const HELD = 200;

/** A client of one user on one device. */
export class Trunkline {
  #url;
  #options;
  #WebSocket;
  #listeners = new Listeners();
  #delays;
  #commands;
  #marks;
  #events;

  #state = "connecting";
  #socket;
  #session;
  /** The number of sessions so far. */
  #sessions = 0;
  /** The `connect` without an answer: its id and its fields. */
  #greeting = { id: 0, connect: {} };
  /** What the gateway said about the end of the session. */
  #disconnect;
  /** Why the gateway refused the last `connect`. */
  #refusal;
  /** Why the client is closed. */
  #reason;
  #timers = {};
  #heard = 0;
  /** Whether what the last `connect` missed is still on its way. */
  #isRecovering = false;
  #watched = new Set();
  /** The last position of each topic. */
  #topics = new Map();
  /** Topics of which something may be missing, with what came since. It comes again behind the reply to `subscribe`, or nothing does. */
  #behind = new Map();

  constructor(url, options = {}) {
    this.#options = { acknowledge: true, pipeline: 1, maxPending: 1_000, random: Math.random, ...options };
    this.#url = socketUrl(url);
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (!this.#WebSocket) {
      throw new TypeError("there is no WebSocket here: pass one as options.WebSocket, such as that of the package ws");
    }
    if (!options.token && !options.user) {
      throw new TypeError("say who connects: options.token, or options.user in development mode");
    }
    this.#delays = new Delays(this.#options.random);
    this.#commands = new Commands(this.#options, (text) => this.#socket.send(text));
    this.#marks = new Marks((ack) => this.#isOpen ? this.#writeCommand({ ack }) : undefined);
    this.#events = new Events(options.since, {
      tell: (kind, event, pos) => this.#tell(kind, event, pos),
      moved: (pos) => this.#listeners.tell("position", pos),
      sync: (body) => this.#commands.run("sync", body, { isOnce: true }),
      isOwn: (user) => user === this.user,
      sends: (key) => this.#commands.sends(key),
      session: () => this.#sessions,
    });
    // Later, so that the program can add its listeners first.
    queueMicrotask(() => this.#attempt());
    globalThis.addEventListener?.("online", this.#hurry);
  }

  /** `connecting`, `catching_up`, `online`, `waiting` or `closed`. */
  get state() {
    return this.#state;
  }

  /** The reply to the last `connect`; undefined before the first. */
  get session() {
    return this.#session;
  }

  /** The name of the user; undefined before the first session of a client with tokens. */
  get user() {
    return this.#session?.user ?? this.#options.user;
  }

  /** The position behind the last event that was handed over. Keep it, and give it to the next client as `since`. */
  get position() {
    return this.#events.position;
  }

  /** The number of commands without an answer. */
  get pending() {
    return this.#commands.size;
  }

  /** Calls `listener` for each event of a kind. Returns a function that ends this. */
  on(event, listener) {
    this.#listeners.add(event, listener);
    return () => this.off(event, listener);
  }

  /** Ends what `on` began. */
  off(event, listener) {
    this.#listeners.remove(event, listener);
  }

  /** Waits for a session. Rejects if the gateway refuses the client for good. */
  connected() {
    if (this.#isOpen) return Promise.resolve(this.#session);
    if (this.#state === "closed") return Promise.reject(this.#reason);
    return new Promise((resolve, reject) => {
      const ends = [this.on("connected", (session) => end(resolve, session)), this.on("closed", (error) => end(reject, error))];
      const end = (settle, value) => {
        for (const off of ends) off();
        settle(value);
      };
    });
  }

  /** Ends the session in order. Commands without an answer are rejected. */
  close() {
    this.#end(localError("closed", "the client was closed"));
  }

  // Commands. Each takes the fields of the protocol, and resolves with the fields of the reply.

  /** Sends a message. Resolves when it is durable. */
  send({ key = randomKey(), ...fields }) {
    const lane = fields.group === undefined ? `u:${fields.user}` : `g:${fields.group}`;
    const first = (reply) => {
      if (this.#events.sent(reply)) this.#fill();
    };
    return this.request("send", { ...fields, key }, { lane, first });
  }

  /** Moves the own marks in a conversation. Marks of a moment travel together; nothing has to be waited for. */
  ack(conversation, marks) {
    if (this.#state !== "closed") this.#marks.move(conversation, marks);
  }

  receipts(fields) { return this.request("receipts", fields); }
  sync(fields) { return this.request("sync", fields); }
  history(fields) { return this.request("history", fields); }
  get(fields) { return this.request("get", fields); }
  conversations(fields = {}) { return this.request("conversations", fields); }
  search(fields) { return this.request("search", fields); }
  groupCreate({ key = randomKey(), ...fields }) { return this.request("group_create", { ...fields, key }); }
  groupAdd(fields) { return this.request("group_add", fields); }
  groupRemove(fields) { return this.request("group_remove", fields); }
  groupLeave(fields) { return this.request("group_leave", fields); }
  groupRename(fields) { return this.request("group_rename", fields); }
  groupInfo(fields) { return this.request("group_info", fields); }
  groupRole(fields) { return this.request("group_role", fields); }
  groupSet(fields) { return this.request("group_set", fields); }
  groupJoin(fields) { return this.request("group_join", fields); }
  settings(fields) { return this.request("settings", fields); }
  edit(fields) { return this.request("edit", fields); }
  pin(fields) { return this.request("pin", fields); }
  unpin(fields) { return this.request("unpin", fields); }
  recall(fields) { return this.request("recall", fields); }
  delete(fields) { return this.request("delete", fields); }
  react(fields) { return this.request("react", fields); }
  block(fields) { return this.request("block", fields); }
  unblock(fields) { return this.request("unblock", fields); }
  blocked(fields = {}) { return this.request("blocked", fields); }
  reactions(fields) { return this.request("reactions", fields); }
  contacts(fields = {}) { return this.request("contacts", fields); }
  signal(fields) { return this.request("signal", fields); }
  publish(fields) { return this.request("publish", fields); }
  rpc(fields) { return this.request("rpc", fields); }
  ping() { return this.request("ping", {}); }

  /** Says that the user is writing, or has stopped without sending. Lost without a session. */
  typing(conversation, { stop } = {}) {
    if (this.#isOpen) this.#write({ typing: { conversation, stop: stop || undefined } });
  }

  /** Asks who is online. What is watched is watched again in later sessions. */
  presence(fields) {
    for (const user of fields.watch ?? []) this.#watched.add(user);
    for (const user of fields.unwatch ?? []) this.#watched.delete(user);
    return this.request("presence", fields);
  }

  /** Subscribes to a topic, in later sessions too. */
  subscribe({ topic, since }) {
    // Before the publications that follow the reply.
    return this.request("subscribe", { topic, since }, { first: (reply) => this.#subscribed(topic, reply) });
  }

  unsubscribe({ topic }) {
    this.#topics.delete(topic);
    this.#behind.delete(topic);
    return this.request("unsubscribe", { topic });
  }

  /** Carries out a command by its name in the protocol. */
  request(name, fields = {}, how) {
    if (this.#state === "closed") return Promise.reject(localError("closed", "the client is closed"));
    return this.#commands.run(name, fields, how);
  }

  // The life of the connection.

  get #isOpen() {
    return this.#state === "online" || this.#state === "catching_up";
  }

  #hurry = () => {
    if (this.#state !== "waiting") return;
    this.#stopTimers();
    this.#attempt();
  };

  #enter(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#listeners.tell("state", state);
  }

  async #attempt() {
    if (this.#state === "closed") return;
    this.#enter("connecting");
    this.#disconnect = this.#refusal = undefined;
    const { user, namespace, device, resume } = this.#options;
    const connect = { user, namespace, device, since: this.position, batch: true };
    if (resume && connect.since === undefined) connect.resume = true;
    try {
      connect.token = await this.#askToken();
    } catch (error) {
      this.#listeners.tell("error", error);
      if (this.#state === "connecting") this.#retry(this.#delays.next(), { code: 0, reason: "there is no token" });
      return;
    }
    if (this.#state !== "connecting") return;
    let socket;
    try {
      socket = new this.#WebSocket(this.#url, ["trunkline.v1.json"]);
    } catch (error) {
      // The platform allows no connection to this address, now or later.
      return this.#end(localError("refused", `there can be no connection to ${this.#url}: ${error.message}`));
    }
    this.#socket = socket;
    let retryAfter;
    // The package ws tells the status of a refusal; browsers do not.
    socket.on?.("unexpected-response", (_, response) => {
      if (response.statusCode === 503) retryAfter = Number(response.headers["retry-after"]);
      socket.terminate();
    });
    socket.onopen = () => this.#greet(connect);
    socket.onmessage = ({ data }) => this.#read(data);
    // A close follows.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => this.#lost(code, reason, retryAfter);
    this.#timers.attempt = setTimeout(() => this.#drop("the gateway did not answer in time"), ATTEMPT_MS);
  }

  /** Returns the token of now. Rejects if the program fails to say it in time. */
  async #askToken() {
    const { token } = this.#options;
    if (typeof token !== "function") return token;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`the function token did not answer within ${ATTEMPT_MS} ms`)), ATTEMPT_MS);
      this.#timers.token = timer;
    });
    try {
      return await Promise.race([token(), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #greet(connect) {
    this.#greeting = { id: this.#writeCommand({ connect }), connect };
  }

  /** Lets go of the connection. Nothing more is heard of it. */
  #leave(code) {
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  /** Gives up a connection that does not do what it should. */
  #drop(reason, delay) {
    this.#leave(1000);
    this.#lost(1006, reason, undefined, delay);
  }

  #lost(code, reason, retryAfter, atLeast = 0) {
    const told = this.#disconnect;
    const because = reason || told?.reason || "";
    const wasOpen = this.#isOpen;
    this.#socket = undefined;
    this.#stopTimers();
    this.#events.lose();
    this.#marks.lose();
    const isFinal = code === 3505 ? typeof this.#options.token !== "function" : !(told?.reconnect ?? !(code >= 3500 && code <= 3999));
    if (isFinal) {
      const text = `the gateway ended the session with code ${code}: ${because || "it gave no reason"}`;
      return this.#end(this.#refusal ?? localError("refused", text));
    }
    this.#commands.lose();
    if (wasOpen && !OWN_FAULTS.has(code)) this.#delays.begin();
    let delay;
    if (retryAfter >= 0) delay = this.#delays.unavailable(retryAfter);
    else if (told?.delay_ms) delay = this.#delays.told(told.delay_ms);
    else delay = this.#delays.next();
    this.#retry(Math.max(delay, atLeast), { code, reason: because });
  }

  #retry(delay, { code, reason }) {
    this.#timers.retry = setTimeout(() => this.#attempt(), delay);
    this.#enter("waiting");
    this.#listeners.tell("disconnected", { code, reason, retryMs: Math.round(delay) });
  }

  #stopTimers() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
  }

  #end(error) {
    if (this.#state === "closed") return;
    // The gateway keeps what it reads before the Close frame.
    this.#marks.tell();
    this.#reason = error;
    this.#stopTimers();
    this.#marks.forget();
    this.#events.lose();
    globalThis.removeEventListener?.("online", this.#hurry);
    this.#leave(1000);
    this.#enter("closed");
    this.#commands.end(error);
    this.#listeners.tell("closed", error);
  }

  #write(message) {
    // A connection that is closing takes nothing more. Its end follows.
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  #writeCommand(command) {
    const id = this.#commands.takeId();
    this.#write({ id, ...command });
    return id;
  }

  // What the gateway says.

  #read(frame) {
    const socket = this.#socket;
    this.#heard = performance.now();
    for (const line of frame.split("\n")) {
      if (line === "") continue;
      const message = JSON.parse(line);
      if (message.push) this.#pushed(message.push);
      else if (message.id === this.#greeting.id) this.#greeted(message);
      else if (!this.#commands.answer(message) && !this.#marks.answer(message)) this.#answered(message);
      // A listener may have closed the client.
      if (this.#socket !== socket) return;
    }
  }

  /** Takes an answer that belongs to no promise: an error of `typing`, or the answer to a ping. */
  #answered({ error }) {
    if (error && error.limit !== "typing") this.#listeners.tell("error", new TrunklineError(error));
  }

  #greeted({ connect, error }) {
    if (this.#isOpen) return this.#renewed(connect, error);
    const asked = this.#greeting.connect;
    if (error?.code === 112) {
      this.#forget(error.message);
      return this.#greet({ ...asked, since: undefined });
    }
    if (error) {
      this.#refusal = new TrunklineError(error);
      this.#listeners.tell("error", this.#refusal);
      if (error.temporary) this.#drop(error.message, error.retry_ms);
      // After these the gateway closes, and the code says whether to come back.
      else if (error.code !== 101 && error.code !== 109) this.#end(this.#refusal);
      return;
    }
    if (asked.resume && !connect.recovered) this.#forget("the gateway keeps no position of this device");
    this.#opened(connect);
  }

  #opened(session) {
    clearTimeout(this.#timers.attempt);
    this.#session = session;
    this.#sessions++;
    this.#isRecovering = session.recovered;
    if (!session.recovered) this.#events.move(session.pos);
    this.#renewLater(session);
    this.#watchSilence(session.ping_ms);
    this.#enter(session.recovered ? "catching_up" : "online");
    this.#listeners.tell("connected", session);
    if (!this.#isOpen) return;
    const number = this.#sessions;
    this.#commands.begin(session.limits);
    if (number !== this.#sessions || !this.#isOpen) return;
    this.#marks.begin();
    if (number > 1) this.#listenAgain();
  }

  /** Watches and subscribes again. */
  #listenAgain() {
    const failed = (error, end) => {
      if (error.kind === "connection_lost" || error.kind === "closed") return;
      this.#listeners.tell("error", error);
      end?.();
    };
    for (let rest = [...this.#watched]; rest.length > 0; rest = rest.slice(WATCHED)) {
      const watch = rest.slice(0, WATCHED);
      const first = ({ users }) => users.forEach((user) => this.#listeners.tell("presence", user));
      this.#commands.run("presence", { watch }, { isOnce: true, first }).catch((error) => failed(error));
    }
    for (const [topic, since] of this.#topics) {
      this.#wait(topic);
      const first = (reply) => {
        if (!this.#topics.has(topic)) return;
        this.#listeners.tell("resubscribed", { topic, ...reply });
        this.#subscribed(topic, reply, since);
      };
      const end = () => this.#release(topic);
      this.#commands.run("subscribe", { topic, since }, { isOnce: true, first }).catch((error) => failed(error, end));
    }
  }

  /** Lets publications of a topic wait: something before them may be missing. */
  #wait(topic) {
    if (!this.#behind.has(topic)) this.#behind.set(topic, []);
  }

  /** Hands over what waits. */
  #release(topic) {
    const held = this.#behind.get(topic) ?? [];
    this.#behind.delete(topic);
    for (const event of held) this.#published(event);
  }

  #subscribed(topic, { pos, recovered }, since) {
    // What was missed follows, with what waits, and moves the position.
    if (recovered) this.#behind.delete(topic);
    else this.#release(topic);
    this.#topics.set(topic, (recovered && since) || pos);
  }

  #published(event) {
    const held = this.#behind.get(event.topic);
    if (held) return void (held.length < HELD && held.push(event));
    if (this.#topics.has(event.topic)) this.#topics.set(event.topic, event.pos);
    this.#listeners.tell("publication", event);
  }

  /**
   * Asks whether the gateway is there when nothing came for a while: a page does not see the pings of WebSocket. Timers of a
   * hidden page run late, and so does what it hears after it was busy. So the time without an answer counts from the question
   * on, and in two halves: what was heard meanwhile is read between them.
   */
  #watchSilence(ping) {
    this.#heard = performance.now();
    let asked;
    let halves = 0;
    const later = (delay) => (this.#timers.silence = setTimeout(look, Math.min(delay, LONGEST_TIMER_MS)));
    const look = () => {
      if (asked !== undefined && this.#heard < asked) {
        return ++halves === 2 ? this.#drop("the gateway is silent") : later(SILENCE_MS / 2);
      }
      const silent = performance.now() - this.#heard;
      asked = undefined;
      if (silent < ping) return later(ping - silent);
      [asked, halves] = [performance.now(), 0];
      this.#writeCommand({ ping: {} });
      later(SILENCE_MS / 2);
    };
    later(ping);
  }

  #renewLater({ expires, time }) {
    if (expires === undefined || typeof this.#options.token !== "function") return;
    const left = expires - time;
    // Early enough to try again, and not all clients of a moment at once.
    this.#renewIn(left - Math.min(left / 5, 60_000) * (1 + this.#options.random()));
  }

  #renewIn(delay) {
    clearTimeout(this.#timers.renew);
    const rest = delay - LONGEST_TIMER_MS;
    const then = rest > 0 ? () => this.#renewIn(rest) : () => this.#renew();
    this.#timers.renew = setTimeout(then, Math.min(delay, LONGEST_TIMER_MS));
  }

  async #renew() {
    const session = this.#sessions;
    const isOver = () => session !== this.#sessions || !this.#isOpen;
    try {
      const token = await this.#askToken();
      if (!isOver()) this.#greet({ token });
    } catch (error) {
      this.#listeners.tell("error", error);
      if (!isOver()) this.#renewIn(1_000 + 4_000 * this.#options.random());
    }
  }

  #renewed(connect, error) {
    if (error) {
      if (error.code !== 111) this.#listeners.tell("error", new TrunklineError(error));
      return this.#renewIn(error.retry_ms ?? 1_000 + 4_000 * this.#options.random());
    }
    this.#session = { ...this.#session, time: connect.time, expires: connect.expires };
    this.#renewLater(connect);
    for (const topic of connect.unsubscribed ?? []) {
      this.#topics.delete(topic);
      this.#behind.delete(topic);
      this.#listeners.tell("unsubscribed", { topic });
    }
    this.#listeners.tell("renewed", this.#session);
  }

  #pushed(push) {
    const { pos } = push;
    const kind = Object.keys(push).find((name) => name !== "pos");
    const event = push[kind];
    if (kind === "gap") {
      for (const topic of this.#topics.keys()) this.#wait(topic);
      return void this.#fill();
    }
    if (kind === "caught_up") return this.#caughtUp(event.pos);
    if (kind === "disconnect") return void (this.#disconnect = event);
    if (kind === "publication") return this.#published(event);
    if (pos === undefined) return this.#listeners.tell(kind, event);
    this.#events.take(pos, kind, event);
  }

  #tell(kind, event, pos) {
    if (this.#state === "closed") return;
    this.#listeners.tell(kind, event, pos);
    if (kind === "message" && this.#options.acknowledge && event.from !== this.user) {
      this.ack(event.conversation, { delivered: event.seq });
    }
  }

  #caughtUp(pos) {
    this.#isRecovering = false;
    if (this.#events.isFilling) return;
    this.#events.move(pos);
    this.#enter("online");
    this.#listeners.tell("caught_up", { pos });
  }

  /** Fetches events that were missed within a session. */
  async #fill() {
    if (this.#events.isFilling) return;
    this.#enter("catching_up");
    const session = this.#sessions;
    try {
      if (!(await this.#events.fill())) return;
    } catch (error) {
      if (session !== this.#sessions || !this.#isOpen) return;
      // The next session has what is missing, or says that it has expired.
      this.#listeners.tell("error", error);
      return this.#drop("missed events could not be fetched", error.retryMs);
    }
    if (!this.#isOpen) return;
    if (!this.#isRecovering) this.#caughtUp(this.position);
    this.#listenAgain();
  }

  /** Forgets what belongs to a history that is no more. */
  #forget(reason) {
    this.#events.forget();
    this.#marks.forget();
    this.#topics.forEach((_, topic) => this.#topics.set(topic, undefined));
    this.#listeners.tell("reset", { reason });
  }
}
