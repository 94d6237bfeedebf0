// What the client does with a gateway that is played here, step by step.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Trunkline, base64, conversationOf } from "../client.js";
import { Delays } from "../client/delays.js";

const LIMITS = { message_bytes: 1_000, text_bytes: 500, key_bytes: 128, page: 500 };

/** A connection whose other end is the test. */
class Played {
  static all = [];
  readyState = 0;
  sent = [];

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    Played.all.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.readyState = 3;
    this.closed = code;
  }

  open() {
    this.readyState = 1;
    this.onopen();
    return this.sent.shift();
  }

  say(...messages) {
    this.onmessage({ data: messages.map((message) => JSON.stringify(message)).join("\n") });
  }

  /** Answers the command of this name that came first. */
  answer(name, reply, key = name) {
    const place = this.sent.findIndex((command) => name in command);
    assert.ok(place >= 0, `there is no ${name} among ${JSON.stringify(this.sent)}`);
    const [command] = this.sent.splice(place, 1);
    this.say({ id: command.id, [key]: reply });
    return command[name];
  }

  refuse(name, error) {
    return this.answer(name, { message: "no", ...error }, "error");
  }

  lose(code = 1006) {
    this.readyState = 3;
    this.onclose({ code, reason: "" });
  }
}

/** Runs a test with a client whose waits between attempts are none. */
function played(name, options, body) {
  test(name, async () => {
    Played.all = [];
    const client = new Trunkline("http://gateway.example", { user: "alice", device: "phone", WebSocket: Played, random: () => 0, ...options });
    const told = [];
    for (const event of ["message", "error", "reset", "disconnected", "closed", "unsubscribed", "presence"]) {
      client.on(event, (value) => told.push([event, value]));
    }
    const next = async () => {
      const count = next.count++;
      for (let turn = 0; !Played.all[count]; turn++) {
        assert.ok(turn < 10_000, "the client did not connect");
        await setImmediate();
      }
      return Played.all[count];
    };
    next.count = 0;
    try {
      await body({ client, told, next });
    } finally {
      client.close();
    }
  });
}

/** Opens a session. */
function greet(socket, fields = {}) {
  const { id, connect } = socket.open();
  const session = { session: "0-1", user: "alice", device: "phone", pos: "p-0", recovered: false, time: 1_000, ping_ms: 25_000, limits: LIMITS };
  socket.say({ id, connect: { ...session, ...fields } });
  return connect;
}

/** Waits until something holds, also while the clock of the client stands still. */
async function until(what, holds) {
  for (const end = Date.now() + 20_000; !holds(); await setImmediate()) assert.ok(Date.now() < end, `it never came: ${what}`);
}

const message = (pos, seq, more = {}) => ({ pos, message: { conversation: "u:alice:bob", seq, from: "bob", device: "phone", time: 1, text: `${seq}`, ...more } });
const sequences = (told) => told.filter(([event]) => event === "message").map(([, { seq }]) => seq);

played("connects as the protocol says", { token: async () => "t-1", user: undefined }, async ({ client, next }) => {
  const socket = await next();
  assert.equal(socket.url, "ws://gateway.example/v1/ws");
  assert.deepEqual(socket.protocols, ["trunkline.v1.json"]);
  assert.deepEqual(greet(socket), { device: "phone", batch: true, token: "t-1" });
  assert.equal((await client.connected()).session, "0-1");
  assert.equal(client.position, "p-0");
});

played("goes on from its position, and sends again what has no answer, with its key", {}, async ({ client, told, next }) => {
  const one = await next();
  greet(one);
  one.say({ push: message("p-1", 1) });
  const sent = client.send({ user: "bob", text: "hello" });
  const [{ send }] = one.sent;
  one.lose();
  const two = await next();
  assert.equal(greet(two, { recovered: true, pos: "p-1" }).since, "p-1");
  assert.equal(client.state, "catching_up");
  assert.deepEqual(two.sent[0].send, send);
  // The message was stored: what was missed has it, and the promise alone tells it.
  two.say({ push: message("p-2", 2, { from: "alice", key: send.key }) }, { push: message("p-3", 3) }, { push: { caught_up: { pos: "p-3" } } });
  two.answer("send", { conversation: "u:alice:bob", seq: 2, pos: "p-2", time: 1, duplicate: true });
  assert.equal((await sent).seq, 2);
  assert.deepEqual(sequences(told), [1, 3]);
  assert.deepEqual([client.state, client.position], ["online", "p-3"]);
});

