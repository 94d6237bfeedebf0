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

  /** Sends a file to the gateway. Returns the `media` of a message. */
  upload = async (file) => {
    const answer = await fetch("/api/v1/media", {
      method: "POST",
      headers: { ...(await this.#headers()), "Content-Type": file.type || "application/octet-stream" },
      body: file,
    });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.detail ?? `the gateway does not take the file (${answer.status})`);
    return { type: body.type, url: body.url, size: body.size };
  };

  /** Returns an address that shows media, or saves it. */
  async address({ data, url, type }) {
    const source = url ?? data;
    if (this.#loaded.has(source)) {
      const address = this.#loaded.get(source);
      this.#loaded.delete(source);
      this.#loaded.set(source, address);
      return address;
    }
    let blob;
    if (data !== undefined) blob = new Blob([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], { type });
    else {
      const answer = await fetch(url, { headers: await this.#headers() });
      if (!answer.ok) throw new Error(answer.status === 404 ? "the file is gone" : `no answer (${answer.status})`);
      blob = await answer.blob();
    }
    const address = URL.createObjectURL(blob);
    this.#loaded.set(source, address);
    if (this.#loaded.size > LOADED) {
      const [[oldest, old]] = this.#loaded;
      this.#loaded.delete(oldest);
      URL.revokeObjectURL(old);
    }
    return address;
  }

  /** Forgets an address that does not show anything any more. */
  forget({ url, data }) {
    this.#loaded.delete(url ?? data);
  }
}
