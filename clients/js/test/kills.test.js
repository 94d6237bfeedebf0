// The gateway is killed and started again 20 times within a minute of traffic, while tokens are renewed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Timeline, Trunkline, conversationOf } from "../client.js";
import { Gateway, PROGRAM, WebSocket, token, until } from "./gateway.js";

const KILLS = 20;
const BETWEEN_MS = 1_200;
const EACH_MS = 20;

/** The most commands of a device that wait: a busy machine carries out fewer than come. */
const WAITING = 200;

/** Every so many messages one is edited, twice. */
const EDITED = 5;

/** How long a token is good, in seconds: most sessions renew theirs. */
const TOKEN_SECONDS = 1;

/** A device, with the messages that it got in their order, and its view of the conversations. */
function device(gateway, user, name) {
  const client = new Trunkline(gateway.url, { token: async () => token(user, TOKEN_SECONDS), device: name, WebSocket });
  const got = [];
  const views = new Map();
  const view = (conversation) => {
    if (!views.has(conversation)) views.set(conversation, new Timeline(conversation));
    return views.get(conversation);
  };
  const counts = { sessions: 0, renewals: 0 };
  client.on("message", (message) => {
    got.push(message);
    view(message.conversation).put(message);
  });
  client.on("edit", (edit) => view(edit.conversation).apply("edit", edit));
  client.on("connected", () => counts.sessions++);
  client.on("renewed", () => counts.renewals++);
  client.on("closed", (error) => error.kind === "closed" || assert.fail(error));
  client.on("reset", () => assert.fail("nothing that was acknowledged is lost, so no position is"));
  return { client, got, view, counts };
}

/** Sends numbered messages until told to stop, and edits some of them. Returns each with its reply and its last text. */
function traffic({ client }, target) {
  const sent = [];
  const say = async (number) => {
    const reply = await client.send({ ...target, text: `${number}` });
    if (number % EDITED !== 0) return { ...reply, number, text: `${number}` };
    const at = { conversation: reply.conversation, seq: reply.seq };
    await Promise.all([client.edit({ ...at, text: `${number} once` }), client.edit({ ...at, text: `${number} twice` })]);
    return { ...reply, number, text: `${number} twice` };
  };
  const timer = setInterval(() => client.pending < WAITING && sent.push(say(sent.length + 1)), EACH_MS);
  return {
    stop: () => {
      clearInterval(timer);
      return Promise.all(sent);
    },
  };
}

test("each message comes once, in order, none is lost, and the last edit holds", { skip: !PROGRAM && "TRUNKLINE_BIN names no gateway" }, async () => {
  const gateway = await new Gateway({ hasTokens: true }).start();
  const devices = [device(gateway, "alice", "phone"), device(gateway, "alice", "laptop"), device(gateway, "bob", "phone"), device(gateway, "carol", "phone")];
  const [alice, laptop, bob, carol] = devices;
  try {
    await Promise.all(devices.map(({ client }) => client.connected()));
    await alice.client.groupCreate({ group: "eng", members: ["bob", "carol"] });
    const streams = [traffic(alice, { user: "bob" }), traffic(bob, { user: "alice" }), traffic(carol, { group: "eng" })];
    for (let kill = 0; kill < KILLS; kill++) {
      const before = bob.counts.sessions;
      await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS * (0.5 + Math.random())));
      await gateway.end("SIGKILL");
      await gateway.start();
      // One device is back, others may not be.
      await until("a session after the start", () => bob.counts.sessions > before);
      // Who runs the tests sees that they go on.
      console.log(`# start ${kill + 1} of ${KILLS}`);
    }
    await until("sessions after the last start", () => devices.every(({ client }) => client.state === "online"));
    const [byAlice, byBob, byCarol] = await Promise.all(streams.map((stream) => stream.stop()));

    const pair = conversationOf("alice", "bob");
    const of = ({ got }, conversation, from) => got.filter((one) => one.conversation === conversation && one.from === from);
    const expected = [
      [bob, pair, "alice", byAlice], [laptop, pair, "alice", byAlice],
      [alice, pair, "bob", byBob], [laptop, pair, "bob", byBob],
      [alice, "g:eng", "carol", byCarol], [bob, "g:eng", "carol", byCarol], [laptop, "g:eng", "carol", byCarol],
    ];
    for (const [who, conversation, from, sent] of expected) {
      await until(`the last message of ${from}`, () => of(who, conversation, from).length >= sent.length);
      const got = of(who, conversation, from);
      // What was missed comes with the text that it has then.
      assert.deepEqual(got.map(({ text }) => Number.parseInt(text)), sent.map(({ number }) => number), "each once, in the order in which they were sent");
      assert.deepEqual(got.map(({ seq }) => seq), sent.map(({ seq }) => seq), "the promises told the same sequences");
      const texts = () => sent.map(({ seq }) => who.view(conversation).at(seq).text);
      await until(`the last edit of ${from}`, () => sent.every(({ seq, text }) => who.view(conversation).at(seq).text === text)).catch(() => {});
      assert.deepEqual(texts(), sent.map(({ text }) => text), "the last edit of each message holds");
    }
    // What a promise has told comes as no event to the device that sent it.
    assert.equal(of(alice, pair, "alice").length + of(bob, pair, "bob").length + of(carol, "g:eng", "carol").length, 0);
    for (const { got } of devices) {
      for (const conversation of [pair, "g:eng"]) {
        const sequences = got.filter((one) => one.conversation === conversation).map(({ seq }) => seq);
        assert.deepEqual(sequences, sequences.toSorted((a, b) => a - b), "in the order of the conversation");
      }
    }
    // The store has them once each.
    const { last } = await alice.client.history({ conversation: pair, limit: 1 });
    assert.equal(last, byAlice.length + byBob.length);
    const sessions = bob.counts.sessions;
    assert.ok(sessions > KILLS, `${sessions} sessions after ${KILLS} kills`);
    const renewals = devices.reduce((sum, { counts }) => sum + counts.renewals, 0);
    assert.ok(renewals > 0, "no token was renewed within a session");
  } finally {
    for (const { client } of devices) client.close();
    await gateway.remove();
  }
});
