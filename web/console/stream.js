/** The admin API: requests with the token, and the numbers of each second. */

import * as tab from "/shared/tab.js";

/** How long the page waits for the numbers of a second, in milliseconds. */
const SILENCE_MS = 5_000;

/** The ends of the ranges of waits between attempts, in milliseconds. */
const FIRST_MS = 500;
const LAST_MS = 5_000;

/** An answer that is an error. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export class Admin {
  token = tab.read("admin token") ?? "";

  keep(token) {
    this.token = token;
    tab.write("admin token", token);
  }

  async ask(path, options = {}) {
    const headers = { ...options.headers };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    const answer = await fetch(`/admin/v1/${path}`, { ...options, headers });
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, problem.detail ?? `status ${answer.status}`);
  }

  async get(path) {
    return (await this.ask(path)).json();
  }

  async post(path, body) {
    const headers = { "Content-Type": "application/json" };
    return (await this.ask(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
  }

  /** Calls `second` with the numbers of each second, and `lost` when they do not come. Ends if the gateway refuses. */
  async follow(second, lost) {
    for (let end = FIRST_MS; ; end = Math.min(2 * end, LAST_MS)) {
      try {
        await this.#read((numbers) => {
          end = FIRST_MS;
          second(numbers);
        });
        lost("the stream ended");
      } catch (error) {
        if (error instanceof Refused && error.status < 429) throw error;
        // Browsers say it in words of their own, as in "Failed to fetch".
        lost(error instanceof TypeError ? "the gateway cannot be reached" : error.message);
      }
      await new Promise((resolve) => setTimeout(resolve, end * Math.random()));
    }
  }

  async #read(second) {
    const ended = new AbortController();
    let timer;
    const expect = () => {
      clearTimeout(timer);
      timer = setTimeout(() => ended.abort(new Error("the gateway is silent")), SILENCE_MS);
    };
    expect();
    try {
      const answer = await this.ask("events", { signal: ended.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        expect();
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          const data = event.split("\n").filter((line) => line.startsWith("data:"));
          if (data.length > 0) second(JSON.parse(data.map((line) => line.slice(5)).join("\n")));
        }
      }
    } finally {
      clearTimeout(timer);
      ended.abort();
    }
  }
}
