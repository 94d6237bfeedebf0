/** Messages without an answer, kept where a reload of the page finds them. */

/** The most messages that are kept for the next life of the page. */
const KEPT = 200;

export class Outbox {
  #name;
  constructor(user) {
    this.#name = `outbox ${user}`;
  }

  all() {
    return JSON.parse(sessionStorage.getItem(this.#name) ?? "[]");
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
