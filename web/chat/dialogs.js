/** What opens above the page: new conversations, a group, a picture, the menu of a message. */

import { byId, el, icon } from "/shared/dom.js";
import { avatar } from "./message.js";

const NAME = /^[A-Za-z0-9._@-]{1,64}$/;
const QUICK = ["👍", "❤️", "😂", "😮", "😢", "🙏"];

/** The most members that a group's sheet lists. */
const LISTED = 500;

/** Opens the dialog with a title and a content. Returns a function that closes it. */
function open(title, content, kind = "") {
  const dialog = byId("dialog");
  dialog.className = kind;
  dialog.replaceChildren(el("h2", { id: "dialog-title", class: kind === "picture-view" ? "unseen" : "" }, title), content);
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close();
  };
  if (!dialog.open) dialog.showModal();
  return () => dialog.close();
}

const names = (text) => text.split(/[\s,;]+/).filter(Boolean);

/** Asks for a user, or for a group with its members. */
export function begin({ withUser, withGroup }) {
  const error = el("p", { class: "error", role: "alert" });
  const user = el("input", { maxLength: 64, autocapitalize: "none", spellcheck: false, autocomplete: "off" });
  const group = el("input", { maxLength: 64, autocapitalize: "none", spellcheck: false, autocomplete: "off" });
  const title = el("input", { maxLength: 100, autocomplete: "off" });
  const members = el("input", { autocapitalize: "none", spellcheck: false, autocomplete: "off", placeholder: "bob, carol" });
  const forUser = el("div", { role: "tabpanel", id: "for-user", "aria-labelledby": "tab-user" }, el("label", {}, "Name of the user", user));
  const forGroup = el("div", { role: "tabpanel", id: "for-group", "aria-labelledby": "tab-group", class: "sheet", hidden: true },
    el("label", {}, "Title", title),
    el("label", {}, "Name of the group (letters of English, digits and . _ @ -)", group),
    el("label", {}, "Members", members));
  const submit = el("button", { class: "primary" }, "Write");
  const tabs = [["user", "Somebody", forUser], ["group", "A group", forGroup]].map(([kind, text, panel]) => el("button", {
    type: "button", role: "tab", id: `tab-${kind}`, "aria-controls": panel.id, "aria-selected": String(kind === "user"), onclick: () => choose(kind),
  }, text));
  let chosen = "user";
  function choose(kind) {
    chosen = kind;
    error.textContent = "";
    forUser.hidden = kind !== "user";
    forGroup.hidden = kind !== "group";
    submit.textContent = kind === "user" ? "Write" : "Create the group";
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", String(tab.id === `tab-${kind}`));
      tab.tabIndex = tab.id === `tab-${kind}` ? 0 : -1;
    }
    (kind === "user" ? user : title).focus();
  }
  const list = el("div", { class: "tabs", role: "tablist", "aria-label": "With whom" }, ...tabs);
  list.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    choose(chosen === "user" ? "group" : "user");
    byId(`tab-${chosen}`).focus();
  });
  // The name of the group follows its title until one writes it.
  title.addEventListener("input", () => {
    if (!group.dataset.own) group.value = title.value.toLowerCase().replace(/[^a-z0-9._@-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 64);
  });
  group.addEventListener("input", () => (group.dataset.own = "yes"));
  const form = el("form", { noValidate: true }, list, forUser, forGroup, error,
    el("div", { class: "foot" }, el("button", { type: "button", onclick: () => close() }, "Cancel"), submit));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wrong = names(chosen === "user" ? user.value || "?" : `${group.value || "?"} ${members.value}`).find((name) => !NAME.test(name));
    if (wrong || (chosen === "user" && names(user.value).length !== 1)) {
      error.textContent = wrong === "?" || !wrong ? "Say one name." : `${wrong} is no name: letters of English, digits and . _ @ -, at most 64.`;
      return;
    }
    submit.disabled = true;
    try {
      if (chosen === "user") withUser(user.value.trim());
      else await withGroup({ group: group.value.trim(), name: title.value.trim() || undefined, members: names(members.value) });
      close();
    } catch (failed) {
      error.textContent = failed.message;
    }
    submit.disabled = false;
  });
  const close = open("New conversation", form);
  choose("user");
}

