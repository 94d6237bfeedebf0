/** Makes elements. Text is always text: nothing here reads markup. */

/** Returns an element with properties, and with children, which are elements or texts. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** Returns an icon of the page's set. Who cannot see it needs a label beside it. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** Returns a text as a sentence begins. Those of the gateway begin with a small letter. */
export const sentence = (text) => text.replace(/^./u, (letter) => letter.toUpperCase());

/** Returns the element with this id. */
export const byId = (id) => document.getElementById(id);

let asked = Promise.resolve();

/** Asks in the dialog of the page before something is done that cannot be undone, or concerns others. Returns whether to do it. */
export function sure(question, does) {
  // A dialog tells of its end a moment later: the answer to one question must not be taken for that to the next one.
  const answer = asked.then(async () => {
    const dialog = byId("sure");
    byId("sure-text").textContent = question;
    byId("sure-yes").textContent = does;
    dialog.returnValue = "no";
    const closed = new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    dialog.showModal();
    await closed;
    return dialog.returnValue === "yes";
  });
  asked = answer.catch(() => {});
  return answer;
}

/** Returns a function that calls `work` once in the next frame, however often it is called before. */
export function eachFrame(work) {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    // A page that nobody sees has no frames, and must not fall behind.
    const run = () => {
      waits = false;
      work();
    };
    if (document.hidden) setTimeout(run, 100);
    else requestAnimationFrame(run);
  };
}

/** Returns two letters for a name, and one of eight colours, the same each time. */
export function badge(name) {
  const words = name.split(/[\s._@-]+/).filter(Boolean);
  const letters = words.length > 1 ? [...words[0]][0] + [...words[1]][0] : [...name].slice(0, 2).join("");
  let sum = 7;
  for (const letter of name) sum = (31 * sum + letter.codePointAt(0)) >>> 0;
  return { letters: letters.toUpperCase(), colour: sum % 8 };
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const dates = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const years = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export const hour = (time) => clock.format(time);

const midnight = (time) => new Date(time).setHours(0, 0, 0, 0);
const daysAgo = (time) => Math.round((midnight(Date.now()) - midnight(time)) / 86_400_000);

/** Returns the name of a day. */
export function day(time) {
  const ago = daysAgo(time);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  return (ago < 200 ? dates : years).format(time);
}

/** Returns a time for a narrow column. */
export function brief(time) {
  const ago = daysAgo(time);
  return ago <= 0 ? hour(time) : ago === 1 ? "Yesterday" : short.format(time);
}

/** Returns how long ago a time is, in words. */
export function since(time) {
  const minutes = Math.floor((Date.now() - time) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  return daysAgo(time) <= 0 ? `today at ${hour(time)}` : `${brief(time)} at ${hour(time)}`;
}
