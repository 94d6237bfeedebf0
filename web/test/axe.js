// axe-core looks at each state of the pages: nothing may keep people out who cannot see, point, or tell colours apart.
//
//     TRUNKLINE_BIN=… NODE_PATH=… node axe.js CHROMIUM http://<http> http://<control>
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Gateway } from "../../clients/js/test/gateway.js";
import { Browser } from "./chromium.js";
import { Line } from "./line.js";
import { conversation, people } from "./scene.js";

const [program, chat, control] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** The widths for which the pages are made. */
const SIZES = [[360, 740], [768, 1024], [1280, 800], [1920, 1080]];
const HOW = SIZES.flatMap(([width, height]) => [false, true].map((dark) => ({ width, height, dark })));
const nameOf = ({ width, dark }) => `${width} px, ${dark ? "dark" : "light"}`;

/** What one would have to scroll sideways. Tables of the console may be wider than a narrow screen. */
const WIDE = `[document.scrollingElement, ...document.querySelectorAll('body *')].filter((one) =>
  one.scrollWidth > one.clientWidth && one.clientWidth > 0 && !one.matches('.table')
  && (one === document.scrollingElement || ['auto', 'scroll'].includes(getComputedStyle(one).overflowX))).map((one) => one.cloneNode().outerHTML)`;

const ADMIN = "a token that reads";
const folder = mkdtempSync(join(tmpdir(), "trunkline-axe-"));
const file = join(folder, "tokens");
writeFileSync(file, `reader read ${createHash("sha256").update(ADMIN).digest("hex")}\n`);
const guarded = new Gateway({ hasTokens: true, hasPages: true, flags: [`--admin-tokens=${file}`] });

const found = [];
let checked = 0;

async function check(tab, what) {
  // Things that are still moving have colours between two.
  await tab.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished)).then(() => {})");
  await tab.evaluate(`window.axe ?? (0, eval)(${JSON.stringify(axe)}); 1`);
  const violations = await tab.evaluate("axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.slice(0, 4).map(({ html }) => html.slice(0, 160)) })))");
  for (const { id, help, nodes } of violations) found.push(`${what}: ${id}, ${help}: ${nodes.join(" | ")}`);
  for (const wide of await tab.evaluate(WIDE)) found.push(`${what}: is wider than its room: ${wide}`);
  checked++;
}

const item = (words) => `[...document.querySelectorAll('#menu [role=menuitem]')].find((one) => one.textContent === ${JSON.stringify(words)})`;

const shows = (selector, text) => `[...document.querySelectorAll(${JSON.stringify(selector)})].some((one) => one.textContent.includes(${JSON.stringify(text)}))`;

/** Opens the item of a menu. */
async function choose(tab, button, words) {
  await tab.evaluate(`document.querySelector(${JSON.stringify(button)}).click()`);
  await tab.until(`the item ${words}`, `Boolean(${item(words)})`);
  await tab.evaluate(`${item(words)}.click()`);
}

async function write(tab, text) {
  await tab.evaluate("document.getElementById('text').focus()");
  await tab.type(text);
  await tab.press("Enter");
}

/** What opens above the page: the user's menu, lists, threads, a picture, questions. */
async function above(tab, name) {
  await tab.evaluate("document.getElementById('mine').click()");
  await check(tab, `${name}: you`);
  await tab.evaluate(`${item("Blocked people")}.click()`);
  await tab.until("the blocked user", shows("#dialog .people", "mallory"));
  await check(tab, `${name}: blocked people`);
  await tab.press("Escape");
  await choose(tab, ".row .acts", "Show the thread");
  await tab.until("the thread", "document.querySelector('.thread li')");
  await check(tab, `${name}: a thread`);
  await tab.press("Escape");
  await choose(tab, ".mine .acts", "Take back for everybody");
  await check(tab, `${name}: the question before a message is taken back`);
  await tab.press("Escape");
  await tab.evaluate("document.getElementById('scroller').scrollTop = 1e6");
  await tab.until("the picture", "document.querySelector('button.picture')");
  await tab.evaluate("document.querySelector('button.picture').click()");
  await check(tab, `${name}: a picture`);
  await tab.press("Escape");
  await tab.evaluate("document.getElementById('drop').hidden = false");
  await check(tab, `${name}: files above the page`);
  await tab.evaluate("document.getElementById('drop').hidden = true");
}

