// An operator at the console: the token, ending a session, plots, and a gateway that goes and comes back.
//
//     TRUNKLINE_BIN=… NODE_PATH=… node operator.js CHROMIUM
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Gateway } from "../../clients/js/test/gateway.js";
import { Browser } from "./chromium.js";
import { people } from "./scene.js";

const [program] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "trunkline-operator-"));
const TOKENS = { reader: ["read", "a token that reads"], keeper: ["read,moderate", "a token that ends sessions"] };
const file = join(folder, "tokens");
const hash = (token) => createHash("sha256").update(token).digest("hex");
writeFileSync(file, Object.entries(TOKENS).map(([name, [scopes, token]]) => `${name} ${scopes} ${hash(token)}\n`).join(""));

/** How long the page of a test sleeps, in seconds. */
const ASLEEP_S = 300;

const gateway = new Gateway({ hasPages: true, flags: [`--admin-tokens=${file}`] });
const browser = new Browser(program);
const shows = (selector, text) => `[...document.querySelectorAll(${JSON.stringify(selector)})].some((one) => one.textContent.includes(${JSON.stringify(text)}))`;

/** Gives the console a token. */
async function enter(tab, token) {
  await tab.until("the field for the token", "!document.getElementById('ask').hidden && document.activeElement.id === 'token'");
  await tab.type(token);
  await tab.press("Enter");
}

/** Goes to what fulfils an expression with the Tab key alone. */
async function tabTo(tab, what, holds) {
  for (let step = 0; step < 80; step++) {
    if (await tab.evaluate(holds)) return;
    await tab.press("Tab");
  }
  throw new Error(`Tab does not lead to ${what}`);
}

/** Finds the sessions, and ends that of a user, with the keyboard alone. */
async function end(tab, user) {
  await tabTo(tab, "Find", "document.activeElement.matches('#find .primary')");
  await tab.press("Enter");
  await tab.until(`the session of ${user}`, shows("#session-rows", user));
  await tabTo(tab, "Disconnect", `document.activeElement.ariaLabel?.startsWith('Disconnect ${user} ') === true`);
  await tab.press("Enter");
  await tab.until("the question", `document.getElementById('sure').open && ${shows("#sure-text", `Disconnect ${user}`)}`);
  await tab.press("Tab");
  await tab.press("Enter");
  await tab.until("that it is closed", "!document.getElementById('sure').open");
}

/** Two questions at once: the sessions of the newest one are listed, each once, also when its answer comes first. */
async function twice(tab) {
  await tab.evaluate(`(() => {
    const ask = window.fetch;
    window.held = [];
    window.fetch = async (address, ...rest) => {
      const answer = await ask(address, ...rest);
      if (address.includes("sessions?")) await new Promise((go) => window.held.push({ address, go }));
      return answer;
    };
  })()`);
  const find = (user) => tab.evaluate(`(() => {
    document.getElementById('user').value = '${user}';
    document.querySelector('#find .primary').click();
  })()`);
  const answers = (count) => tab.until(`${count} answers`, `window.held.length === ${count}`);
  const listed = "[...document.querySelectorAll('#session-rows td:first-child')].map((one) => one.textContent).join()";
  await find("");
  await find("");
  await answers(2);
  await tab.evaluate("window.held.splice(0).forEach(({ go }) => go())");
  await tab.until("both sessions", "document.querySelectorAll('#session-rows tr').length >= 2");
  // What would come twice has come once these are through.
  await tab.evaluate("new Promise((done) => setTimeout(done, 200))");
  const all = await tab.evaluate(listed);
  if (all.split(",").sort().join() !== "alice,bob") throw new Error(`listed are ${all}`);
  await find("alice");
  await find("bob");
  await answers(2);
  // The question about bob is answered first.
  await tab.evaluate("window.held.find(({ address }) => address.includes('user=bob')).go()");
  await tab.until("the session of bob", `${listed} === 'bob'`);
  await tab.evaluate("window.held.splice(0).forEach(({ go }) => go())");
  await tab.evaluate("new Promise((done) => setTimeout(done, 200))");
  const last = await tab.evaluate(listed);
  if (last !== "bob") throw new Error(`listed are ${last} in place of bob`);
  await tab.until("one session", shows("#sessions-state", "1 session."));
}

/** What is read from two metres is large enough on a large screen, in pixels. */
async function large() {
  const tab = await browser.open(`${gateway.control}/`, { width: 1920, height: 1080 });
  await enter(tab, TOKENS.reader[1]);
  await tab.until("the plots", "/px/.test(document.querySelector('#plots canvas')?.getContext('2d').font) && document.querySelector('#now dd')");
  const sizes = (selector) => tab.evaluate(`[...document.querySelectorAll(${JSON.stringify(selector)})].filter((one) => one.checkVisibility()).map((one) => parseFloat(getComputedStyle(one).fontSize))`);
  const axes = await tab.evaluate("[...document.querySelectorAll('#plots canvas')].filter((one) => one.checkVisibility()).map((one) => parseFloat(/([\\d.]+)px/.exec(one.getContext('2d').font)[1]))");
  for (const [what, least, count, found] of [["numbers", 60, 8, await sizes("#now dd")], ["values of plots", 30, 11, await sizes("#plots .legend b")], ["axes", 20, 11, axes]]) {
    if (found.length < count || found.some((one) => one < least)) throw new Error(`${what} have ${found} pixels in place of ${least}`);
  }
  await tab.close();
}

