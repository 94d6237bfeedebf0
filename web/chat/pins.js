/** The line with the pinned messages of a group. */

import { byId, el } from "/shared/dom.js";
import { words } from "./message.js";

export class Pins {
  #page;
  /** Which of the pinned messages is shown: counted from the newest. */
  #place = 0;
  #one;

  /** @param {{look: (seq: number) => object | null | undefined, jump: (seq: number) => void, unpin: (seq: number) => void}} page */
  constructor(page) {
    this.#page = page;
    byId("pin-go").addEventListener("click", () => {
      const { seq } = this.#shown();
      this.#place = (this.#place + 1) % this.#one.pins.length;
      page.jump(seq);
      this.draw(this.#one);
    });
    byId("unpin").addEventListener("click", () => page.unpin(this.#shown().seq));
  }

  #shown() {
    return this.#one.pins.at(-1 - this.#place);
  }

  draw(one) {
    if (one !== this.#one) this.#place = 0;
    this.#one = one;
    const count = one.pins.length;
    byId("pins").hidden = count === 0;
    if (count === 0) return;
    this.#place = Math.min(this.#place, count - 1);
    const { seq } = this.#shown();
    const message = this.#page.look(seq);
    const text = message === undefined ? "Loading…" : message === null ? "A message that is not here any more" : `${message.from}: ${words(message, "")}`;
    const head = count === 1 ? "Pinned" : `Pinned ${count - this.#place} of ${count}`;
    byId("pin-go").replaceChildren(el("strong", {}, head), el("span", { dir: "auto" }, text));
    byId("unpin").hidden = !one.isAdmin;
  }
}
