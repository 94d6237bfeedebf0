/** The types of the client of Trunkline. Fields are those of docs/protocol.md. */

export interface Options {
  /** The token of `connect`, or what returns one. A function is asked again before a token expires. */
  token?: string | (() => string | Promise<string>);
  /** The user, in development mode. */
  user?: string;
  namespace?: string;
  device?: string;
  /** The `position` of an earlier client: what was missed since then comes first. */
  since?: string;
  /** Without `since`: goes on from the position that the gateway keeps for `device`. */
  resume?: boolean;
  /** Whether messages count as delivered once their listeners have seen them. Default: true. */
  acknowledge?: boolean;
  /** How many messages of a conversation may be on their way at a time. Default: 1, which keeps their order even if the gateway refuses one for the moment. */
  pipeline?: number;
  /** How many commands may be without an answer. Default: 1,000. Further ones are rejected with `queue_full`. */
  maxPending?: number;
  /** The WebSocket of platforms without one, such as the package ws before Node.js 22. */
  WebSocket?: unknown;
  /** The source of random numbers from 0 to 1. */
  random?: () => number;
}

export type State = "connecting" | "catching_up" | "online" | "waiting" | "closed";

export interface Session {
  session: string;
  user: string;
  device: string;
  pos: string;
  recovered: boolean;
  time: number;
  ping_ms: number;
  limits: { message_bytes: number; text_bytes: number; key_bytes: number; page: number };
  expires?: number;
  unsubscribed?: string[];
}

export interface Media {
  type: string;
  /** base64 */
  data?: string;
  url?: string;
  size?: number;
}

export interface Reaction {
  reaction: string;
  users: string[];
  count: number;
  more: boolean;
}

export interface Message {
  conversation: string;
  seq: number;
  from: string;
  device: string;
  time: number;
  key?: string;
  text?: string;
  media?: Media;
  reply_to?: number;
  kind?: string;
  meta?: unknown;
  mentions?: string[];
  /** The time of the last edit. */
  edited?: number;
  /** When the message expires, if it was sent with `ttl`. */
  expires?: number;
  /** It has expired: it has no content any more. */
  expired?: true;
  recalled?: true;
  deleted?: true;
  too_large?: true;
  reactions?: Reaction[];
  more_reactions?: true;
}

export interface Sent {
  conversation: string;
  seq: number;
  pos: string;
  time: number;
  duplicate: boolean;
}

export interface Presence {
  user: string;
  online: boolean;
  devices: number;
  last_seen?: number;
}

export interface Marks {
  delivered?: number;
  read?: number;
}

export type Role = "owner" | "admin" | "member";

/** What every change of a group has. */
interface Changed {
  conversation: string;
  by: string;
  members: string[];
  time: number;
}

/** A change of a group. Skip one that you do not know. */
export type GroupChange = Changed &
  (
    | { change: "created"; name?: string }
    | { change: "renamed"; name: string }
    | { change: "added" | "removed" | "left" | "joined" }
    | { change: "role"; role: Role }
    | { change: "set"; name?: string; picture?: string; send?: "all" | "admins"; join?: "invite" | "open" }
    | { change: "pinned" | "unpinned"; seq: number }
  );

/** The user's own settings of a conversation. */
export interface Settings {
  /** No notifications before this time; 0: not muted. */
  muted_until: number;
  pinned: boolean;
  archived: boolean;
}

/** A conversation in the list of them. */
export interface Conversation extends Partial<Settings> {
  conversation: string;
  last?: Message;
  read: number;
  unread: number;
  /** The unread messages that mention the user; 100: 100 or more. */
  mentions?: number;
  members: number;
}

export interface Group {
  group: string;
  name?: string;
  picture?: string;
  history: "all" | "joined";
  send: "all" | "admins";
  join: "invite" | "open";
  pins?: { seq: number; time: number }[];
  count: number;
  members: { user: string; role: Role; since: number }[];
  more: boolean;
}

