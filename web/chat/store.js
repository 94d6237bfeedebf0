/** What the page knows: conversations and their messages. It applies events, asks for what is missing, and tells who listens. */

import { conversationOf, randomKey } from "/client.js";

/** The messages of a page of history. */
const PAGE = 100;

/** The most messages that stay loaded of a conversation whose end is shown, and of one that is not shown. */
const KEPT = 1_000;
const KEPT_UNSEEN = 200;

/** The time after which somebody who writes has stopped, in milliseconds. */
const TYPING_MS = 6_000;

/** The most users whose presence is asked for. */
const WATCHED = 500;

/** One conversation. Its messages are in the order of their sequences. */
class Conversation {
  constructor(id, me) {
    this.id = id;
    this.isGroup = id.startsWith("g:");
    const pair = id.slice(2).split(":");
    /** The other user, or the name of the group. */
    this.peer = this.isGroup ? id.slice(2) : pair.find((user) => user !== me) ?? me;
    this.title = this.peer;
    this.members = this.isGroup ? undefined : 2;
    this.messages = [];
    /** Own messages without an answer, in the order in which they were written. */
    this.waiting = [];
    this.last = undefined;
    this.unread = 0;
    this.read = 0;
    /** Where the first unread message was when the conversation was opened. */
    this.fresh = undefined;
    /** How far others have come: `{delivered, read}` by user. */
    this.marks = new Map();
    this.typing = new Map();
    this.hasEarlier = true;
    this.state = "new";
    this.isLeft = false;
    this.draft = "";
  }

  get target() {
    return this.isGroup ? { group: this.peer } : { user: this.peer };
  }