played("hands a message over once, whatever comes twice", {}, async ({ told, next }) => {
  const socket = await next();
  greet(socket);
  socket.say({ push: message("p-1", 1) }, { push: message("p-1", 1) }, { push: message("p-2", 2) }, { push: message("p-1", 1) });
  assert.deepEqual(sequences(told), [1, 2]);
});

played("fetches what a gap left out before what came live", {}, async ({ client, told, next }) => {
  const socket = await next();
  greet(socket);
  socket.say({ push: message("p-1", 1) }, { push: { gap: { pos: "p-3" } } }, { push: message("p-4", 4) });
  assert.equal(client.state, "catching_up");
  assert.equal(client.position, "p-1", "what came live is ahead of what is missing");
  assert.deepEqual(socket.answer("sync", { events: [message("p-2", 2)], pos: "p-2", more: true }), { since: "p-1" });
  await setImmediate();
  assert.deepEqual(socket.answer("sync", { events: [message("p-3", 3), message("p-4", 4)], pos: "p-4", more: false }), { since: "p-2" });
  await setImmediate();
  socket.say({ push: message("p-5", 5) });
  assert.deepEqual(sequences(told), [1, 2, 3, 4, 5]);
  assert.deepEqual([client.state, client.position], ["online", "p-5"]);
});

played("fetches again what came live while it had no room", {}, async ({ client, told, next }) => {
  const socket = await next();
  greet(socket);
  const live = Array.from({ length: 2_100 }, (_, i) => ({ push: message(`p-${i + 2}`, i + 2) }));
  socket.say({ push: { gap: { pos: "p-1" } } }, ...live);
  socket.answer("sync", { events: [message("p-1", 1)], pos: "p-1", more: false });
  await setImmediate();
  socket.answer("sync", { events: live.map(({ push }) => push), pos: "p-2101", more: false });
  await setImmediate();
  assert.deepEqual(sequences(told), Array.from({ length: 2_101 }, (_, i) => i + 1));
  assert.equal(client.state, "online");
});

played("begins anew where its history is no more", { since: "p-9" }, async ({ client, told, next }) => {
  const socket = await next();
  client.ack("u:alice:bob", { read: 7 });
  const { id, connect } = socket.open();
  assert.equal(connect.since, "p-9");
  socket.say({ id, error: { code: 112, name: "position_expired", message: "expired", temporary: false } });
  const again = socket.sent.shift();
  assert.ok(!("since" in again.connect));
  socket.say({ id: again.id, connect: { session: "0-1", user: "alice", device: "phone", pos: "q-1", recovered: false, time: 1, ping_ms: 25_000, limits: LIMITS } });
  assert.deepEqual(told.map(([event]) => event), ["reset"]);
  assert.equal(client.position, "q-1");
  assert.equal(socket.sent.length, 0, "marks may name sequences of other messages");
});

played("keeps the order of a conversation when a message is refused for the moment", {}, async ({ client, next }) => {
  const socket = await next();
  greet(socket);
  const sent = ["1", "2"].map((text) => client.send({ user: "bob", text }));
  const other = client.send({ group: "eng", text: "3" });
  assert.deepEqual(socket.sent.map(({ send }) => send.text), ["1", "3"], "the second one waits for the first one");
  socket.refuse("send", { code: 111, name: "too_many_requests", temporary: true, limit: "rate_messages", retry_ms: 1 });
  socket.answer("send", { conversation: "g:eng", seq: 1 });
  await other;
  // A back end that has to be asked fails for the moment.
  await until("a command", () => socket.sent.length > 0);
  assert.equal(socket.refuse("send", { code: 120, name: "back_end_unavailable", temporary: true }).text, "1");
  await until("a command", () => socket.sent.length > 0);
  assert.equal(socket.answer("send", { conversation: "u:alice:bob", seq: 1 }).text, "1");
  assert.equal(socket.answer("send", { conversation: "u:alice:bob", seq: 2 }).text, "2");
  assert.deepEqual((await Promise.all(sent)).map(({ seq }) => seq), [1, 2]);
});

