/** The random delays between attempts to connect, as docs/protocol.md asks ("Close codes"). All are in milliseconds. */

/** The end of the first range after a failed attempt that follows a `disconnect`. */
const FIRST_FAILURE = 200;

/** The end of the first range after a session that was lost without `disconnect`. */
const FIRST_LOSS = 100;

/** The end of the last range after such a session. */
const LONGEST_LOSS = 5_000;

/** The longest timer of JavaScript, in milliseconds. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Close codes that a client causes by what it sent. A session that ends with one does not prove that all is well. */
export const OWN_FAULTS = new Set([1002, 1003, 1007, 1008, 1009]);

export class Delays {
  #random;
  #end = FIRST_LOSS;
  #longest = LONGEST_LOSS;

  /** @param {() => number} random a number from 0 to 1 */
  constructor(random) {
    this.#random = random;
  }

  /** A session was well: the next loss begins with the first range. */
  begin() {
    this.#end = FIRST_LOSS;
    this.#longest = LONGEST_LOSS;
  }

  /** Returns the delay after the gateway said in which range to come back. */
  told([from, to]) {
    this.#end = FIRST_FAILURE;
    this.#longest = Math.max(to, 1_000);
    return from + this.#random() * (to - from);
  }

  /** Returns the delay after a loss or a failed attempt. */
  next() {
    const delay = this.#random() * this.#end;
    this.#end = Math.min(2 * this.#end, this.#longest);
    return delay;
  }

  /** Returns the delay after HTTP 503 with this many seconds in `Retry-After`. */
  unavailable(seconds) {
    return (seconds + this.#random()) * 1_000;
  }
}
