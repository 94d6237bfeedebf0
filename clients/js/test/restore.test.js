// A gateway comes back with the store of a backup: what was written after it is gone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Timeline, Trunkline } from "../client.js";
import { Gateway, PROGRAM, WebSocket, until } from "./gateway.js";

test("a client begins anew after its gateway was restored from a backup, and says so", { skip: !PROGRAM && "TRUNKLINE_BIN names no gateway" }, async () => {
  const gateway = await new Gateway().start();
  const [alice, bob] = ["alice", "bob"].map((user) => new Trunkline(gateway.url, { user, device: "phone", WebSocket }));
  const pair = new Timeline("u:alice:bob");
  const told = [];
  bob.on("message", (message) => pair.put(message));
  bob.on("reset", ({ reason }) => told.push(reason));
  const texts = () => pair.messages.map(({ text }) => text).join(" ");
  try {
    await alice.send({ user: "bob", text: "1" });
    await bob.connected();
    await alice.send({ user: "bob", text: "2" });
    await until("the message before the backup", () => texts().endsWith("2"));
    await gateway.backUp();
    await alice.send({ user: "bob", text: "lost" });
    await until("the message behind the backup", () => texts().endsWith("lost"));
    const known = bob.position;
    bob.on("reset", () => pair.clear());

    await gateway.end("SIGTERM");
    gateway.restore();
    const waiting = alice.send({ user: "bob", text: "3" });
    await gateway.start();
    console.log("# start 1 of 1");
    assert.equal((await waiting).seq, 3, "its sequence was that of the message that is lost");
    // What was written before it is back comes with the history, not as an event.
    await until("that it begins anew", () => told.length > 0 && bob.state === "online");
    assert.equal(told.length, 1, "it said once that the history is another one");
    assert.ok(told[0].length > 0, "and why");
    assert.notEqual(bob.position, known);
    const { messages } = await bob.history({ conversation: "u:alice:bob" });
    for (const message of messages) pair.put(message);
    assert.equal(texts(), "1 2 3");
    // It goes on from its new position.
    bob.ack("u:alice:bob", { read: 3 });
    await gateway.end("SIGKILL");
    await gateway.start();
    console.log("# start 2 of 2");
    await alice.send({ user: "bob", text: "4" });
    await until("a message after another start", () => texts() === "1 2 3 4");
    assert.equal(told.length, 1);
  } finally {
    alice.close();
    bob.close();
    await gateway.remove();
  }
});
