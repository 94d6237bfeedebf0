/** Messages without an answer and failed ones, kept in this tab: also over a reload, and until their user signs in again. */

/** The most messages that are kept for the next life of the page. */
const KEPT = 200;

const PREFIX = "outbox ";

export class Outbox {
  #name;

  /** @param {string} user whose messages these are @param {string} [namespace] that of the user */
  constructor(user, namespace) {
    this.#name = PREFIX + (namespace ? `${user} ${namespace}` : user);
  }

  /** Returns the users whose messages wait in this tab, each with how many do. A failed one waits for its user to try again. */
  static waiting() {
    const names = Object.keys(sessionStorage).filter((name) => name.startsWith(PREFIX));
    return names.sort().map((name) => [name.slice(PREFIX.length).split(" ")[0], read(name).filter(({ failed }) => failed === undefined).length]).filter(([, count]) => count > 0);
  }

  all() {
    return read(this.#name);
  }

  add(item) {
    this.#keep([...this.all().filter(({ key }) => key !== item.key), item].slice(-KEPT));
  }

  done(key) {
    this.#keep(this.all().filter((item) => item.key !== key));
  }

  #keep(items) {
    sessionStorage.setItem(this.#name, JSON.stringify(items));
  }
}

const read = (name) => JSON.parse(sessionStorage.getItem(name) ?? "[]");
