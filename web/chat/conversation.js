/** One conversation of the page: its messages as they are now, and what the page knows besides. */

import { Timeline } from "/client.js";

/** The most messages outside of the loaded ones that stay known since others quote them. */
const QUOTED = 200;

export class Conversation extends Timeline {
  constructor(id, me) {
    super(id);
    this.id = id;
    this.isGroup = id.startsWith("g:");
    const pair = id.slice(2).split(":");
    /** The other user, or the name of the group. */
    this.peer = this.isGroup ? id.slice(2) : pair.find((user) => user !== me) ?? me;
    this.title = this.peer;
    this.members = this.isGroup ? undefined : 2;
    /** The newest message alone, also while no others are loaded. */
    this.head = new Timeline(id);
    /** The message up to which `unread` and `mentions` count. */
    this.counted = 0;
    /** Own messages without an answer, in the order in which they were written. */
    this.waiting = [];
    /** New texts of own messages without an answer, by sequence. */
    this.edits = new Map();
    this.unread = 0;
    /** The unread messages that mention the user. */
    this.mentions = 0;
    this.read = 0;
    /** Where the first unread message was when the conversation was opened. */
    this.fresh = undefined;
    /** The user's own settings. */
    this.settings = { muted_until: 0, pinned: false, archived: false };
    /** Of a group: its pinned messages, the role of the user, and whether only admins may write. */
    this.pins = [];
    this.role = "member";
    this.isForAdmins = false;
    /** Quoted messages that are not loaded, by sequence; null for those that are not to be had. */
    this.quoted = new Map();
    this.asked = new Set();
    /** Who is writing, with the timer that ends it. */
    this.typing = new Map();
    this.hasEarlier = true;
    this.state = "new";
    /** The page of messages that was asked for last. */
    this.loading = undefined;
    this.isLeft = false;
    /** What one was writing here, in the form of `Compose.draft`. */
    this.draft = undefined;
    /** Whom a message may mention, as it was asked last. A draft keeps them for the time when it is sent. */
    this.names = [];
    /** Whether messages far above the end are being fetched to get to one. */
    this.isReached = false;
  }

  get target() {
    return this.isGroup ? { group: this.peer } : { user: this.peer };
  }

  get last() {
    return this.head.messages[0];
  }

  /** Whether its messages are not to be noticed for now. */
  get isQuiet() {
    return this.settings.muted_until > Date.now();
  }

  /** Whether the user may change the group and pin messages. */
  get isAdmin() {
    return this.isGroup && this.role !== "member";
  }

  get mayWrite() {
    return !this.isLeft && (!this.isForAdmins || this.isAdmin);
  }

  /** Returns whether all messages from one to another are loaded. */
  hasAll(first, last) {
    const isFromFirst = !this.hasEarlier || this.messages[0]?.seq <= first;
    return this.state === "ready" && isFromFirst && this.messages.at(-1)?.seq >= last;
  }

  fate(seq) {
    return super.fate(seq, this.members ?? 2);
  }

  /** Remembers a message that others quote. */
  quote(seq, message) {
    this.quoted.delete(seq);
    this.quoted.set(seq, message);
    if (this.quoted.size <= QUOTED) return;
    const [oldest] = this.quoted.keys();
    this.quoted.delete(oldest);
    this.asked.delete(oldest);
  }

  clear() {
    super.clear();
    this.head.clear();
    this.counted = 0;
    this.quoted.clear();
    this.asked.clear();
  }
}
