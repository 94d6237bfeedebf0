// A real gateway that tests kill and start again. TRUNKLINE_BIN names the program.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const PROGRAM = process.env.TRUNKLINE_BIN;

/** The WebSocket of Node.js 22, or the package ws, which NODE_PATH leads to. */
export const WebSocket = globalThis.WebSocket ?? createRequire(import.meta.url)("ws");

export class Gateway {
  #flags;
  #data = mkdtempSync(join(tmpdir(), "trunkline-js-"));
  #process;
  #listen = "127.0.0.1:0";

  constructor(flags = []) {
    this.#flags = flags;
  }

  get url() {
    return `ws://${this.#listen}/v1/ws`;
  }

  /** Starts on the address of before. Resolves when clients can connect. */
  async start() {
    const flags = ["serve", "--dev-auth", "--http=off", "--control=127.0.0.1:0", `--listen=${this.#listen}`, `--data=${this.#data}`, ...this.#flags];
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith("TRUNKLINE_"));
    this.#process = spawn(PROGRAM, flags, { stdio: ["ignore", "pipe", "ignore"], env: Object.fromEntries(environment) });
    for await (const line of createInterface({ input: this.#process.stdout })) {
      const ready = /^ready ws=ws:\/\/([^/]+)\//.exec(line);
      if (!ready) continue;
      this.#listen = ready[1];
      return this;
    }
    throw new Error("the gateway ended before it was ready");
  }

  /** Ends the process and waits for its end. */
  async end(signal) {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill(signal);
    await ended;
  }

  async remove() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) await this.end("SIGKILL");
    rmSync(this.#data, { recursive: true });
  }
}

/** Waits until something holds. */
export async function until(what, holds, limit = 60_000) {
  const end = performance.now() + limit;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`it never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
