/** What opens above the page: new conversations, a picture, menus. */

import { byId, el, icon, sentence } from "/shared/dom.js";

const NAME = /^[A-Za-z0-9._@-]{1,64}$/;

/** Says why a text is no name of a user or a group; undefined if it is one. */
export function noName(text) {
  if (NAME.test(text)) return undefined;
  if (text === "") return "Enter a name.";
  if (text.length > 64) return `This name has ${text.length} characters, and may have 64.`;
  return `“${text}” is no name: a name has the letters a to z and A to Z, digits, and . _ @ - only.`;
}
const QUICK = ["👍", "❤️", "😂", "😮", "😢", "🙏"];

/** Opens the dialog with a title and a content. Returns a function that closes it. */
export function open(title, content, kind = "") {
  const dialog = byId("dialog");
  dialog.className = kind;
  const heading = el("h2", { id: "dialog-title", class: kind === "picture-view" ? "unseen" : "", tabIndex: -1 }, title);
  dialog.replaceChildren(heading, content);
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close();
  };
  if (!dialog.open) dialog.showModal();
  // A sheet is read from its beginning. The browser would go to its first list, and frame it.
  if (!kind && !content.querySelector("input")) heading.focus();
  return () => dialog.close();
}

/** Returns the names in a text. */
export const names = (text) => text.split(/[\s,;]+/).filter(Boolean);

/** Asks for a user, for a group with its members, or for an open group. */
export function begin({ withUser, withGroup, join }) {
  const error = el("p", { class: "error", role: "alert" });
  const plain = { autocapitalize: "none", spellcheck: false, autocomplete: "off" };
  const user = el("input", { maxLength: 64, ...plain });
  const group = el("input", { maxLength: 64, ...plain });
  const title = el("input", { maxLength: 100, autocomplete: "off" });
  const members = el("input", { placeholder: "bob, carol", ...plain });
  const isOpen = el("input", { type: "checkbox" });
  const place = el("input", { maxLength: 64, ...plain });
  const kinds = {
    user: { tab: "Somebody", does: "Write", first: user, fields: [el("label", {}, "Name of the user", user)] },
    group: {
      tab: "New group", does: "Create the group", first: title, fields: [
        el("label", {}, "Title", title),
        el("label", {}, "Name of the group: letters a to z and A to Z, digits, and . _ @ -", group),
        el("label", {}, "Members", members),
        el("label", { class: "check" }, isOpen, "Everybody who knows the name may join"),
      ],
    },
    join: { tab: "Join a group", does: "Join", first: place, fields: [el("label", {}, "Name of an open group", place)] },
  };
  let chosen = "user";
  const submit = el("button", { class: "primary" });
  for (const [kind, one] of Object.entries(kinds)) {
    one.panel = el("div", { role: "tabpanel", id: `for-${kind}`, "aria-labelledby": `tab-${kind}`, class: "sheet" }, ...one.fields);
    one.button = el("button", { type: "button", role: "tab", id: `tab-${kind}`, "aria-controls": `for-${kind}`, onclick: () => choose(kind) }, one.tab);
  }
  function choose(kind) {
    chosen = kind;
    error.textContent = "";
    submit.textContent = kinds[kind].does;
    for (const [name, { panel, button }] of Object.entries(kinds)) {
      panel.hidden = name !== kind;
      button.setAttribute("aria-selected", String(name === kind));
      button.tabIndex = name === kind ? 0 : -1;
    }
    kinds[kind].first.focus();
  }
  const list = el("div", { class: "tabs", role: "tablist", "aria-label": "With whom" }, ...Object.values(kinds).map(({ button }) => button));
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const all = Object.keys(kinds);
    choose(all[(all.indexOf(chosen) + step + all.length) % all.length]);
    kinds[chosen].button.focus();
  });
  // The name of the group follows its title until one writes it.
  title.addEventListener("input", () => {
    if (!group.dataset.own) group.value = title.value.toLowerCase().replace(/[^a-z0-9._@-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 64);
  });
  group.addEventListener("input", () => (group.dataset.own = "yes"));
  const form = el("form", { noValidate: true }, list, ...Object.values(kinds).map(({ panel }) => panel), error,
    el("div", { class: "foot" }, el("button", { type: "button", onclick: () => close() }, "Cancel"), submit));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = { user, group, join: place }[chosen].value.trim();
    const wrong = [name, ...(chosen === "group" ? names(members.value) : [])].find((one) => noName(one));
    if (wrong !== undefined) {
      error.textContent = noName(wrong);
      return;
    }
    submit.disabled = true;
    try {
      if (chosen === "user") withUser(name);
      else if (chosen === "join") await join(name);
      else await withGroup({ group: name, name: title.value.trim() || undefined, members: names(members.value) }, isOpen.checked);
      close();
    } catch (failed) {
      error.textContent = chosen === "join" && failed.code === 103 ? `There is no open group ${name}.` : sentence(failed.message);
    }
    submit.disabled = false;
  });
  const close = open("New conversation", form);
  choose("user");
}

/** Shows a picture as large as the window. */
export function picture(address, alt) {
  const close = open(alt, el("div", { class: "sheet" }, el("img", { src: address, alt }), el("div", { class: "foot" },
    el("a", { href: address, download: "picture" }, "Save"),
    el("button", { type: "button", class: "primary", onclick: () => close() }, "Close"))), "picture-view");
}

/**
 * Opens a menu beside a button or a row. `items` are `[words, work, kind]`, or nothing; `quick` are smaller ones at the top, as
 * `[sign, words, work]`. `done` is called when the menu is closed.
 */
export function menu(anchor, name, items, { quick = [], done = () => anchor.focus() } = {}) {
  const box = byId("menu");
  const act = (work) => () => {
    box.hidePopover();
    work();
  };
  const line = ([words, work, kind = ""]) => el("button", { type: "button", role: "menuitem", class: `plain ${kind}`, onclick: act(work) }, words);
  const small = ([sign, words, work]) => el("button", { type: "button", role: "menuitem", "aria-label": words, onclick: act(work) }, sign);
  box.setAttribute("aria-label", name);
  box.replaceChildren(...(quick.length > 0 ? [el("div", { class: "quick", role: "none" }, ...quick.map(small))] : []), ...items.filter(Boolean).map(line));
  box.onkeydown = (event) => {
    const all = [...box.querySelectorAll("[role=menuitem]")];
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const to = step ? (all.indexOf(document.activeElement) + step + all.length) % all.length : { Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    all[to].focus();
  };
  box.ontoggle = ({ newState }) => newState === "closed" && done();
  box.showPopover();
  const [at, size] = [anchor.getBoundingClientRect(), box.getBoundingClientRect()];
  box.style.left = `${Math.min(Math.max(at.left, 8), innerWidth - size.width - 8)}px`;
  box.style.top = `${at.bottom + size.height + 8 < innerHeight ? at.bottom + 4 : Math.max(at.top - size.height - 4, 8)}px`;
  box.querySelector("[role=menuitem]").focus();
}

/** The reactions that a menu offers. */
export const reactions = (react) => QUICK.map((emoji) => [emoji, `React with ${emoji}`, () => react(emoji)]);

/** Puts an icon into a button. */
export const dress = (id, name) => byId(id).prepend(icon(name));
