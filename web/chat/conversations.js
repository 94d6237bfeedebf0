/** The list of conversations at the side. */

import { brief, byId, el, icon } from "/shared/dom.js";
import { avatar, words } from "./message.js";

export class Conversations {
  #store;
  #open;
  #list = byId("conversations");
  /** What an entry shows, by its element: entries that show the same stay. */
  #shown = new WeakMap();
  #entries = new Map();
  #isArchive = false;

  constructor(store, open) {
    this.#store = store;
    this.#open = open;
    this.#list.addEventListener("keydown", (event) => this.#key(event));
    byId("archive").addEventListener("click", () => {
      this.#isArchive = !this.#isArchive;
      this.draw();
    });
  }

  /** The conversations that are listed, in their order. */
  get listed() {
    return this.#store.sorted({ archived: this.#isArchive });
  }

  draw() {
    const archived = this.#store.sorted({ archived: true });
    if (archived.length === 0) this.#isArchive = false;
    const sorted = this.#isArchive ? archived : this.#store.sorted();
    byId("no-conversations").hidden = sorted.length > 0 || archived.length > 0 || !this.#store.isLoaded;
    byId("loading").hidden = this.#store.isLoaded || sorted.length > 0;
    this.#drawArchive(archived);
    const entries = sorted.map((one) => this.#entry(one));
    // Moving an element would take the focus from it: only what is in the wrong place moves.
    entries.forEach((entry, place) => {
      const there = this.#list.children[place];
      if (there !== entry) this.#list.insertBefore(entry, there ?? null);
    });
    while (this.#list.children.length > entries.length) this.#list.lastChild.remove();
  }

  /** The line that leads to the archived conversations, and back. */
  #drawArchive(archived) {
    const button = byId("archive");
    button.hidden = archived.length === 0;
    button.setAttribute("aria-pressed", String(this.#isArchive));
    const unread = archived.filter((one) => one.unread > 0).length;
    const text = this.#isArchive ? "All conversations" : `Archived (${archived.length})${unread > 0 ? `, ${unread} unread` : ""}`;
    if (byId("archive-text").textContent !== text) byId("archive-text").textContent = text;
  }

  #entry(one) {
    const { me, presence, shown } = this.#store;
    const newest = one.waiting.at(-1) ?? one.last;
    const isOnline = !one.isGroup && presence.get(one.peer)?.online;
    const typing = [...one.typing.keys()];
    const text = typing.length > 0 ? `${typing[0]} is typing…` : one.isLeft ? "You are no member any more" : one !== shown && one.draft?.text ? `Draft: ${one.draft.text.slice(0, 120)}` : words(newest, me, one.isGroup);
    const time = newest ? brief(newest.time) : "";
    const { pinned } = one.settings;
    const state = [one.title, text, time, one.unread, one.mentions, isOnline, one === shown, pinned, one.isQuiet].join("\n");
    let entry = this.#entries.get(one.id);
    if (entry && this.#shown.get(entry) === state) return entry;
    if (!entry) {
      entry = el("li", {}, el("button", { type: "button", onclick: () => this.#open(one) }));
      this.#entries.set(one.id, entry);
    }
    this.#shown.set(entry, state);
    const circle = avatar(one.title);
    circle.classList.toggle("online", Boolean(isOnline));
    const mentions = one.mentions > 0 && el("span", { class: "count at" }, "@", el("span", { class: "unseen" }, ` ${one.mentions} ${one.mentions === 1 ? "mentions" : "mention"} you`));
    const unread = one.unread > 0 && el("span", { class: one.isQuiet ? "count quietly" : "count" }, one.unread > 99 ? "99+" : String(one.unread), el("span", { class: "unseen" }, " unread"));
    const button = entry.firstChild;
    button.replaceChildren(
      circle,
      el("span", { class: "line" },
        el("span", { class: "name", title: one.title }, el("bdi", {}, one.title), isOnline && el("span", { class: "unseen" }, " (online)"),
          pinned && el("span", { role: "img", "aria-label": "pinned" }, icon("pin")),
          one.isQuiet && el("span", { role: "img", "aria-label": "muted" }, icon("mute"))),
        el("time", {}, time),
        el("span", { class: "last", dir: "auto" }, text || "No messages yet"),
        (unread || mentions) && el("span", { class: "counts" }, unread, mentions)),
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
