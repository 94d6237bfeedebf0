// People, and what they said to each other: what pages show while they are looked at, checked and measured.
import { createRequire } from "node:module";
import { Trunkline } from "../../clients/js/client.js";

const WebSocket = globalThis.WebSocket ?? createRequire(import.meta.url)("ws");

/** A picture of 10 by 10 points. */
export const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAvUlEQVR42nXJoQoEIRCA4XucSyaTadOmDYNcmCCDwWAwGOYhBwRh4WBBEIR9kDvhMN4f/+/xBFFQNFQD5wbvHa4DmoWOMAjux/Mlnz/RazL+Z5zsRLmiXTXu/N3DNes6ukFushfli/bV+MW+Wd/RD/KTg6hQdKgmLA7Nho5hUJgcRcWiYzVxcWw2doyD4uQkKhWdqkmLU7OpYxqUJmdRuehcTV6cm80d86A8mUVx0VwNnxu/d74ObpY78iC+v2mCvrFrjlm1AAAAAElFTkSuQmCC";

/** Connects users to a gateway in development mode. */
export async function people(gateway, ...names) {
  const { port } = await (await fetch(`${gateway}/chat/gateway.json`)).json();
  const clients = names.map((user) => new Trunkline(`ws://${new URL(gateway).hostname}:${port}`, { user, device: "scene", pipeline: 64, WebSocket }));
  await Promise.all(clients.map((client) => client.connected()));
  return Object.fromEntries(clients.map((client, place) => [names[place], client]));
}

/** Everything that a conversation can show, in a group of alice, bob and carol. Returns its name. */
export async function conversation({ alice, bob, carol }) {
  const group = "engineering";
  await alice.groupCreate({ group, name: "Engineering", members: ["bob", "carol"] });
  const { conversation, seq } = await bob.send({ group, text: "The release is on Friday. Who has the list?" });
  await carol.send({ group, text: "I have it: https://example.org/list" });
  await bob.send({ group, text: "@alice can you look at the page of metrics?", mentions: ["alice"] });
  const answer = await alice.send({ group, text: "Yes, after lunch.", reply_to: seq });
  await alice.edit({ conversation, seq: answer.seq, text: "Yes, right after lunch." });
  await bob.react({ conversation, seq: answer.seq, reaction: "👍" });
  await carol.send({ group, text: "שלום לכולם, הגרסה החדשה מוכנה" });
  await bob.send({ group, text: "🎉🎉" });
  await carol.send({ group, text: "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz".repeat(3) });
  const slip = await carol.send({ group, text: "a slip" });
  await carol.recall({ conversation, seq: slip.seq });
  await carol.send({ group, text: "The door code is 4711", ttl: "1h" });
  await bob.send({ group, media: { type: "image/png", data: PICTURE }, text: "the new logo" });
  await alice.pin({ conversation, seq });
  await bob.send({ user: "alice", text: "hi alice" });
  await carol.send({ user: "alice", text: "one for later" });
  await alice.settings({ conversation: "u:alice:bob", pinned: true });
  await alice.settings({ conversation: "u:alice:carol", muted_until: Date.now() + 3_600_000 });
  return conversation;
}

/** Fills a conversation of alice with many messages of bob. */
export async function many({ bob }, count, user = "alice") {
  const sent = [];
  for (let number = 1; number <= count; number++) {
    const words = number % 17 === 0 ? "a line that is so long that it takes several of them, ".repeat(4) : "what is said here";
    sent.push(bob.send({ user, text: `Message ${number}: ${words}` }));
    if (number % 200 === 0) await Promise.all(sent.splice(0));
  }
  await Promise.all(sent);
}
