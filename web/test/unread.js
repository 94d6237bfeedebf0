// What the chat page counts as unread, in whatever order answers and events come.
//
//     NODE_PATH=… node unread.js CHROMIUM http://<http>
import { Browser, sleep } from "./chromium.js";
import { people } from "./scene.js";

const [program, chat] = process.argv.slice(2);
const PAIR = "u:alice:bob";

/** Before the page: what `isLate` names waits until `release`, and `isHidden` says whether the page is hidden. */
const BEFORE = `
  window.late = [];
  window.isLate = () => false;
  window.release = () => {
    window.isLate = () => false;
    for (const take of window.late.splice(0)) take();
  };
  window.WebSocket = class extends WebSocket {
    set onmessage(work) {
      super.onmessage = work && (({ data }) => {
        for (const line of data.split("\\n").filter(Boolean)) {
          const take = () => work({ data: line });
          if (window.isLate(JSON.parse(line))) window.late.push(take);
          else take();
        }
      });
    }
  };
  window.isHidden = false;
  Object.defineProperty(Document.prototype, "hidden", { get: () => window.isHidden });
`;

const one = `window.chat.store.all.get('${PAIR}')`;
const MESSAGES = "({ push }) => Boolean(push?.message)";
const LISTS = "({ conversations }) => Boolean(conversations)";

const browser = new Browser(program);
await browser.start();
const clients = await people(chat, "alice", "bob");
const { alice: other, bob } = clients;
const say = (text, more) => bob.send({ user: "alice", text, ...more });
/** Returns what the gateway knows of the conversation. */
const listed = async () => (await other.conversations({})).conversations[0];

try {
  await say("one");
  const tab = await browser.open("about:blank");
  await tab.ask("Page.addScriptToEvaluateOnNewDocument", { source: BEFORE });
  await tab.go(`${chat}/?user=alice`);
  const counts = (unread, mentions, when) => tab.until(`${unread} unread messages and ${mentions} mentions ${when}`, `${one}?.unread === ${unread} && ${one}.mentions === ${mentions}`);
  const late = (what) => tab.evaluate(`window.isLate = ${what}; 1`);
  const hide = (isHidden) => tab.evaluate(`window.isHidden = ${isHidden}; document.dispatchEvent(new Event('visibilitychange')); 1`);
  await counts(1, 0, "at first");

  await hide(true);
  await late(MESSAGES);
  await say("two");
  await say("three, @alice", { mentions: ["alice"] });
  await tab.evaluate(`window.chat.open(${one}); 1`);
  await tab.until("a page of history with messages whose events are late", `${one}.state === 'ready' && ${one}.messages.length === 3 && window.late.length === 2`);
  await tab.evaluate("window.release()");
  await counts(3, 1, "after the events");
  await hide(false);
  await counts(0, 0, "once they are seen");
  // A mark takes a moment. Until then the page trusts its own count.
  for (let tries = 0; (await listed()).unread > 0; tries++) {
    if (tries === 1_000) throw new Error("the gateway has no mark of what was seen");
    await sleep(20);
  }

  await hide(true);
  await late(LISTS);
  await tab.evaluate("void window.chat.store.load()");
  await tab.until("a list that is late", "window.late.length === 1");
  await say("four, @alice", { mentions: ["alice"] });
  await counts(1, 1, "before the list");
  await tab.evaluate("window.release()");
  await tab.until("the list", "window.chat.store.loads === 0");
  await counts(1, 1, "after a list that is older than the message");

  await late(MESSAGES);
  const { seq } = await say("five");
  await say("six");
  await say("seven, @alice", { mentions: ["alice"] });
  await tab.until("three events that are late", "window.late.length === 3");
  await tab.evaluate("window.chat.store.load()");
  await counts(4, 2, "in a list that is ahead of the messages");
  other.ack(PAIR, { read: seq });
  await counts(2, 1, "when another device has read, before the messages");
  await tab.evaluate("window.release()");
  await tab.until("the messages", `${one}.messages.at(-1).text.startsWith('seven')`);
  await counts(2, 1, "after the messages");

  await late(MESSAGES);
  await say("eight");
  await tab.until("an event that is late", "window.late.length === 1");
  await tab.evaluate(`window.chat.store.send(${one}, { text: "nine" }); 1`);
  await tab.until("the answer to an own message", `${one}.messages.at(-1)?.text === 'nine'`);
  await tab.evaluate("window.release()");
  await counts(3, 1, "after an own message that was here first");
  const { unread, mentions } = await listed();
  if (unread !== 3 || mentions !== 1) throw new Error(`the gateway counts ${unread} and ${mentions}`);
  await hide(false);
  await counts(0, 0, "once all is seen");
  if (browser.problems.length > 0) throw new Error(browser.problems.join("\n"));
} finally {
  for (const client of Object.values(clients)) client.close();
  await browser.end();
}