played("what cannot be written holds up nothing", {}, async ({ client, next }) => {
  const socket = await next();
  greet(socket);
  const circle = {};
  circle.circle = circle;
  for (const meta of [1n, circle]) await assert.rejects(client.send({ user: "bob", text: "1", meta }), TypeError);
  const sent = client.send({ user: "bob", text: "2" });
  assert.equal(socket.answer("send", { conversation: "u:alice:bob", seq: 1 }).text, "2");
  assert.equal((await sent).seq, 1);
});

played("what changes one thing goes one after another, also when a command is refused for the moment", {}, async ({ client, next }) => {
  const socket = await next();
  greet(socket);
  const at = { conversation: "u:alice:bob", seq: 1 };
  const done = [client.edit({ ...at, text: "1" }), client.edit({ ...at, text: "2" }), client.recall(at), client.edit({ ...at, seq: 2, text: "other" })];
  assert.deepEqual(socket.sent.map(({ edit }) => edit?.text), ["1", "other"], "the second edit waits for the first one");
  socket.refuse("edit", { code: 111, name: "too_many_requests", temporary: true, limit: "rate_commands", retry_ms: 1 });
  socket.answer("edit", {});
  await until("a command", () => socket.sent.length > 0);
  for (const text of ["1", "2"]) assert.equal(socket.answer("edit", {}).text, text);
  assert.deepEqual(socket.answer("recall", {}), at);
  await Promise.all(done);
  const settings = [client.settings({ conversation: "u:alice:bob", pinned: true }), client.settings({ conversation: "u:alice:bob", pinned: false })];
  assert.equal(socket.sent.length, 1);
  for (const pinned of [true, false]) assert.equal(socket.answer("settings", {}).pinned, pinned);
  await Promise.all(settings);
});

played("repeats an edit whose answer was lost", {}, async ({ client, next }) => {
  const one = await next();
  greet(one);
  const fields = { conversation: "u:alice:bob", seq: 1, text: "new" };
  const edited = client.edit(fields);
  const changed = client.groupRole({ group: "eng", user: "bob", role: "admin" });
  one.lose();
  await assert.rejects(changed, { kind: "connection_lost", unknown: true });
  const two = await next();
  greet(two, { recovered: true });
  assert.deepEqual(two.answer("edit", {}), fields);
  await edited;
});

played("says that the user writes, and has stopped", {}, async ({ client, next }) => {
  const socket = await next();
  greet(socket);
  client.typing("u:alice:bob");
  client.typing("u:alice:bob", { stop: true });
  assert.deepEqual(socket.sent, [{ typing: { conversation: "u:alice:bob" } }, { typing: { conversation: "u:alice:bob", stop: true } }]);
});

played("tells errors with their codes, and does not send what is too long", {}, async ({ client, next }) => {
  const socket = await next();
  greet(socket);
  const refused = client.get({ conversation: "u:bob:carol", seq: 1 });
  socket.refuse("get", { code: 103, name: "permission_denied", temporary: false });
  await assert.rejects(refused, { name: "TrunklineError", code: 103, kind: "permission_denied", temporary: false, unknown: false });
  await assert.rejects(client.send({ user: "bob", text: "é".repeat(500) }), { code: 106, kind: "limit_exceeded" });
  assert.equal(socket.sent.length, 0);
});

