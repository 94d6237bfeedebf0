/** Members of a group whom a message names: offered while one writes an @, and read from the text. */

import { byId, el } from "/shared/dom.js";

/** The most names that are offered at a time. */
const OFFERED = 6;

/** What stands for all members in the protocol, and in texts. */
const ALL = "*";
const ALL_NAME = "all";
const nameOf = (one) => (one === ALL ? ALL_NAME : one);

const BEGUN = /(?:^|[^A-Za-z0-9._@-])@([A-Za-z0-9._-]*)$/;
const NAMED = /(?<![A-Za-z0-9._@-])@([A-Za-z0-9._@-]+)/g;

export class Mentions {
  #field;
  #members;
  #known;
  #list = byId("names");
  #offered = [];
  #chosen = 0;

  /**
   * @param {HTMLTextAreaElement} field @param {() => Promise<void>} members asks whom one may name in the open conversation
   * @param {() => string[]} known returns the names that were asked for last in the open conversation
   */
  constructor(field, members, known) {
    this.#field = field;
    this.#members = members;
    this.#known = known;
    field.addEventListener("blur", () => this.close());
    this.#list.addEventListener("pointerdown", (event) => {
      // The field keeps the focus.
      event.preventDefault();
      const place = [...this.#list.children].indexOf(event.target.closest("[role=option]"));
      if (place >= 0) this.#take(place);
    });
  }

  /** Offers names for what is being written. */
  async look() {
    const begun = this.#begun();
    if (begun === undefined) {
      this.close();
      // A text that came as a whole may mention somebody too.
      if (this.#field.value.includes("@")) this.#members();
      return;
    }
    await this.#members();
    const now = this.#begun();
    if (now === undefined) return this.close();
    const start = now.toLowerCase();
    this.#offered = this.#known().filter((one) => nameOf(one).toLowerCase().startsWith(start)).slice(0, OFFERED);
    this.#chosen = 0;
    this.#draw();
  }

  close() {
    this.#offered = [];
    this.#draw();
  }

  /** Takes a key while names are offered. Returns whether it was one for them. */
  key({ key, isComposing }) {
    if (this.#offered.length === 0 || isComposing) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[key];
    if (step) {
      this.#chosen = (this.#chosen + step + this.#offered.length) % this.#offered.length;
      this.#draw();
    } else if (key === "Enter" || key === "Tab") this.#take(this.#chosen);
    else if (key === "Escape") this.close();
    else return false;
    return true;
  }

  /** Returns whom a text mentions, in the form of the protocol; undefined if nobody. */
  of(text) {
    const named = new Set();
    const names = this.#known();
    for (const [, found] of text.matchAll(NAMED)) {
      // A point behind a name may end the sentence.
      const whole = names.find((one) => nameOf(one) === found);
      const name = whole ?? names.find((one) => nameOf(one) === found.replace(/[.@-]+$/, ""));
      if (name !== undefined) named.add(name);
    }
    return named.size > 0 ? [...named] : undefined;
  }

  #begun() {
    const { value, selectionStart } = this.#field;
    return BEGUN.exec(value.slice(0, selectionStart))?.[1];
  }

  #take(place) {
    const begun = this.#begun() ?? "";
    const { selectionStart: end } = this.#field;
    this.#field.setRangeText(`${nameOf(this.#offered[place])} `, end - begun.length, end, "end");
    this.close();
  }

  #draw() {
    const options = this.#offered.map((name, place) => el("li", {
      id: `name-${place}`, role: "option", "aria-selected": String(place === this.#chosen),
    }, name === ALL ? `${ALL_NAME}: everybody in the group` : name));
    this.#list.replaceChildren(...options);
    this.#list.hidden = options.length === 0;
    // A field of several lines cannot say that a list is open.
    if (options.length > 0) byId("news").textContent = `${options.length} members. Arrow keys choose, Enter takes: ${options[this.#chosen].textContent}`;
    if (options.length > 0) this.#field.setAttribute("aria-activedescendant", `name-${this.#chosen}`);
    else this.#field.removeAttribute("aria-activedescendant");
  }
}

/** Returns the names that members of a group may mention. */
export async function nameable(client, one) {
  if (!one.isGroup) return [];
  const { members } = await client.groupInfo({ group: one.peer, limit: 500 });
  const names = members.map(({ user }) => user).filter((user) => user !== client.user);
  const mayAll = (one.isAdmin || one.members <= 50) && !members.some(({ user }) => user === ALL_NAME);
  return mayAll ? [...names, ALL] : names;
}
