/** What the page knows: conversations and their messages. It applies events, asks for what is missing, and tells who listens. */

import { conversationOf, randomKey } from "/client.js";
import { Conversation } from "./conversation.js";

/** The messages of a page of history. */
const PAGE = 100;

/** The most messages that stay loaded of a conversation whose end is shown, and of one that is not shown. */
const KEPT = 1_000;
const KEPT_UNSEEN = 200;

/** The most messages that are fetched to get to one far up, and how many at a time. */
const FAR = 5_000;
const FAR_PAGE = 500;

/** How often messages with a time to live are looked at, in milliseconds. */
const EXPIRY_MS = 1_000;

/** The most users whose presence is asked for. */
const WATCHED = 500;

/** How often a file is sent again to a gateway that takes messages, and the longest wait before that, in milliseconds. */
const UPLOADS = 8;
const UPLOAD_WAIT_MS = 5_000;

/** How long the page waits for others before it asks again how much is unread, in milliseconds. */
const RECOUNT_MS = 300;

/** The most unread messages that are known one by one while the list of conversations is on its way. Beyond it the page asks again. */
const NEWS = 2_000;

export class Store extends EventTarget {
  constructor(client, outbox) {
    super();
    this.client = client;
    this.outbox = outbox;
    this.all = new Map();
    this.presence = new Map();
    this.shown = undefined;
    /** Whether the user sees the end of the conversation that is shown. The page says it. */
    this.sees = () => false;
    /** The unread messages that came since the list of conversations was asked for; undefined while it is not, or if there were too many. */
    this.news = undefined;
    this.loads = 0;
    /** How far the clock of the gateway is ahead of that of this browser, in milliseconds. */
    this.ahead = 0;
    this.#setClock(client.session);
    const on = (event, work) => client.on(event, work);
    on("connected", (session) => {
      this.#setClock(session);
      this.load();
    });
    on("renewed", (session) => this.#setClock(session));
    on("message", (message) => this.#arrived(message));
    on("receipt", (receipt) => this.#receipt(receipt));
    for (const event of ["edit", "recall", "delete", "reaction"]) on(event, (value) => this.apply(event, value));
    on("group", (change) => this.#group(change));
    on("settings", (settings) => this.#settings(settings));
    on("typing", (typing) => this.#typing(typing));
    on("presence", (presence) => this.#present(presence));
    on("reset", () => this.#reset());
    setInterval(() => this.#expire(), EXPIRY_MS);
  }

  get me() {
    return this.client.user;
  }

  get unread() {
    let unread = 0;
    for (const one of this.all.values()) unread += one.unread > 0 && (!one.isQuiet || one.mentions > 0) ? 1 : 0;
    return unread;
  }

  /** Returns the conversations: those that the user pinned, then the ones with the newest messages. */
  sorted({ archived = false } = {}) {
    const time = (one) => one.waiting.at(-1)?.time ?? one.last?.time ?? one.begun ?? 0;
    const some = [...this.all.values()].filter((one) => one.settings.archived === archived || (!archived && one === this.shown));
    return some.sort((a, b) => b.settings.pinned - a.settings.pinned || time(b) - time(a));
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
    if (one.state === "new" || one.state === "failed") one.loading = this.#first(one);
    await one.loading;
    this.#changed(one);
  }

  /** Loads earlier messages. */
  async earlier(one, limit = PAGE) {
    if (one.state !== "ready" || !one.hasEarlier || one.messages.length === 0) return;
    one.state = "loading";
    one.loading = this.#load(one, { before: one.messages[0].seq, limit });
    await one.loading;
  }

  async #load(one, page) {
    try {
      const { messages, more } = await this.client.history({ conversation: one.id, ...page });
      for (const message of messages) one.put(message);
      Object.assign(one, { hasEarlier: more, state: "ready" });
    } catch (error) {
      Object.assign(one, { hasEarlier: error.temporary, state: "ready" });
    }
    this.#changed(one);
  }

  /** Forgets messages above the end, which is what is shown. */
  trim(one) {
    if (one.state !== "ready" || one.isReached || one.messages.length <= KEPT + PAGE) return false;
    one.keep(KEPT);
    one.hasEarlier = true;
    return true;
  }

  /** Loads messages up to one that is further up. Returns it; undefined if it is not to be had. */
  async reach(one, seq) {
    const first = () => one.messages[0]?.seq ?? Infinity;
    for (let fetched = 0; first() > seq && one.hasEarlier && fetched < FAR; fetched += FAR_PAGE) {
      await one.loading;
      if (one.state !== "ready") return undefined;
      await this.earlier(one, FAR_PAGE);
    }
    return one.at(seq);
  }

  /** Returns a message, also one that is not among the loaded ones: then it is fetched, and undefined until it is here. */
  look(one, seq) {
    const found = one.at(seq) ?? one.quoted.get(seq);
    if (found === undefined && !one.asked.has(seq)) {
      one.asked.add(seq);
      this.client.get({ conversation: one.id, seq }).then(({ message }) => message, () => null).then((message) => {
        one.quote(seq, message);
        this.#changed(one);
      });
    }
    return found;
  }

  /** Marks as read what is shown. */
  seen(one) {
    const seq = one.last?.seq ?? 0;
    if (seq > one.read) {
      one.read = seq;
      this.client.ack(one.id, { read: seq });
    }
    if (one.unread > 0 || one.mentions > 0) {
      one.unread = one.mentions = 0;
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
    item.discarded?.();
    this.#changed(one);
  }

  /** Sends again what an earlier life of this page had no answer to, and shows what failed then. */
  resume() {
    for (const { conversation, failed, ...content } of this.outbox.all()) {
      const one = this.of(conversation);
      const item = { ...content, from: this.me, state: failed === undefined ? "sending" : "failed", error: failed };
      one.waiting.push(item);
      if (failed === undefined) this.#post(one, item);
      else this.#changed(one);
    }
  }

  /** How many files are on their way. They are in the memory of this page alone. */
  get files() {
    return [...this.all.values()].flatMap(({ waiting }) => waiting).filter(({ file }) => file !== undefined).length;
  }

  /** Whether a reload would lose what one has sent. */
  get wouldLose() {
    return this.files > 0 || this.outbox.wouldLose;
  }

  /** Sends a file once the gateway is there. Returns the `media` of a message. */
  async #upload({ file, upload }) {
    for (let tries = 1; ; tries++) {
      await this.client.connected();
      try {
        return await upload(file);
      } catch (error) {
        if (!error.isTemporary || tries === UPLOADS) throw error;
        const wait = Math.random() * Math.min(100 * 2 ** tries, UPLOAD_WAIT_MS);
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  /** Keeps a text for the next life of the page. */
  #keep(one, { file, key, text, reply_to, mentions, time, error: failed }) {
    if (file === undefined) this.outbox.add({ conversation: one.id, key, text, reply_to, mentions, time, failed });
  }

  async #post(one, item) {
    const { key, text, reply_to, mentions } = item;
    this.#keep(one, item);
    this.#changed(one);
    try {
      if (item.file && !item.media) item.media = await this.#upload(item);
      const content = { key, text, media: item.media, reply_to, mentions };
      const { conversation, seq, time } = await this.client.send({ ...one.target, ...content });
      const sent = this.of(conversation);
      const message = { conversation, seq, from: this.me, time, ...content };
      item.sent?.(item.media);
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
      // The session is over, also if the gateway ended it: nobody knows what became of the message. It is sent again, with its key,
      // when this user is here again.
      if (this.client.state === "closed") return;
      Object.assign(item, { state: "failed", error: error.message });
      this.#keep(one, item);
      this.#changed(one);
    }
  }

  #changed(one) {
    this.dispatchEvent(new CustomEvent("changed", { detail: one }));
  }

  /** Applies what became of a message. The session that asked for it gets no event. */
  apply(kind, event) {
    const one = this.all.get(event.conversation);
    if (!one) return;
    one.apply(kind, event);
    one.head.apply(kind, event);
    const quoted = kind !== "reaction" && one.quoted.get(event.seq);
    if (quoted) one.quote(event.seq, kind === "edit" ? event : { ...quoted, text: undefined, media: undefined, recalled: true });
    if (kind === "recall") one.pins = one.pins.filter(({ seq }) => seq !== event.seq);
    this.#changed(one);
  }

  /** Gives an own message another text. It is shown at once. Rejects if the gateway does not take it. */
  async edit(one, message, text) {
    const { conversation, seq, media, meta } = message;
    one.edits.set(seq, text);
    this.#changed(one);
    try {
      await this.client.edit({ conversation, seq, text: text || undefined, media, meta });
      // Its time is that of the gateway.
      const { message: now } = await this.client.get({ conversation, seq });
      one.put(now);
      if (one.last?.seq === seq) one.head.put(now);
    } finally {
      if (one.edits.get(seq) === text) one.edits.delete(seq);
      this.#changed(one);
    }
  }

  /** Changes the user's own settings of a conversation. The session that does gets no event. */
  async set(one, settings) {
    await this.client.settings({ conversation: one.id, ...settings });
    Object.assign(one.settings, settings);
    this.#changed(one);
  }

  #settings({ conversation, muted_until, pinned, archived }) {
    const one = this.of(conversation);
    Object.assign(one.settings, { muted_until, pinned, archived });
    this.#changed(one);
  }

  /** Notes the time of the gateway, which has just said it. */
  #setClock(session) {
    if (session) this.ahead = session.time - Date.now();
  }

  /** Messages expire by the clock of the gateway. That of the browser may be wrong. */
  #expire() {
    const now = Date.now() + this.ahead;
    for (const one of this.all.values()) {
      const isOver = one.head.expire(now);
      if (one.expire(now) || isOver) this.#changed(one);
    }
  }

  /** Loads the conversations. */
  async load() {
    if (this.loads++ === 0) this.news = [];
    try {
      let after;
      for (let page; !page || (page.more && this.all.size < WATCHED); after = page.cursor) {
        page = await this.client.conversations({ after, limit: PAGE });
        for (const { conversation, last, read, unread, members, name, mentions = 0, ...settings } of page.conversations) {
          const one = this.of(conversation);
          const { muted_until = 0, pinned = false, archived = false } = settings;
          Object.assign(one.settings, { muted_until, pinned, archived });
          Object.assign(one, { members: members ?? one.members, isLeft: false });
          this.#count(one, { seq: last?.seq ?? 0, read, unread, mentions });
          if (last) this.#newest(one, last);
          if (name) one.title = name;
          else if (one.isGroup && one.title === one.peer) this.about(one);
        }
      }
      this.#watch([...this.all.values()].filter((one) => !one.isGroup).map((one) => one.peer));
      this.isLoaded = true;
      this.dispatchEvent(new Event("loaded"));
      if (this.shown?.state === "failed") await this.show(this.shown);
    } catch (error) {
      // The next session loads them.
      if (error.kind !== "connection_lost" && error.kind !== "closed") this.dispatchEvent(new CustomEvent("failed", { detail: error }));
    } finally {
      if (--this.loads === 0) {
        // There was too much news to know what the answers have of it.
        if (this.news === undefined) this.#askAgain();
        this.news = undefined;
      }
    }
  }

  /** Takes what the gateway counts as unread. `seq`: the newest message that it has counted. */
  #count(one, { seq, read, unread, mentions }) {
    // What this page has read meanwhile is on its way to the gateway.
    if (read < one.read) return;
    one.read = read;
    if (one === this.shown && this.sees()) unread = mentions = 0;
    else {
      // An answer may be older than messages that overtook it.
      const later = (this.news ?? []).filter((news) => news.one === one && news.seq > seq);
      unread += later.length;
      mentions += later.filter(({ isForMe }) => isForMe).length;
    }
    Object.assign(one, { unread, mentions, counted: Math.max(one.counted, seq) });
  }

  /** Asks what there is to know of a group: its title, rules and pinned messages, and the role of the user. */
  async about(one) {
    try {
      // The page of members begins shortly before the user.
      const { name, count, members, pins = [], send } = await this.client.groupInfo({ group: one.peer, after: this.me.slice(0, -1), limit: PAGE });
      const role = members.find(({ user }) => user === this.me)?.role ?? "member";
      Object.assign(one, { title: name || one.peer, members: count, isLeft: false, pins, role, isForAdmins: send === "admins" });
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
    if (one.isGroup) this.about(one);
    if (one.state === "ready" && one.messages.length > 0) this.#fates(one);
  }

  /** Asks how far the messages of the page have come. */
  async #fates(one) {
    const own = one.messages.find(({ from, recalled }) => from === this.me && !recalled);
    if (!own) return;
    for (const state of ["delivered", "read"]) {
      const { users, counts } = await this.client.receipts({ conversation: one.id, seq: own.seq, state }).catch(() => ({ users: [] }));
      for (const { user, seq } of users) one.mark(user, { [state]: seq });
      if (counts && one.isGroup) one.members ??= counts.members + 1;
    }
    this.#changed(one);
  }

  #newest(one, message) {
    one.head.put(message);
    one.head.keep(1);
  }

  #arrived(message) {
    const isNew = !this.all.has(message.conversation);
    const one = this.of(message.conversation);
    // What was missed may come behind the list of conversations, which has counted it already. A page of history and an own message
    // may be here before it too, and count nothing.
    const isNews = message.seq > one.counted;
    one.counted = Math.max(one.counted, message.seq);
    if (one.state === "ready" || one.state === "loading") one.put(message);
    this.#newest(one, message);
    one.typing.delete(message.from);
    if (isNews && message.from !== this.me && message.seq > one.read) {
      const isForMe = isFor(message, this.me);
      one.unread++;
      if (isForMe) one.mentions++;
      if (this.news?.push({ one, seq: message.seq, isForMe }) > NEWS) this.news = undefined;
    }
    if (one !== this.shown && one.messages.length > 2 * KEPT_UNSEEN) {
      one.keep(KEPT_UNSEEN);
      one.hasEarlier = true;
    }
    if (isNew && one.isGroup) this.about(one);
    if (isNew && !one.isGroup) this.#watch([one.peer]);
    this.dispatchEvent(new CustomEvent("arrived", { detail: { one, message } }));
    this.#changed(one);
  }

  #receipt({ conversation, user, delivered, read }) {
    const one = this.of(conversation);
    if (user !== this.me) one.mark(user, { delivered, read });
    else if (read > one.read) {
      one.read = read;
      // Another device of this user has read.
      this.#recount(one);
    }
    this.#changed(one);
  }

  /** Counts what is unread behind the new mark of the user: among the loaded messages, or by asking the gateway. */
  #recount(one) {
    if (one.read >= one.counted) {
      one.unread = one.mentions = 0;
    } else if (one.unread > 0 && one.hasAll(one.read + 1, one.counted)) {
      // Messages behind the counted ones count when they arrive.
      const unread = one.messages.filter(({ seq, from }) => seq > one.read && seq <= one.counted && from !== this.me);
      one.unread = unread.length;
      one.mentions = unread.filter((message) => isFor(message, this.me)).length;
    } else if (one.unread > 0) this.#askAgain();
  }

