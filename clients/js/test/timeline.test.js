// What events do to messages: cases that the clients in all languages play.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Timeline } from "../client.js";

for (const { name, steps, messages } of JSON.parse(readFileSync(new URL("../../cases/timeline.json", import.meta.url), "utf8"))) {
  test(name, () => {
    const timeline = new Timeline("u:alice:bob");
    for (const [step, value] of steps) {
      const before = timeline.at(value.seq);
      const [copy, text] = [before, JSON.stringify(before)];
      if (step === "put" || step === "expire") timeline[step](value);
      else assert.equal(timeline.apply(step, value), timeline.at(value.seq) === before ? undefined : timeline.at(value.seq));
      assert.equal(JSON.stringify(copy), text, "a message is never changed in place");
    }
    assert.deepEqual(timeline.messages, messages);
  });
}

test("marks never go back, and all others decide", () => {
  const timeline = new Timeline("g:eng");
  timeline.mark("bob", { read: 3 });
  timeline.mark("bob", { delivered: 2, read: 1 });
  timeline.mark("carol", { delivered: 3 });
  assert.deepEqual(timeline.fate(3, 3), { state: "delivered", delivered: 2, read: 1, others: 2 });
  assert.equal(timeline.fate(4, 3).state, "sent");
  assert.equal(timeline.fate(3, 2).state, "read");
  for (let seq = 1; seq <= 5; seq++) timeline.put({ seq });
  timeline.keep(2);
  assert.deepEqual(timeline.messages.map(({ seq }) => seq), [4, 5]);
  timeline.clear();
  assert.equal(timeline.fate(1).delivered, 0);
});