  /** Returns the place of a sequence: where it is, or would be. */
  place(seq) {
    let [low, high] = [0, this.messages.length];
    // Nearly always it is the newest one.
    if (high > 0 && this.messages[high - 1].seq < seq) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.messages[middle].seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  at(seq) {
    const found = this.messages[this.place(seq)];
    return found?.seq === seq ? found : undefined;
  }

  put(message) {
    const place = this.place(message.seq);
    const isThere = this.messages[place]?.seq === message.seq;
    this.messages.splice(place, isThere ? 1 : 0, message);
    return !isThere;
  }

  /** Returns how far an own message has come: `sent`, `delivered` or `read`, by all others. */
  fate(seq) {
    const others = Math.max((this.members ?? 2) - 1, 1);
    let [delivered, read] = [0, 0];
    for (const marks of this.marks.values()) {
      if (marks.delivered >= seq) delivered++;
      if (marks.read >= seq) read++;
    }
    return { state: read >= others ? "read" : delivered >= others ? "delivered" : "sent", delivered, read, others };
  }
}

export class Store extends EventTarget {
  constructor(client, outbox) {
    super();
    this.client = client;
    this.outbox = outbox;
    this.all = new Map();
    this.presence = new Map();
    this.shown = undefined;
    const on = (event, work) => client.on(event, work);
    on("connected", () => this.load());
    on("message", (message) => this.#arrived(message));
    on("receipt", (receipt) => this.#receipt(receipt));
    for (const event of ["edit", "recall", "delete", "reaction"]) on(event, (value) => this.apply(event, value));
    on("group", (change) => this.#group(change));
    on("typing", (typing) => this.#typing(typing));
    on("presence", (presence) => this.#present(presence));
    on("reset", () => this.#reset());
  }

  get me() {
    return this.client.user;
  }

  get unread() {
    let unread = 0;
    for (const one of this.all.values()) unread += one.unread > 0 ? 1 : 0;
    return unread;
  }

  /** Returns the conversations, the one with the newest message first. */
  sorted() {
    const time = (one) => one.waiting.at(-1)?.time ?? one.last?.time ?? one.begun ?? 0;
    return [...this.all.values()].sort((a, b) => time(b) - time(a));
  }

  of(id) {
    if (!this.all.has(id)) this.all.set(id, new Conversation(id, this.me));
    return this.all.get(id);
  }

  /** Begins a conversation with a user, or shows the one that there is. */
  with(user) {
    const one = this.of(conversationOf(this.me, user));
    one.begun ??= Date.now();
    this.#watch([user]);
    this.#changed(one);
    return one;
  }

  /** Shows a conversation, and loads its newest messages. */
  async show(one) {
    this.shown = one;
    if (!one) return;
    one.fresh = one.unread > 0 ? one.read : undefined;
    if (one.state === "new" || one.state === "failed") await this.#first(one);
    this.#changed(one);
  }

  /** Loads earlier messages. */
  async earlier(one) {
    if (one.state !== "ready" || !one.hasEarlier || one.messages.length === 0) return;
    one.state = "loading";
    try {
      const page = await this.client.history({ conversation: one.id, before: one.messages[0].seq, limit: PAGE });
      for (const message of page.messages) one.put(message);
      one.hasEarlier = page.more;
      one.state = "ready";
    } catch (error) {
      one.state = "ready";
      one.hasEarlier = error.temporary;
    }
    this.#changed(one);
  }

  /** Forgets messages above the end, which is what is shown. */
  trim(one) {
    if (one.state !== "ready" || one.messages.length <= KEPT + PAGE) return false;
    one.messages.splice(0, one.messages.length - KEPT);
    one.hasEarlier = true;
    return true;
  }

  /** Marks as read what is shown. */
  seen(one) {
    const seq = one.last?.seq ?? 0;
    if (seq > one.read) {
      one.read = seq;
      this.client.ack(one.id, { read: seq });
    }
    if (one.unread > 0) {
      one.unread = 0;
      this.#changed(one);
    }
  }

  /** Sends a message. It is shown at once, and says what became of it. */
  send(one, content) {
    const item = { key: randomKey(), from: this.me, time: Date.now(), state: "sending", ...content };
    one.waiting.push(item);
    this.#post(one, item);
  }

  again(one, item) {
    Object.assign(item, { state: "sending", error: undefined });
    this.#post(one, item);
  }

  drop(one, item) {
    one.waiting.splice(one.waiting.indexOf(item), 1);
    this.outbox.done(item.key);
    this.#changed(one);
  }

  /** Sends again what an earlier life of this page had no answer to. */
  resume() {
    for (const { conversation, key, text, time } of this.outbox.all()) {
      const one = this.of(conversation);
      const item = { key, from: this.me, time, state: "sending", text };
      one.waiting.push(item);
      this.#post(one, item);
    }
  }

  async #post(one, item) {
    if (item.file === undefined) this.outbox.add({ conversation: one.id, key: item.key, text: item.text, time: item.time });
    this.#changed(one);
    try {
      if (item.file && !item.media) item.media = await item.upload(item.file);
      const { key, text, media } = item;
      const { conversation, seq, time } = await this.client.send({ ...one.target, key, text, media });
      const sent = this.of(conversation);
      const message = { conversation, seq, from: this.me, key, time, text, media, preview: item.preview };
      one.waiting.splice(one.waiting.indexOf(item), 1);
      this.outbox.done(key);
      if (sent.state === "ready" || sent.state === "loading") sent.put(message);
      else if (sent.state === "new" && sent.last === undefined) {
        sent.put(message);
        Object.assign(sent, { state: "ready", hasEarlier: false });
      }
      this.#newest(sent, message);
      this.#changed(sent);
    } catch (error) {
      // A closed client sends again when the page comes back.
      if (error.kind === "closed") return;
      Object.assign(item, { state: "failed", error: error.message });
      this.outbox.done(item.key);
      this.#changed(one);
    }
  }

  #changed(one) {
    this.dispatchEvent(new CustomEvent("changed", { detail: one }));
  }

  /** Applies what became of a message. The session that asked for it gets no event. */
  apply(event, value) {
    const { conversation, seq } = value;
    const gone = { text: undefined, media: undefined, preview: undefined };
    if (event === "reaction") this.#reacted(value);
    else if (event === "edit") this.#edited(value);
    else if (event === "recall") this.#replace(conversation, seq, { ...gone, recalled: true, reactions: undefined });
    else this.#replace(conversation, seq, { ...gone, deleted: true });
  }

  /** Loads the conversations. */
  async load() {
    try {
      let after;
      for (let page; !page || (page.more && this.all.size < WATCHED); after = page.cursor) {
        page = await this.client.conversations({ after, limit: PAGE });
        for (const { conversation, last, read, unread, members, name } of page.conversations) {
          const one = this.of(conversation);
          Object.assign(one, { read: Math.max(read, one.read), members: members ?? one.members, isLeft: false });
          one.unread = one === this.shown && !document.hidden ? 0 : unread;
          if (last) this.#newest(one, last);
          if (name) one.title = name;
          else if (one.isGroup && one.title === one.peer) this.#name(one);
        }
      }
      this.#watch([...this.all.values()].filter((one) => !one.isGroup).map((one) => one.peer));
      this.isLoaded = true;
      this.dispatchEvent(new Event("loaded"));
      if (this.shown?.state === "failed") await this.show(this.shown);
    } catch (error) {
      // The next session loads them.
      if (error.kind !== "connection_lost" && error.kind !== "closed") this.dispatchEvent(new CustomEvent("failed", { detail: error }));
    }
  }

  async #name(one) {
    try {
      const { name, count } = await this.client.groupInfo({ group: one.peer, limit: 1 });
      Object.assign(one, { title: name || one.peer, members: count, isLeft: false });
    } catch (error) {
      one.isLeft = error.code === 103;
    }
    this.#changed(one);
  }

  #watch(users) {
    const watch = users.filter((user) => !this.presence.has(user) && user !== this.me).slice(0, WATCHED - this.presence.size);
    if (watch.length === 0) return;
    for (const user of watch) this.presence.set(user, { user, online: false });
    this.client.presence({ watch }).then(
      ({ users }) => users.forEach((user) => this.#present(user)),
      () => {},
    );
  }

  async #first(one) {
    one.state = "loading";
    this.#changed(one);
    try {
      const page = await this.client.history({ conversation: one.id, limit: PAGE });
      for (const message of page.messages) one.put(message);
      Object.assign(one, { hasEarlier: page.more, state: "ready" });
      const last = page.messages.at(-1);
      if (last) this.#newest(one, last);
    } catch (error) {
      // 102: nobody has written yet.
      Object.assign(one, error.code === 102 ? { state: "ready", hasEarlier: false } : { state: "failed", error: error.message });
    }
    this.#changed(one);
    if (one.state === "ready" && one.messages.length > 0) this.#fates(one);
  }

  /** Asks how far the messages of the page have come. */
  async #fates(one) {
    const own = one.messages.find(({ from, recalled }) => from === this.me && !recalled);
    if (!own) return;
    for (const state of ["delivered", "read"]) {
      const { users, counts } = await this.client.receipts({ conversation: one.id, seq: own.seq, state }).catch(() => ({ users: [] }));
      for (const { user, seq } of users) this.#mark(one, user, { [state]: seq });
      if (counts && one.isGroup) one.members ??= counts.members + 1;
    }
    this.#changed(one);
  }

  #mark(one, user, { delivered = 0, read = 0 }) {
    const before = one.marks.get(user) ?? { delivered: 0, read: 0 };
    one.marks.set(user, { delivered: Math.max(before.delivered, delivered, read), read: Math.max(before.read, read) });
  }

