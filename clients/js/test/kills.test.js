// The gateway is killed and started again 20 times within a minute of traffic.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Trunkline, conversationOf } from "../client.js";
import { Gateway, PROGRAM, WebSocket, until } from "./gateway.js";

const KILLS = 20;
const BETWEEN_MS = 1_200;
const EACH_MS = 20;

/** A device, with the messages that it got in their order. */
function device(gateway, user, name) {
  const client = new Trunkline(gateway.url, { user, device: name, WebSocket });
  const got = [];
  client.on("message", ({ conversation, seq, from, text }) => got.push({ conversation, seq, from, text }));
  client.on("closed", (error) => error.kind === "closed" || assert.fail(error));
  client.on("reset", () => assert.fail("nothing that was acknowledged is lost, so no position is"));
  return { client, got };
}

/** Sends numbered messages until told to stop. */
function traffic({ client }, target) {
  const sent = [];
  const timer = setInterval(() => {
    const text = `${sent.length + 1}`;
    sent.push(client.send({ ...target, text }).then((reply) => ({ ...reply, text })));
  }, EACH_MS);
  return {
    stop: () => {
      clearInterval(timer);
      return Promise.all(sent);
    },
  };
}

test("each message comes once, in order, and none is lost", { skip: !PROGRAM && "TRUNKLINE_BIN names no gateway" }, async () => {
  const gateway = await new Gateway().start();
  const devices = [device(gateway, "alice", "phone"), device(gateway, "alice", "laptop"), device(gateway, "bob", "phone"), device(gateway, "carol", "phone")];
  const [alice, laptop, bob, carol] = devices;
  try {
    await Promise.all(devices.map(({ client }) => client.connected()));
    await alice.client.groupCreate({ group: "eng", members: ["bob", "carol"] });
    const streams = [traffic(alice, { user: "bob" }), traffic(bob, { user: "alice" }), traffic(carol, { group: "eng" })];
    let sessions = 0;
    bob.client.on("connected", () => sessions++);
    for (let kill = 0; kill < KILLS; kill++) {
      await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS * (0.5 + Math.random())));
      await gateway.end("SIGKILL");
      await gateway.start();
      // One device is back, others may not be.
      await until("a session after the start", () => sessions > kill);
      // Who runs the tests sees that they go on.
      console.log(`# start ${kill + 1} of ${KILLS}`);
    }
    await until("sessions after the last start", () => devices.every(({ client }) => client.state === "online"));
    const [byAlice, byBob, byCarol] = await Promise.all(streams.map((stream) => stream.stop()));

    const pair = conversationOf("alice", "bob");
    const texts = (replies) => replies.map(({ text }) => text);
    const of = ({ got }, conversation, from) => got.filter((one) => one.conversation === conversation && one.from === from);
    const expected = [
      [bob, pair, "alice", byAlice], [laptop, pair, "alice", byAlice],
      [alice, pair, "bob", byBob], [laptop, pair, "bob", byBob],
      [alice, "g:eng", "carol", byCarol], [bob, "g:eng", "carol", byCarol], [laptop, "g:eng", "carol", byCarol],
    ];
    for (const [who, conversation, from, replies] of expected) {
      await until(`the last message of ${from}`, () => of(who, conversation, from).length >= replies.length);
      const got = of(who, conversation, from);
      assert.deepEqual(texts(got), texts(replies), "each once, in the order in which they were sent");
      assert.deepEqual(got.map(({ seq }) => seq), replies.map(({ seq }) => seq), "the promises told the same sequences");
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
    assert.ok(sessions >= KILLS, `${sessions} sessions after ${KILLS} kills`);
  } finally {
    for (const { client } of devices) client.close();
    await gateway.remove();
  }
});
