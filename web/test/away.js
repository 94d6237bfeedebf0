// The chat page while its gateway is killed and started again, while its line is cut, and beside another window of the user.
//
//     TRUNKLINE_BIN=… NODE_PATH=… node away.js CHROMIUM
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Trunkline } from "../../clients/js/client.js";
import { Gateway } from "../../clients/js/test/gateway.js";
import { Browser } from "./chromium.js";
import { Line } from "./line.js";
import { PICTURE } from "./scene.js";

const [program] = process.argv.slice(2);
const WebSocket = globalThis.WebSocket ?? createRequire(import.meta.url)("ws");
const folder = mkdtempSync(join(tmpdir(), "trunkline-away-"));
const gateway = new Gateway({ hasPages: true });
const browser = new Browser(program);

const PAIR = "u:alice:bob";
/** More than the pages of missed events that come with the reply to `connect`. */
const MISSED = 1_500;
/** The most pictures that a page keeps, and some more than that. */
const LOADED = 60;
const PICTURES = 70;

const texts = "[...document.querySelectorAll('.row .body')].map((one) => one.textContent)";
const shows = (selector, text) => `[...document.querySelectorAll(${JSON.stringify(selector)})].some((one) => one.textContent.includes(${JSON.stringify(text)}))`;
const online = "window.chat?.client.state === 'online'";

/** Opens the conversation of alice and bob. */
async function open(user, pages = gateway.pages) {
  const tab = await browser.open(`${pages}/?user=${user}#${PAIR}`);
  await tab.until(`the page of ${user}`, `${online} && window.chat.one?.id === '${PAIR}'`);
  return tab;
}

async function write(tab, text) {
  await tab.evaluate("document.getElementById('text').focus()");
  await tab.type(text);
  await tab.press("Enter");
}

/** What a page shows must be exactly this. */
async function check(tab, wanted) {
  const list = JSON.stringify(wanted);
  await tab.until(`each of ${wanted.length} texts once, in order`, `JSON.stringify(${texts}) === ${JSON.stringify(list)}`);
}

async function client(user) {
  const one = new Trunkline(gateway.url, { user, device: "script", pipeline: 64, WebSocket });
  await one.connected();
  return one;
}

/** A gateway that is killed under two open pages: a line says so, and nothing is lost or doubled. */
async function killed() {
  const [alice, bob] = [await open("alice"), await open("bob")];
  await write(alice, "before");
  await check(bob, ["before"]);
  await gateway.end("SIGKILL");
  for (const tab of [alice, bob]) await tab.until("the line that says so", shows("#banner", "No connection. Your messages wait."));
  for (const text of ["one", "two", "three"]) await write(alice, text);
  await alice.until("that they wait", "document.querySelectorAll('.meta .sending').length === 3");
  await dropPicture(alice);
  if (!(await alice.evaluate("!dispatchEvent(new Event('beforeunload', { cancelable: true }))"))) throw new Error("a reload would lose the picture without a word");
  await gateway.start();
  await bob.until("the picture", "document.querySelector('.theirs .picture img')?.naturalWidth === 10");
  await check(bob, ["before", "one", "two", "three"]);
  await check(alice, ["before", "one", "two", "three"]);
  for (const tab of [alice, bob]) await tab.until("that the line is gone", "document.getElementById('banner').textContent === ''");
  // Traffic meanwhile: what has no answer when the gateway dies is sent again with its key.
  const wanted = ["before", "one", "two", "three"];
  for (let kill = 0; kill < 3; kill++) {
    for (let number = 0; number < 10; number++) {
      const text = `kill ${kill}, ${number}`;
      wanted.push(text);
      await write(number % 2 ? bob : alice, text);
      // Each waits for the other: two who write at the same time are in no order.
      await (number % 2 ? alice : bob).until(text, shows(".row .body", text));
      if (number === 4) {
        await gateway.end("SIGKILL");
        await gateway.start();
      }
    }
  }
  for (const tab of [alice, bob]) {
    const found = await tab.evaluate("window.chat.one.messages.map(({ text }) => text).filter(Boolean)");
    if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(`the page has ${found} in place of ${wanted}`);
  }
  for (const tab of [alice, bob]) await tab.close();
}