  #newest(one, message) {
    if (!one.last || message.seq >= one.last.seq) one.last = message;
  }

  #arrived(message) {
    const isNew = !this.all.has(message.conversation);
    const one = this.of(message.conversation);
    if (one.state === "ready" || one.state === "loading") one.put(message);
    this.#newest(one, message);
    one.typing.delete(message.from);
    if (message.from !== this.me && message.seq > one.read) one.unread++;
    if (one !== this.shown && one.messages.length > 2 * KEPT_UNSEEN) {
      one.messages.splice(0, one.messages.length - KEPT_UNSEEN);
      one.hasEarlier = true;
    }
    if (isNew && one.isGroup) this.#name(one);
    if (isNew && !one.isGroup) this.#watch([one.peer]);
    this.dispatchEvent(new CustomEvent("arrived", { detail: { one, message } }));
    this.#changed(one);
  }

  #receipt({ conversation, user, delivered, read }) {
    const one = this.of(conversation);
    if (user !== this.me) this.#mark(one, user, { delivered, read });
    else if (read > one.read) {
      one.read = read;
      // Another device of this user has read.
      if (read >= (one.last?.seq ?? 0)) one.unread = 0;
    }
    this.#changed(one);
  }

  #replace(conversation, seq, fields) {
    const one = this.all.get(conversation);
    const message = one?.at(seq);
    if (message) one.put({ ...message, ...fields });
    if (one?.last?.seq === seq) one.last = { ...one.last, ...fields };
    if (one) this.#changed(one);
  }

  /** Puts a message in the place of its former content. Its reactions stay. */
  #edited(message) {
    const before = this.all.get(message.conversation)?.at(message.seq);
    if (before?.deleted || before?.recalled) return;
    this.#replace(message.conversation, message.seq, { ...message, media: message.media, text: message.text, preview: undefined });
  }

  #reacted({ conversation, seq, user, reaction, removed }) {
    const message = this.all.get(conversation)?.at(seq);
    if (!message || message.recalled) return;
    const reactions = (message.reactions ?? []).map((one) => ({ ...one, users: [...one.users] }));
    let found = reactions.find((one) => one.reaction === reaction);
    if (!found && !removed) reactions.push((found = { reaction, users: [], count: 0 }));
    const has = found?.users.includes(user);
    if (removed && has) found.users.splice(found.users.indexOf(user), 1);
    if (!removed && !has) found?.users.push(user);
    if (found && removed === Boolean(has)) found.count += removed ? -1 : 1;
    this.#replace(conversation, seq, { reactions: reactions.filter(({ count }) => count > 0) });
  }

  #group({ conversation, change, by, members, name }) {
    const one = this.of(conversation);
    one.begun ??= Date.now();
    if (name) one.title = name;
    one.isLeft = (change === "removed" || change === "left") && members.includes(this.me);
    this.dispatchEvent(new CustomEvent("group", { detail: { one, change, by, members, name } }));
    if (!one.isLeft) this.#name(one);
    this.#changed(one);
  }

  #typing({ conversation, user }) {
    const one = this.all.get(conversation);
    if (!one || user === this.me) return;
    const end = () => {
      if (Date.now() - one.typing.get(user) < TYPING_MS - 50) return;
      one.typing.delete(user);
      this.#changed(one);
    };
    one.typing.set(user, Date.now());
    setTimeout(end, TYPING_MS);
    this.#changed(one);
  }

  #present(presence) {
    this.presence.set(presence.user, presence);
    this.dispatchEvent(new CustomEvent("presence", { detail: presence }));
  }

  /** The store of the gateway is another one: everything is loaded anew. */
  #reset() {
    for (const one of this.all.values()) {
      Object.assign(one, { messages: [], last: undefined, unread: 0, read: 0, state: "new", hasEarlier: true });
      one.marks.clear();
    }
    if (this.shown) this.shown.state = "failed";
  }
}
