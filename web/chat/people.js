/** Sheets about people and groups: a group with its members and rules, those whom one blocks, and a thread. */

import { byId, el, hour, icon, sentence, sure } from "/shared/dom.js";
import { names, open } from "./dialogs.js";
import { avatar, words } from "./message.js";

/** The most members, blocked users and replies that a sheet lists. */
const LISTED = 500;

const ROLES = ["member", "admin", "owner"];

/** Returns a sheet with a place for errors, and a function that does something and says what went wrong. */
function sheet() {
  const error = el("p", { class: "error", role: "alert" });
  const act = async (work, then = () => {}) => {
    error.textContent = "";
    try {
      await work();
      await then();
    } catch (failed) {
      error.textContent = sentence(failed.message);
    }
  };
  return { error, act };
}

/** What to ask before somebody leaves a group. */
export const beforeLeaving = ({ title }) => `Leave ${title}? You get nothing of it any more, and an admin has to add you again, unless everybody may join.`;

const foot = (...buttons) => el("div", { class: "foot" }, ...buttons);

/** Shows a group, its members, and what one may do with it. */
export async function group(client, one, { left, about }) {
  const { error, act } = sheet();
  const list = el("ul", { class: "people", tabIndex: 0, "aria-label": "Members" });
  const count = el("p", { class: "quiet small" });
  const more = el("div", { class: "sheet" });
  const target = { group: one.peer };
  const load = async () => {
    const info = await client.groupInfo({ ...target, limit: LISTED });
    byId("dialog-title").textContent = info.name || info.group;
    const who = info.join === "open" ? `. Everybody who knows the name ${info.group} may join` : "";
    count.textContent = `${info.count} ${info.count === 1 ? "member" : "members"}${who}${info.more ? `. The first ${LISTED} are:` : ""}`;
    const me = one.role;
    list.replaceChildren(...info.members.map((member) => line(member, me)));
    if (more.children.length === 0) more.append(...fields(info, me));
  };
  const change = (work) => act(work, () => about().then(load));
  const line = ({ user, role }, mine) => {
    const isMe = user === client.user;
    const mayRemove = !isMe && (mine === "owner" || (mine === "admin" && role === "member"));
    const roles = mine === "owner" && el("select", {
      "aria-label": `Role of ${user}`,
      onchange: ({ target: { value } }) => change(() => client.groupRole({ ...target, user, role: value })).then(() => error.textContent && load()),
    }, ...ROLES.map((name) => el("option", { value: name, selected: name === role }, name)));
    return el("li", {}, avatar(user), el("span", { class: "name" }, isMe ? `${user} (you)` : user),
      roles || (role !== "member" && el("span", { class: "quiet small" }, role)),
      mayRemove && el("button", {
        type: "button", class: "plain round danger", title: `Remove ${user}`, "aria-label": `Remove ${user}`,
        onclick: async () => {
          if (await sure(`Remove ${user} from ${one.title}?`, "Remove")) change(() => client.groupRemove({ ...target, members: [user] }));
        },
      }, icon("close")));
  };
  const fields = (info, mine) => {
    const form = (label, input, button, work) => {
      const made = el("form", {}, el("label", {}, label, input), foot(el("button", {}, button)));
      made.addEventListener("submit", (event) => (event.preventDefault(), change(work)));
      return made;
    };
    const choice = (label, name, options) => {
      let valid = info[name];
      const set = ({ target: select }) => {
        const { value } = select;
        change(async () => {
          try {
            await client.groupSet({ ...target, [name]: value });
            valid = value;
          } catch (error) {
            select.value = valid;
            throw error;
          }
        });
      };
      return el("label", {}, label, el("select", { onchange: set },
        ...options.map(([value, text]) => el("option", { value, selected: info[name] === value }, text))));
    };
    const add = el("input", { placeholder: "carol, dave", autocapitalize: "none", spellcheck: false, autocomplete: "off" });
    const title = el("input", { maxLength: 100, value: info.name ?? "", autocomplete: "off" });
    return [
      ...(mine === "member" ? [] : [form("Add members", add, "Add", async () => {
        await client.groupAdd({ ...target, members: names(add.value) });
        add.value = "";
      })]),
      ...(mine === "owner" ? [
        form("Title", title, "Rename", () => client.groupSet({ ...target, name: title.value.trim() })),
        choice("Who may write", "send", [["all", "All members"], ["admins", "Admins and owners"]]),
        choice("Who may join", "join", [["invite", "Whom an admin adds"], ["open", "Everybody who knows the name"]]),
      ] : []),
    ];
  };
  const leave = async () => {
    if (!(await sure(beforeLeaving(one), "Leave the group"))) return;
    await act(() => client.groupLeave(target), () => {
      left(one);
      close();
    });
  };
  const close = open(one.title, el("div", { class: "sheet" }, count, list, more, error, foot(
    el("button", { type: "button", class: "danger", onclick: leave }, "Leave the group"),
    el("button", { type: "button", class: "primary", onclick: () => close() }, "Done"))));
  await act(load);
}

/** Lists those whom the user blocks. */
export async function blocked(client) {
  const { error, act } = sheet();
  const list = el("ul", { class: "people", tabIndex: 0, "aria-label": "Blocked people" });
  const about = el("p", { class: "quiet small" }, "Loading…");
  const load = async () => {
    const { users, more } = await client.blocked({ limit: LISTED });
    about.textContent = users.length === 0
      ? "You block nobody. The menu of a conversation blocks the other person."
      : `You get nothing from them, and they are not told.${more ? ` The first ${LISTED} are:` : ""}`;
    list.hidden = users.length === 0;
    list.replaceChildren(...users.map((user) => el("li", {}, avatar(user), el("span", { class: "name" }, user), el("button", {
      type: "button", "aria-label": `Unblock ${user}`, onclick: () => act(() => client.unblock({ user }), load),
    }, "Unblock"))));
  };
  const close = open("Blocked people", el("div", { class: "sheet" }, about, list, error, foot(
    el("button", { type: "button", class: "primary", onclick: () => close() }, "Done"))));
  await act(load);
  if (error.textContent) about.textContent = "";
}

/** Shows a message and the replies to it. */
export async function thread(client, one, seq, { reply, jump }) {
  const { error, act } = sheet();
  const list = el("ol", { class: "thread", tabIndex: 0, "aria-label": "The message and its replies" });
  const about = el("p", { class: "quiet small" }, "Loading…");
  const close = open("Thread", el("div", { class: "sheet" }, about, list, error, foot(
    el("button", { type: "button", onclick: () => close() }, "Close"),
    el("button", { type: "button", class: "primary", onclick: () => (close(), reply()) }, "Reply"))));
  await act(async () => {
    const page = await client.history({ conversation: one.id, thread: seq, after: 0, limit: LISTED });
    const replies = page.messages.length - 1;
    about.textContent = `${replies} ${replies === 1 ? "reply" : "replies"}${page.more ? `, the first ${LISTED} messages` : ""}`;
    list.replaceChildren(...page.messages.map((message) => el("li", {}, el("button", {
      type: "button", class: "plain", onclick: () => (close(), jump(message.seq)),
    }, el("strong", {}, el("bdi", {}, message.from)), el("span", { class: "quiet small" }, ` ${hour(message.time)}${message.edited ? ", edited" : ""}`),
      el("span", { class: "text", dir: "auto" }, message.text ?? words(message, ""))))));
  });
  if (error.textContent) about.textContent = "";
}
