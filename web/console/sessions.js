/** Sessions of a user, or of all, and ending them. */

import { byId, el, sure } from "/shared/dom.js";
import { bytes } from "./format.js";
import { Refused } from "./stream.js";

const LIMIT = 50;

export class Sessions {
  #admin;
  #asked = {};
  #after;
  /** The number of the newest question. Answers to others are not shown. */
  #question = 0;

  constructor(admin) {
    this.#admin = admin;
    byId("find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#asked = { user: byId("user").value.trim(), namespace: byId("namespace").value.trim() };
      this.#find();
    });
    byId("more-sessions").addEventListener("click", () => this.#page());
    byId("end-all").addEventListener("click", () => {
      const { user, namespace } = this.#asked;
      this.#end(`Disconnect all sessions of ${user}?`, { user, namespace });
    });
  }

  #say(text) {
    byId("sessions-state").textContent = text;
  }

  async #find() {
    byId("session-rows").replaceChildren();
    byId("sessions").hidden = byId("more-sessions").hidden = true;
    this.#after = undefined;
    byId("end-all").disabled = !this.#asked.user;
    await this.#page();
  }

  /** Asks for the next sessions. A later question takes the place of this one. */
  async #page() {
    const question = ++this.#question;
    const { user, namespace } = this.#asked;
    const query = new URLSearchParams({ limit: LIMIT });
    if (user) query.set("user", user);
    if (namespace) query.set("namespace", namespace);
    if (this.#after) query.set("after", this.#after);
    try {
      const { sessions, after } = await this.#admin.get(`sessions?${query}`);
      if (question !== this.#question) return;
      byId("session-rows").append(...sessions.map((session) => this.#row(session)));
      this.#after = after;
    } catch (error) {
      if (question === this.#question) this.#say(`The sessions cannot be listed: ${error.message}`);
      return;
    }
    const count = byId("session-rows").children.length;
    byId("sessions").hidden = count === 0;
    byId("more-sessions").hidden = !this.#after;
    this.#say(count === 0 ? `No sessions${user ? ` of ${user}` : ""}.` : `${count} ${count === 1 ? "session" : "sessions"}${this.#after ? ", and there are more" : ""}.`);
  }

  #row({ session, namespace, user, device, address, form, catching_up: isBehind, waiting_bytes: waiting }) {
    const name = namespace ? `${user} in ${namespace}` : user;
    return el("tr", {},
      el("td", {}, name),
      el("td", {}, device),
      el("td", {}, address),
      el("td", {}, isBehind ? `${form}, catching up` : form),
      el("td", { class: "number" }, bytes(waiting)),
      el("td", {}, session),
      el("td", {}, el("button", {
        type: "button", class: "danger", "aria-label": `Disconnect ${name} on ${device}`, onclick: () => this.#end(`Disconnect ${name} on ${device}?`, { session }),
      }, "Disconnect")));
  }

  async #end(question, what) {
    if (!(await sure(question, "Disconnect"))) return;
    try {
      const { closed } = await this.#admin.post("disconnect", what);
      await this.#find();
      this.#say(`${closed} ${closed === 1 ? "session" : "sessions"} ended. A client with a good token can connect again.`);
    } catch (error) {
      // Without an answer nobody knows what was done.
      const isKnown = error instanceof Refused && error.status < 500;
      this.#say(isKnown ? `Nothing was ended: ${error.message}` : `No answer came, so sessions may have ended or not. Find them again. (${error.message})`);
    }
  }
}
