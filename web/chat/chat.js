/** The page of a user who has signed in: what connects its parts. */

import { badge, byId, eachFrame, el, sentence, since, sure } from "/shared/dom.js";
import { Compose } from "./compose.js";
import { Conversations } from "./conversations.js";
import * as dialogs from "./dialogs.js";
import { Drafts } from "./drafts.js";
import { List } from "./list.js";
import { nameable } from "./mentions.js";
import { Menus } from "./menus.js";
import { Rows, isGone, rowsOf } from "./message.js";
import { Outbox } from "./outbox.js";
import * as people from "./people.js";
import { Pictures } from "./pictures.js";
import { Pins } from "./pins.js";
import { Store, isFor } from "./store.js";

/** How long a connection may be away before the page says so, in milliseconds. */
const PATIENCE_MS = 600;

/** The page of a user who has signed in. */
export class Chat {
  /** @param namespace that of the user, if there is one @param leave ends the session and asks who comes next */
  constructor(client, { namespace, pictures, leave }) {
    this.client = client;
    this.leave = leave;
    this.store = new Store(client, new Outbox(client.user, namespace));
    this.drafts = new Drafts(client.user, namespace);
    this.pictures = pictures;
    this.query = "";
    this.missed = 0;
    const rows = new Rows({
      one: () => this.one,
      me: () => client.user,
      pictures,
      again: (item) => this.store.again(this.one, item),
      drop: (item) => this.#discard(item),
      react: (message, reaction, remove) => this.react(message, reaction, remove),
      menu: (row, anchor) => this.menus.message(row, anchor),
      view: dialogs.picture,
      look: (seq) => this.store.look(this.one, seq),
      jump: (seq) => this.jump(seq),
    });
    this.menus = new Menus(this);
    this.pins = new Pins({
      look: (seq) => this.store.look(this.one, seq),
      jump: (seq) => this.jump(seq),
      unpin: (seq) => this.unpin(seq, byId("scroller")),
    });
    this.list = new List({
      scroller: byId("scroller"), height: byId("height"), box: byId("rows"), make: rows.make, scrolled: () => this.#scrolled(),
    });
    this.store.sees = () => this.list.isAtEnd && !document.hidden;
    this.side = new Conversations(this.store, (one) => this.open(one));
    this.compose = new Compose({
      send: (content) => this.#send(content),
      edit: (message, text) => this.#edit(message, text),
      last: () => this.#lastOwn(),
      members: () => this.#nameable(),
      names: () => this.one.names,
      me: () => client.user,
      files: (files) => this.#files(files),
      typing: (how) => client.typing(this.one.id, how),
      limit: () => client.session?.limits.text_bytes ?? Infinity,
    });
    this.drawSide = eachFrame(() => this.#drawSide());
    this.drawList = eachFrame(() => this.#drawList());
    this.#listen();
    this.#buttons();
    this.#keys();
  }

  get one() {
    return this.store.shown;
  }

  #listen() {
    const { store, client } = this;
    store.addEventListener("changed", ({ detail: one }) => {
      this.drawSide();
      if (one === this.one) this.drawList();
    });
    store.addEventListener("presence", () => {
      this.drawSide();
      this.#head();
    });
    store.addEventListener("loaded", () => {
      this.drawSide();
      this.#restore();
    });
    store.addEventListener("failed", ({ detail }) => this.say(`The conversations cannot be loaded: ${detail.message}`, true));
    store.addEventListener("arrived", ({ detail: { one, message } }) => this.#arrived(one, message));
    store.addEventListener("group", ({ detail }) => this.#told(detail));
    client.on("state", () => this.#banner());
    client.on("disconnected", ({ retryMs }) => {
      this.retryAt = performance.now() + retryMs;
      this.lostAt ??= performance.now();
      this.#banner();
    });
    client.on("closed", (error) => error.kind !== "closed" && this.#over(error));
    document.addEventListener("visibilitychange", () => this.drawList());
    addEventListener("beforeunload", (event) => {
      if (store.wouldLose && !this.isOver) event.preventDefault();
    });
    addEventListener("pagehide", () => {
      if (this.one) this.one.draft = this.compose.draft;
      this.drafts.keep([...new Set([...store.sorted(), ...store.sorted({ archived: true })])]);
    });
    setInterval(() => this.#head(), 30_000);
    this.#banner();
  }

  /** The gateway has ended the session, and takes this client no more. */
  #over({ message }) {
    const { files, outbox } = this.store;
    const lost = [files === 1 ? "A file was not sent." : files > 1 && `${files} files were not sent.`, outbox.wouldLose && "There was no room to keep all messages that wait."];
    this.isOver = true;
    this.leave([`${sentence(message)}.`, ...lost.filter(Boolean)].join(" "));
  }

  #buttons() {
    const on = (id, work) => (byId(id).onclick = work);
    const begin = () => dialogs.begin({
      withUser: (user) => this.open(this.store.with(user)),
      withGroup: async (fields, isOpen) => {
        const { conversation } = await this.client.groupCreate(fields);
        if (isOpen) await this.client.groupSet({ group: fields.group, join: "open" });
        this.#enter(conversation, fields.name ?? fields.group);
      },
      join: async (group) => {
        await this.client.groupJoin({ group });
        this.#enter(`g:${group}`, group);
      },
    });
    this.begin = begin;
    on("new", begin);
    on("first", begin);
    on("begin", begin);
    on("mine", () => this.menus.mine(byId("mine")));
    on("back", () => this.close());
    on("to-end", () => {
      this.list.toEnd();
      this.#scrolled();
    });
    on("more", () => this.menus.conversation(byId("more")));
    on("find", () => this.#search(byId("search").hidden));
    on("end-search", () => this.#search(false));
    on("previous", () => this.#jump(-1));
    on("next", () => this.#jump(1));
    byId("query").oninput = ({ target }) => {
      this.query = target.value.trim().toLowerCase();
      this.hit = undefined;
      this.#drawList();
      this.#jump(-1);
    };
    byId("query").onkeydown = (event) => {
      if (event.key === "Enter") this.#jump(event.shiftKey ? 1 : -1);
      if (event.key === "Escape") this.#search(false);
    };
  }

  #keys() {
    document.onkeydown = (event) => {
      if (document.querySelector("dialog[open]")) return;
      const command = event.ctrlKey || event.metaKey;
      if (command && event.key === "k") {
        event.preventDefault();
        this.begin();
      } else if (command && event.key === "f" && this.one) {
        event.preventDefault();
        this.#search(true);
      } else if (event.altKey && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
        event.preventDefault();
        const sorted = this.side.listed;
        const next = sorted[sorted.indexOf(this.one) + (event.key === "ArrowDown" ? 1 : -1)];
        if (next) this.open(next);
      } else if (event.key === "Escape" && this.active !== undefined) this.#activate(undefined);
    };
    byId("scroller").onkeydown = (event) => this.#walk(event);
    byId("scroller").onblur = () => byId("menu").matches(":popover-open") || this.#activate(undefined);
  }

  /** Goes through messages with the keyboard. */
  #walk(event) {
    if (event.target !== byId("scroller")) return;
    const messages = this.list.rows.filter(({ kind }) => kind === "message");
    const place = messages.findIndex(({ key }) => key === this.active);
    const to = {
      ArrowUp: place < 0 ? messages.length - 1 : place - 1,
      ArrowDown: place < 0 ? messages.length - 1 : place + 1,
      Home: 0,
      End: messages.length - 1,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      const row = messages[Math.min(Math.max(to, 0), messages.length - 1)];
      if (row) this.#activate(row);
      if (to <= 0) this.store.earlier(this.one);
    } else if (event.key === "Enter" && place >= 0) {
      event.preventDefault();
      const row = messages[place];
      if (!row.item && !isGone(row.message)) this.menus.message(row, this.list.element(row.key).querySelector(".bubble"));
    }
  }

  #activate(row) {
    const before = this.list.element(this.active);
    if (before) delete before.dataset.active;
    this.active = row?.key;
    if (!row) return;
    this.list.reveal(row.key);
    const element = this.list.element(row.key);
    if (element) element.dataset.active = "";
    byId("news").textContent = element?.textContent ?? "";
  }

  async open(one) {
    this.#leave();
    this.#search(false);
    this.active = undefined;
    this.missed = 0;
    byId("app").classList.add("talking");
    byId("nothing").hidden = true;
    byId("open").hidden = false;
    const shown = this.store.show(one);
    this.list.begin([]);
    history.replaceState(null, "", `#${one.id}`);
    this.compose.draft = one.draft;
    this.#drawSide();
    this.#drawList();
    this.list.toEnd();
    if (matchMedia("(hover: hover)").matches) this.compose.focus();
    await shown;
    this.#drawList();
    if (one.fresh !== undefined && one === this.one) this.list.reveal("fresh");
  }

  /** Keeps what one was writing here. */
  #leave() {
    if (this.one) this.one.draft = this.compose.draft;
    this.compose.draft = undefined;
    this.names = undefined;
  }

  /** Opens a group in which the user is new. */
  #enter(conversation, title) {
    const one = this.store.of(conversation);
    Object.assign(one, { title, begun: Date.now(), isLeft: false });
    this.open(one);
  }

  /** Shows the sheet of the group. */
  about() {
    const one = this.one;
    return people.group(this.client, one, {
      about: () => this.store.about(one),
      left: () => this.left(one),
    });
  }

  /** Forgets a group that the user has left. */
  left(one) {
    this.store.all.delete(one.id);
    if (one === this.one) this.close();
    this.drawSide();
  }

  /** Goes to a message, also to one that is not loaded yet. */
  async jump(seq) {
    const one = this.one;
    // The end is still in sight, and what is far above it is wanted.
    one.isReached = true;
    try {
      const message = await this.store.reach(one, seq);
      if (one !== this.one) return;
      if (!message || message.deleted) return this.say("This message is not here any more, or too far up.", true);
      this.#drawList();
      const row = this.list.rows.find((row) => row.message?.seq === seq);
      byId("scroller").focus();
      if (row) this.#activate(row);
    } finally {
      one.isReached = false;
    }
  }

  /** Pins a message for all members, or takes it from the pinned ones. */
  async pin(seq, isPinned) {
    const one = this.one;
    try {
      await this.client[isPinned ? "pin" : "unpin"]({ conversation: one.id, seq });
      await this.store.about(one);
    } catch (error) {
      this.say(error.message, true);
    }
  }

  /** Takes a message from the pinned ones, after a question. Then `back` has the focus. */
  async unpin(seq, back) {
    if (await sure("Unpin this message for all members?", "Unpin")) await this.pin(seq, false);
    back.focus();
  }

  async #discard(item) {
    const one = this.one;
    if (await sure("Discard this message? It was not sent, and its text is lost.", "Discard")) this.store.drop(one, item);
    this.compose.focus();
  }

  async #edit(message, text) {
    const one = this.one;
    try {
      await this.store.edit(one, message, text);
    } catch (error) {
      // What was written is not lost, also if the session is over: then it waits for its user.
      if (one === this.one) this.compose.edit(message, text);
      else if (!one.draft?.isEdit) one.draft = { text, about: message, isEdit: true, before: one.draft };
      if (this.client.state !== "closed") this.compose.say(`The change was not saved: ${error.message}`);
    }
  }

  /** Returns the newest own message if it can be changed. One that is on its way cannot, and none is taken in its place. */
  #lastOwn() {
    if (this.one.waiting.length > 0) return undefined;
    return this.one.messages.findLast((message) => message.from === this.client.user && !isGone(message));
  }