/** The events, and what their listeners get first. Those of the store come with their position as a second argument. */
export interface Events {
  message: Message;
  receipt: { conversation: string; user: string; delivered: number; read: number; time: number };
  /** The message as it is now, without its reactions. */
  edit: Message;
  recall: { conversation: string; seq: number; by: string; time: number };
  delete: { conversation: string; seq: number; time: number };
  reaction: { conversation: string; seq: number; user: string; reaction: string; removed: boolean; time: number };
  group: GroupChange;
  /** Another device of the user changed the settings of a conversation: all three as they are now. */
  settings: { conversation: string; time: number } & Settings;
  presence: Presence;
  /** Somebody is writing, for `expires_ms` from now on, or has stopped. */
  typing: { conversation: string; user: string; stop?: true; expires_ms: number };
  signal: { user: string; data: unknown };
  publication: { topic: string; data: unknown; from: string; pos: string };

  /** The state changed. */
  state: State;
  /** A session has begun. */
  connected: Session;
  /** Everything missed was handed over. */
  caught_up: { pos: string };
  /** The session was lost; the next attempt is in `retryMs`. */
  disconnected: { code: number; reason: string; retryMs: number };
  /** The client is closed: by `close()`, or since the gateway refuses it for good. */
  closed: TrunklineError;
  /** The position moved. Keep it where it survives the program. */
  position: string;
  /** The history that the client knew is no more: read `history` of the conversations that are shown. */
  reset: { reason: string };
  /** A token was renewed. */
  renewed: Session;
  /** A new token does not allow this topic. */
  unsubscribed: { topic: string };
  /** A later session has subscribed again; `recovered` says whether no publication is missing. */
  resubscribed: { topic: string; pos: string; recovered: boolean };
  /** An error that belongs to no promise, such as one of `token`. The client goes on. */
  error: unknown;
}

export class TrunklineError extends Error {
  readonly code: number;
  readonly kind: string;
  readonly temporary: boolean;
  readonly limit?: string;
  readonly retryMs?: number;
  /** Whether the command may have been carried out: its answer was lost. */
  readonly unknown: boolean;
}

type Target = { user: string; group?: undefined } | { group: string; user?: undefined };
type Content = { text: string; media?: Media; meta?: unknown } | { text?: string; media: Media; meta?: unknown };
interface Extras {
  reply_to?: number;
  kind?: string;
  mentions?: string[];
  /** After this time the message has no content any more, such as `1h`. */
  ttl?: string;
  key?: string;
}
interface Page {
  after?: string;
  limit?: number;
}
interface At {
  conversation: string;
  seq: number;
}

export class Trunkline {
  /** @param url `ws://…`, `wss://…`, or the address of the gateway with `http://` or `https://` */
  constructor(url: string | URL, options?: Options);

  readonly state: State;
  readonly session: Session | undefined;
  readonly user: string | undefined;
  readonly position: string | undefined;
  readonly pending: number;

  on<E extends keyof Events>(event: E, listener: (value: Events[E], pos?: string) => void): () => void;
  off<E extends keyof Events>(event: E, listener: (value: Events[E], pos?: string) => void): void;
  connected(): Promise<Session>;
  close(): void;

