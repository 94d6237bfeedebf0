// Two people chat in two tabs of Chromium, and an operator looks at the console.
//
//     NODE_PATH=… node browser.js CHROMIUM http://<http> http://<control>
import { Browser } from "./chromium.js";
import { people } from "./scene.js";

const [program, chat, control] = process.argv.slice(2);
const shows = (selector, text) => `[...document.querySelectorAll(${JSON.stringify(selector)})].some((one) => one.textContent.includes(${JSON.stringify(text)}))`;
const CONTROL = 2;

async function signIn(browser, name) {
  const tab = await browser.open(`${chat}/`);
  await tab.until("a field for the name", "document.activeElement?.id === 'name'");
  await tab.type(name);
  await tab.press("Enter");
  await tab.until("the page of the user", "document.documentElement.dataset.face === 'app' && window.chat?.client.state === 'online'");
  return tab;
}

/** Returns an expression for the button of a conversation. */
const entry = (name) => `[...document.querySelectorAll('#conversations .name bdi')].find((one) => one.textContent === ${JSON.stringify(name)}).closest('button')`;

/** Clicks the item of an open menu. */
async function choose(tab, words) {
  const item = `[...document.querySelectorAll('#menu [role=menuitem]')].find((one) => one.textContent === ${JSON.stringify(words)})`;
  await tab.until(`the item ${words}`, `Boolean(${item})`);
  await tab.evaluate(`${item}.click()`);
}

/** Answers the question that the page asks before it does something. */
async function yes(tab, words) {
  await tab.until(`the question: ${words}`, `document.getElementById('sure').open && ${shows("#sure-text", words)}`);
  await tab.evaluate("document.getElementById('sure-yes').click()");
  await tab.until("that it is closed", "!document.getElementById('sure').open");
}

/** Opens the menu of the message with a text. */
async function menuOf(tab, text) {
  const row = `[...document.querySelectorAll('.row')].find((one) => one.querySelector('.body')?.textContent === ${JSON.stringify(text)})`;
  await tab.until(`the message ${text}`, `Boolean(${row}?.querySelector('.acts'))`);
  await tab.evaluate(`${row}.querySelector('.acts').click()`);
}

async function write(tab, text) {
  await tab.evaluate("document.getElementById('text').focus()");
  await tab.type(text);
  await tab.press("Enter");
}

/** The answer to a question is not taken for that to the next one, which comes before the page hears that the first is closed. */
async function questions(tab) {
  const answers = await tab.evaluate(`import("/shared/dom.js").then(async ({ sure }) => {
    const dialog = document.getElementById("sure");
    const isAsked = async (words) => {
      while (!dialog.open || document.getElementById("sure-text").textContent !== words) await new Promise((next) => setTimeout(next));
    };
    const first = sure("The first?", "Yes");
    await isAsked("The first?");
    dialog.close("no");
    const second = sure("The second?", "Yes");
    await isAsked("The second?");
    // Both hear what is told of the first one.
    await new Promise((next) => setTimeout(next, 100));
    document.getElementById("sure-yes").click();
    return Promise.all([first, second]);
  })`);
  if (answers.join() !== "false,true") throw new Error(`the answers are ${answers}`);
}

