/** Messages without an answer and failed ones, kept in this tab: also over a reload, and until their user signs in again. */

import * as tab from "/shared/tab.js";

/** The most messages that are kept for the next life of the page. */
const KEPT = 200;

const PREFIX = "outbox ";

export class Outbox {
  #name;
  /** The keys of messages for which there was no room. */
  #left = new Set();
  /** Whether the storage of the tab has what is kept here. */
  #isSafe = true;

  /** @param {string} user whose messages these are @param {string} [namespace] that of the user */
  constructor(user, namespace) {
    this.#name = PREFIX + (namespace ? `${user} ${namespace}` : user);
  }

  /** Returns the users whose messages wait in this tab, each with how many do. A failed one waits for its user to try again. */
  static waiting() {
    const names = tab.names().filter((name) => name.startsWith(PREFIX));
    return names.sort().map((name) => [name.slice(PREFIX.length).split(" ")[0], read(name).filter(({ failed }) => failed === undefined).length]).filter(([, count]) => count > 0);
  }

  /** Whether a reload would lose messages. */
  get wouldLose() {
    return !this.#isSafe || this.#left.size > 0;
  }

  all() {
    return read(this.#name);
  }

  add(item) {
    const all = [...this.all().filter(({ key }) => key !== item.key), item];
    for (const { key } of all.slice(0, -KEPT)) this.#left.add(key);
    this.#left.delete(item.key);
    this.#keep(all.slice(-KEPT));
  }

  done(key) {
    this.#left.delete(key);
    this.#keep(this.all().filter((item) => item.key !== key));
  }

  #keep(items) {
    this.#isSafe = tab.write(this.#name, items.length > 0 ? JSON.stringify(items) : undefined);
  }
}

const read = (name) => JSON.parse(tab.read(name) ?? "[]");
