/** What a list of messages looks like: rows from messages, and elements from rows. */

import { badge, day, el, hour, icon } from "/shared/dom.js";
import { Pictures } from "./pictures.js";
import { isFor } from "./store.js";

/** Messages of one user within this time have one head, in milliseconds. */
const TOGETHER_MS = 5 * 60_000;

const LINK = /\bhttps?:\/\/[^\s<>"]+[^\s<>"'.,;:!?)\]}]/g;
const EMOJI = /^(?:\p{Extended_Pictographic}(?:\p{Emoji_Modifier}|\uFE0F|\u200D\p{Extended_Pictographic})*\s*){1,3}$/u;

/** Returns the rows of a conversation: its messages, and the lines between them. */
export function rowsOf(one, { me, query }) {
  const rows = [];
  let before;
  let isFresh = one.fresh !== undefined;
  const pins = new Set(one.pins.map(({ seq }) => seq));
  const add = (message, item) => {
    if (!before || day(before.time) !== day(message.time)) {
      rows.push({ key: `day ${day(message.time)}`, version: "", kind: "day", moves: true, text: day(message.time) });
      before = undefined;
    }
    if (isFresh && !item && message.seq > one.fresh && message.from !== me) {
      rows.push({ key: "fresh", version: "", kind: "fresh", moves: true, text: "New messages" });
      isFresh = false;
      before = undefined;
    }
    const isHead = before?.from !== message.from || message.time - before.time > TOGETHER_MS;
    const pending = item ? undefined : one.edits.get(message.seq);
    if (pending !== undefined && !message.recalled) message = { ...message, text: pending };
    const isHit = Boolean(query) && message.text?.toLowerCase().includes(query);
    const fate = item ? item.state : pending !== undefined ? "sending" : message.from === me ? one.fate(message.seq).state : "";
    const isPinned = pins.has(message.seq);
    const key = message.key && message.from === me ? `k ${message.key}` : `s ${message.seq}`;
    const reactions = (message.reactions ?? []).map(({ reaction, count, users }) => `${reaction}${count}${users.includes(me)}`);
    const state = message.recalled ? "recalled" : message.expired ? "expired" : message.text ?? "";
    const quoted = message.reply_to && (one.at(message.reply_to) ?? one.quoted.get(message.reply_to));
    const quote = quoted === undefined ? "" : words(quoted, me);
    const version = `${message.seq} ${fate} ${isHead} ${isPinned} ${isHit ? query : ""} ${reactions} ${message.edited} ${quote} ${state}${item?.error ?? ""}`;
    rows.push({ key, version, kind: "message", message, item, isHead, isPinned, fate, query: isHit ? query : "" });
    before = message;
  };
  for (const message of one.messages) if (!message.deleted) add(message);
  for (const item of one.waiting) add(item, item);
  return rows;
}

const FATES = {
  sending: ["wait", "Sending"],
  sent: ["sent", "Sent"],
  delivered: ["both", "Delivered"],
  read: ["read", "Read"],
  failed: ["failed", "Not sent"],
};

/** Makes elements of rows. */
export class Rows {
  #page;

  /** @param {{one: () => object, me: () => string, pictures: Pictures, again: Function, drop: Function, react: Function, menu: Function, view: Function, look: Function, jump: Function}} page */
  constructor(page) {
    this.#page = page;
  }

  make = (row) => {
    if (row.kind !== "message") return el("div", { class: `row ${row.kind}`, role: "listitem" }, row.text);
    const { message, item } = row;
    const isMine = message.from === this.#page.me();
    const isForMe = !isMine && isFor(message, this.#page.me());
    const element = el(
      "div",
      { class: `row ${isMine ? "mine" : "theirs"}${row.isHead ? " head" : ""}${isForMe ? " for-me" : ""}`, role: "listitem", data: { key: row.key } },
      el("span", { class: "unseen" }, `${isMine ? "You" : message.from}, ${hour(message.time)}${isForMe ? ", mentions you" : ""}: `),
      this.#from(row, isMine),
      el("div", { class: "message" }, this.#bubble(row, isMine), !item && !isGone(message) && this.#acts(row)),
      this.#reactions(message),
      item?.state === "failed" && this.#failure(item),
    );
    return element;
  };

  #from({ message, isHead }, isMine) {
    if (!isHead || isMine || !this.#page.one().isGroup) return null;
    return el("p", { class: "from", "aria-hidden": "true" }, message.from);
  }

  #acts(row) {
    return el("button", {
      class: "plain round acts",
      "aria-label": "Message actions",
      "aria-haspopup": "menu",
      tabIndex: -1,
      onclick: (event) => this.#page.menu(row, event.currentTarget),
    }, icon("more"));
  }

  #bubble(row, isMine) {
    const { message, fate, query } = row;
    const bubble = el("div", { class: "bubble" });
    if (message.reply_to && !isGone(message)) bubble.append(this.#quote(message));
    if (message.expired) bubble.append(el("p", { class: "gone" }, "This message has expired"));
    else if (message.recalled) bubble.append(el("p", { class: "gone" }, isMine ? "You took this message back" : "This message was taken back"));
    else if (message.too_large) bubble.append(el("p", { class: "gone" }, "This message is too large to be shown"));
    else {
      if (message.media || message.file) bubble.append(this.#media(message));
      if (message.text) bubble.append(this.#text(message, query));
    }
    const meta = el("p", { class: "meta" }, el("time", { dateTime: new Date(message.time).toISOString() }, hour(message.time)));
    if (message.edited && !isGone(message)) meta.append(this.#edited(message));
    if (message.expires && !isGone(message)) meta.append(el("time", { dateTime: new Date(message.expires).toISOString(), title: `Expires ${day(message.expires)} at ${hour(message.expires)}` }, `until ${hour(message.expires)}`));
    if (row.isPinned) meta.prepend(el("span", { class: "pinned", role: "img", "aria-label": "Pinned", title: "Pinned" }, icon("pin")));
    if (isMine && !isGone(message)) meta.append(this.#fate(message, fate));
    bubble.append(meta);
    return bubble;
  }

  #edited({ time, edited }) {
    const isSame = hour(time) === hour(edited);
    const title = `Edited ${day(edited)} at ${hour(edited)}`;
    return el("time", { dateTime: new Date(edited).toISOString(), title }, isSame ? "edited" : `edited ${hour(edited)}`);
  }

  #fate(message, fate) {
    const [name, words] = FATES[fate];
    const one = this.#page.one();
    let said = words;
    if (one.isGroup && message.seq !== undefined) {
      const { delivered, read, others } = one.fate(message.seq);
      said = `${words}. Delivered to ${delivered} of ${others}, read by ${read}`;
    }
    return el("span", { class: fate, title: said, role: "img", "aria-label": said }, icon(name));
  }

  /** The line of the message to which this one replies. It leads there. */
  #quote({ reply_to: seq }) {
    const quoted = this.#page.look(seq);
    const me = this.#page.me();
    const text = quoted === undefined ? "Loading…" : quoted === null ? "A message that is not here any more" : words(quoted, "");
    const who = quoted ? (quoted.from === me ? "You" : quoted.from) : "";
    return el("button", { type: "button", class: "quote", "aria-label": `Reply to ${who ? `${who}: ` : ""}${text}. Go there`, onclick: () => this.#page.jump(seq) },
      who && el("strong", {}, el("bdi", {}, who)), el("span", { dir: "auto" }, text));
  }

  #text({ text, mentions = [] }, query) {
    const me = this.#page.me();
    const marked = (part) => mentioned(part, mentions, me, query);
    const body = el("div", { class: EMOJI.test(text) ? "body emoji" : "body", dir: "auto" });
    let end = 0;
    for (const { 0: link, index } of text.matchAll(LINK)) {
      body.append(...marked(text.slice(end, index)));
      body.append(el("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, ...found(link, query)));
      end = index + link.length;
    }
    body.append(...marked(text.slice(end)));
    return body;
  }

  #media(message) {
    const media = message.media ?? { type: message.file.type };
    const isKept = media.url === undefined || media.url.startsWith("/api/v1/media/");
    if (!isKept) {
      const isWeb = /^https?:\/\//.test(media.url);
      const words = `${media.type}: ${media.url}`;
      return el("p", { class: "body" }, isWeb ? el("a", { href: media.url, target: "_blank", rel: "noopener noreferrer" }, words) : words);
    }
    if (!Pictures.isShown(media)) return this.#file(message, media);
    const place = el("span", { class: "picture waits" }, "Loading the picture");
    const alt = `Picture from ${message.from === this.#page.me() ? "you" : message.from}`;
    const show = (address) => {
      const image = el("img", { src: address, alt, decoding: "async" });
      image.addEventListener("error", () => {
        if (message.media) this.#page.pictures.forget(message.media);
        button.replaceWith(el("span", { class: "picture waits" }, "This picture cannot be shown"));
      });
      const button = el("button", { type: "button", class: "picture", "aria-label": `${alt}: show it large`, onclick: () => this.#page.view(address, alt) }, image);
      return button;
    };
    const known = message.preview ?? this.#page.pictures.known(media);
    if (known !== undefined) return show(known);
    this.#page.pictures.address(media).then(
      (address) => place.replaceWith(show(address)),
      (error) => (place.textContent = `The picture cannot be loaded: ${error.message}`),
    );
    return place;
  }

  #file(message, media) {
    const name = message.file?.name ?? `${media.type}${media.size ? `, ${Math.ceil(media.size / 1024)} KiB` : ""}`;
    if (!message.media) return el("p", { class: "body" }, name);
    return el("p", { class: "body" }, el("button", {
      type: "button",
      onclick: async ({ currentTarget: button }) => {
        try {
          el("a", { href: await this.#page.pictures.address(media), download: "file" }).click();
        } catch (error) {
          button.replaceWith(`The file cannot be loaded: ${error.message}`);
        }
      },
    }, `Save the file (${name})`));
  }

  #reactions(message) {
    if (!message.reactions?.length) return null;
    const me = this.#page.me();
    return el("div", { class: "reactions", role: "group", "aria-label": "Reactions" }, ...message.reactions.map(({ reaction, users, count }) => {
      const has = users.includes(me);
      const names = `${users.join(", ")}${count > users.length ? ` and ${count - users.length} more` : ""}`;
      return el("button", {
        type: "button",
        title: names,
        "aria-pressed": String(has),
        "aria-label": `${reaction}, ${count}: ${names}`,
        onclick: () => this.#page.react(message, reaction, has),
      }, reaction, el("span", {}, String(count)));
    }));
  }

  #failure(item) {
    return el("div", { class: "failure", role: "alert" },
      el("span", {}, `Not sent: ${item.error}`),
      el("button", { type: "button", onclick: () => this.#page.again(item) }, "Try again"),
      el("button", { type: "button", class: "plain", onclick: () => this.#page.drop(item) }, "Discard"));
  }
}

/** Returns whether a message has no content any more. */
export const isGone = ({ recalled, deleted, expired }) => Boolean(recalled || deleted || expired);

/** Returns a text in which mentions of members, and what is searched for, are marked. */
function mentioned(text, mentions, me, query) {
  if (mentions.length === 0) return found(text, query);
  const names = new Map(mentions.map((name) => [name === "*" ? "@all" : `@${name}`, name]));
  return text.split(/(?<![A-Za-z0-9._@-])(@[A-Za-z0-9._@-]+)/).flatMap((part) => {
    // A point behind a name may end the sentence.
    const whole = [part, part.replace(/[.@-]+$/, "")].find((name) => names.has(name));
    if (whole === undefined) return found(part, query);
    const isMe = names.get(whole) === me || names.get(whole) === "*";
    return [el("span", { class: isMe ? "mention me" : "mention" }, ...found(whole, query)), ...found(part.slice(whole.length), query)];
  });
}

/** Returns a text in which what is searched for is marked. */
function found(text, query) {
  if (!query) return [text];
  const parts = [];
  const lower = text.toLowerCase();
  // Some letters get longer in lower case: then nothing is marked, rather than something else.
  if (lower.length !== text.length) return [text];
  let end = 0;
  for (let at = lower.indexOf(query); at >= 0; at = lower.indexOf(query, end)) {
    parts.push(text.slice(end, at), el("mark", {}, text.slice(at, at + query.length)));
    end = at + query.length;
  }
  parts.push(text.slice(end));
  return parts;
}

/** Returns the circle with the letters of a name. */
export function avatar(name) {
  const { letters, colour } = badge(name);
  return el("span", { class: `avatar c${colour}`, "aria-hidden": "true" }, letters);
}

/** Returns a message in a few words. */
export function words(message, me, isGroup = false) {
  if (!message) return "";
  const who = message.from === me ? "You: " : isGroup ? `${message.from}: ` : "";
  if (message.expired) return `${who}Message expired`;
  if (message.recalled) return `${who}Message taken back`;
  if (message.deleted) return "Message deleted";
  if (message.text) return who + message.text.slice(0, 120).replace(/\s+/g, " ");
  return who + (Pictures.isShown(message.media) ? "Picture" : "File");
}
