// A line between a page and its gateway that tests cut: HTTP goes on, sessions end and cannot begin.
import { connect, createServer } from "node:net";

export class Line {
  #server = createServer((socket) => this.#take(socket));
  #ports;
  #sessions = new Set();
  /** For each session, what ends that the gateway hears it. */
  #deafens = new Set();
  #isCut = false;

  /** @param {{pages: string, url: string}} gateway where its pages and its WebSockets are */
  constructor({ pages, url }) {
    this.#ports = { pages: Number(new URL(pages).port), sessions: Number(new URL(url).port) };
  }

  /** Where pages are that talk through this line. */
  get pages() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  async start() {
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  cut() {
    this.#isCut = true;
    for (const socket of this.#sessions) socket.destroy();
  }

  /** The gateway hears nothing more of the sessions that there are. They still hear it. */
  hold() {
    for (const deafen of this.#deafens) deafen();
  }

  mend() {
    this.#isCut = false;
  }

  end() {
    this.cut();
    this.#server.close();
  }

  #take(socket) {
    socket.on("error", () => {});
    socket.once("data", (head) => {
      const isSession = head.toString("latin1").startsWith("GET /v1/ws");
      if (isSession && this.#isCut) return socket.destroy();
      const other = connect(isSession ? this.#ports.sessions : this.#ports.pages, "127.0.0.1");
      other.write(head);
      socket.pipe(other).pipe(socket);
      const deafen = () => socket.unpipe(other).resume();
      if (isSession) this.#deafens.add(deafen);
      for (const [one, peer] of [[socket, other], [other, socket]]) {
        one.on("error", () => {});
        one.once("close", () => {
          this.#sessions.delete(one);
          this.#deafens.delete(deafen);
          peer.destroy();
        });
        if (isSession) this.#sessions.add(one);
      }
    });
  }
}