/** Changing, quoting and taking back what was written. */
async function words(alice, bob) {
  // With the keyboard alone: the last own message into the field, a change, and Enter.
  await alice.evaluate("document.getElementById('text').focus()");
  await alice.press("ArrowUp");
  await alice.until("the text in the field", "document.getElementById('text').value === 'hello <b>bob</b>'");
  await alice.type(", again");
  await alice.press("Enter");
  for (const tab of [alice, bob]) {
    await tab.until("the new text", shows(".body", "hello <b>bob</b>, again"));
    await tab.until("the mark of an edit", shows(".meta time", "edited"));
  }
  await alice.until("the answer of the gateway", "!document.querySelector('.meta .sending')");
  await menuOf(bob, "hello <b>bob</b>, again");
  await choose(bob, "Reply");
  await bob.until("what one replies to", shows("#about", "Reply to alice"));
  await write(bob, "to that I say yes");
  await alice.until("the quote", shows(".quote", "hello <b>bob</b>, again"));
  await menuOf(alice, "to that I say yes");
  await choose(alice, "Show the thread");
  await alice.until("the thread", shows(".thread li", "to that I say yes"));
  await alice.press("Escape");
  await write(bob, "a slip");
  await menuOf(bob, "a slip");
  await choose(bob, "Take back for everybody");
  await bob.until("the question", "document.getElementById('sure').open");
  await bob.press("Escape");
  await bob.until("that it is closed", "!document.getElementById('sure').open");
  if (!(await alice.evaluate(shows(".body", "a slip")))) throw new Error("the message was taken back though nobody said yes");
  await menuOf(bob, "a slip");
  await choose(bob, "Take back for everybody");
  await yes(bob, "Nobody can read it");
  await alice.until("that it was taken back", shows(".gone", "taken back"));
}

/** Goes to an element with the Tab key alone. */
async function tabTo(tab, id) {
  for (let step = 0; step < 80; step++) {
    if ((await tab.evaluate("document.activeElement.id")) === id) return;
    await tab.press("Tab");
  }
  throw new Error(`Tab does not lead to ${id}`);
}

/** Chooses an item of a menu with the arrow keys alone. */
async function arrowTo(tab, words) {
  await tab.until("the menu", "document.activeElement.getAttribute('role') === 'menuitem'");
  for (let step = 0; step < 20; step++) {
    if ((await tab.evaluate("document.activeElement.textContent")) === words) return tab.press("Enter");
    await tab.press("ArrowDown");
  }
  throw new Error(`the arrow keys do not lead to ${words}`);
}

/** What one does with a mouse, with the keyboard alone: no element is clicked or focused by this test. */
async function byKeys(alice, bob) {
  await tabTo(alice, "more");
  await alice.press("Enter");
  await arrowTo(alice, "Mute for an hour");
  await alice.until("that bob is muted", "document.querySelector('#conversations [aria-label=muted]')");
  await tabTo(alice, "more");
  await alice.press("Enter");
  await arrowTo(alice, "Unmute");
  await alice.until("that bob is muted no more", "!document.querySelector('#conversations [aria-label=muted]')");
  await tabTo(alice, "scroller");
  await alice.press("End");
  await alice.press("ArrowUp");
  await alice.press("Enter");
  await arrowTo(alice, "Reply");
  await alice.until("the field, and what one replies to", "document.activeElement.id === 'text' && !document.getElementById('about').hidden");
  await alice.type("with ten fingers");
  await alice.press("Enter");
  await bob.until("the reply", "[...document.querySelectorAll('.row')].some((row) => row.querySelector('.quote') && row.textContent.includes('with ten fingers'))");
  await alice.until("that it was sent", "window.chat.one.waiting.length === 0");
  await alice.press("ArrowUp");
  await alice.type(", or two");
  await alice.press("Enter");
  await bob.until("the change", shows(".body", "with ten fingers, or two"));
  await tabTo(alice, "find");
  await alice.press("Enter");
  await alice.type("ten fingers");
  await alice.press("Enter");
  await alice.until("what is found", shows("#found", "1 of 1"));
  await alice.press("Escape");
  await tabTo(alice, "mine");
  await alice.press("Enter");
  await arrowTo(alice, "Blocked people");
  await alice.until("the list", "document.getElementById('dialog').open");
  await alice.press("Escape");
  await alice.until("that it is closed", "!document.getElementById('dialog').open");
}

