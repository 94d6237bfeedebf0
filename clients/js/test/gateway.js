// A real gateway that tests kill and start again. TRUNKLINE_BIN names the program.
import { execFile, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

export const PROGRAM = process.env.TRUNKLINE_BIN;

/** The WebSocket of Node.js 22, or the package ws, which NODE_PATH leads to. */
export const WebSocket = globalThis.WebSocket ?? createRequire(import.meta.url)("ws");

/** The secret of the tokens. */
const SECRET = "a secret of at least 32 bytes for tests";

/** Returns a token for a user that expires in some seconds. */
export function token(user, seconds) {
  const now = Date.now() / 1_000;
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ sub: user, iat: Math.floor(now), exp: now + seconds })}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

export class Gateway {
  #folder = mkdtempSync(join(tmpdir(), "trunkline-js-"));
  #auth;
  #process;
  #listen = "127.0.0.1:0";
  #control = "127.0.0.1:0";
  #http;
  #flags;

  /**
   * A gateway in development mode, or with `hasTokens` one that asks for tokens. With `hasPages` it has the client API and the chat
   * page. `flags` are further ones.
   */
  constructor({ hasTokens = false, hasPages = false, flags = [] } = {}) {
    this.#http = hasPages ? "127.0.0.1:0" : "off";
    this.#flags = flags;
    const key = join(this.#folder, "secret.key");
    if (hasTokens) writeFileSync(key, SECRET);
    this.#auth = hasTokens ? [`--jwt-key=${key}`, "--jwt-algorithm=HS256"] : ["--dev-auth"];
  }

  get url() {
    return `ws://${this.#listen}/v1/ws`;
  }

  /** The address of the chat page. */
  get pages() {
    return `http://${this.#http}`;
  }

  /** The address of the console. */
  get control() {
    return `http://${this.#control}`;
  }

  get #data() {
    return join(this.#folder, "data");
  }

  /** Starts on the address of before. Resolves when clients can connect. */
  async start() {
    const flags = ["serve", ...this.#auth, ...this.#flags, `--http=${this.#http}`, `--control=${this.#control}`, `--listen=${this.#listen}`, `--data=${this.#data}`];
    this.#process = spawn(PROGRAM, flags, { stdio: ["ignore", "pipe", "ignore"], env: environment() });
    for await (const line of createInterface({ input: this.#process.stdout })) {
      const ready = /^ready ws=ws:\/\/([^/]+)\/.* control=http:\/\/([^/ ]+)(?:.* http=http:\/\/([^/ ]+))?/.exec(line);
      if (!ready) continue;
      [, this.#listen, this.#control, this.#http = "off"] = ready;
      return this;
    }
    throw new Error("the gateway ended before it was ready");
  }

  /** Makes a backup while the gateway runs. */
  async backUp() {
    const flags = ["store", "backup", `--data=${this.#data}`, `--control=${this.#control}`, join(this.#folder, "backup")];
    await promisify(execFile)(PROGRAM, flags, { env: environment() });
  }

  /** Puts the backup into the place of the store. The gateway has ended. */
  restore() {
    rmSync(this.#data, { recursive: true });
    cpSync(join(this.#folder, "backup"), this.#data, { recursive: true });
  }

  /** Ends the process and waits for its end. */
  async end(signal) {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill(signal);
    await ended;
  }

  async remove() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) await this.end("SIGKILL");
    rmSync(this.#folder, { recursive: true });
  }
}

/** The environment without settings of a gateway. */
const environment = () => Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TRUNKLINE_")));

/** Waits until something holds. */
export async function until(what, holds, limit = 60_000) {
  const end = performance.now() + limit;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`it never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
