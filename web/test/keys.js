// The chat page with the keyboard alone: nothing is clicked and nothing gets the focus but by keys.
//
//     NODE_PATH=… node keys.js CHROMIUM http://<http>
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Browser } from "./chromium.js";
import { PICTURE, people } from "./scene.js";

const [program, chat] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "trunkline-keys-"));
const file = join(folder, "picture.png");
writeFileSync(file, Buffer.from(PICTURE, "base64"));

const SHIFT = 8;
const shows = (selector, text) => `[...document.querySelectorAll(${JSON.stringify(selector)})].some((one) => one.textContent.includes(${JSON.stringify(text)}))`;

/** Goes to what fulfils an expression with the Tab key alone. */
async function tabTo(tab, what, holds, modifiers = 0) {
  for (let step = 0; step < 80; step++) {
    if (await tab.evaluate(holds)) return;
    await tab.press("Tab", modifiers);
  }
  throw new Error(`Tab does not lead to ${what}`);
}

const toId = (tab, id) => tabTo(tab, id, `document.activeElement.id === '${id}'`);
const toButton = (tab, words, within = "body") =>
  tabTo(tab, `the button ${words}`, `document.activeElement.matches('${within} button') && document.activeElement.textContent === ${JSON.stringify(words)}`);

/** Chooses an item of a menu with the arrow keys alone. */
async function arrowTo(tab, words) {
  await tab.until("the menu", "document.activeElement.getAttribute('role') === 'menuitem'");
  for (let step = 0; step < 20; step++) {
    if ((await tab.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent")) === words) return tab.press("Enter");
    await tab.press("ArrowDown");
  }
  throw new Error(`the arrow keys do not lead to ${words}`);
}

async function signIn(browser, name) {
  const tab = await browser.open(`${chat}/`);
  await tab.until("the field for the name", "document.activeElement?.id === 'name'");
  await tab.type("no name");
  await tab.press("Enter");
  await tab.until("that this is no name, and the field", `${shows("#sign-in-error", "is no name")} && document.activeElement.id === 'name'`);
  for (const _ of "no name") await tab.press("Backspace");
  await tab.type(name);
  await tabTo(tab, "the button", "document.activeElement.id === 'enter'");
  await tab.press("Enter");
  await tab.until("the page of the user", "window.chat?.client.state === 'online' && window.chat.store.isLoaded");
  return tab;
}

/** A new group, from the button to its first message. */
async function begin(tab) {
  await toId(tab, "new");
  await tab.press("Enter");
  await tab.until("the dialog", "document.getElementById('dialog').open");
  await tabTo(tab, "the kinds", "document.activeElement.id === 'tab-user'", SHIFT);
  await tab.press("ArrowRight");
  await tab.until("the next kind", "document.activeElement.id === 'tab-group'");
  await tab.press("Tab");
  await tab.type("Walkers");
  await tab.press("Tab");
  await tab.until("the name that follows the title", "document.activeElement.value === 'walkers'");
  await tab.press("Tab");
  await tab.type("bob");
  await toButton(tab, "Create the group", "#dialog");
  await tab.press("Enter");
  await tab.until("the group", "document.getElementById('title').textContent === 'Walkers' && !document.getElementById('dialog').open && window.chat.one.state === 'ready'");
  await toId(tab, "text");
  await tab.type("who walks?");
  await tab.press("Enter");
  await tab.until("that it was sent", "window.chat.one.messages.length === 1 && window.chat.one.waiting.length === 0");
}

/** A file, by the button and the question of the browser. */
async function attach(browser, tab) {
  await tab.ask("Page.setInterceptFileChooserDialog", { enabled: true });
  await tab.ask("DOM.enable");
  const chosen = new Promise((resolve) => {
    const end = browser.listen((method, params) => {
      if (method !== "Page.fileChooserOpened") return;
      end();
      resolve(params.backendNodeId);
    });
  });
  await toId(tab, "attach");
  await tab.press("Enter");
  await tab.ask("DOM.setFileInputFiles", { files: [file], backendNodeId: await chosen });
  await tab.until("the picture", "document.querySelector('.mine .picture img')?.naturalWidth === 10 && window.chat.one.waiting.length === 0");
}

/** A reaction by the menu of a message, and away again by its own button. */
async function react(tab) {
  await toId(tab, "scroller");
  await tab.press("ArrowUp");
  await tab.press("Enter");
  await arrowTo(tab, "React with ❤️");
  await tab.until("the reaction", shows(".reactions button", "❤️"));
  await tabTo(tab, "the reaction", "document.activeElement.matches('.reactions button')");
  await tab.press("Enter");
  await tab.until("that it is gone", "!document.querySelector('.reactions button')");
}

/** A message is taken back after a question, whose answer the keyboard gives. */
async function takeBack(tab) {
  await toId(tab, "scroller");
  await tab.press("Home");
  await tab.press("Enter");
  await arrowTo(tab, "Take back for everybody");
  await tab.until("the question", "document.getElementById('sure').open");
  await toButton(tab, "Take back", "#sure");
  await tab.press("Enter");
  await tab.until("that it is taken back", shows(".gone", "You took this message back"));
  await tab.until("that the keyboard is at the messages", "document.activeElement.id === 'scroller'");
}

/** A message that was not sent, and is sent when one tries again. */
async function again(tab, bob) {
  await bob.block({ user: "alice" });
  await tab.press("k", 2);
  await tab.until("the dialog", "document.getElementById('dialog').open");
  await tab.type("bob");
  await tab.press("Enter");
  await tab.until("the conversation", "window.chat.one?.peer === 'bob' && window.chat.one.state === 'ready'");
  await toId(tab, "text");
  await tab.type("do you hear me?");
  await tab.press("Enter");
  await tab.until("that it was not sent", shows(".failure", "Not sent"));
  await bob.unblock({ user: "alice" });
  await toButton(tab, "Try again", ".failure");
  await tab.press("Enter");
  await tab.until("that it is sent", "window.chat.one.messages.length === 1 && window.chat.one.waiting.length === 0");
}

/** Out of the group by its menu, after a question. */
async function leave(tab) {
  await tabTo(tab, "the group", "document.activeElement.matches('#conversations button') && document.activeElement.textContent.includes('Walkers')");
  await tab.press("Enter");
  await tab.until("the group", "document.getElementById('title').textContent === 'Walkers'");
  await toId(tab, "more");
  await tab.press("Enter");
  await arrowTo(tab, "Leave the group");
  await tab.until("the question", `document.getElementById('sure').open && ${shows("#sure-text", "Leave Walkers?")}`);
  await toButton(tab, "Leave the group", "#sure");
  await tab.press("Enter");
  await tab.until("that it is gone", `!document.getElementById('sure').open && !${shows("#conversations .name", "Walkers")}`);
}

const browser = new Browser(program);
await browser.start();
const clients = await people(chat, "bob");
try {
  const alice = await signIn(browser, "alice");
  await begin(alice);
  await attach(browser, alice);
  await react(alice);
  await takeBack(alice);
  await again(alice, clients.bob);
  await leave(alice);
  if (browser.problems.length > 0) throw new Error(browser.problems.join("\n"));
} finally {
  for (const client of Object.values(clients)) client.close();
  await browser.end();
  rmSync(folder, { recursive: true });
}