  send(message: Target & Content & Extras): Promise<Sent>;
  ack(conversation: string, marks: Marks): void;
  receipts(fields: At & Page & { state: "read" | "delivered" | "unread" }): Promise<{
    counts: { members: number; delivered: number; read: number };
    users: { user: string; seq: number; time: number }[];
    more: boolean;
  }>;
  sync(fields: { since: string; limit?: number }): Promise<{ events: Record<string, unknown>[]; pos: string; more: boolean }>;
  history(fields: { conversation: string; before?: number; after?: number; limit?: number; thread?: number }): Promise<{
    messages: Message[];
    first: number;
    last: number;
    more: boolean;
  }>;
  get(fields: At): Promise<{ message: Message }>;
  conversations(fields?: Page): Promise<{
    conversations: Conversation[];
    unread: number;
    cursor?: string;
    more: boolean;
  }>;
  search(fields: { text: string; conversation?: string; after?: string; limit?: number }): Promise<{ messages: Message[]; next?: string }>;
  groupCreate(fields: {
    group: string;
    name?: string;
    members?: string[];
    history?: "all" | "joined";
    key?: string;
  }): Promise<{ conversation: string; members: number; duplicate?: boolean }>;
  groupAdd(fields: { group: string; members: string[] }): Promise<{ members: number }>;
  groupRemove(fields: { group: string; members: string[] }): Promise<{ members: number }>;
  groupLeave(fields: { group: string }): Promise<object>;
  groupRename(fields: { group: string; name: string }): Promise<object>;
  groupInfo(fields: { group: string } & Page): Promise<Group>;
  groupRole(fields: { group: string; user: string; role: Role }): Promise<object>;
  groupSet(fields: {
    group: string;
    name?: string;
    picture?: string;
    send?: "all" | "admins";
    join?: "invite" | "open";
  }): Promise<object>;
  groupJoin(fields: { group: string }): Promise<{ members: number }>;
  settings(fields: { conversation: string } & Partial<Settings>): Promise<object>;
  pin(fields: At): Promise<object>;
  unpin(fields: At): Promise<object>;
  block(fields: { user: string }): Promise<object>;
  unblock(fields: { user: string }): Promise<object>;
  blocked(fields?: Page): Promise<{ users: string[]; more: boolean }>;
  edit(fields: At & Content): Promise<object>;
  recall(fields: At): Promise<object>;
  delete(fields: At): Promise<object>;
  react(fields: At & { reaction: string; remove?: boolean }): Promise<object>;
  reactions(fields: At & Page & { reaction?: string }): Promise<{ reactions: Reaction[]; more: boolean }>;
  contacts(fields?: Page & { add?: string[]; remove?: string[]; watch?: boolean }): Promise<{
    contacts: { user: string; online: boolean; last_seen?: number }[];
    more: boolean;
  }>;
  presence(fields: { watch?: string[]; unwatch?: string[]; query?: string[] }): Promise<{ users: Presence[]; more: boolean }>;
  typing(conversation: string, how?: { stop?: boolean }): void;
  signal(fields: { user: string; data: unknown }): Promise<{ online: boolean }>;
  subscribe(fields: { topic: string; since?: string }): Promise<{ pos: string; recovered: boolean }>;
  unsubscribe(fields: { topic: string }): Promise<{ pos: string; recovered: boolean }>;
  publish(fields: { topic: string; data: unknown }): Promise<{ pos: string }>;
  rpc<T = unknown>(fields: { method: string; data: unknown }): Promise<{ data: T }>;
  ping(): Promise<object>;
  /** Carries out a command by its name in the protocol. */
  request<T = unknown>(name: string, fields?: object): Promise<T>;
}

/** What events do to messages. */
export type Change = "edit" | "recall" | "delete" | "reaction";

/** How far an own message has come. */
export interface Fate {
  /** What all others have: `sent` if some have nothing. */
  state: "sent" | "delivered" | "read";
  delivered: number;
  read: number;
  others: number;
}

/** The messages of one conversation as they are now. README.md has an example. */
export class Timeline {
  constructor(conversation: string);
  readonly conversation: string;
  /** The oldest first. A message that changed is another object. */
  readonly messages: readonly Message[];
  readonly marks: ReadonlyMap<string, Required<Marks>>;
  at(seq: number): Message | undefined;
  /** The place of a sequence among the messages: where it is, or would be. */
  place(seq: number): number;
  /** Takes a message of an event, or of a page of `history`. Returns whether it was not here before. */
  put(message: Message): boolean;
  /** Takes an event of this conversation. Returns the message as it is now; undefined if nothing changes. */
  apply<C extends Change>(kind: C, event: Events[C]): Message | undefined;
  /** Takes the content of messages whose time is over. Returns whether there were any. */
  expire(now: number): boolean;
  mark(user: string, marks: Marks): void;
  fate(seq: number, members?: number): Fate;
  /** Forgets all messages but the newest ones. */
  keep(count: number): void;
  clear(): void;
}

/** Returns the name of the conversation of two users. */
export function conversationOf(one: string, other: string): string;
/** Returns a random key of 128 bits. */
export function randomKey(): string;
/** Returns bytes as base64, for `media.data`. */
export function base64(bytes: Uint8Array | ArrayBuffer): string;