played("repeats nothing that must not happen twice", {}, async ({ client, next }) => {
  const one = await next();
  greet(one);
  const lost = client.rpc({ method: "orders.add", data: {} });
  const read = client.history({ conversation: "u:alice:bob" });
  one.lose();
  await assert.rejects(lost, { kind: "connection_lost", unknown: true });
  const two = await next();
  greet(two, { recovered: true });
  assert.deepEqual(two.sent.map((command) => Object.keys(command)[1]), ["history"]);
  two.answer("history", { messages: [], first: 0, last: 0, more: false });
  assert.equal((await read).last, 0);
});

played("tries again what the gateway was too busy for, in its order", {}, async ({ client, next }) => {
  const one = await next();
  greet(one);
  const busy = { code: 111, name: "too_many_requests", temporary: true, limit: "rate_commands", retry_ms: 1 };
  const changed = [client.groupAdd({ group: "eng", users: ["bob"] }), client.groupRemove({ group: "eng", users: ["bob"] })];
  const asked = client.rpc({ method: "orders.list", data: {} });
  one.refuse("group_add", busy);
  one.refuse("rpc", busy);
  await until("two commands", () => one.sent.length >= 2);
  assert.ok(!one.sent.some((command) => "group_remove" in command), "the removal waits for the addition");
  one.answer("group_add", {});
  one.answer("group_remove", {});
  await Promise.all(changed);
  // Nothing was done: the next session may ask.
  one.refuse("rpc", { ...busy, retry_ms: 60_000 });
  one.lose();
  const two = await next();
  greet(two, { recovered: true });
  two.answer("rpc", { data: 1 });
  assert.equal((await asked).data, 1);
  // A publication would come behind later ones.
  const published = client.publish({ topic: "live.42", data: 1 });
  two.refuse("publish", busy);
  await assert.rejects(published, { code: 111 });
});

/** Lets the test turn the clock. */
async function withClock(body) {
  const real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout, now: performance.now };
  const timers = new Map();
  let [now, ids] = [0, 0];
  globalThis.setTimeout = (run, delay) => (timers.set(++ids, { run, at: now + delay }), ids);
  globalThis.clearTimeout = (id) => timers.delete(id);
  performance.now = () => now;
  const clock = {
    /** Lets time go by in which no timer runs. */
    sleep: (time) => (now += time),
    /** Lets time go by. */
    turn(time) {
      for (const end = now + time; ; ) {
        const [id, first] = [...timers].reduce((a, b) => (b[1].at < a[1].at ? b : a), [0, { at: Infinity }]);
        if (first.at > end) return void (now = end);
        timers.delete(id);
        now = Math.max(now, first.at);
        first.run();
      }
    },
  };
  try {
    await body(clock);
  } finally {
    Object.assign(globalThis, { setTimeout: real.setTimeout, clearTimeout: real.clearTimeout });
    performance.now = real.now;
  }
}

played("ends a silent connection 10 s after a question, however late its timers run", {}, ({ client, told, next }) => withClock(async (clock) => {
  const socket = await next();
  greet(socket);
  clock.turn(20_000);
  socket.say({ push: message("p-1", 1) });
  clock.turn(24_000);
  assert.deepEqual(socket.sent.filter((command) => "ping" in command), [], "it was heard lately");
  // A hidden page has a timer a minute, and no answer was asked for yet.
  clock.sleep(60_000);
  clock.turn(1_000);
  assert.equal(client.state, "online");
  // The answer waits behind a timer that is late too.
  clock.sleep(60_000);
  clock.turn(0);
  assert.equal(client.state, "online");
  socket.answer("ping", {});
  clock.turn(29_000);
  assert.equal(socket.sent.filter((command) => "ping" in command).length, 1);
  clock.turn(5_900);
  assert.equal(client.state, "online");
  clock.turn(100);
  assert.deepEqual([socket.closed, told.at(-1)[1].reason], [1000, "the gateway is silent"]);
}));

