// axe-core looks at each state of the pages: nothing may keep people out who cannot see, point, or tell colours apart.
//
//     NODE_PATH=… node axe.js CHROMIUM http://<http> http://<control>
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Browser } from "./chromium.js";
import { conversation, people } from "./scene.js";

const [program, chat, control] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** The widths for which the pages are made. */
const SIZES = [[360, 740], [768, 1024], [1280, 800], [1920, 1080]];

/** What one would have to scroll sideways. Tables of the console may be wider than a narrow screen. */
const WIDE = `[document.scrollingElement, ...document.querySelectorAll('body *')].filter((one) =>
  one.scrollWidth > one.clientWidth && one.clientWidth > 0 && !one.matches('.table')
  && (one === document.scrollingElement || ['auto', 'scroll'].includes(getComputedStyle(one).overflowX))).map((one) => one.cloneNode().outerHTML)`;

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
const clients = await people(chat, "alice", "bob", "carol");
try {
  const id = await conversation(clients);
  for (const [width, height] of SIZES) {
    for (const dark of [false, true]) {
      const name = `${width} px, ${dark ? "dark" : "light"}`;
      await look(browser, id, { width, height, dark }, name);
      console.log(`looked at all of ${name}`);
    }
  }
} finally {
  for (const client of Object.values(clients)) client.close();
  await browser.end();
}
console.log(`axe-core looked at ${checked} states and found ${found.length} violations`);
if (found.length > 0 || browser.problems.length > 0) throw new Error([...found, ...browser.problems].join("\n"));
