/** Marks of what the user has received and read, until the gateway has them. */

import { Recent } from "./values.js";

/** How long marks wait for others of their conversation, in milliseconds. */
const WAIT = 50;

export class Marks {
  #write;
  #timer;
  /** Marks that no answer has confirmed, by conversation. */
  #of = new Recent();
  /** The conversation and the marks of each `ack` without an answer. */
  #asked = new Map();

  /** @param {(body: object) => number | undefined} write writes an `ack` and returns its id; undefined without a session */
  constructor(write) {
    this.#write = write;
  }

  /** Moves marks. They never go back. */
  move(conversation, { delivered = 0, read = 0 }) {
    const before = this.#of.get(conversation) ?? { delivered: 0, read: 0 };
    if (delivered <= before.delivered && read <= before.read) return;
    const marks = { delivered: Math.max(delivered, before.delivered), read: Math.max(read, before.read), isTold: false };
    this.#of.set(conversation, marks);
    this.#timer ??= setTimeout(() => this.tell(), WAIT);
  }

  /** Writes what no `ack` of this session has. */
  tell() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [conversation, marks] of this.#of) {
      if (marks.isTold) continue;
      const { delivered, read } = marks;
      const id = this.#write({ conversation, delivered: delivered || undefined, read: read || undefined });
      if (id === undefined) return;
      marks.isTold = true;
      this.#asked.set(id, { conversation, marks });
    }
  }

  /** A session has begun: tells everything again that has no answer. */
  begin() {
    this.lose();
    this.tell();
  }

  /** The session is lost, and with it the answers. */
  lose() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#asked.clear();
    for (const marks of this.#of.values()) marks.isTold = false;
  }

  /** Drops marks of a history that is no more: they may name sequences of other messages. */
  forget() {
    this.lose();
    this.#of.clear();
  }

  /** Takes an answer. Returns whether it belongs to an `ack`. */
  answer({ id, error }) {
    const asked = this.#asked.get(id);
    if (!asked) return false;
    this.#asked.delete(id);
    if (error?.temporary) {
      asked.marks.isTold = false;
      this.#timer ??= setTimeout(() => this.tell(), error.retry_ms ?? 1_000);
    } else if (this.#of.get(asked.conversation) === asked.marks) {
      this.#of.delete(asked.conversation);
    }
    return true;
  }
}
