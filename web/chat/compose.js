/** The field in which one writes, with pictures by paste, drop and choice. */

import { byId } from "/shared/dom.js";

/** How often others learn that one is writing, in milliseconds. */
const TYPING_MS = 3_000;

export class Compose {
  #text = byId("text");
  #told = -Infinity;

  /** @param {{send: (text: string) => void, files: (files: File[]) => void, typing: () => void, limit: () => number, problem: (text: string) => void}} page */
  constructor(page) {
    const form = byId("compose");
    const submit = () => {
      const text = this.#text.value.trim();
      if (text === "") return;
      const bytes = new TextEncoder().encode(text).length;
      if (bytes > page.limit()) return page.problem(`The message has ${bytes} bytes. At most ${page.limit()} can be sent.`);
      page.send(text);
      this.#text.value = "";
      this.#told = -Infinity;
      this.fit();
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
      this.#text.focus();
    });
    this.#text.addEventListener("keydown", (event) => {
      // Enter also ends the composition of letters.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      submit();
    });
    this.#text.addEventListener("input", () => {
      this.fit();
      if (this.#text.value === "" || performance.now() - this.#told < TYPING_MS) return;
      this.#told = performance.now();
      page.typing();
    });
    this.#text.addEventListener("paste", (event) => {
      const files = [...event.clipboardData.files];
      if (files.length === 0) return;
      event.preventDefault();
      page.files(files);
    });
    const choice = byId("file");
    byId("attach").addEventListener("click", () => choice.click());
    choice.addEventListener("change", () => {
      page.files([...choice.files]);
      choice.value = "";
    });
    this.#drops(page);
  }

  get draft() {
    return this.#text.value;
  }

  set draft(text) {
    this.#text.value = text;
    this.fit();
  }

  focus() {
    this.#text.focus();
  }

  disable(isDisabled) {
    for (const id of ["text", "send", "attach"]) byId(id).disabled = isDisabled;
    this.#text.placeholder = isDisabled ? "You cannot write here" : "Message";
  }

  /** Makes the field as high as its text. */
  fit() {
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight + 2}px`;
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