  /** Asks whom a message of this conversation may mention, once for each time that it is open. */
  #nameable() {
    const one = this.one;
    const take = (names) => {
      one.names = names;
    };
    this.names ??= nameable(this.client, one).then(take, () => {});
    return this.names;
  }

  close() {
    this.#leave();
    this.store.show(undefined);
    byId("app").classList.remove("talking");
    byId("open").hidden = true;
    byId("nothing").hidden = false;
    history.replaceState(null, "", location.pathname + location.search);
    this.#drawSide();
  }

  /** Opens the conversation of before a reload, and sends what had no answer then. */
  #restore() {
    if (this.isRestored) return;
    this.isRestored = true;
    this.store.resume();
    for (const [id, draft] of this.drafts.all()) this.store.of(id).draft = draft;
    const id = decodeURIComponent(location.hash.slice(1));
    const [kind, ...users] = id.split(":");
    if (this.store.all.has(id)) this.open(this.store.all.get(id));
    else if (kind === "u" && users.includes(this.client.user) && users.length === 2) {
      this.open(this.store.with(users.find((user) => user !== this.client.user) ?? this.client.user));
    }
  }

  #send(content) {
    const one = this.one;
    one.fresh = undefined;
    this.store.send(one, content);
    this.list.toEnd();
    this.missed = 0;
  }

  #files(files) {
    for (const file of files.slice(0, 10)) {
      const preview = Pictures.isShown(file) ? URL.createObjectURL(file) : undefined;
      this.#send({
        file,
        preview,
        upload: this.pictures.upload,
        sent: (media) => preview && this.pictures.keep(media, preview),
        discarded: () => preview && URL.revokeObjectURL(preview),
      });
    }
    if (files.length > 10) this.say("At most 10 files are sent at a time. The others were left out.", true);
  }

  react({ conversation, seq }, reaction, remove) {
    const user = this.client.user;
    // The session that reacts gets no push of it.
    this.store.apply("reaction", { conversation, seq, user, reaction, removed: remove });
    this.client.react({ conversation, seq, reaction, remove }).catch((error) => {
      if (error.kind === "closed") return;
      this.store.apply("reaction", { conversation, seq, user, reaction, removed: !remove });
      this.say(error.message, true);
    });
  }

  #arrived(one, message) {
    if (message.from === this.client.user) return;
    const isSeen = one === this.one && !document.hidden;
    if (isSeen && !this.list.isAtEnd) this.missed++;
    if (one.isQuiet && !isFor(message, this.client.user)) return;
    if (isSeen) byId("news").textContent = `${message.from}: ${message.text ?? "a file"}`;
    else byId("news").textContent = `New message from ${one.isGroup ? `${message.from} in ${one.title}` : message.from}`;
  }

  #told({ one, change, by, members, name, role, send, join }) {
    const me = this.client.user;
    const who = members.map((user) => (user === me ? "you" : user)).join(", ");
    const they = who.replace(/^you\b/, "You");
    if (by === me) by = "You";
    const rules = [
      send && `${send === "all" ? "all members" : "only admins"} may write in ${one.title}`,
      join && `${join === "open" ? "everybody may join" : "admins add members to"} ${one.title}`,
      name !== undefined && `the group is ${name || one.peer}`,
    ];
    const text = {
      created: `${by} created the group ${name ?? one.peer}`,
      added: `${by} added ${who} to ${one.title}`,
      removed: `${by} removed ${who} from ${one.title}`,
      renamed: `${by} renamed the group to ${name}`,
      left: `${they} left ${one.title}`,
      joined: `${they} joined ${one.title}`,
      role: `${by} made ${who} ${role} of ${one.title}`,
      set: `${by} decided: ${rules.filter(Boolean).join(", ")}`,
      pinned: `${by} pinned a message in ${one.title}`,
    }[change];
    this.names = undefined;
    if (text) this.say(text);
  }

  #scrolled() {
    const one = this.one;
    if (!one) return;
    if (this.list.isAtEnd) {
      this.missed = 0;
      this.#toEnd();
      this.#seen();
    } else this.#toEnd();
    if (this.list.isAtBeginning) this.store.earlier(one);
  }

  #seen() {
    if (document.hidden || !this.list.isAtEnd || this.one.state !== "ready") return;
    this.store.seen(this.one);
  }

  #toEnd() {
    const button = byId("to-end");
    button.hidden = this.list.isAtEnd;
    const words = this.missed > 0 ? `To the newest: ${this.missed} new` : "To the newest";
    if (button.title === words) return;
    button.title = words;
    button.setAttribute("aria-label", words);
    byId("to-end-count").textContent = this.missed > 99 ? "99+" : String(this.missed);
    byId("to-end-count").hidden = this.missed === 0;
  }

  #drawSide() {
    this.side.draw();
    const { unread } = this.store;
    document.title = unread > 0 ? `(${unread}) Trunkline` : "Trunkline";
  }

  #drawList() {
    const one = this.one;
    if (!one) return;
    if (this.list.isAtEnd && !this.query) this.store.trim(one);
    this.list.show(rowsOf(one, { me: this.client.user, query: this.query }));
    if (this.active !== undefined) {
      const element = this.list.element(this.active);
      if (element) element.dataset.active = "";
    }
    const status = byId("status");
    const isEmpty = this.list.rows.length === 0;
    status.hidden = !isEmpty;
    if (isEmpty) {
      status.textContent = { new: "", loading: "Loading…", failed: `The messages cannot be loaded: ${one.error ?? "there is no connection"}` }[one.state]
        ?? `No messages yet. Say hello${one.isGroup ? "" : ` to ${one.title}`}.`;
    }
    this.#head();
    this.#toEnd();
    this.#typing();
    this.#seen();
    if (this.list.isAtBeginning) this.store.earlier(one);
  }

  #head() {
    const one = this.one;
    if (!one) return;
    const { letters, colour } = badge(one.title);
    const presence = one.isGroup ? undefined : this.store.presence.get(one.peer);
    byId("peer-avatar").textContent = letters;
    byId("peer-avatar").className = `avatar c${colour}${presence?.online ? " online" : ""}`;
    byId("title").textContent = byId("title").title = one.title;
    this.compose.disable(one.isLeft ? "You cannot write here" : one.mayWrite ? undefined : "Only admins write here");
    let text = "";
    if (one.isLeft) text = "You are no member any more";
    else if (one.isGroup) text = one.members ? `${one.members} ${one.members === 1 ? "member" : "members"}` : "Group";
    else if (one.peer === this.client.user) text = "Notes to yourself";
    else if (this.isAway) text = "No connection";
    else if (presence?.online) text = "Online";
    else if (presence?.last_seen) text = `Last seen ${since(presence.last_seen)}`;
    else text = "Not online";
    if (one.isQuiet) text += ", muted";
    byId("subtitle").textContent = text;
    this.pins.draw(one);
  }

  #typing() {
    const names = [...this.one.typing.keys()];
    const text = names.length === 0 ? "" : names.length === 1 ? `${names[0]} is typing…` : `${names.slice(0, 3).join(", ")} are typing…`;
    if (byId("typing").textContent !== text) byId("typing").textContent = text;
  }

  #search(isOn) {
    byId("search").hidden = !isOn;
    byId("find").setAttribute("aria-expanded", String(isOn));
    if (isOn) return byId("query").focus();
    this.query = byId("query").value = "";
    this.hit = undefined;
    byId("found").textContent = "";
    if (this.one) this.#drawList();
  }

  /** Goes to another message that has what is searched for. */
  #jump(step) {
    const hits = this.list.rows.filter(({ query }) => query);
    if (!this.query || hits.length === 0) {
      byId("found").textContent = this.query ? "Nothing found" : "";
      return;
    }
    const place = hits.findIndex(({ key }) => key === this.hit);
    const next = place < 0 ? hits.length - 1 : (place + step + hits.length) % hits.length;
    this.hit = hits[next].key;
    byId("found").textContent = `${next + 1} of ${hits.length}`;
    this.#activate(hits[next]);
  }

  /** Says what the connection does, if that takes longer than a moment. */
  #banner() {
    clearTimeout(this.bannerTimer);
    const { state } = this.client;
    if (state === "online") {
      this.lostAt = undefined;
      this.#beAway(false);
      return this.#show("");
    }
    const later = (ms) => (this.bannerTimer = setTimeout(() => this.#banner(), ms));
    this.lostAt ??= performance.now();
    const away = performance.now() - this.lostAt;
    if (away < PATIENCE_MS) return later(PATIENCE_MS - away);
    this.#beAway(state !== "catching_up");
    const seconds = Math.ceil((this.retryAt - performance.now()) / 1_000);
    if (state === "catching_up") this.#show("Loading what you missed…");
    else if (this.client.session === undefined) this.#show("Connecting…");
    else this.#show("No connection. Your messages wait.", false, state === "waiting" && seconds > 1 ? ` Again in ${seconds} s.` : "");
    later(500);
  }

  /** Notes whether what the page knows of others may be old. */
  #beAway(isAway) {
    if (this.isAway === isAway) return;
    this.isAway = isAway;
    byId("app").classList.toggle("away", isAway);
    this.#head();
  }

  say(text, isBad = false) {
    this.#show(text, isBad);
    clearTimeout(this.bannerTimer);
    this.bannerTimer = setTimeout(() => this.#banner(), 5_000);
  }

  /** Shows a line above all. `more` is for the eyes alone: a screen reader would read each second of a wait. */
  #show(text, isBad = false, more = "") {
    const banner = byId("banner");
    banner.classList.toggle("bad", isBad);
    if ((banner.firstChild?.textContent ?? "") !== text) banner.replaceChildren(...(text ? [text, el("span", { "aria-hidden": "true" })] : []));
    if (text && banner.lastChild.textContent !== more) banner.lastChild.textContent = more;
  }
}