/** What does not go well: a message that is too long, one that is refused, and no connection. */
async function amiss(browser, how, name) {
  const tab = await browser.open(`${line.pages}/?user=alice#u:alice:mallory`, how);
  await tab.until("the conversation", "window.chat?.one?.state === 'ready'");
  await write(tab, "x".repeat(70_000));
  await tab.until("that it is too long", "!document.getElementById('problem').hidden");
  await check(tab, `${name}: a message that is too long`);
  await tab.evaluate("document.getElementById('text').select()");
  await write(tab, "hello");
  await tab.until("that it was not sent", shows(".failure", "Not sent"));
  await check(tab, `${name}: a message that was not sent`);
  if (how.width < 720) await tab.evaluate("document.getElementById('back').click()");
  await tab.evaluate("document.getElementById('archive').click()");
  await tab.until("the archive", shows("#archive", "All conversations"));
  await check(tab, `${name}: the archive`);
  line.cut();
  await tab.until("the line that says so", shows("#banner", "No connection"));
  await check(tab, `${name}: no connection`);
  line.mend();
  await tab.close();
}

/** Tokens: what asks for them, and says that one is not taken. */
async function tokens(browser, how, name) {
  const door = await browser.open(`${guarded.pages}/`, how);
  await door.until("the field for the token", "document.activeElement?.id === 'token'");
  await check(door, `${name}: sign in with a token`);
  await door.type("no token");
  await door.evaluate("document.getElementById('enter').click()");
  await door.until("why it is not taken", "!document.getElementById('sign-in-error').hidden");
  await check(door, `${name}: a token that is not taken`);
  await door.close();
  const console = await browser.open(`${guarded.control}/`, how);
  await console.until("the form", "!document.getElementById('ask').hidden");
  await check(console, `${name}: console, token`);
  await console.type("no token");
  await console.press("Enter");
  await console.until("why it is not taken", "document.getElementById('ask-error').textContent !== ''");
  await check(console, `${name}: console, a token that is not taken`);
  await console.close();
}

/** A console whose gateway goes. */
async function lost(browser) {
  const open = [];
  for (const how of HOW) {
    const tab = await browser.open(`${guarded.control}/`, how);
    await tab.until("the form", "!document.getElementById('ask').hidden");
    await tab.type(ADMIN);
    await tab.press("Enter");
    await tab.until("the numbers", shows("#state", "Ready"));
    open.push([how, tab]);
  }
  await guarded.end("SIGKILL");
  for (const [how, tab] of open) {
    await tab.until("how old the numbers are", shows("#about", "These numbers are"));
    await check(tab, `${nameOf(how)}: console, no answer`);
    await tab.close();
  }
}