  #askAgain() {
    this.recounting ??= setTimeout(() => {
      this.recounting = undefined;
      this.load();
    }, RECOUNT_MS);
  }

  #group(event) {
    const { conversation, change, members, name } = event;
    const one = this.of(conversation);
    one.begun ??= Date.now();
    if (name) one.title = name;
    one.isLeft = (change === "removed" || change === "left") && members.includes(this.me);
    this.dispatchEvent(new CustomEvent("group", { detail: { ...event, one } }));
    if (!one.isLeft) this.about(one);
    this.#changed(one);
  }

  #typing({ conversation, user, stop, expires_ms }) {
    const one = this.all.get(conversation);
    if (!one || user === this.me) return;
    clearTimeout(one.typing.get(user));
    const end = () => {
      one.typing.delete(user);
      this.#changed(one);
    };
    if (stop) return end();
    one.typing.set(user, setTimeout(end, expires_ms));
    this.#changed(one);
  }

  #present(presence) {
    this.presence.set(presence.user, presence);
    this.dispatchEvent(new CustomEvent("presence", { detail: presence }));
  }

  /** The store of the gateway is another one: everything is loaded anew. */
  #reset() {
    for (const one of this.all.values()) {
      one.clear();
      Object.assign(one, { unread: 0, mentions: 0, read: 0, pins: [], state: "new", hasEarlier: true });
    }
    if (this.shown) this.shown.state = "failed";
  }
}

/** Returns whether a message mentions a user. */
export const isFor = ({ mentions }, user) => Boolean(mentions?.some((name) => name === user || name === "*"));