/** A draft keeps whom it mentions while one writes to somebody else. */
async function draft(alice) {
  const group = await alice.evaluate("window.chat.one.id");
  const write = async (text) => {
    await alice.evaluate("document.getElementById('text').focus()");
    await alice.type(text);
  };
  await write("@b");
  await alice.until("the offered name", shows("#names [aria-selected=true]", "bob"));
  await alice.press("Enter");
  await write("again");
  await alice.evaluate("window.chat.open(window.chat.store.with('bob'))");
  await alice.until("that the draft is away", "document.getElementById('text').value === ''");
  await write("an @");
  await alice.evaluate("window.chat.names.then(() => {})");
  await alice.evaluate("document.getElementById('text').value = ''");
  await alice.evaluate(`window.chat.open(window.chat.store.all.get('${group}'))`);
  await alice.until("the draft", "document.getElementById('text').value === '@bob again'");
  await alice.evaluate("document.getElementById('text').focus()");
  await alice.press("Enter");
}

/** A group with a mention, a pinned message, roles and rules, and the settings of a conversation. */
async function together(alice, bob) {
  await alice.press("k", CONTROL);
  await alice.until("the dialog", "document.getElementById('dialog').open");
  await alice.evaluate("document.getElementById('tab-group').click()");
  await alice.type("Engineering");
  await alice.evaluate("document.querySelector('#for-group input[placeholder]').focus()");
  await alice.type("bob");
  await alice.press("Enter");
  await alice.until("the group", "document.getElementById('title').textContent === 'Engineering'");
  await alice.until("the role of its owner", "window.chat.one.role === 'owner'");
  await alice.evaluate("document.getElementById('text').focus()");
  await alice.type("look, @b");
  await alice.until("the offered name", shows("#names [aria-selected=true]", "bob"));
  await alice.press("Enter");
  await alice.press("Enter");
  await bob.until("the mark of a mention", shows("#conversations .count.at", "1 mentions you"));
  await bob.evaluate("document.querySelector('#conversations .count.at').closest('button').click()");
  await bob.until("the mention", "document.querySelector('.for-me .mention.me')?.textContent === '@bob'");
  await draft(alice);
  await bob.until("the mention of the draft", shows(".for-me .body", "@bob again"));
  await menuOf(alice, "look, @bob");
  await choose(alice, "Pin for all");
  for (const tab of [alice, bob]) await tab.until("the pinned message", shows("#pin-go", "look, @bob"));
  await bob.until("that only admins unpin", "document.getElementById('unpin').hidden");
  // What the user does on another device is said to "you".
  const { alice: other } = await people(chat, "alice");
  const last = await alice.evaluate("window.chat.one.last.seq");
  await other.pin({ conversation: "g:engineering", seq: last });
  await alice.until("who pinned it", shows("#banner", "You pinned a message in Engineering"));
  await bob.until("who pinned it, for others", shows("#banner", "alice pinned a message in Engineering"));
  await other.unpin({ conversation: "g:engineering", seq: last });
  await alice.until("the one pinned message", "window.chat.one.pins.length === 1");
  other.close();

  await alice.evaluate("document.getElementById('more').click()");
  await choose(alice, "About this group");
  const select = (label, value) => `(() => { const one = [...document.querySelectorAll('#dialog select')].find((one) => (one.ariaLabel ?? one.parentNode.textContent).startsWith(${JSON.stringify(label)})); one.value = ${JSON.stringify(value)}; one.dispatchEvent(new Event('change')); })()`;
  await alice.until("the members", "document.querySelectorAll('#dialog select').length === 4");
  await alice.evaluate(select("Who may write", "admins"));
  await bob.until("that bob may not write", "document.getElementById('text').disabled");
  await alice.evaluate(select("Role of bob", "admin"));
  await bob.until("that bob may write again", "!document.getElementById('text').disabled");
  await bob.until("that bob may unpin", "!document.getElementById('unpin').hidden");
  await alice.evaluate(select("Who may join", "open"));
  await alice.until("what that means", shows("#dialog", "Everybody who knows the name engineering may join"));
  await alice.press("Escape");

  const settings = async (words) => {
    await bob.evaluate("document.getElementById('more').click()");
    await choose(bob, words);
  };
  await settings("Mute for an hour");
  await bob.until("that the group is muted", "document.querySelector('#conversations [aria-label=muted]')");
  await settings("Keep at the top");
  await bob.until("that the group is at the top", "document.querySelector('#conversations li:first-child [aria-label=pinned]')");
  await settings("Archive");
  await bob.until("the archive", shows("#archive", "Archived (1)"));
  await bob.evaluate(`${entry("alice")}.click()`);
  await settings("Block alice");
  await yes(bob, "Block alice?");
  await bob.until("that it is said", shows("#banner", "nothing from alice"));
  await alice.evaluate(`${entry("bob")}.click()`);
  await write(alice, "do you hear me?");
  await alice.until("that it was not sent, and why", shows(".failure", "Not sent"));
  await bob.evaluate("document.getElementById('mine').click()");
  await choose(bob, "Blocked people");
  await bob.until("alice among them", shows("#dialog .people", "alice"));
  await bob.evaluate("[...document.querySelectorAll('#dialog button')].find((one) => one.textContent === 'Unblock').click()");
  await bob.until("that nobody is blocked", shows("#dialog", "You block nobody"));
  await bob.press("Escape");
  await alice.evaluate("document.querySelector('.failure button').click()");
  await bob.until("the message that failed before", shows(".body", "do you hear me?"));
}

