// Chromium, spoken to by the DevTools protocol.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const LIMIT_MS = 60_000;
const WebSocket = globalThis.WebSocket ?? createRequire(import.meta.url)("ws");
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A browser that is spoken to by the DevTools protocol. */
export class Browser {
  #folder = mkdtempSync(join(tmpdir(), "trunkline-browser-"));
  #program;
  #process;
  #socket;
  #id = 0;
  #waiting = new Map();
  #listeners = new Set();
  problems = [];

  constructor(program) {
    this.#program = program;
  }

  async start() {
    const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"];
    this.#process = spawn(this.#program, [...flags, `--user-data-dir=${this.#folder}`, "--remote-debugging-port=0", "about:blank"], { stdio: ["ignore", "ignore", "pipe"] });
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
      const { id, result, error, method, params, sessionId } = JSON.parse(data);
      for (const listener of this.#listeners) if (method) listener(method, params, sessionId);
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

  /** Calls `listener` for each event. Returns a function that ends this. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Opens a page in a profile of its own, in a window of a size, and with a preference for light or dark colours if there is one.
   * `isWatched`: whether errors of the page become problems, which costs it time.
   */
  async open(url, { width, height, dark, isWatched = true } = {}) {
    const { browserContextId } = await this.ask("Target.createBrowserContext");
    const { targetId } = await this.ask("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.ask("Target.attachToTarget", { targetId, flatten: true });
    for (const domain of isWatched ? ["Runtime", "Log", "Page"] : ["Page"]) await this.ask(`${domain}.enable`, {}, sessionId);
    const tab = new Tab(this, sessionId, browserContextId);
    if (width !== undefined) await tab.resize(width, height);
    if (dark !== undefined) await tab.dress(dark);
    await tab.go(url);
    return tab;
  }

  async end() {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await ended;
    // Other processes of the browser may still write to the folder for a moment.
    for (let tries = 200; tries > 0; tries--) {
      try {
        return rmSync(this.#folder, { recursive: true, force: true });
      } catch {
        await sleep(100);
      }
    }
  }
}

export class Tab {
  #browser;
  #session;
  #context;

  constructor(browser, session, context) {
    this.#browser = browser;
    this.#session = session;
    this.#context = context;
  }

  ask(method, params) {
    return this.#browser.ask(method, params, this.#session);
  }

  go(url) {
    return this.ask("Page.navigate", { url });
  }

  resize(width, height) {
    return this.ask("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
  }

  /** Prefers dark colours, or light ones. */
  dress(dark) {
    return this.ask("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
  }

  /** Returns the value of an expression, which may be a promise. */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.ask("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(`${exceptionDetails.exception?.description ?? exceptionDetails.text} in ${expression.slice(0, 200)}`);
    return result.value;
  }

  /** Returns a picture of the page, as PNG. */
  async picture() {
    const { data } = await this.ask("Page.captureScreenshot", { format: "png" });
    return Buffer.from(data, "base64");
  }

  close() {
    return this.#browser.ask("Target.disposeBrowserContext", { browserContextId: this.#context });
  }

  async until(what, expression) {
    for (const end = performance.now() + LIMIT_MS; !(await this.evaluate(expression).catch(() => false)); await sleep(50)) {
      // What is not there yet may throw.
      if (performance.now() < end) continue;
      const text = await this.evaluate("document.body.innerText");
      throw new Error(`it never came: ${what}. ${this.#browser.problems.join("; ")} The page shows: ${text}`);
    }
  }

  type(text) {
    return this.ask("Input.insertText", { text });
  }

  async press(key, modifiers = 0) {
    for (const type of ["keyDown", "keyUp"]) {
      const text = key === "Enter" && type === "keyDown" ? "\r" : undefined;
      const code = { Enter: 13, Tab: 9, Backspace: 8, Escape: 27, End: 35, Home: 36, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40 }[key] ?? key.toUpperCase().charCodeAt(0);
      await this.ask("Input.dispatchKeyEvent", { type, key, text, modifiers, windowsVirtualKeyCode: code });
    }
  }
}
