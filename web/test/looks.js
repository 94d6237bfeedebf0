// Takes pictures of the pages in many states, at the widths for which they are made, light and dark: to be looked at after a change.
//
//     TRUNKLINE_BIN=… NODE_PATH=… node looks.js CHROMIUM FOLDER [WORD…]
//
// With words, only states whose name has one of them. A picture is named after the state, the width and the colours.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Gateway } from "../../clients/js/test/gateway.js";
import { Browser, sleep } from "./chromium.js";
import { Line } from "./line.js";
import { conversation, many, people } from "./scene.js";

const [program, folder, ...words] = process.argv.slice(2);
const SIZES = [[360, 740], [768, 1024], [1280, 800], [1920, 1080]];
const MANY = 5_000;
const shows = (selector, text) => `[...document.querySelectorAll(${JSON.stringify(selector)})].some((one) => one.textContent.includes(${JSON.stringify(text)}))`;
const online = "window.chat?.client.state === 'online' && window.chat.store.isLoaded";
const item = (text) => `[...document.querySelectorAll('#menu [role=menuitem]')].find((one) => one.textContent === ${JSON.stringify(text)})`;

const secrets = mkdtempSync(join(tmpdir(), "trunkline-looks-"));
const tokens = join(secrets, "tokens");
writeFileSync(tokens, `looks read,moderate ${createHash("sha256").update("a token").digest("hex")}\n`);
const browser = new Browser(program);
const gateway = new Gateway({ hasPages: true });
const guarded = new Gateway({ hasTokens: true, hasPages: true, flags: [`--admin-tokens=${tokens}`] });

const picture = (tab) => tab.evaluate(`new Promise((done) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 440 });
  const draw = canvas.getContext("2d");
  const sky = draw.createLinearGradient(0, 0, 0, 440);
  for (const [at, colour] of [[0, "#1d3a8f"], [0.6, "#e58a5c"], [1, "#ffd9a0"]]) sky.addColorStop(at, colour);
  draw.fillStyle = sky;
  draw.fillRect(0, 0, 640, 440);
  for (const [base, colour, step] of [[300, "#3a2f6b", 0.011], [350, "#241f4d", 0.017], [400, "#12112e", 0.023]]) {
    draw.fillStyle = colour;
    draw.beginPath();
    draw.moveTo(0, 440);
    for (let x = 0; x <= 640; x += 4) draw.lineTo(x, base + 40 * Math.sin(x * step + base) + 18 * Math.sin(x * 3 * step));
    draw.lineTo(640, 440);
    draw.fill();
  }
  done(canvas.toDataURL("image/jpeg", 0.8).split(",")[1]);
})`);

