// Two people chat in two tabs of Chromium, and an operator looks at the console.
//
//     NODE_PATH=… node browser.js CHROMIUM http://<http> http://<control>
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const LIMIT_MS = 60_000;
const [program, chat, control] = process.argv.slice(2);
const WebSocket = globalThis.WebSocket ?? createRequire(import.meta.url)("ws");
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A browser that is spoken to by the DevTools protocol. */
class Browser {
  #folder = mkdtempSync(join(tmpdir(), "trunkline-browser-"));
  #process;
  #socket;
  #id = 0;
  #waiting = new Map();
  problems = [];

  async start() {
    const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"];
    this.#process = spawn(program, [...flags, `--user-data-dir=${this.#folder}`, "--remote-debugging-port=0", "about:blank"], { stdio: ["ignore", "ignore", "pipe"] });
    const address = await new Promise((resolve, reject) => {
      let said = "";
      this.#process.stderr.on("data", (data) => {
        said += data;
        const found = /DevTools listening on (\S+)/.exec(said);
        if (found) resolve(found[1]);
      });
      this.#process.on("exit", () => reject(new Error(`the browser ended: ${said}`)));
    });
    this.#socket = new WebSocket(address);
    await new Promise((resolve) => (this.#socket.onopen = resolve));
    this.#socket.onmessage = ({ data }) => {
      const { id, result, error, method, params } = JSON.parse(data);
      if (method === "Runtime.exceptionThrown") this.problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
      // A rule of the page forbids something that the page does.
      if (method === "Log.entryAdded" && params.entry.source === "security") this.problems.push(params.entry.text);
      const [resolve, reject] = this.#waiting.get(id) ?? [];
      this.#waiting.delete(id);
      if (error) reject?.(new Error(error.message));
      else resolve?.(result);
    };
  }

  ask(method, params = {}, sessionId = undefined) {
    const id = ++this.#id;
    this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    return new Promise((...settle) => this.#waiting.set(id, settle));
  }

  /** Opens a page in a profile of its own. */
  async open(url) {
    const { browserContextId } = await this.ask("Target.createBrowserContext");
    const { targetId } = await this.ask("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.ask("Target.attachToTarget", { targetId, flatten: true });
    for (const domain of ["Runtime", "Log", "Page"]) await this.ask(`${domain}.enable`, {}, sessionId);
    await this.ask("Page.navigate", { url }, sessionId);
    return new Tab(this, sessionId);
  }

  async end() {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await ended;
    // Other processes of the browser may still write to the folder for a moment.
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 });
  }
}

class Tab {
  #browser;
  #session;

  constructor(browser, session) {
    this.#browser = browser;
    this.#session = session;
  }

  async evaluate(expression) {
    const { result } = await this.#browser.ask("Runtime.evaluate", { expression, returnByValue: true }, this.#session);
    return result.value;
  }

  async until(what, expression) {
    for (const end = performance.now() + LIMIT_MS; !(await this.evaluate(expression)); await sleep(50)) {
      if (performance.now() < end) continue;
      const text = await this.evaluate("document.body.innerText");
      throw new Error(`it never came: ${what}. ${this.#browser.problems.join("; ")} The page shows: ${text}`);
    }
  }

  type(text) {
    return this.#browser.ask("Input.insertText", { text }, this.#session);
  }

  async press(key, modifiers = 0) {
    for (const type of ["keyDown", "keyUp"]) {
      const text = key === "Enter" && type === "keyDown" ? "\r" : undefined;
      const code = { Enter: 13, ArrowUp: 38 }[key] ?? key.toUpperCase().charCodeAt(0);
      await this.#browser.ask("Input.dispatchKeyEvent", { type, key, text, modifiers, windowsVirtualKeyCode: code }, this.#session);
    }
  }
}

const shows = (selector, text) => `[...document.querySelectorAll(${JSON.stringify(selector)})].some((one) => one.textContent.includes(${JSON.stringify(text)}))`;
const CONTROL = 2;

async function signIn(browser, name) {
  const tab = await browser.open(`${chat}/`);
  await tab.until("a field for the name", "document.activeElement?.id === 'name'");
  await tab.type(name);
  await tab.press("Enter");
  await tab.until("the page of the user", "!document.getElementById('app').hidden && window.chat?.client.state === 'online'");
  return tab;
}

async function play(browser) {
  const [alice, bob] = [await signIn(browser, "alice"), await signIn(browser, "bob")];
  await alice.press("k", CONTROL);
  await alice.until("the dialog", "document.getElementById('dialog').open");
  await alice.type("bob");
  await alice.press("Enter");
  await alice.until("the conversation", "document.getElementById('title').textContent === 'bob'");
  await alice.evaluate("document.getElementById('text').focus()");
  await alice.type("hello <b>bob</b>");
  await alice.press("Enter");
  await bob.until("an unread message", shows("#conversations .count", "1"));
  await alice.until("two marks", "document.querySelector('.meta .delivered')");
  await bob.evaluate("document.querySelector('#conversations button').click()");
  await bob.until("the message, as text", shows(".body", "hello <b>bob</b>"));
  await alice.until("the mark that it was read", "document.querySelector('.meta .read')");
  await bob.evaluate("document.getElementById('text').focus()");
  await bob.type("hi");
  await alice.until("that bob writes", shows("#typing", "bob is typing"));
  await bob.press("Enter");
  await alice.until("the answer", shows(".theirs .body", "hi"));
  // With the keyboard alone: the last message, its menu, the first reaction.
  await alice.evaluate("document.getElementById('scroller').focus()");
  await alice.press("ArrowUp");
  await alice.press("Enter");
  await alice.until("the menu", "document.activeElement?.getAttribute('role') === 'menuitem'");
  await alice.press("Enter");
  await bob.until("the reaction", "document.querySelector('.mine .reactions button')");

  const operator = await browser.open(`${control}/`);
  await operator.until("that the gateway is ready", shows("#state", "Ready"));
  await operator.until("two sessions", "document.querySelector('#now dd')?.textContent === '2'");
  await operator.evaluate("document.querySelector('#find .primary').click()");
  await operator.until("both of them in the list", shows("#session-rows", "alice"));
  if (browser.problems.length > 0) throw new Error(browser.problems.join("\n"));
}

const browser = new Browser();
await browser.start();
try {
  await play(browser);
} finally {
  await browser.end();
}