/** Drops a file on the page as a user does. */
async function dropPicture(tab) {
  const file = join(folder, "picture.png");
  writeFileSync(file, Buffer.from(PICTURE, "base64"));
  const at = await tab.evaluate("(({ x, y, width, height }) => ({ x: x + width / 2, y: y + height / 2 }))(document.getElementById('open').getBoundingClientRect())");
  const data = { items: [], files: [file], dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver"]) await tab.ask("Input.dispatchDragEvent", { type, ...at, data });
  await tab.until("the sign", "!document.getElementById('drop').hidden");
  await tab.ask("Input.dispatchDragEvent", { type: "drop", ...at, data });
  await tab.until("that the sign is gone", "document.getElementById('drop').hidden");
  await tab.until("the picture before it is sent", "document.querySelector('.mine .picture img')?.naturalWidth === 10");
}

/** Messages without an answer survive a reload. */
async function reloaded(line) {
  const alice = await open("alice", line.pages);
  const bob = await client("bob");
  const got = [];
  bob.on("message", ({ text }) => got.push(text));
  const before = await alice.evaluate("window.chat.one.messages.length");
  line.cut();
  await alice.until("the line that says so", shows("#banner", "No connection"));
  for (const text of ["kept one", "kept two"]) await write(alice, text);
  await alice.ask("Page.reload");
  await alice.until("the page without a session", "window.chat?.client.state === 'waiting'");
  line.mend();
  await alice.until("both messages", `${shows(".mine .body", "kept two")} && window.chat.one.waiting.length === 0`);
  const found = await alice.evaluate(`window.chat.one.messages.slice(-2).map(({ text }) => text).join()`);
  const count = await alice.evaluate("window.chat.one.messages.length");
  await alice.until("nothing for another reload", "window.chat.store.outbox.all().length === 0");
  if (found !== "kept one,kept two" || count !== before + 2) throw new Error(`${count - before} messages more: ${found}`);
  if (got.join() !== "kept one,kept two") throw new Error(`bob got ${got}`);
  bob.close();
  await alice.close();
}

/** A message is sent also if the storage of the tab has no room for it. */
async function full(line) {
  const alice = await open("alice", line.pages);
  const asks = "!dispatchEvent(new Event('beforeunload', { cancelable: true }))";
  await alice.evaluate(`(() => {
    for (let size = 2 ** 22; size >= 1; ) {
      try {
        sessionStorage.setItem(\`filler \${sessionStorage.length}\`, "x".repeat(size));
      } catch {
        size = Math.floor(size / 2);
      }
    }
  })()`);
  line.cut();
  await alice.until("the line that says so", shows("#banner", "No connection"));
  if (await alice.evaluate(asks)) throw new Error("a reload would lose something, it says, with nothing to lose");
  await write(alice, "no room for this");
  await alice.until("that it waits", shows(".mine .body", "no room for this"));
  if (!(await alice.evaluate(asks))) throw new Error("a reload would lose a message without a word");
  line.mend();
  await alice.until("that it is sent", `${online} && window.chat.one.waiting.length === 0 && window.chat.one.messages.at(-1).text === "no room for this"`);
  if (await alice.evaluate(asks)) throw new Error("a reload would lose something, it says, with nothing to lose any more");
  await alice.close();
}

/** What was missed is counted once. */
async function absent(line) {
  const alice = await open("alice", line.pages);
  const carol = await client("carol");
  await carol.send({ user: "alice", text: "0" });
  const unread = "window.chat.store.all.get('u:alice:carol')?.unread";
  await alice.until("one unread message", `${unread} === 1`);
  line.cut();
  await alice.until("that it is away", "window.chat.client.state === 'waiting'");
  const sent = [];
  for (let number = 1; number <= MISSED; number++) {
    sent.push(carol.send({ user: "alice", text: `${number}` }));
    if (number % 250 === 0) await Promise.all(sent.splice(0));
  }
  line.mend();
  await alice.until("all of them", `${online} && window.chat.store.all.get('u:alice:carol').last.text === '${MISSED}'`);
  const count = await alice.evaluate(unread);
  if (count !== MISSED + 1) throw new Error(`${count} unread messages in place of ${MISSED + 1}`);
  // Another device reads some of them.
  const other = await client("alice");
  other.ack("u:alice:carol", { read: MISSED - 4 });
  await alice.until("5 unread messages", `${unread} === 5`);
  other.close();
  carol.close();
  await alice.close();
}

/** What comes while one is away stays unread in an open conversation whose end is out of sight. */
async function above(line) {
  const alice = await open("alice", line.pages);
  const bob = await client("bob");
  const unread = `window.chat.store.all.get('${PAIR}').unread`;
  await alice.until("that all is read", `${unread} === 0`);
  // Pictures that load move a list back to its end.
  await alice.until("that the end is out of sight", "(document.getElementById('scroller').scrollTop = 0) || !document.getElementById('to-end').hidden");
  line.cut();
  await alice.until("that it is away", "window.chat.client.state === 'waiting'");
  for (const text of ["unseen one", "unseen two", "unseen three"]) await bob.send({ user: "alice", text });
  line.mend();
  await alice.until("that they are here", `${online} && window.chat.one.last.text === 'unseen three' && window.chat.store.loads === 0`);
  const count = await alice.evaluate(unread);
  if (count !== 3) throw new Error(`${count} unread messages in place of 3`);
  await alice.evaluate("document.getElementById('to-end').click()");
  await alice.until("that they are read", `${unread} === 0 && ${shows(".body", "unseen three")}`);
  bob.close();
  await alice.close();
}

/** Two windows of one user show the same. */
async function twice() {
  const [one, two] = [await open("alice"), await open("alice")];
  const bob = await client("bob");
  await write(one, "in both windows");
  await two.until("the message of the other window", shows(".mine .body", "in both windows"));
  await two.evaluate("window.chat.close()");
  const unread = `window.chat.store.all.get('${PAIR}').unread`;
  await one.evaluate("window.chat.close()");
  for (let number = 1; number <= 10; number++) await bob.send({ user: "alice", text: `unread ${number}` });
  for (const tab of [one, two]) await tab.until("10 unread messages", `${unread} === 10`);
  const other = await client("alice");
  const { messages } = await other.history({ conversation: PAIR, limit: 2 });
  other.ack(PAIR, { read: messages[0].seq });
  // These windows have the messages.
  for (const tab of [one, two]) await tab.until("one unread message", `${unread} === 1`);
  await one.evaluate(`window.chat.open(window.chat.store.all.get('${PAIR}'))`);
  await two.until("that the other window has read", `${unread} === 0`);
  // A reaction in one is in the other.
  await one.evaluate("window.chat.react(window.chat.one.messages.at(-1), '👍', false)");
  await two.evaluate(`window.chat.open(window.chat.store.all.get('${PAIR}'))`);
  await two.until("the reaction", shows(".reactions button", "👍"));
  // Its row is made anew, and the keyboard stays where it is.
  await two.evaluate("document.querySelector('.reactions button').focus()");
  await two.press("Enter");
  await two.until("a second reaction or none", "document.querySelector('.reactions button')?.getAttribute('aria-pressed') !== 'true'");
  const focused = await two.evaluate("document.activeElement.closest('#scroller') !== null");
  if (!focused) throw new Error("the focus is lost with the row");
  await two.evaluate("window.chat.react(window.chat.one.messages.at(-1), '👍', false)");
  await two.until("the reaction again", shows(".reactions button", "👍"));
  // One that the gateway refuses goes away again.
  await one.evaluate("window.chat.react(window.chat.one.messages.at(-1), 'x'.repeat(1_000), false)");
  await one.until("why it was refused", "document.querySelector('#banner.bad')?.textContent !== ''");
  await one.until("that it is gone", `window.chat.one.messages.at(-1).reactions.length === 1`);
  other.close();
  bob.close();
  await two.close();
  return one;
}

/** Pictures by paste: the page keeps a bounded number of them. */
async function pasted(alice) {
  await alice.evaluate(`(() => {
    window.live = new Set();
    const [make, end] = [URL.createObjectURL, URL.revokeObjectURL];
    URL.createObjectURL = (blob) => { const address = make.call(URL, blob); window.live.add(address); return address; };
    URL.revokeObjectURL = (address) => { window.live.delete(address); end.call(URL, address); };
  })()`);
  const count = "window.chat.one.messages.filter(({ media }) => media).length";
  const before = await alice.evaluate(count);
  for (let sent = 0; sent < PICTURES; sent += 10) {
    await alice.evaluate(`(() => {
      const data = new DataTransfer();
      const bytes = Uint8Array.from(atob(${JSON.stringify(PICTURE)}), (letter) => letter.charCodeAt(0));
      for (let one = 0; one < 10; one++) data.items.add(new File([bytes], 'pasted.png', { type: 'image/png' }));
      const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true });
      document.getElementById('text').dispatchEvent(event);
    })()`);
    await alice.until("that they are sent", `${count} === ${before + sent + 10} && window.chat.one.waiting.length === 0`);
  }
  const live = await alice.evaluate("window.live.size");
  if (live > LOADED || live < 10) throw new Error(`${live} pictures are in memory`);
  await alice.until("the last picture", "[...document.querySelectorAll('.mine .picture img')].at(-1)?.naturalWidth === 10");
}

/** A message that is too large for the gateway, and one to somebody who blocks the sender. */
async function refused(alice) {
  const bob = await client("bob");
  await bob.block({ user: "alice" });
  await write(alice, "do you hear me?");
  await alice.until("that it was not sent, and why", shows(".failure", "Not sent"));
  await alice.evaluate("window.isOld = true");
  await alice.ask("Page.reload");
  await alice.until("the failed message, which a reload keeps", `!window.isOld && ${online} && ${shows(".mine .body", "do you hear me?")} && ${shows(".failure", "Not sent")}`);
  await alice.evaluate("[...document.querySelectorAll('.failure button')].find((one) => one.textContent === 'Discard').click()");
  await alice.until("the question", "document.getElementById('sure').open");
  if (!(await alice.evaluate(shows(".body", "do you hear me?")))) throw new Error("it was discarded without a question");
  await alice.evaluate("document.getElementById('sure-yes').click()");
  await alice.until("that it is gone", `!${shows(".body", "do you hear me?")} && window.chat.one.waiting.length === 0`);
  await bob.unblock({ user: "alice" });
  if (await alice.evaluate("window.chat.store.outbox.all().length !== 0")) throw new Error("a reload would bring back what was discarded");
  bob.close();
  const limit = await alice.evaluate("window.chat.client.session.limits.text_bytes");
  await write(alice, "x".repeat(limit + 1));
  await alice.until("why it is not sent, beside the field", shows("#problem", `at most ${limit / 1_024} KiB`));
  const kept = await alice.evaluate("document.getElementById('text').value.length");
  if (kept !== limit + 1) throw new Error("what was written is lost");
}

let line;
await browser.start();
try {
  await gateway.start();
  line = await new Line(gateway).start();
  await killed();
  console.log("killed: done");
  await reloaded(line);
  console.log("reloaded: done");
  await full(line);
  console.log("full: done");
  await absent(line);
  console.log("absent: done");
  await above(line);
  console.log("above: done");
  const alice = await twice();
  console.log("twice: done");
  await pasted(alice);
  console.log("pasted: done");
  await refused(alice);
  console.log("refused: done");
  if (browser.problems.length > 0) throw new Error(browser.problems.join("\n"));
} finally {
  line?.end();
  await browser.end();
  await gateway.remove();
  rmSync(folder, { recursive: true });
}
