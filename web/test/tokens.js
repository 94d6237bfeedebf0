// A gateway that asks for tokens: the chat page when its token expires, and when an operator ends its session.
//
//     TRUNKLINE_BIN=… NODE_PATH=… node tokens.js CHROMIUM
import { createRequire } from "node:module";
import { Trunkline } from "../../clients/js/client.js";
import { Gateway, token } from "../../clients/js/test/gateway.js";
import { Browser, sleep } from "./chromium.js";
import { Line } from "./line.js";

const [program] = process.argv.slice(2);
const WebSocket = globalThis.WebSocket ?? createRequire(import.meta.url)("ws");
const gateway = new Gateway({ hasTokens: true, hasPages: true, flags: ["--jwt-leeway=0s"] });
const browser = new Browser(program);

const SHORT_S = 20;
const LONG_S = 3_600;

const shows = (selector, text) => `[...document.querySelectorAll(${JSON.stringify(selector)})].some((one) => one.textContent.includes(${JSON.stringify(text)}))`;
const got = [];

async function signIn(tab, user, seconds) {
  await tab.until("the field for the token", "document.activeElement?.id === 'token'");
  await tab.type(token(user, seconds));
  await tab.press("Tab");
  await tab.press("Enter");
  await tab.until(`the page of ${user}`, `window.chat?.client.state === 'online' && window.chat.store.isLoaded && document.getElementById('my-name').textContent === '${user}'`);
}

async function write(tab, text) {
  await tab.evaluate("document.getElementById('text').focus()");
  await tab.type(text);
  await tab.press("Enter");
  await tab.until(text, shows(".mine .body", text));
}

/** Tokens that the gateway does not take stay in the field, with the reason beside them, so that they can be put right. */
async function bad(address) {
  const tab = await browser.open(`${address}/`);
  await tab.until("the field for the token", "document.activeElement?.id === 'token'");
  await tab.press("Tab");
  await tab.press("Enter");
  await tab.until("that a token is needed", shows("#sign-in-error", "Enter a token"));
  const good = token("alice", LONG_S);
  for (const text of [good.slice(0, -4), token("alice", -60)]) {
    await tab.type(text);
    await tab.press("Tab");
    await tab.press("Enter");
    await tab.until("why it is not taken", "!document.getElementById('sign-in-error').hidden && document.activeElement.id === 'token' && !document.getElementById('enter').disabled");
    const kept = await tab.evaluate("document.getElementById('token').value");
    if (kept !== text) throw new Error(`the field has ${kept}`);
    const said = await tab.evaluate("document.getElementById('sign-in-error').textContent");
    if (!/^[A-Z].*token/.test(said)) throw new Error(`it says: ${said}`);
  }
  await signIn(tab, "alice", LONG_S);
  await tab.close();
}

/** What one was changing is there again when its user is: in the field, and when the change has no answer. */
async function changing(tab) {
  await tab.evaluate("document.getElementById('text').focus()");
  await tab.press("ArrowUp");
  await tab.until("the text in the field", "document.getElementById('text').value === 'three'");
  await tab.type(" and a half");
  const again = async () => {
    const problem = "!document.getElementById('sign-in-error').hidden";
    await tab.until("why the session is over", problem);
    await signIn(tab, "alice", LONG_S);
    await tab.evaluate("window.chat.open(window.chat.store.with('bob'))");
    await tab.until("the change in the field", `document.getElementById('text').value === 'three and a half' && ${shows("#about", "Edit the message")}`);
  };
  await disconnect();
  await again();
  // The change is on its way when the session ends.
  line.hold();
  await tab.evaluate("document.getElementById('text').focus()");
  await tab.press("Enter");
  await tab.until("that the field is empty", "document.getElementById('text').value === ''");
  await disconnect();
  await again();
  await tab.evaluate("document.getElementById('text').focus()");
  await tab.press("Enter");
  await tab.until("the change", `${shows(".mine .body", "three and a half")} && ${shows(".meta time", "edited")} && !document.querySelector('.meta .sending')`);
}

/** An operator ends the session of alice for good. */
async function disconnect() {
  const answer = await fetch(`${gateway.control}/admin/v1/disconnect`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ user: "alice" }),
  });
  const { closed } = await answer.json();
  if (closed !== 1) throw new Error(`${closed} sessions were ended`);
}

/** The sign-in says which messages wait. They come once, in order, when their user is back, and not before. */
async function comeBack(tab, count, wanted) {
  const words = count === 1 ? "A message of alice waits" : `${count} messages of alice wait`;
  await tab.until("why the session is over", "!document.getElementById('sign-in-error').hidden");
  await tab.until("what waits", shows("#waiting", words));
  await signIn(tab, "carol", LONG_S);
  await tab.evaluate("window.chat.leave()");
  await tab.until("what still waits", shows("#waiting", words));
  await signIn(tab, "alice", LONG_S);
  await tab.until("nothing that waits", "window.chat.store.outbox.all().length === 0 && [...window.chat.store.all.values()].every(({ waiting }) => waiting.length === 0)");
  await tab.evaluate("window.chat.open(window.chat.store.with('bob'))");
  await tab.until("the last message", shows(".mine .body", wanted.at(-1)));
  if (got.join() !== wanted.join()) throw new Error(`bob got ${got} in place of ${wanted}`);
}

let line;
let bob;
await browser.start();
try {
  await gateway.start();
  line = await new Line(gateway).start();
  bob = new Trunkline(gateway.url, { token: () => token("bob", LONG_S), WebSocket });
  bob.on("message", ({ from, text }) => got.push(from === "alice" ? text : `${from}: ${text}`));
  await bob.connected();

  await bad(line.pages);
  console.log("bad: done");
  // The token expires while there is no connection.
  const tab = await browser.open(`${line.pages}/`);
  await signIn(tab, "alice", SHORT_S);
  const ends = Date.now() + (SHORT_S + 1) * 1_000;
  await tab.evaluate("window.chat.open(window.chat.store.with('bob'))");
  line.cut();
  await tab.until("that it is away", "window.chat.client.state === 'waiting'");
  for (const text of ["one", "two"]) await write(tab, text);
  await sleep(ends - Date.now());
  line.mend();
  await comeBack(tab, 2, ["one", "two"]);
  console.log("expired: done");

  // An operator ends the session while a message has no answer.
  line.hold();
  await write(tab, "three");
  await disconnect();
  await comeBack(tab, 1, ["one", "two", "three"]);
  console.log("ended: done");
  await changing(tab);
  console.log("changing: done");
  if (browser.problems.length > 0) throw new Error(browser.problems.join("\n"));
} finally {
  bob?.close();
  line?.end();
  await browser.end();
  await gateway.remove();
}
