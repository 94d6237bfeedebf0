/** What the gateway counts, in words. The names of the metrics stand beside them, for who looks further. */

/** The limits that were reached, by their label in `trunkline_limited_total`. */
export const LIMITS = {
  connection_messages: "Messages of a connection",
  connection_bytes: "Bytes of a connection",
  connection_commands: "Commands of a connection",
  user_messages: "Messages of a user",
  user_bytes: "Bytes of a user",
  user_commands: "Commands of a user",
  connections: "Most connections",
  address_connections: "Connections of an address",
  user_connections: "Connections of a user",
  opening: "Connections without a session",
  accepts: "New connections at once",
  newcomers: "New connections read at once",
  recovering: "Sessions that catch up",
  shard_pushes: "Pushes in a shard's memory",
  shard_buffers: "Memory of a shard",
  header_bytes: "Headers of a connection",
  control_frames: "Pings of a client",
  message_time: "Time for a message to arrive",
  handshake_time: "Time to open a connection",
  frame_commands: "Commands in a frame",
  pages: "Pages read at once",
  outstanding: "Commands without an answer",
  answers: "Answers in memory",
  drain_time: "Time to end connections",
  watches: "Users that a session watches",
  last_seen: "Times of last presence",
  subscriptions: "Topics of a session",
  topics: "Topics in memory",
  typing: "Typing events of a connection",
  passing: "Room for ephemeral events",
  origins: "Web pages that may connect",
  proxies: "Clients that a proxy names",
  rpcs: "Questions to back ends of a connection",
};

/** Why connections were closed, by the code. */
export const CLOSES = {
  1000: "In order",
  1002: "A broken frame",
  1003: "Text for binary, or the reverse",
  1007: "Text that is not UTF-8",
  1008: "A message without an end, or too many pings",
  1009: "A message that is too big",
  3001: "The gateway stops",
  3004: "The gateway failed",
  3008: "The client does not read",
  3012: "The client did not answer a ping",
  3013: "Overload",
  3500: "A token that is missing or not valid",
  3502: "No connect in time",
  3503: "Ended by an operator",
  3504: "Too many sessions of the user",
  3505: "The token has expired",
  other: "Another code",
};

/** Error replies whose name alone says little. */
const ERRORS = {
  unknown: "Unknown conversation or message",
  internal: "The gateway failed",
};

/** The names of other errors are English words already. */
const said = (name) => name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());

/** The three kinds that are counted, by their name in the numbers: what one of them is, and its words. */
export const KINDS = {
  limited: { what: "Limit", words: (name) => LIMITS[name] ?? said(name) },
  errors: { what: "Error", words: (name) => ERRORS[name] ?? said(name) },
  closes: { what: "Close", words: (name) => CLOSES[name] ?? name },
};

/** The numbers of parts that a gateway may have, by their names there. */
export const FACTS = {
  connections: "HTTP connections",
  waiting: "Requests that wait for events",
  streams: "Event streams",
  backlog: "Webhooks that wait",
  recipients_with_more: "Recipients with more in the log",
  behind_bytes: "Log not looked through",
  oldest_ms: "Oldest webhook",
  tried: "Webhooks tried",
  told: "Webhooks told",
  failed: "Webhooks failed",
  given_up: "Webhooks given up",
  offline_circuit: "Back end of offline",
  presence_circuit: "Back end of presence",
};

/** What the back end of a webhook does. */
export const CIRCUITS = { off: "not set", closed: "answers", open: "rests: it fails" };

export const HEALTH = {
  ok: "Good",
  full: "The disk is full: nothing is stored",
  short: "The store lacks room or descriptors",
  lost: "The data folder is missing",
  failed: "The store has failed",
};