async function look(browser, id, how, name) {
  const door = await browser.open(`${chat}/`, how);
  await door.until("the field for the name", "document.activeElement?.id === 'name'");
  await check(door, `${name}: sign in`);
  await door.close();
  const nobody = await browser.open(`${chat}/?user=nobody`, how);
  await nobody.until("that there are no conversations", "!document.getElementById('no-conversations').hidden");
  await check(nobody, `${name}: no conversations`);
  const shown = "[...document.querySelectorAll('#first, #begin')].filter((one) => one.checkVisibility()).map(({ id }) => id).join()";
  const offered = await nobody.evaluate(shown);
  if (offered !== (how.width < 720 ? "first" : "begin")) found.push(`${name}: no conversations: what begins one is ${offered}`);
  await nobody.close();

  const tab = await browser.open(`${chat}/?user=alice`, how);
  await tab.until("the conversations", "document.querySelectorAll('#conversations li').length === 3");
  await check(tab, `${name}: conversations`);
  await tab.evaluate(`window.chat.open(window.chat.store.all.get(${JSON.stringify(id)}))`);
  await tab.until("the messages", "document.querySelectorAll('.row').length > 4");
  // The page may begin at the first unread message.
  await tab.evaluate("document.getElementById('to-end').click()");
  await tab.until("the picture at the end", "document.querySelector('.picture img')");
  await check(tab, `${name}: messages at the end`);
  await tab.evaluate("document.getElementById('scroller').scrollTop = 0");
  await tab.until("the first message", "document.querySelector('.row.day')");
  await check(tab, `${name}: messages at the beginning`);
  await tab.evaluate("document.querySelector('.mine .acts').click()");
  await check(tab, `${name}: menu of a message`);
  await tab.evaluate(`${item("Reply")}.click()`);
  await tab.type("yes, @b");
  await tab.until("the offered names", "!document.getElementById('names').hidden");
  await check(tab, `${name}: a reply with a mention`);
  if (await tab.evaluate("document.getElementById('to-end').checkVisibility()")) found.push(`${name}: a reply with a mention: the names lie over the button to the newest`);
  await tab.press("Escape");
  await tab.press("Escape");
  await tab.evaluate("document.getElementById('find').click()");
  await tab.type("list");
  await check(tab, `${name}: search`);
  await tab.press("Escape");
  await above(tab, name);
  await tab.evaluate("document.getElementById('more').click()");
  await check(tab, `${name}: menu of the conversation`);
  await tab.evaluate(`${item("About this group")}.click()`);
  await tab.until("the members", "document.querySelectorAll('#dialog .people li').length === 3");
  await check(tab, `${name}: the group`);
  await tab.press("Escape");
  await tab.press("k", 2);
  for (const kind of ["user", "group", "join"]) {
    await tab.evaluate(`document.getElementById('tab-${kind}').click()`);
    await check(tab, `${name}: new conversation, ${kind}`);
  }
  await tab.close();

  const console = await browser.open(`${control}/`, how);
  await console.until("that the gateway is ready", "document.getElementById('state')?.textContent.includes('Ready')");
  await check(console, `${name}: console`);
  await console.evaluate("document.querySelector('#find .primary').click()");
  await console.until("the sessions", "document.querySelectorAll('#session-rows tr').length >= 3");
  await check(console, `${name}: sessions`);
  const isSeen = "(({ left, right }) => left >= 0 && right <= innerWidth)(document.querySelector('#session-rows button').getBoundingClientRect())";
  if (!(await console.evaluate(isSeen))) found.push(`${name}: sessions: the button that ends one is out of sight`);
  await console.evaluate("document.querySelector('#session-rows button').click()");
  await check(console, `${name}: the question before a session ends`);
  await console.close();
}

const browser = new Browser(program);
await browser.start();
const clients = await people(chat, "alice", "bob", "carol", "mallory");
await guarded.start();
const { port } = await (await fetch(`${chat}/chat/gateway.json`)).json();
const line = await new Line({ pages: chat, url: `ws://127.0.0.1:${port}/` }).start();
try {
  const id = await conversation(clients);
  await clients.alice.send({ user: "dora", text: "for the archive" });
  await clients.alice.settings({ conversation: "u:alice:dora", archived: true });
  await clients.alice.block({ user: "mallory" });
  await clients.mallory.block({ user: "alice" });
  for (const how of HOW) {
    const name = nameOf(how);
    await look(browser, id, how, name);
    await amiss(browser, how, name);
    await tokens(browser, how, name);
    console.log(`looked at all of ${name}`);
  }
  await lost(browser);
} finally {
  for (const client of Object.values(clients)) client.close();
  line.end();
  await browser.end();
  await guarded.remove();
  rmSync(folder, { recursive: true });
}
console.log(`axe-core looked at ${checked} states and found ${found.length} violations`);
if (found.length > 0 || browser.problems.length > 0) throw new Error([...found, ...browser.problems].join("\n"));
