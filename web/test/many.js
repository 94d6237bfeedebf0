// A conversation of thousands of messages: few of them are in the page, and one gets to all of them.
//
//     NODE_PATH=… node many.js CHROMIUM http://<http>
import { Browser } from "./chromium.js";
import { many, people } from "./scene.js";

const [program, chat] = process.argv.slice(2);
const MANY = 2_500;

/** The most rows in the page: those in sight, as many again, and some. */
const ROWS = 80;

const browser = new Browser(program);
await browser.start();
const clients = await people(chat, "alice", "bob");
try {
  const { seq } = await clients.bob.send({ user: "alice", text: "where all began" });
  await many(clients, MANY);
  await clients.bob.send({ user: "alice", text: "as I said", reply_to: seq });
  const tab = await browser.open(`${chat}/?user=alice#u:alice:bob`);
  const rows = async (where) => {
    const count = await tab.evaluate("document.querySelectorAll('.row').length");
    if (count === 0 || count > ROWS) throw new Error(`${count} rows in the page, ${where}`);
  };
  // The page begins where the unread messages begin.
  await tab.until("the messages", "document.querySelectorAll('.row').length > 5");
  await rows("at the unread ones");
  await tab.until("the way to the end", "!document.getElementById('to-end').hidden");
  await tab.evaluate("document.getElementById('to-end').click()");
  await tab.until("the quote", "document.querySelector('.quote')?.textContent.includes('where all began')");
  await rows("at the end");
  const loaded = await tab.evaluate("window.chat.one.messages.length");
  if (loaded > 200) throw new Error(`${loaded} messages were loaded at once`);
  // The quote leads to the first message.
  await tab.evaluate("document.querySelector('.quote').click()");
  await tab.until("the first message", "[...document.querySelectorAll('.row[data-active] .body')].some((one) => one.textContent === 'where all began')");
  await rows("at the beginning");
  for (let place = 1; place < 20; place++) {
    await tab.evaluate(`document.getElementById('scroller').scrollTop = document.getElementById('scroller').scrollHeight * ${place / 20}`);
    await tab.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))");
    await rows(`at ${place} of 20`);
  }
  await tab.evaluate("document.getElementById('to-end').click()");
  await tab.until("the end", "document.querySelector('.quote')?.textContent.includes('where all began')");
  // What is far above the end that is shown is forgotten.
  await clients.bob.send({ user: "alice", text: "one more" });
  await tab.until("that messages are forgotten", "window.chat.one.messages.length <= 1_100");
  if (browser.problems.length > 0) throw new Error(browser.problems.join("\n"));
} finally {
  for (const client of Object.values(clients)) client.close();
  await browser.end();
}
