/**
 * The events of the user, each handed over once and in order: the position, what was seen, and missed events.
 */

import { Recent } from "./values.js";

/** The most live events that wait here while missed ones are fetched. Beyond it those are fetched too. */
const HELD = 2_000;

/** After this many own messages without an event, the client asks for the position behind them. */
const OWN = 1_000;

export class Events {
  #parts;
  #position;
  /** The highest sequence that was handed over, by conversation. */
  #seen = new Recent();
  /** Own messages that a promise has told, and no event may tell again. */
  #own = new Recent();
  #ownSince = 0;
  /** Events that were fetched and may still come live. */
  #fetched = new Recent();
  #isFilling = false;
  /** Live events that came while missed ones are fetched. `null`: there were too many. */
  #held = [];

  /**
   * @param {string | undefined} position
   * @param {{tell: Function, moved: Function, sync: Function, isOwn: Function, sends: Function}} parts
   */
  constructor(position, parts) {
    this.#position = position;
    this.#parts = parts;
  }

  get position() {
    return this.#position;
  }

  get isFilling() {
    return this.#isFilling;
  }

  /** Moves the position behind everything that was handed over. */
  move(pos) {
    this.#ownSince = 0;
    if (pos === undefined || pos === this.#position) return;
    this.#position = pos;
    this.#parts.moved(pos);
  }

  /** Takes an event that came live, or as one that a `connect` missed. */
  take(pos, kind, event) {
    if (this.#fetched.delete(pos)) return;
    if (!this.#isFilling) return this.#hand(pos, kind, event);
    if (this.#held?.length < HELD) this.#held.push([pos, kind, event]);
    else this.#held = null;
  }

  /** Notes that a promise tells of a message of this client. Returns whether missed events should be fetched. */
  sent({ conversation, seq }) {
    if (seq <= (this.#seen.get(conversation) ?? 0)) return false;
    this.#own.set(`${conversation} ${seq}`, true);
    return ++this.#ownSince >= OWN && !this.#isFilling;
  }

  /** Forgets what belongs to a history that is no more. */
  forget() {
    this.lose();
    this.#position = undefined;
    for (const known of [this.#seen, this.#own, this.#fetched]) known.clear();
  }

  /** The session is lost: the next one has what is missing. */
  lose() {
    this.#isFilling = false;
    this.#held = [];
  }

  /**
   * Fetches missed events: those that the gateway dropped since they were not read in time. Returns whether
   * all are here; false if the session ended before.
   */
  async fill() {
    const mine = (this.#held = []);
    this.#isFilling = true;
    this.#fetched.clear();
    const began = this.#parts.session();
    const isOver = () => !this.#isFilling || began !== this.#parts.session();
    for (let more = true; more; ) {
      // What does not fit here is behind the last page too.
      this.#held ??= [];
      const page = await this.#parts.sync({ since: this.#position ?? "0" });
      if (isOver()) return false;
      for (const { pos, ...rest } of page.events) {
        const [kind] = Object.keys(rest);
        this.#fetched.set(pos, true);
        this.#hand(pos, kind, rest[kind]);
        if (isOver()) return false;
      }
      this.move(page.pos);
      more = page.more || this.#held === null;
    }
    this.#isFilling = false;
    const held = this.#held ?? mine;
    this.#held = [];
    for (const [pos, kind, event] of held) this.take(pos, kind, event);
    return true;
  }

  /** Hands an event over, unless it was before, and moves the position behind it. */
  #hand(pos, kind, event) {
    if (kind !== "message" || this.#isNew(event)) this.#parts.tell(kind, event, pos);
    this.move(pos);
  }

  #isNew({ conversation, seq, from, key }) {
    if (seq <= (this.#seen.get(conversation) ?? 0)) return false;
    this.#seen.set(conversation, seq);
    if (!this.#parts.isOwn(from)) return true;
    if (this.#own.delete(`${conversation} ${seq}`)) return false;
    // The reply to a message of this client was lost: the promise gets the one to its repetition.
    return key === undefined || !this.#parts.sends(key);
  }
}