async function play(browser) {
  const [alice, bob] = [await signIn(browser, "alice"), await signIn(browser, "bob")];
  await alice.press("k", CONTROL);
  await alice.until("the dialog", "document.getElementById('dialog').open");
  await alice.type("bob");
  await alice.press("Enter");
  await alice.until("the conversation", "document.getElementById('title').textContent === 'bob'");
  await alice.until("that bob is online", shows("#subtitle", "Online"));
  await alice.until("the same in the list", `document.querySelector('#conversations .avatar.online') && ${shows("#conversations .name", "(online)")}`);
  await alice.evaluate("document.getElementById('text').focus()");
  await alice.type("hello <b>bob</b>");
  await alice.press("Enter");
  await bob.until("an unread message", shows("#conversations .count", "1"));
  await alice.until("two marks", "document.querySelector('.meta .delivered')");
  await bob.evaluate("document.querySelector('#conversations button').click()");
  await bob.until("the message, as text", shows(".body", "hello <b>bob</b>"));
  await alice.until("the mark that it was read", "document.querySelector('.meta .read')");
  await bob.evaluate("document.getElementById('text').focus()");
  await bob.type("hi");
  await alice.until("that bob writes", shows("#typing", "bob is typing"));
  await bob.press("Enter");
  await alice.until("the answer", shows(".theirs .body", "hi"));
  // With the keyboard alone: the last message, its menu, the first reaction.
  await alice.evaluate("document.getElementById('scroller').focus()");
  await alice.press("ArrowUp");
  await alice.press("Enter");
  await alice.until("the menu", "document.activeElement?.getAttribute('role') === 'menuitem'");
  await alice.press("Enter");
  await bob.until("the reaction", "document.querySelector('.mine .reactions button')");

  await questions(alice);
  await words(alice, bob);
  await byKeys(alice, bob);
  await together(alice, bob);

  const operator = await browser.open(`${control}/`);
  await operator.until("that the gateway is ready", shows("#state", "Ready"));
  await operator.until("two sessions", "document.querySelector('#now dd')?.textContent === '2'");
  await operator.evaluate("document.querySelector('#find .primary').click()");
  await operator.until("both of them in the list", shows("#session-rows", "alice"));
  await bob.close();
  await alice.until("when bob was last here", shows("#subtitle", "Last seen"));
  await alice.until("the same in the list", "!document.querySelector('#conversations .avatar.online')");
  if (browser.problems.length > 0) throw new Error(browser.problems.join("\n"));
}

const browser = new Browser(program);
await browser.start();
try {
  await play(browser);
} finally {
  await browser.end();
}
