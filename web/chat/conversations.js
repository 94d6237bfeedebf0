/** The list of conversations at the side. */

import { brief, byId, el } from "/shared/dom.js";
import { avatar, words } from "./message.js";

export class Conversations {
  #store;
  #open;
  #list = byId("conversations");
  /** What an entry shows, by its element: entries that show the same stay. */
  #shown = new WeakMap();
  #entries = new Map();

  constructor(store, open) {
    this.#store = store;
    this.#open = open;
    this.#list.addEventListener("keydown", (event) => this.#key(event));
  }

  draw() {
    const sorted = this.#store.sorted();
    byId("no-conversations").hidden = sorted.length > 0 || !this.#store.isLoaded;
    const entries = sorted.map((one) => this.#entry(one));
    // Moving an element would take the focus from it: only what is in the wrong place moves.
    entries.forEach((entry, place) => {
      const there = this.#list.children[place];
      if (there !== entry) this.#list.insertBefore(entry, there ?? null);
    });
    while (this.#list.children.length > entries.length) this.#list.lastChild.remove();
  }

  #entry(one) {
    const { me, presence, shown } = this.#store;
    const newest = one.waiting.at(-1) ?? one.last;
    const isOnline = !one.isGroup && presence.get(one.peer)?.online;
    const typing = [...one.typing.keys()];
    const text = typing.length > 0 ? `${typing[0]} is typing…` : one.isLeft ? "You are no member any more" : words(newest, me);
    const time = newest ? brief(newest.time) : "";
    const state = [one.title, text, time, one.unread, isOnline, one === shown].join("\n");
    let entry = this.#entries.get(one.id);
    if (entry && this.#shown.get(entry) === state) return entry;
    if (!entry) {
      entry = el("li", {}, el("button", { type: "button", onclick: () => this.#open(one) }));
      this.#entries.set(one.id, entry);
    }
    this.#shown.set(entry, state);
    const circle = avatar(one.title);
    circle.classList.toggle("online", Boolean(isOnline));
    const unread = one.unread > 0 && el("span", { class: "count" }, one.unread > 99 ? "99+" : String(one.unread), el("span", { class: "unseen" }, " unread"));
    const button = entry.firstChild;
    button.replaceChildren(
      circle,
      el("span", { class: "line" },
        el("span", { class: "name" }, el("bdi", {}, one.title), isOnline && el("span", { class: "unseen" }, " (online)")),
        el("time", {}, time),
        el("span", { class: "last", dir: "auto" }, text || "No messages yet"),
        unread),
    );
    if (one === shown) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    return entry;
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const buttons = [...this.#list.querySelectorAll("button")];
    const place = buttons.indexOf(document.activeElement);
    if (!step || place < 0) return;
    event.preventDefault();
    buttons[place + step]?.focus();
  }
}
