/** What one was writing, kept in this tab: over a reload, and until its user signs in again. */

import * as tab from "/shared/tab.js";

/** The most conversations of which a reload keeps what one was writing. The newest stay. */
const KEPT = 100;

/** Returns whether there is something to keep. */
const isSome = (draft) => Boolean(draft?.text || draft?.about);

export class Drafts {
  #name;

  /** @param {string} user whose drafts these are @param {string} [namespace] that of the user */
  constructor(user, namespace) {
    this.#name = `drafts ${namespace ? `${user} ${namespace}` : user}`;
  }

  /** Returns the drafts, each with the name of its conversation. */
  all() {
    return JSON.parse(tab.read(this.#name) ?? "[]");
  }

  /** Keeps those of some conversations, the newest first, and no others. */
  keep(conversations) {
    const drafts = conversations.filter(({ draft }) => isSome(draft)).map(({ id, draft }) => [id, draft]);
    tab.write(this.#name, drafts.length > 0 ? JSON.stringify(drafts.slice(0, KEPT)) : undefined);
  }
}
