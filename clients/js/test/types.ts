// A program that the compiler of TypeScript must accept, and lines that it must refuse.
import { Timeline, Trunkline, TrunklineError, conversationOf, type Message, type Role } from "../client.js";

const trunkline = new Trunkline("wss://chat.example.org", { token: async () => "t" });
const pair = new Timeline(conversationOf("alice", "bob"));

trunkline.on("message", (message, pos) => pair.put(message) && pos?.length);
for (const kind of ["edit", "recall", "delete", "reaction"] as const) trunkline.on(kind, (event) => pair.apply(kind, event as never));
trunkline.on("edit", (edit) => {
  const now: Message | undefined = pair.apply("edit", edit);
  return now?.edited;
});
trunkline.on("group", (change) => {
  if (change.change === "role") return change.role satisfies Role;
  if (change.change === "pinned") return change.seq;
  // @ts-expect-error only some changes have a sequence
  return change.seq;
});
trunkline.on("settings", ({ muted_until, pinned, archived }) => [muted_until + 1, pinned && archived]);
trunkline.on("typing", ({ user, stop, expires_ms }) => [user, stop === true, expires_ms + 1]);
// @ts-expect-error there is no such event
trunkline.on("massage", () => {});

export async function main(): Promise<void> {
  const sent = await trunkline.send({ group: "eng", text: "@bob", mentions: ["bob"], reply_to: 1, kind: "text.markdown", meta: { a: 1 }, ttl: "1h" });
  await trunkline.edit({ conversation: sent.conversation, seq: sent.seq, text: "new" });
  await trunkline.settings({ conversation: sent.conversation, muted_until: Date.now() + 1, archived: false });
  await trunkline.groupSet({ group: "eng", send: "admins", join: "open", picture: "" });
  await trunkline.groupRole({ group: "eng", user: "bob", role: "admin" });
  const { members } = await trunkline.groupJoin({ group: "lobby" });
  const { pins, send } = await trunkline.groupInfo({ group: "eng", limit: members });
  for (const { seq } of pins ?? []) await trunkline.unpin({ conversation: "g:eng", seq });
  await trunkline.pin({ conversation: "g:eng", seq: 1 });
  await trunkline.block({ user: "mallory" });
  const { users } = await trunkline.blocked();
  for (const user of users) await trunkline.unblock({ user });
  trunkline.typing(sent.conversation, { stop: send === "all" });
  const { conversations } = await trunkline.conversations();
  conversations.filter(({ mentions = 0, pinned }) => pinned && mentions > 0);
  const thread = await trunkline.history({ conversation: sent.conversation, thread: 1 });
  thread.messages.filter(({ expires, expired }) => !expired && expires);
  // @ts-expect-error a role is missing
  await trunkline.groupRole({ group: "eng", user: "bob" });
  // @ts-expect-error neither a user nor a group
  await trunkline.send({ text: "to nobody" });
  try {
    await trunkline.ping();
  } catch (error) {
    if (error instanceof TrunklineError && error.unknown) trunkline.close();
  }
}