/** The gateway's clock is minutes ahead with the next numbers, as after a sleep of the page: the plots have a gap as long. */
async function asleep() {
  const tab = await browser.open("about:blank");
  await tab.ask("Page.addScriptToEvaluateOnNewDocument", { source: `(() => {
    const parse = JSON.parse;
    window.ahead = 0;
    JSON.parse = (...text) => {
      const value = parse(...text);
      if (value?.time && value?.rates) value.time += window.ahead;
      return value;
    };
  })()` });
  await tab.go(`${gateway.control}/`);
  await enter(tab, TOKENS.reader[1]);
  await tab.until("some points", "/[1-9]/.test(document.querySelector('#plots .legend.one')?.textContent)");
  await tab.evaluate("new Promise((done) => setTimeout(done, 2_500))");
  await tab.evaluate(`window.ahead = ${1_000 * ASLEEP_S}`);
  // What the pointer reads at each place: seconds ago, and whether there was an answer.
  const read = `(async () => {
    const canvas = document.querySelector('#plots canvas');
    const { left, top, width } = canvas.getBoundingClientRect();
    const said = {};
    for (let x = 80; x < width; x++) {
      canvas.dispatchEvent(new PointerEvent('pointermove', { clientX: left + x, clientY: top + 20 }));
      await new Promise(requestAnimationFrame);
      const ago = /(\\d+) s ago/.exec(document.querySelector('#plots .ago').textContent)?.[1] ?? 0;
      said[ago] = !document.querySelector('#plots .legend.one b').textContent.includes('–');
    }
    return said;
  })()`;
  for (const end = Date.now() + 60_000; ; ) {
    const known = Object.entries(await tab.evaluate(read)).filter(([, isKnown]) => isKnown).map(([ago]) => Number(ago));
    const inGap = known.filter((ago) => ago > ASLEEP_S / 3 && ago < ASLEEP_S - 5);
    if (inGap.length > 0) throw new Error(`the plot has numbers of ${inGap} seconds ago, when the page slept`);
    if (known.some((ago) => ago >= ASLEEP_S - 5)) break;
    if (Date.now() > end) throw new Error(`the plot has numbers of ${known} seconds ago alone: what was before the sleep is not where it belongs`);
  }
  await tab.close();
}

let clients = {};
await browser.start();
try {
  await gateway.start();
  clients = await people(gateway.pages, "alice", "bob");
  const tab = await browser.open(`${gateway.control}/`);
  await enter(tab, "no token");
  await tab.until("why it is not taken", "document.getElementById('ask-error').textContent !== ''");
  await enter(tab, TOKENS.reader[1]);
  await tab.until("the numbers", shows("#state", "Ready"));
  await tab.until("two sessions", "document.querySelector('#now dd')?.textContent === '2'");
  await end(tab, "alice");
  await tab.until("that this token may not", shows("#sessions-state", "Nothing was ended"));
  const third = await browser.open(`${gateway.control}/`);
  await enter(third, TOKENS.reader[1]);
  await third.until("the numbers", shows("#state", "Ready"));
  await twice(third);
  await third.close();

  const other = await browser.open(`${gateway.control}/`);
  await enter(other, TOKENS.keeper[1]);
  await other.until("the numbers", shows("#state", "Ready"));
  const ended = new Promise((resolve) => ["disconnected", "closed"].forEach((event) => clients.alice.on(event, resolve)));
  await end(other, "alice");
  await other.until("how many were ended", shows("#sessions-state", "1 session ended"));
  await ended;

  await large();
  await asleep();
  // Messages move the plots.
  for (let number = 0; number < 50; number++) await clients.bob.send({ user: "carol", text: `${number}` });
  const peak = "Math.max(...[...document.querySelectorAll('#now > div')].filter((one) => one.textContent.startsWith('Messages')).map((one) => parseFloat(one.querySelector('dd').textContent)))";
  const before = await other.evaluate("document.querySelectorAll('#plots canvas, #plots svg').length");
  if (before !== 13) throw new Error(`${before} plots`);
  const timer = setInterval(() => clients.bob.send({ user: "carol", text: "more" }).catch(() => {}), 20);
  await other.until("messages each second", `${peak} > 1`);
  clearInterval(timer);

  await gateway.end("SIGKILL");
  for (const one of [tab, other]) await one.until("that there is no answer", `document.getElementById('state').className === 'bad' && ${shows("#state", "No answer")}`);
  const isOld = "document.getElementById('all').classList.contains('old')";
  for (const one of [tab, other]) await one.until("how old the numbers are", `${isOld} && ${shows("#about", "These numbers are")}`);
  await gateway.start();
  for (const one of [tab, other]) await one.until("that it is back", `document.getElementById('state').className === 'good' && !${isOld} && ${shows("#about", "up for")}`);
  if (browser.problems.length > 0) throw new Error(browser.problems.join("\n"));
} finally {
  for (const client of Object.values(clients)) client.close();
  await browser.end();
  await gateway.remove();
  rmSync(folder, { recursive: true });
}
