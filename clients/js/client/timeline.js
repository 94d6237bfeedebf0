/** A conversation as it is now: its messages, with what events did to them, and how far its members have come. */

import { Recent } from "./values.js";

/** What a message loses that was taken back, deleted, or has expired. */
const CONTENT = ["text", "media", "meta", "kind", "mentions", "reactions", "more_reactions"];

/** Returns a message without its content. */
function without(message, why) {
  const rest = { ...message, [why]: true };
  for (const field of CONTENT) delete rest[field];
  return rest;
}

/** Returns whether a message has no content any more. */
const isGone = ({ recalled, deleted, expired }) => Boolean(recalled || deleted || expired);

/**
 * The messages of one conversation in the order of their sequences. `put` takes messages, of events and of pages of
 * `history` alike, and `apply` takes the events that change them, in any order of the two. Messages are never changed in
 * place: one that is another object has changed.
 */
export class Timeline {
  /** The messages that are here, the oldest first. */
  messages = [];
  /** How far members have come: `{ delivered, read }` by user. At most 10,000 of them. */
  marks = new Recent();
  /** What happened to messages that are not here. A page of before may still bring them as they were. */
  #unseen = new Recent();

  constructor(conversation) {
    this.conversation = conversation;
  }

  /** Returns the place of a sequence among the messages: where it is, or would be. */
  place(seq) {
    let [low, high] = [0, this.messages.length];
    // Nearly always it is the newest one.
    if (high > 0 && this.messages[high - 1].seq < seq) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.messages[middle].seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Returns the message with a sequence, if it is here. */
  at(seq) {
    const found = this.messages[this.place(seq)];
    return found?.seq === seq ? found : undefined;
  }

  /** Takes a message. What is known of it later than it was written stays. Returns whether it was not here before. */
  put(message) {
    const place = this.place(message.seq);
    const before = this.messages[place]?.seq === message.seq ? this.messages[place] : undefined;
    let now = before ? newer(before, message) : message;
    for (const [kind, event] of this.#unseen.get(message.seq) ?? []) now = changed(now, kind, event) ?? now;
    this.#unseen.delete(message.seq);
    this.messages.splice(place, before ? 1 : 0, now);
    return !before;
  }

  /**
   * Takes an `edit`, `recall`, `delete` or `reaction` of this conversation. Returns the message as it is now; undefined if
   * nothing that is here changes.
   */
  apply(kind, event) {
    const before = this.at(event.seq);
    if (!before) {
      if (kind !== "reaction") this.#unseen.set(event.seq, [...(this.#unseen.get(event.seq) ?? []).filter(([known]) => known !== kind), [kind, event]]);
      return undefined;
    }
    const now = changed(before, kind, event);
    if (now) this.messages[this.place(event.seq)] = now;
    return now;
  }

  /** Takes the content of messages whose time is over. `now`: the gateway's time, in milliseconds. Returns whether there were any. */
  expire(now) {
    let any = false;
    this.messages.forEach((message, place) => {
      if (!(message.expires <= now) || isGone(message)) return;
      this.messages[place] = without(message, "expired");
      any = true;
    });
    return any;
  }

  /** Moves the marks of a member. They never go back. */
  mark(user, { delivered = 0, read = 0 }) {
    const before = this.marks.get(user) ?? { delivered: 0, read: 0 };
    this.marks.set(user, { delivered: Math.max(before.delivered, delivered, read), read: Math.max(before.read, read) });
  }

  /** Returns how many of the members other than the sender have a message, and what all of them have done. */
  fate(seq, members = 2) {
    const others = Math.max(members - 1, 1);
    let [delivered, read] = [0, 0];
    for (const marks of this.marks.values()) {
      if (marks.delivered >= seq) delivered++;
      if (marks.read >= seq) read++;
    }
    return { state: read >= others ? "read" : delivered >= others ? "delivered" : "sent", delivered, read, others };
  }

  /** Forgets all messages but the newest ones. */
  keep(count) {
    this.messages.splice(0, Math.max(this.messages.length - count, 0));
  }

  /** Forgets everything: the history is another one. */
  clear() {
    this.messages = [];
    this.marks.clear();
    this.#unseen.clear();
  }
}

/** Returns of two forms of a message the one that was made later. */
function newer(before, message) {
  if (isGone(before) && !isGone(message)) return before;
  if ((before.edited ?? 0) > (message.edited ?? 0) && !isGone(message)) return before;
  return message;
}

/** Returns a message after an event; undefined if the event changes nothing. */
function changed(message, kind, event) {
  if (kind === "recall") return message.recalled ? undefined : without(message, "recalled");
  if (kind === "delete") return message.deleted ? undefined : without(message, "deleted");
  if (isGone(message)) return undefined;
  if (kind === "reaction") return reacted(message, event);
  // Two edits may have the same time: events come in their order.
  if ((message.edited ?? 0) > event.edited) return undefined;
  // The event has the whole message but its reactions.
  const { reactions, more_reactions } = message;
  return { ...event, ...(reactions && { reactions }), ...(more_reactions && { more_reactions }) };
}

function reacted(message, { user, reaction, removed = false }) {
  const reactions = (message.reactions ?? []).map((one) => ({ ...one, users: [...one.users] }));
  let found = reactions.find((one) => one.reaction === reaction);
  if (!found && !removed) reactions.push((found = { reaction, users: [], count: 0, more: false }));
  const place = found?.users.indexOf(user) ?? -1;
  // Not all users of a reaction are listed: one who is not may have it all the same.
  if (removed ? place < 0 && !found?.more : place >= 0) return undefined;
  if (removed) {
    if (place >= 0) found.users.splice(place, 1);
    found.count--;
  } else {
    found.users.push(user);
    found.count++;
  }
  const { reactions: _, ...rest } = message;
  const left = reactions.filter(({ count }) => count > 0);
  return left.length > 0 ? { ...rest, reactions: left } : rest;
}
