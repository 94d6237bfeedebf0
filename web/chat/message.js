/** What a list of messages looks like: rows from messages, and elements from rows. */

import { badge, day, el, hour, icon } from "/shared/dom.js";
import { Pictures } from "./pictures.js";

/** Messages of one user within this time have one head, in milliseconds. */
const TOGETHER_MS = 5 * 60_000;

const LINK = /\bhttps?:\/\/[^\s<>"]+[^\s<>"'.,;:!?)\]}]/g;
const EMOJI = /^(?:\p{Extended_Pictographic}(?:\p{Emoji_Modifier}|\uFE0F|\u200D\p{Extended_Pictographic})*\s*){1,3}$/u;

/** Returns the rows of a conversation: its messages, and the lines between them. */
export function rowsOf(one, { me, query }) {
  const rows = [];
  let before;
  let isFresh = one.fresh !== undefined;
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
    const fate = item ? item.state : message.from === me ? one.fate(message.seq).state : "";
    const isHit = Boolean(query) && message.text?.toLowerCase().includes(query);
    const key = message.key && message.from === me ? `k ${message.key}` : `s ${message.seq}`;
    const reactions = (message.reactions ?? []).map(({ reaction, count, users }) => `${reaction}${count}${users.includes(me)}`);
    const state = message.recalled ? "recalled" : message.text ?? "";
    const version = `${message.seq} ${fate} ${isHead} ${isHit ? query : ""} ${reactions} ${message.edited} ${state}${item?.error ?? ""}`;
    rows.push({ key, version, kind: "message", message, item, isHead, fate, query: isHit ? query : "" });
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
  read: ["both", "Read"],
  failed: ["failed", "Not sent"],
};

/** Makes elements of rows. */
export class Rows {
  #page;

  /** @param {{one: () => object, me: () => string, pictures: Pictures, again: Function, drop: Function, react: Function, menu: Function, view: Function}} page */
  constructor(page) {
    this.#page = page;
  }

  make = (row) => {
    if (row.kind !== "message") return el("div", { class: `row ${row.kind}`, role: "listitem" }, row.text);
    const { message, item } = row;
    const isMine = message.from === this.#page.me();
    const element = el(
      "div",
      { class: `row ${isMine ? "mine" : "theirs"}${row.isHead ? " head" : ""}`, role: "listitem", data: { key: row.key } },
      el("span", { class: "unseen" }, `${isMine ? "You" : message.from}, ${hour(message.time)}: `),
      this.#from(row, isMine),
      el("div", { class: "message" }, this.#bubble(row, isMine), !item && !message.recalled && this.#acts(row)),
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
    if (message.recalled) bubble.append(el("p", { class: "gone" }, isMine ? "You took this message back" : "This message was taken back"));
    else if (message.too_large) bubble.append(el("p", { class: "gone" }, "This message is too large to be shown"));
    else {
      if (message.media || message.file) bubble.append(this.#media(message));
      if (message.text) bubble.append(this.#text(message.text, query));
    }
    const meta = el("p", { class: "meta" }, el("time", { dateTime: new Date(message.time).toISOString() }, hour(message.time)));
    if (message.edited && !message.recalled) meta.prepend(el("span", { title: `Edited ${day(message.edited)} at ${hour(message.edited)}` }, "edited"));
    if (isMine && !message.recalled) meta.append(this.#fate(message, fate));
    bubble.append(meta);
    return bubble;
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

  #text(text, query) {
    const body = el("div", { class: EMOJI.test(text) ? "body emoji" : "body", dir: "auto" });
    let end = 0;
    for (const { 0: link, index } of text.matchAll(LINK)) {
      body.append(...marked(text.slice(end, index), query));
      body.append(el("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, ...marked(link, query)));
      end = index + link.length;
    }
    body.append(...marked(text.slice(end), query));
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
    if (message.preview) return show(message.preview);
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

/** Returns a text in which what is searched for is marked. */
function marked(text, query) {
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
export function words(message, me) {
  if (!message) return "";
  const who = message.from === me ? "You: " : "";
  if (message.recalled) return `${who}Message taken back`;
  if (message.deleted) return "Message deleted";
  if (message.text) return who + message.text.slice(0, 120).replace(/\s+/g, " ");
  return who + (Pictures.isShown(message.media) ? "Picture" : "File");
}