/** Shows a group, its members, and what one may do with it. */
export async function group(client, one, { left }) {
  const error = el("p", { class: "error", role: "alert" });
  const list = el("ul", { class: "people", tabIndex: 0, "aria-label": "Members" });
  const count = el("p", { class: "quiet small" });
  const more = el("div", { class: "sheet" });
  const act = async (work) => {
    error.textContent = "";
    try {
      await work();
      await load();
    } catch (failed) {
      error.textContent = failed.message;
    }
  };
  const load = async () => {
    const info = await client.groupInfo({ group: one.peer, limit: LISTED });
    const isOwner = info.members.some(({ user, role }) => user === client.user && role === "owner");
    byId("dialog-title").textContent = info.name || info.group;
    count.textContent = `${info.count} ${info.count === 1 ? "member" : "members"}${info.more ? `, the first ${LISTED} are:` : ""}`;
    list.replaceChildren(...info.members.map(({ user, role }) => el("li", {}, avatar(user),
      el("span", { class: "name" }, user === client.user ? `${user} (you)` : user),
      role === "owner" && el("span", { class: "quiet small" }, "owner"),
      isOwner && user !== client.user && el("button", { type: "button", class: "plain danger", "aria-label": `Remove ${user}`, onclick: () => act(() => client.groupRemove({ group: one.peer, members: [user] })) }, "Remove"))));
    if (isOwner && more.children.length === 0) more.append(...ownerFields());
  };
  const ownerFields = () => {
    const add = el("input", { placeholder: "carol, dave", autocapitalize: "none", spellcheck: false, autocomplete: "off" });
    const name = el("input", { maxLength: 100, value: one.title, autocomplete: "off" });
    const field = (label, input, button, work) => {
      const form = el("form", {}, el("label", {}, label, input), el("div", { class: "foot" }, el("button", {}, button)));
      form.addEventListener("submit", (event) => (event.preventDefault(), act(work)));
      return form;
    };
    return [
      field("Add members", add, "Add", async () => {
        await client.groupAdd({ group: one.peer, members: names(add.value) });
        add.value = "";
      }),
      field("Title", name, "Rename", () => client.groupRename({ group: one.peer, name: name.value.trim() })),
    ];
  };
  const leave = async () => {
    try {
      await client.groupLeave({ group: one.peer });
      left(one);
      close();
    } catch (failed) {
      error.textContent = failed.message;
    }
  };
  const close = open(one.title, el("div", { class: "sheet" }, count, list, more, error, el("div", { class: "foot" },
    el("button", { type: "button", class: "danger", onclick: leave }, "Leave the group"),
    el("button", { type: "button", class: "primary", onclick: () => close() }, "Done"))));
  await load().catch((failed) => (error.textContent = failed.message));
}

/** Shows a picture as large as the window. */
export function picture(address, alt) {
  const close = open(alt, el("div", { class: "sheet" }, el("img", { src: address, alt }), el("div", { class: "foot" },
    el("a", { href: address, download: "picture" }, "Save"),
    el("button", { type: "button", class: "primary", onclick: () => close() }, "Close"))), "picture-view");
}

/** Opens the menu of a message beside a button or a row. */
export function menu(anchor, { isMine, text, react, recall, remove, done }) {
  const box = byId("menu");
  const act = (work) => () => {
    box.hidePopover();
    work();
  };
  const item = (words, work, kind = "") => el("button", { type: "button", role: "menuitem", class: `plain ${kind}`, onclick: act(work) }, words);
  box.replaceChildren(
    el("div", { class: "quick", role: "group", "aria-label": "React" }, ...QUICK.map((emoji) => el("button", { type: "button", role: "menuitem", "aria-label": `React with ${emoji}`, onclick: act(() => react(emoji)) }, emoji))),
    ...(text ? [item("Copy the text", () => navigator.clipboard?.writeText(text))] : []),
    ...(isMine ? [item("Take back for everybody", recall, "danger")] : []),
    item("Delete for me", remove, "danger"),
  );
  box.onkeydown = (event) => {
    const items = [...box.querySelectorAll("[role=menuitem]")];
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
  };
  box.ontoggle = ({ newState }) => newState === "closed" && done();
  box.showPopover();
  const [at, size] = [anchor.getBoundingClientRect(), box.getBoundingClientRect()];
  box.style.left = `${Math.min(Math.max(at.left, 8), innerWidth - size.width - 8)}px`;
  box.style.top = `${at.bottom + size.height + 8 < innerHeight ? at.bottom + 4 : Math.max(at.top - size.height - 4, 8)}px`;
  box.querySelector("[role=menuitem]").focus();
}

/** Puts an icon into a button. */
export const dress = (id, name) => byId(id).prepend(icon(name));
