/** Signing in, and the page behind it. */

import { Trunkline } from "/client.js";
import { badge, byId, sentence } from "/shared/dom.js";
import * as tab from "/shared/tab.js";
import { Chat } from "./chat.js";
import * as dialogs from "./dialogs.js";
import { Outbox } from "./outbox.js";
import { Pictures } from "./pictures.js";

/** What the page knows of the user, in this tab only: two tabs may be two users. */
const kept = {
  read: () => JSON.parse(tab.read("who") ?? "null"),
  write: (who) => tab.write("who", who ? JSON.stringify(who) : undefined),
};

let client;

/** Ends the session and asks who comes next. */
function leave(problem) {
  client?.close();
  kept.write(null);
  if (problem) tab.write("problem", problem);
  location.replace(location.pathname + location.search);
}

/** Returns the namespace that a token names. Users of two namespaces may have the same name. */
function namespaceOf(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"))).ns;
  } catch {
    return undefined;
  }
}

/** Starts the page for a user. */
function enter(about, who) {
  const { hostname, protocol, host, port } = location;
  const scheme = protocol === "https:" ? "wss" : "ws";
  // A proxy has everything at one port.
  const here = Number(port || (scheme === "wss" ? 443 : 80));
  const place = here === about.pages ? `${hostname}:${about.port}` : host;
  const identity = about.tokens ? { token: who.token } : { user: who.user };
  client = new Trunkline(`${scheme}://${place}/v1/ws`, { ...identity, device: who.device });
  const headers = async () => (about.tokens ? { Authorization: `Bearer ${who.token}` } : { "X-Trunkline-User": who.user });
  const start = () => {
    document.documentElement.dataset.face = "app";
    byId("my-name").textContent = client.user;
    const { letters, colour } = badge(client.user);
    byId("my-avatar").textContent = letters;
    byId("my-avatar").classList.add(`c${colour}`);
    const namespace = about.tokens ? namespaceOf(who.token) : undefined;
    window.chat = new Chat(client, { namespace, pictures: new Pictures(headers), leave });
  };
  if (!about.tokens) return start();
  // The token says who it is.
  const ends = [client.on("connected", begin), client.on("closed", refuse)];
  function refuse(error) {
    for (const end of ends) end();
    kept.write(null);
    // It can be looked at, and put right.
    ask(about, { token: who.token, problem: `${sentence(error.message)}.` });
  }
  function begin() {
    for (const end of ends) end();
    start();
    window.chat.store.load();
  }
}

/** Asks who it is. `token` and `problem`: what was entered before, and why the gateway did not take it. */
function ask(about, { token, problem } = {}) {
  const root = document.documentElement.dataset;
  Object.assign(root, { face: "sign-in", tokens: String(about.tokens) });
  const field = about.tokens ? "token" : "name";
  const say = (text = "") => {
    byId("sign-in-error").hidden = text === "";
    byId("sign-in-error").textContent = text;
    byId(field).setAttribute("aria-invalid", String(text !== ""));
    byId("enter").disabled = false;
    byId("enter").textContent = "Sign in";
    byId(field).focus();
  };
  byId("token").value = token ?? "";
  say(problem ?? tab.read("problem"));
  // Another token takes the place of this one, unless one corrects it.
  if (token) byId("token").select();
  tab.write("problem", undefined);
  const waiting = Outbox.waiting().map(([user, count]) => {
    const [what, does] = count === 1 ? ["A message", "waits"] : [`${count} messages`, "wait"];
    return `${what} of ${user} ${does} in this tab, to be sent when ${user} signs in again.`;
  });
  byId("waiting").hidden = waiting.length === 0;
  byId("waiting").textContent = waiting.join(" ");
  byId("sign-in-form").onsubmit = (event) => {
    event.preventDefault();
    const value = byId(field).value.trim();
    const wrong = about.tokens ? (value === "" ? "Enter a token." : undefined) : dialogs.noName(value);
    if (wrong) return say(wrong);
    if (about.tokens) {
      byId("sign-in-error").hidden = byId("enter").disabled = true;
      byId("enter").textContent = "Signing in…";
    }
    const who = about.tokens ? { token: value } : { user: value };
    who.device = about.tokens ? undefined : `web-${Math.random().toString(36).slice(2, 8)}`;
    kept.write(who);
    enter(about, who);
  };
}

for (const [id, name] of Object.entries({
  new: "plus", mine: "more", back: "back", find: "search", more: "more", previous: "up", next: "down", "end-search": "close",
  "end-about": "close", "to-end": "down", unpin: "unpin", attach: "picture", send: "send", archive: "archive",
})) dialogs.dress(id, name);

/** Returns what the gateway says of itself. It is in the page, unless something else than a gateway serves that. */
async function aboutGateway() {
  const said = document.querySelector("meta[name=gateway]").content;
  return said ? JSON.parse(said) : (await fetch("/chat/gateway.json")).json();
}

async function main() {
  const about = await aboutGateway();
  const user = new URLSearchParams(location.search).get("user");
  const who = kept.read() ?? (user && !about.tokens ? { user, device: `web-${Math.random().toString(36).slice(2, 8)}` } : null);
  if (who) enter(about, who);
  else ask(about);
}

main().catch((error) => {
  document.documentElement.dataset.face = "sign-in";
  byId("sign-in-error").hidden = false;
  byId("sign-in-error").textContent = `The gateway does not answer: ${error.message}`;
});
