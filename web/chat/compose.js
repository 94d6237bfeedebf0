/** The field in which one writes: new messages, replies and edits, with pictures by paste, drop and choice. */

import { byId } from "/shared/dom.js";
import { Mentions } from "./mentions.js";
import { words } from "./message.js";

/** How often others learn that one is writing, in milliseconds. */
const TYPING_MS = 3_000;

/** Says by how much a message is too long. */
function tooLong(bytes, limit) {
  const percent = Math.round((100 * (bytes - limit)) / limit);
  const size = (count) => `${(count / 1024).toFixed(count < 10_240 ? 1 : 0)} KiB`;
  const much = percent < 1 ? "less than 1 %" : `about ${percent} %`;
  return `The message is too long by ${much}: it has ${size(bytes)}, and at most ${size(limit)} can be sent.`;
}

export class Compose {
  #page;
  #text = byId("text");
  #told = -Infinity;
  /** The message that one replies to, or whose text one changes. */
  #about;
  #isEdit = false;
  /** What was in the field before one began to change a message, and the message that this replied to. */
  #before;
  #mentions;

  /**
   * @param {{send: (content: object) => void, edit: (message: object, text: string) => void, last: () => object | undefined,
   *   members: () => Promise<void>, names: () => string[], me: () => string, files: (files: File[]) => void, typing: (how: {stop: boolean}) => void,
   *   limit: () => number}} page
   */
  constructor(page) {
    this.#page = page;
    this.#mentions = new Mentions(this.#text, page.members, page.names);
    byId("compose").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
      this.#text.focus();
    });
    this.#text.addEventListener("keydown", (event) => this.#key(event));
    this.#text.addEventListener("input", () => {
      this.fit();
      this.say("");
      this.#mentions.look();
      this.#tell();
    });
    this.#text.addEventListener("paste", (event) => {
      const files = [...event.clipboardData.files];
      if (files.length === 0) return;
      event.preventDefault();
      page.files(files);
    });
    byId("end-about").addEventListener("click", () => {
      this.leave();
      this.#text.focus();
    });
    const choice = byId("file");
    byId("attach").addEventListener("click", () => choice.click());
    choice.addEventListener("change", () => {
      page.files([...choice.files]);
      choice.value = "";
    });
    this.#drops(page);
  }

  /** What one is writing: its text, the message that it changes or replies to, and what was in the field before that. */
  get draft() {
    return { text: this.#text.value, about: this.#about, isEdit: this.#isEdit, before: this.#isEdit ? this.#before : undefined };
  }

  set draft({ text = "", about, isEdit = false, before } = {}) {
    this.#before = before;
    this.#aim(about, isEdit);
    this.#write(text);
  }

  #write(text) {
    this.#text.value = text;
    this.#mentions.close();
    this.fit();
    this.say("");
  }

  /** Says beside the field what is wrong with what one has written. */
  say(text) {
    byId("problem").textContent = text;
    byId("problem").hidden = text === "";
  }

  focus() {
    this.#text.focus();
  }

  /** Says that the next message replies to one. */
  reply(message) {
    if (this.#isEdit) this.leave();
    this.#aim(message, false);
    this.#text.focus();
  }

  /** Puts the text of an own message into the field. `text`: another one that the gateway did not take. */
  edit(message, text = message.text ?? "") {
    if (!this.#isEdit) this.#before = { text: this.#text.value, about: this.#about };
    this.#aim(message, true);
    this.#write(text);
    this.#text.focus();
    this.#text.setSelectionRange(text.length, text.length);
  }

  /** Neither replies nor changes anything any more. Returns whether it did. */
  leave() {
    if (!this.#about) return false;
    const before = this.#isEdit ? this.#before ?? {} : undefined;
    this.#aim(before?.about, false);
    if (before) this.#write(before.text ?? "");
    return true;
  }

  /** Says why one cannot write here, if one cannot. */
  disable(why) {
    for (const id of ["text", "send", "attach"]) byId(id).disabled = why !== undefined;
    this.#text.placeholder = why ?? "Message";
  }

  /** Makes the field as high as its text. */
  fit() {
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight + 2}px`;
  }

  /** Says what the text is about: a message that it changes or replies to, or none. */
  #aim(message, isEdit) {
    this.#about = message;
    this.#isEdit = isEdit;
    byId("about").hidden = message === undefined;
    this.#dress();
    if (message === undefined) return;
    const who = message.from === this.#page.me() ? "yourself" : message.from;
    byId("about-what").textContent = isEdit ? "Edit the message" : `Reply to ${who}`;
    byId("about-text").textContent = words(message, "");
  }

  #dress() {
    byId("send").setAttribute("aria-label", this.#isEdit ? "Save the change" : "Send");
    byId("end-about").setAttribute("aria-label", this.#isEdit ? "Do not edit" : "Do not reply");
  }

  #submit() {
    const text = this.#text.value.trim();
    const about = this.#about;
    const isEdit = this.#isEdit;
    // Only a message with a file may lose its text.
    if (text === "" && !(isEdit && about.media)) return;
    const bytes = new TextEncoder().encode(text).length;
    if (bytes > this.#page.limit()) return this.say(tooLong(bytes, this.#page.limit()));
    const mentions = this.#mentions.of(text);
    this.leave();
    if (isEdit && text !== about.text) this.#page.edit(about, text);
    if (isEdit) return;
    this.#page.send({ text, reply_to: about?.seq, mentions });
    this.#write("");
    this.#told = -Infinity;
  }

  #key(event) {
    if (this.#mentions.key(event)) return event.preventDefault();
    // Enter also ends the composition of letters.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "ArrowUp" && this.#text.value === "" && !this.#about && !event.altKey) {
      const last = this.#page.last();
      if (!last) return;
      event.preventDefault();
      this.edit(last);
    } else if (event.key === "Escape" && this.leave()) event.stopPropagation();
  }

  /** Tells others that one is writing, or has stopped. */
  #tell() {
    if (this.#isEdit) return;
    const stop = this.#text.value === "";
    const isNews = stop ? this.#told !== -Infinity : performance.now() - this.#told >= TYPING_MS;
    if (!isNews) return;
    this.#told = stop ? -Infinity : performance.now();
    this.#page.typing({ stop });
  }

  #drops(page) {
    const [open, sign] = [byId("open"), byId("drop")];
    const has = (event) => event.dataTransfer?.types.includes("Files");
    open.addEventListener("dragover", (event) => {
      if (!has(event)) return;
      event.preventDefault();
      sign.hidden = false;
    });
    open.addEventListener("dragleave", (event) => {
      if (!open.contains(event.relatedTarget)) sign.hidden = true;
    });
    open.addEventListener("drop", (event) => {
      sign.hidden = true;
      if (!has(event)) return;
      event.preventDefault();
      page.files([...event.dataTransfer.files]);
    });
  }
}
