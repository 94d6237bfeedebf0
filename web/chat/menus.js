/** The menus of the page: of a message, of a conversation, and of the user. */

import * as dialogs from "./dialogs.js";
import { byId, sure } from "/shared/dom.js";
import * as people from "./people.js";

const HOUR_MS = 3_600_000;

/** A time that never comes: muted until one says otherwise. */
const EVER = 2 ** 53 - 1;

export class Menus {
  #chat;

  /** @param chat the page */
  constructor(chat) {
    this.#chat = chat;
  }

  #failed = (error) => this.#chat.say(error.message, true);

  /** Asks before `work` is done. Then the keyboard is where it was: `back` has the focus. */
  async #sure(question, does, work, back) {
    if (await sure(question, does)) work();
    back.focus();
  }

  /** What one can do with a message. */
  message(row, anchor) {
    const { client, store, compose, one } = this.#chat;
    const { message } = row;
    const { conversation, seq, text } = message;
    const isMine = message.from === client.user;
    const then = (promise, event) => promise.then(() => store.apply(event, { conversation, seq, by: client.user }), this.#failed);
    const react = (emoji) => {
      const has = message.reactions?.some(({ reaction, users }) => reaction === emoji && users.includes(client.user));
      this.#chat.react(message, emoji, Boolean(has));
    };
    const reply = () => compose.reply(message);
    const begins = message.reply_to ?? seq;
    const place = () => (this.#chat.active === undefined ? compose : byId("scroller"));
    const asks = (question, does, work) => takes(() => this.#sure(question, does, work, place()));
    let isDone = false;
    const takes = (work) => () => {
      // The field gets the focus.
      isDone = true;
      work();
    };
    dialogs.menu(anchor, "Message", [
      one.mayWrite && ["Reply", takes(reply)],
      ["Show the thread", takes(() => people.thread(client, one, begins, { reply: () => compose.reply(one.at(begins) ?? message), jump: (to) => this.#chat.jump(to) }))],
      isMine && one.mayWrite && ["Edit", takes(() => compose.edit(message))],
      text && ["Copy the text", () => navigator.clipboard?.writeText(text)],
      one.isAdmin && (row.isPinned ? ["Unpin", takes(() => this.#chat.unpin(seq, place()))] : ["Pin for all", () => this.#chat.pin(seq, true)]),
      isMine && ["Take back for everybody", asks("Take this message back? Nobody can read it any more.", "Take back", () => then(client.recall({ conversation, seq }), "recall")), "danger"],
      !isMine && one.isGroup && [`Block ${message.from}`, takes(() => this.#block(message.from, place())), "danger"],
      ["Delete for me", asks("Delete this message from your view? Others still see it.", "Delete", () => then(client.delete({ conversation, seq }), "delete")), "danger"],
    ], {
      quick: dialogs.reactions(react),
      done: () => setTimeout(() => {
        if (!isDone) place().focus();
      }),
    });
  }

  /** What one can do with the conversation that is open. */
  conversation(anchor) {
    const { client, store, one } = this.#chat;
    const set = (settings) => store.set(one, settings).then(() => this.#chat.drawSide(), this.#failed);
    const mute = (ms) => () => set({ muted_until: ms === EVER ? EVER : Date.now() + ms });
    const { pinned, archived } = one.settings;
    const isSelf = one.peer === client.user;
    dialogs.menu(anchor, "Conversation", [
      one.isGroup && !one.isLeft && ["About this group", () => this.#chat.about()],
      ...(one.isQuiet ? [["Unmute", () => set({ muted_until: 0 })]] : [
        ["Mute for an hour", mute(HOUR_MS)], ["Mute for a day", mute(24 * HOUR_MS)], ["Mute until I say otherwise", mute(EVER)],
      ]),
      [pinned ? "Do not keep at the top" : "Keep at the top", () => set({ pinned: !pinned })],
      [archived ? "Take from the archive" : "Archive", () => set({ archived: !archived })],
      one.isGroup && !one.isLeft && ["Leave the group", () => this.#leave(anchor), "danger"],
      !one.isGroup && !isSelf && [`Block ${one.peer}`, () => this.#block(one.peer, anchor), "danger"],
    ]);
  }

  /** What concerns the user. */
  mine(anchor) {
    dialogs.menu(anchor, "You", [
      ["Blocked people", () => people.blocked(this.#chat.client)],
      ["Sign out", () => this.#chat.leave(), "danger"],
    ]);
  }

  #block(user, back) {
    const said = () => this.#chat.say(`You get nothing from ${user} any more. Your menu has the people whom you block.`);
    const block = () => this.#chat.client.block({ user }).then(said, this.#failed);
    return this.#sure(`Block ${user}? You get nothing from ${user} any more, and ${user} is not told.`, "Block", block, back);
  }

  #leave(back) {
    const { client, one } = this.#chat;
    const leave = () => client.groupLeave({ group: one.peer }).then(() => this.#chat.left(one), this.#failed);
    return this.#sure(people.beforeLeaving(one), "Leave the group", leave, back);
  }
}
