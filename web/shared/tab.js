/**
 * What this tab keeps, also over a reload. Browsers bound it (some five million letters), and allow none at all to pages whose cookies
 * are blocked: then the memory of the page has it, until the page ends.
 */

const memory = new Map();

/** Returns the storage of the tab; undefined if the browser allows none. */
function storage() {
  try {
    return sessionStorage;
  } catch {
    return undefined;
  }
}

/** Returns the text of a name; undefined if there is none. */
export function read(name) {
  return memory.get(name) ?? storage()?.getItem(name) ?? undefined;
}

/** Keeps a text under a name, or nothing any more. Returns whether a reload finds the same. */
export function write(name, text) {
  memory.delete(name);
  try {
    if (text === undefined) storage()?.removeItem(name);
    else storage().setItem(name, text);
    return true;
  } catch {
    memory.set(name, text);
    return false;
  }
}

/** Returns the names of what is kept. */
export function names() {
  return [...new Set([...memory.keys(), ...Object.keys(storage() ?? {})])];
}