played("does not wait for ever for a token", { user: undefined, token: () => asks++ === 0 ? new Promise(() => {}) : "t-1" }, ({ client, told, next }) => withClock(async (clock) => {
  await until("a question for the token", () => asks > 0);
  clock.turn(10_000);
  await until("the end of the wait for a token", () => client.state === "waiting");
  assert.match(told[0][1].message, /token did not answer/);
  clock.turn(0);
  assert.equal(greet(await next()).token, "t-1");
}));
let asks = 0;

played("renews with a later token if one does not come", { user: undefined, token: () => ++renewals === 2 ? new Promise(() => {}) : `t-${renewals}` }, ({ client, told, next }) => withClock(async (clock) => {
  const socket = await next();
  assert.equal(greet(socket, { expires: 11_000 }).token, "t-1");
  clock.turn(8_000);
  assert.equal(renewals, 2);
  clock.turn(10_000);
  await until("that the token does not come", () => told.length > 0);
  assert.match(told[0][1].message, /token did not answer/);
  clock.turn(1_000);
  await until("the next token", () => socket.sent.length > 0);
  assert.deepEqual([socket.sent[0].connect, client.state], [{ token: "t-3" }, "online"]);
}));
let renewals = 0;

played("loses no publication behind a gap", {}, async ({ client, told, next }) => {
  const publication = (number) => ({ push: { publication: { topic: "live.42", data: number, from: "bob", pos: `t-${number}` } } });
  client.on("publication", ({ data }) => told.push(["publication", data]));
  const socket = await next();
  greet(socket);
  client.subscribe({ topic: "live.42" });
  socket.answer("subscribe", { pos: "t-0", recovered: false });
  socket.say(publication(1), { push: { gap: { pos: "p-1" } } }, publication(3));
  socket.answer("sync", { events: [], pos: "p-1", more: false });
  await setImmediate();
  socket.say(publication(4));
  assert.deepEqual(socket.answer("subscribe", { pos: "t-4", recovered: true }), { topic: "live.42", since: "t-1" });
  socket.say(...[2, 3, 4, 5].map(publication));
  const data = () => told.filter(([kind]) => kind === "publication").map(([, data]) => data);
  assert.deepEqual(data(), [1, 2, 3, 4, 5]);
  // The gateway has none any more of what was missed: what came is handed over, also after another session.
  client.on("resubscribed", ({ recovered }) => told.push(["publication", recovered]));
  socket.say({ push: { gap: { pos: "p-2" } } }, publication(300));
  socket.lose();
  const two = await next();
  greet(two, { recovered: true });
  assert.equal(two.answer("subscribe", { pos: "t-301", recovered: false }).since, "t-5");
  two.say(publication(302));
  assert.deepEqual(data().slice(5), [false, 300, 302]);
});

played("bounds what waits", { maxPending: 2 }, async ({ client }) => {
  const waiting = [client.send({ user: "bob", text: "1" }), client.send({ user: "bob", text: "2" })];
  await assert.rejects(client.send({ user: "bob", text: "3" }), { kind: "queue_full" });
  assert.equal(client.pending, 2);
  client.close();
  for (const one of waiting) await assert.rejects(one, { kind: "closed", unknown: false });
});

played("asks 16 questions at a time", {}, async ({ client, next }) => {
  const socket = await next();
  greet(socket);
  const asked = Array.from({ length: 20 }, (_, i) => client.get({ conversation: "u:alice:bob", seq: i + 1 }));
  assert.equal(socket.sent.length, 16);
  for (let i = 0; i < 20; i++) socket.answer("get", { message: {} });
  await Promise.all(asked);
});

played("renews its token before it expires, and drops topics that it lost", { user: undefined, token: () => `t-${++tokens}` }, async ({ client, told, next }) => {
  const socket = await next();
  assert.equal(greet(socket, { expires: 1_050 }).token, "t-1");
  client.subscribe({ topic: "live.42" });
  socket.answer("subscribe", { pos: "t-0", recovered: false });
  await until("a command", () => socket.sent.length > 0);
  const [{ id, connect }] = socket.sent;
  assert.deepEqual(connect, { token: "t-2" });
  socket.say({ id, connect: { session: "0-1", time: 1_040, expires: 3_600_000, unsubscribed: ["live.42"] } });
  assert.equal(client.session.expires, 3_600_000);
  assert.deepEqual(told, [["unsubscribed", { topic: "live.42" }]]);
});
let tokens = 0;