/** Opens the page of a user in a conversation. */
async function chat(how, user, id, query = "") {
  const tab = await browser.open(`${line.pages}/?user=${user}${query}${id ? `#${id}` : ""}`, how);
  await tab.until(`the page of ${user}`, online);
  if (id) await tab.until("the conversation", `window.chat.one?.state === 'ready'`);
  return tab;
}

const toEnd = (tab) => tab.evaluate("document.getElementById('to-end').click()");
const menuOf = (tab, selector, text) => tab.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`).then(() => tab.evaluate(`${item(text)}.click()`));

async function operator(how, address = gateway.control) {
  const tab = await browser.open(`${address}/`, how);
  if (address !== gateway.control) return tab;
  await tab.until("the numbers", shows("#state", "Ready"));
  await sleep(2_500);
  return tab;
}

let line;
let group;

/** The states: each opens a page, brings it into its state, and returns it. */
const STATES = {
  "sign-in": (how) => browser.open(`${gateway.pages}/`, how),
  "sign-in-bad": async (how) => {
    const tab = await browser.open(`${gateway.pages}/`, how);
    await tab.until("the field", "document.activeElement?.id === 'name'");
    await tab.type("a b");
    await tab.press("Enter");
    return tab;
  },
  "sign-in-token": async (how) => {
    const tab = await browser.open(`${guarded.pages}/`, how);
    await tab.until("the field", "document.activeElement?.id === 'token'");
    await tab.type("no.token.at-all");
    await tab.evaluate("document.getElementById('enter').click()");
    await tab.until("why it is not taken", "!document.getElementById('sign-in-error').hidden");
    return tab;
  },
  nobody: (how) => chat(how, "nobody"),
  list: (how) => chat(how, "alice"),
  one: (how) => chat(how, "dora", "u:dora:emil"),
  fifty: (how) => chat(how, "fifi", "u:bob:fifi"),
  "many-fresh": (how) => chat(how, "mona", "u:bob:mona"),
  "many-end": async (how) => {
    const tab = await chat(how, "mona", "u:bob:mona");
    await toEnd(tab);
    return tab;
  },
  "group-end": async (how) => {
    const tab = await chat(how, "alice", group);
    await toEnd(tab);
    await tab.until("the picture", "[...document.querySelectorAll('.picture img')].some((one) => one.naturalWidth > 100)");
    await toEnd(tab);
    return tab;
  },
  "group-top": (how) => chat(how, "alice", group),
  rtl: async (how) => {
    const tab = await chat(how, "alice", group, "&dir=rtl");
    await toEnd(tab);
    return tab;
  },
  menu: async (how) => {
    const tab = await chat(how, "alice", group);
    // Pictures that load move a list back to its end.
    await tab.until("an own message", "(document.getElementById('scroller').scrollTop = 0) || document.querySelector('.mine .acts')");
    await tab.evaluate("document.querySelector('.mine .acts').click()");
    return tab;
  },
  sure: async (how) => {
    const tab = await STATES.menu(how);
    await tab.evaluate(`${item("Take back for everybody")}.click()`);
    return tab;
  },
  reply: async (how) => {
    const tab = await STATES.menu(how);
    await tab.evaluate(`${item("Reply")}.click()`);
    await tab.type("yes, @b");
    await tab.until("the offered names", "!document.getElementById('names').hidden");
    return tab;
  },
  about: async (how) => {
    const tab = await chat(how, "alice", group);
    await menuOf(tab, "#more", "About this group");
    await tab.until("the members", "document.querySelectorAll('#dialog .people li').length === 3");
    return tab;
  },
  begin: async (how) => {
    const tab = await chat(how, "alice");
    await tab.press("k", 2);
    await tab.evaluate("document.getElementById('tab-group').click()");
    return tab;
  },
  "too-long": async (how) => {
    const tab = await chat(how, "dora", "u:dora:emil");
    await tab.evaluate("document.getElementById('text').focus()");
    await tab.type("long ".repeat(14_000));
    await tab.press("Enter");
    return tab;
  },
  failed: async (how) => {
    const tab = await chat(how, "nina", "u:bob:nina");
    await tab.evaluate("document.getElementById('text').focus()");
    await tab.type("do you hear me?");
    await tab.press("Enter");
    await tab.until("that it was not sent", shows(".failure", "Not sent"));
    return tab;
  },
  away: async (how) => {
    const tab = await chat(how, "fifi", "u:bob:fifi");
    line.cut();
    await tab.until("the line that says so", shows("#banner", "No connection"));
    await tab.evaluate("document.getElementById('text').focus()");
    await tab.type("sent when it is back");
    await tab.press("Enter");
    await tab.until("that it waits", "document.querySelector('.meta .sending')");
    line.mend();
    return tab;
  },
  console: (how) => operator(how),
  "console-end": async (how) => {
    const tab = await operator(how);
    await tab.evaluate("document.querySelector('#find .primary').click()");
    await tab.until("the sessions", "document.querySelectorAll('#session-rows tr').length > 2");
    return tab;
  },
  "console-plots": (how) => operator(how),
  "console-tables": (how) => operator(how),
  "console-token": async (how) => {
    const tab = await operator(how, guarded.control);
    await tab.until("the form", "!document.getElementById('ask').hidden");
    return tab;
  },
  "console-refused": async (how) => {
    const tab = await STATES["console-token"](how);
    await tab.type("another token");
    await tab.press("Enter");
    await tab.until("why it is not taken", "document.getElementById('ask-error').textContent !== ''");
    return tab;
  },
};

/** What is done again at each width, since the page moves with it. */
const SCROLLS = {
  "group-top": "document.getElementById('scroller').scrollTop = 0",
  "console-end": "document.documentElement.scrollTop = 1e6",
  "console-plots": "document.querySelector('#plots figure:nth-child(7)').scrollIntoView()",
  "console-tables": "document.querySelector('.columns').scrollIntoView()",
};

/** Those that a change of the width ends, and that are made anew for each. */
const ANEW = ["menu"];

/** Takes the pictures of a state at all widths, light and dark. */
async function take(name, make) {
  let tab;
  for (const [width, height] of SIZES) {
    if (ANEW.includes(name)) await tab?.close().then(() => (tab = undefined));
    tab ??= await make({ width, height, dark: false });
    await tab.resize(width, height);
    for (const dark of [false, true]) {
      await tab.dress(dark);
      if (SCROLLS[name]) await tab.evaluate(SCROLLS[name]);
      await tab.evaluate("new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 150))");
      writeFileSync(join(folder, `${name}-${width}-${dark ? "dark" : "light"}.png`), await tab.picture());
    }
  }
  await tab.close();
  console.log(name);
}

const isWanted = (name) => words.length === 0 || words.some((word) => name.includes(word));
mkdirSync(folder, { recursive: true });
let clients = {};
let traffic;
await browser.start();
try {
  await gateway.start();
  await guarded.start();
  line = await new Line(gateway).start();
  clients = await people(gateway.pages, "alice", "bob", "carol", "dora", "fifi");
  group = await conversation(clients);
  const blank = await browser.open("about:blank");
  await clients.bob.send({ group: "engineering", media: { type: "image/jpeg", data: await picture(blank) }, text: "from the train" });
  await clients.dora.send({ user: "emil", text: "The first message of all." });
  await many(clients, 50, "fifi");
  if (isWanted("many")) await many(clients, MANY, "mona");
  await clients.bob.block({ user: "nina" });
  traffic = setInterval(() => Math.random() < 0.8 && clients.carol.send({ user: "dora", text: "and more" }).catch(() => {}), 25);
  for (const [name, make] of Object.entries(STATES).filter(([name]) => isWanted(name))) {
    await take(name, make);
  }
  clearInterval(traffic);
  if (isWanted("console-away")) {
    const tab = await operator({ width: 1280, height: 800, dark: false });
    await gateway.end("SIGKILL");
    await tab.until("that there is no answer", shows("#about", "These numbers are"));
    await take("console-away", () => tab);
  }
  if (browser.problems.length > 0) throw new Error(browser.problems.join("\n"));
} finally {
  clearInterval(traffic);
  for (const client of Object.values(clients)) client.close();
  line?.end();
  await browser.end();
  await gateway.remove();
  await guarded.remove();
  rmSync(secrets, { recursive: true });
}
