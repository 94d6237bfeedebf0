// Speed and memory of the chat page in Chromium, judged. web/bench starts the gateway and calls this.
//
//     NODE_PATH=… node bench.js CHROMIUM http://<http> [SECONDS]
//
// Exit code 1: a figure is beyond its bound. 90: this machine is too busy to tell.
import { Browser, sleep } from "./chromium.js";
import { conversation, many, people } from "./scene.js";

const [program, chat, seconds = "60"] = process.argv.slice(2);

const ROUNDS = 7;
const MANY = 5_000;
const SCROLL_MS = 10_000;
const PER_SECOND = 50;

/** The time of a frame at 60 frames a second, and what counts as late: more than half a frame behind, in milliseconds. */
const FRAME_MS = 1_000 / 60;
const LATE_MS = 1.5 * FRAME_MS;

/** The bounds. The heap at the end is compared with that after a third of the messages. */
const FIRST_CONTENT_MS = 100;
const LATE_SHARE = 0.05;
const HEAP_GROWTH_MB = 1;
const ELEMENTS = 1_000;

/** A line of text is there within this time on a machine that does little else, in milliseconds. */
const BUSY_MS = 45;

const missed = [];
let isBusy = false;

/** Notes a figure that is beyond its bound. */
function judge(what, value, bound, unit) {
  if (value > bound) missed.push(`${what}: ${value.toFixed(1)} ${unit}, and not ${bound} ${unit} at most`);
}

const middle = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
const say = (what, value) => console.log(`${what.padEnd(62)} ${value}`);

/** How long a page is left alone before it is asked for its figures, in milliseconds: questions would delay it. */
const ALONE_MS = 1_500;

const PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";

/** Opens an address in a new profile, and once more. Returns what an expression says each time. */
async function twice(browser, url, figure, script) {
  const tab = await browser.open("about:blank", { isWatched: false });
  // The browser draws the window of a new profile meanwhile.
  await sleep(ALONE_MS);
  if (script) await tab.ask("Page.addScriptToEvaluateOnNewDocument", { source: script });
  const figures = [];
  for (const begin of [() => tab.go(url), () => tab.ask("Page.reload")]) {
    await begin();
    await sleep(ALONE_MS);
    await tab.until("a figure", `${figure} !== undefined`);
    figures.push(Math.round(await tab.evaluate(figure)));
  }
  await tab.close();
  return figures;
}

/** Opens a page often, and prints when its first content was there, and when one can use it. */
async function paints(browser, name, url, ready) {
  // Other rounds than those of the paint, since looking takes time too.
  const look = `{
    const look = () => {
      try {
        if (${ready}) window.readyAt ??= performance.now();
      } catch {}
    };
    new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
    addEventListener("focusin", look);
    addEventListener("load", look);
  }`;
  for (const [what, figure, script] of [["first content", PAINTED], ["ready", "window.readyAt", look]]) {
    const [cold, warm] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      const [first, second] = await twice(browser, url, figure, script);
      cold.push(first);
      warm.push(second);
    }
    say(`${name}, new profile: ${what}`, `${middle(cold)} ms (${cold.join(" ")})`);
    say(`${name}, again: ${what}`, `${middle(warm)} ms (${warm.join(" ")})`);
    if (figure !== PAINTED) continue;
    if (name.startsWith("for comparison")) isBusy ||= middle(cold) > BUSY_MS;
    else judge(`${name}, new profile: ${what}`, middle(cold), FIRST_CONTENT_MS, "ms");
  }
}

/** Scrolls up through all messages and down again, and counts late frames. */
async function scroll(browser) {
  const tab = await browser.open(`${chat}/?user=alice#u:alice:bob`);
  await tab.until("messages", "document.querySelectorAll('.row').length > 5");
  await tab.evaluate("window.chat.jump(1)");
  await tab.until("all messages", `window.chat.list.rows.length >= ${MANY}`);
  await sleep(1_000);
  const frames = await tab.evaluate(`new Promise((resolve) => {
    const scroller = document.getElementById("scroller");
    const times = [];
    const height = scroller.scrollHeight;
    const began = performance.now();
    const step = (now) => {
      times.push(now);
      const part = (now - began) / ${SCROLL_MS};
      if (part >= 1) return resolve(times);
      scroller.scrollTop = height * Math.abs(1 - 2 * part);
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  })`);
  const gaps = frames.slice(1).map((time, place) => time - frames[place]);
  const late = gaps.filter((gap) => gap > LATE_MS).length;
  say(`${MANY} messages, up and down in ${SCROLL_MS / 1_000} s: late frames`, `${((100 * late) / gaps.length).toFixed(1)} % (${late} of ${gaps.length})`);
  judge("late frames", (100 * late) / gaps.length, 100 * LATE_SHARE, "%");
  say("elements of messages in the page", await tab.evaluate("document.querySelectorAll('.row').length"));
  await tab.close();
}

/** Lets messages come for a while, and compares the memory at a third of the time with that at the end. */
async function memory(browser, { bob }) {
  const tab = await browser.open(`${chat}/?user=dave#u:bob:dave`);
  await tab.until("the conversation", "window.chat?.client.state === 'online'");
  const used = async () => {
    await tab.ask("HeapProfiler.collectGarbage");
    const { usedSize } = await tab.ask("Runtime.getHeapUsage");
    return usedSize / 1_000_000;
  };
  const elements = () => tab.evaluate("document.querySelectorAll('*').length");
  let sent = 0;
  const timer = setInterval(() => bob.send({ user: "dave", text: `Number ${++sent} of many messages that come` }), 1_000 / PER_SECOND);
  await sleep((1_000 * seconds) / 3);
  const [before, third] = [await used(), sent];
  await sleep((2_000 * seconds) / 3);
  clearInterval(timer);
  await tab.until("the last message", `window.chat.one.messages.at(-1)?.text.startsWith('Number ${sent} ')`);
  const [after, count] = [await used(), await elements()];
  say(`${PER_SECOND} messages/s, after ${third} and ${sent} messages: heap`, `${before.toFixed(1)} and ${after.toFixed(1)} MB`);
  say("elements in the page", count);
  judge("growth of the heap", after - before, HEAP_GROWTH_MB, "MB");
  judge("elements in the page", count, ELEMENTS, "elements");
  await tab.close();
}

const browser = new Browser(program);
await browser.start();
const clients = await people(chat, "alice", "bob", "carol");
try {
  const id = await conversation(clients);
  await paints(browser, "for comparison: a line of text", `${chat}/chat/gateway.json`, "document.body.textContent.length > 0");
  await paints(browser, "sign in", `${chat}/`, "document.activeElement.id === 'name'");
  await paints(browser, "a known user", `${chat}/?user=alice`, "document.querySelectorAll('#conversations li').length === 3");
  await paints(browser, "a conversation", `${chat}/?user=alice#${id}`, "document.querySelectorAll('.row').length > 5");
  await many(clients, MANY);
  await scroll(browser);
  await memory(browser, clients);
} finally {
  for (const client of Object.values(clients)) client.close();
  await browser.end();
}
if (browser.problems.length > 0) throw new Error(browser.problems.join("\n"));
for (const one of missed) console.error(`missed: ${one}`);
if (missed.length > 0 && isBusy) console.error(`a line of text took more than ${BUSY_MS} ms: this machine is too busy to tell`);
process.exitCode = missed.length === 0 ? 0 : isBusy ? 90 : 1;