played("watches and subscribes again in a new session", {}, async ({ client, told, next }) => {
  const one = await next();
  greet(one);
  client.presence({ watch: ["bob"] });
  client.subscribe({ topic: "live.42" });
  one.answer("presence", { users: [], more: false });
  one.answer("subscribe", { pos: "t-1", recovered: false });
  one.say({ push: { publication: { topic: "live.42", data: 1, from: "bob", pos: "t-2" } } });
  one.lose();
  const two = await next();
  greet(two, { recovered: true });
  assert.deepEqual(two.answer("presence", { users: [{ user: "bob", online: true, devices: 1 }], more: false }), { watch: ["bob"] });
  assert.deepEqual(two.answer("subscribe", { pos: "t-2", recovered: true }), { topic: "live.42", since: "t-2" });
  assert.deepEqual(told.at(-1), ["presence", { user: "bob", online: true, devices: 1 }]);
});

played("acknowledges what its listeners have seen, and again what got no answer", {}, async ({ client, next }) => {
  const one = await next();
  greet(one);
  one.say({ push: message("p-1", 1) }, { push: message("p-2", 2) });
  client.ack("u:alice:bob", { read: 1 });
  await until("a command", () => one.sent.length > 0);
  assert.deepEqual(one.sent.map(({ ack }) => ack), [{ conversation: "u:alice:bob", delivered: 2, read: 1 }]);
  one.lose();
  const two = await next();
  greet(two, { recovered: true });
  assert.deepEqual(two.answer("ack", {}), { conversation: "u:alice:bob", delivered: 2, read: 1 });
});

for (const [code, push, comesBack] of [
  [3001, { reconnect: true, delay_ms: [0, 1] }, true],
  [3500, undefined, false],
  [3503, { reconnect: false }, false],
  [4000, { reconnect: true, delay_ms: [0, 1] }, true],
  [1006, undefined, true],
]) {
  played(`after close code ${code} it ${comesBack ? "comes back" : "ends"}`, {}, async ({ client, next }) => {
    const socket = await next();
    greet(socket);
    if (push) socket.say({ push: { disconnect: { code, reason: "because", ...push } } });
    socket.lose(code);
    assert.equal(client.state, comesBack ? "waiting" : "closed");
    if (comesBack) greet(await next(), { recovered: true });
    else await assert.rejects(client.connected(), { kind: "refused" });
  });
}

played("a refused token ends the client with the error of the gateway", {}, async ({ client, next }) => {
  const socket = await next();
  const { id } = socket.open();
  socket.say({ id, error: { code: 101, name: "unauthorized", message: "the token is not good", temporary: false } });
  socket.lose(3500);
  await assert.rejects(client.connected(), { code: 101, kind: "unauthorized" });
});

test("delays are random in ranges that grow", () => {
  const delays = new Delays(() => 1);
  assert.deepEqual(Array.from({ length: 8 }, () => delays.next()), [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
  assert.equal(delays.told([100, 500]), 500);
  assert.deepEqual(Array.from({ length: 5 }, () => delays.next()), [200, 400, 800, 1_000, 1_000]);
  assert.equal(delays.told([0, 30_000]), 30_000);
  assert.deepEqual(Array.from({ length: 10 }, () => delays.next()).at(-1), 30_000);
  assert.equal(delays.unavailable(2), 3_000);
  assert.equal(new Delays(() => 0).next(), 0);
});

test("names of conversations are sorted bytewise", () => {
  assert.equal(conversationOf("bob", "alice"), "u:alice:bob");
  assert.equal(conversationOf("a", "B"), "u:B:a");
  assert.equal(conversationOf("ab", "a"), "u:a:ab");
  assert.equal(base64(new Uint8Array([137, 80, 78, 71])), "iVBORw==");
});
