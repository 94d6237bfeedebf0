/** Files of messages: sending them to the gateway, and showing those that it keeps. */

/** The most pictures that stay loaded. */
const LOADED = 60;

/** Pictures that a message itself may have, and those that are shown. Others are offered as files. */
const SHOWN = /^image\/(png|jpeg|gif|webp|avif|bmp)$/;

export class Pictures {
  #headers;
  /** Addresses of loaded pictures by where they come from, the oldest first. */
  #loaded = new Map();

  /** @param {() => Promise<Record<string, string>>} headers say who asks */
  constructor(headers) {
    this.#headers = headers;
  }

  static isShown(media) {
    return SHOWN.test(media?.type ?? "");
  }

  /**
   * Sends a file to the gateway. Returns the `media` of a message. An error is `isTemporary` if the gateway could not be reached, or
   * may take the file later.
   */
  upload = async (file) => {
    const headers = { ...(await this.#headers()), "Content-Type": file.type || "application/octet-stream" };
    const answer = await fetch("/api/v1/media", { method: "POST", headers, body: file }).catch((error) => {
      throw Object.assign(new Error(`the gateway cannot be reached: ${error.message}`), { isTemporary: true });
    });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      const text = body.detail ?? `the gateway does not take the file (${answer.status})`;
      throw Object.assign(new Error(text), { isTemporary: body.temporary ?? answer.status >= 500 });
    }
    return { type: body.type, url: body.url, size: body.size };
  };

  /** Keeps the address of a copy of media, such as of a file that the gateway has now. Returns the one to use. */
  keep({ data, url }, address) {
    const before = this.known({ data, url });
    if (before !== undefined) {
      URL.revokeObjectURL(address);
      return before;
    }
    this.#loaded.set(url ?? data, address);
    if (this.#loaded.size > LOADED) {
      const [[oldest, old]] = this.#loaded;
      this.#loaded.delete(oldest);
      URL.revokeObjectURL(old);
    }
    return address;
  }

  /** Returns the address of media that are loaded. */
  known({ data, url }) {
    const source = url ?? data;
    const address = this.#loaded.get(source);
    if (address === undefined) return undefined;
    this.#loaded.delete(source);
    this.#loaded.set(source, address);
    return address;
  }

  /** Returns an address that shows media, or saves it. */
  async address({ data, url, type }) {
    const known = this.known({ data, url });
    if (known !== undefined) return known;
    let blob;
    if (data !== undefined) blob = new Blob([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], { type });
    else {
      const answer = await fetch(url, { headers: await this.#headers() });
      if (!answer.ok) throw new Error(answer.status === 404 ? "the file is gone" : `no answer (${answer.status})`);
      blob = await answer.blob();
    }
    return this.keep({ data, url }, URL.createObjectURL(blob));
  }

  /** Forgets an address that does not show anything any more. */
  forget({ url, data }) {
    URL.revokeObjectURL(this.#loaded.get(url ?? data));
    this.#loaded.delete(url ?? data);
  }
}
