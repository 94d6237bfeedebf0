/** Small things that all parts of the client use: errors, names, keys, and a map that forgets. */

/** The most entries of a map that forgets what was entered first. */
const REMEMBERED = 10_000;

const encoder = new TextEncoder();

/** An error of the gateway, or of the connection to it. */
export class TrunklineError extends Error {
  /**
   * @param {{code: number, name: string, message: string, temporary?: boolean, limit?: string, retry_ms?: number}} error
   * @param {boolean} unknown whether the command may have been carried out
   */
  constructor(error, unknown = false) {
    super(error.message);
    this.name = "TrunklineError";
    /** The code of the protocol; 0 if the error is of this client. */
    this.code = error.code;
    /** The name of the code, such as `permission_denied`. */
    this.kind = error.name;
    /** Whether the same command may succeed later. */
    this.temporary = error.temporary ?? false;
    /** The limit that was reached, with code 111. */
    this.limit = error.limit;
    /** The milliseconds after which the command is within that limit again. */
    this.retryMs = error.retry_ms;
    /** Whether the command may have been carried out: the answer was lost. */
    this.unknown = unknown;
  }
}

/** Returns an error of this client. */
export const localError = (name, message, unknown = false) => new TrunklineError({ code: 0, name, message }, unknown);

/** Returns the number of bytes of a text in UTF-8. */
export const byteLength = (text) => encoder.encode(text).length;

/** Compares two names bytewise. */
function bytewise(one, other) {
  const [left, right] = [encoder.encode(one), encoder.encode(other)];
  const place = left.findIndex((byte, i) => byte !== right[i]);
  return place < 0 ? left.length - right.length : left[place] - (right[place] ?? -1);
}

/** Returns the name of the conversation of two users. */
export function conversationOf(one, other) {
  return `u:${[one, other].sort(bytewise).join(":")}`;
}

/** Returns a random key of 128 bits. */
export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns bytes as base64, for `media.data`. */
export function base64(bytes) {
  const array = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  let text = "";
  for (let i = 0; i < array.length; i += 0x8000) text += String.fromCharCode(...array.subarray(i, i + 0x8000));
  return btoa(text);
}

/** A map of at most 10,000 entries. It forgets what was entered first. */
export class Recent extends Map {
  set(key, value) {
    this.delete(key);
    if (this.size >= REMEMBERED) this.delete(this.keys().next().value);
    return super.set(key, value);
  }
}

/** Listeners for events by their kind. */
export class Listeners {
  #of = new Map();

  add(event, listener) {
    if (!this.#of.has(event)) this.#of.set(event, new Set());
    this.#of.get(event).add(listener);
  }

  remove(event, listener) {
    this.#of.get(event)?.delete(listener);
  }

  /** Calls the listeners. One that throws harms nobody else: its error becomes one of the program. */
  tell(event, value, pos) {
    for (const listener of [...(this.#of.get(event) ?? [])]) {
      try {
        listener(value, pos);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

/** Returns where the WebSocket of a gateway is. */
export function socketUrl(url) {
  const found = new URL(url, globalThis.location?.href);
  found.protocol = { "http:": "ws:", "https:": "wss:" }[found.protocol] ?? found.protocol;
  if (found.pathname === "/") found.pathname = "/v1/ws";
  return found.href;
}
