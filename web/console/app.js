/** The console: what the gateway does now, and did in the last ten minutes. */

import { byId, el, sentence } from "/shared/dom.js";
import { bytes, count, duration, micros, millis, part, split } from "./format.js";
import { Plot, Plots, SECONDS } from "./plot.js";
import { PLOTS } from "./plots.js";
import { Sessions } from "./sessions.js";
import { Admin, Refused } from "./stream.js";
import { CIRCUITS, FACTS, HEALTH, KINDS } from "./words.js";

const admin = new Admin();
const drawn = PLOTS.map((what) => new Plot(what));
const plots = new Plots(drawn);
/** The numbers of the last ten minutes that the tables need, the newest last. */
const past = [];

byId("plots").append(...drawn.map(({ element }) => element));

function state(kind, text) {
  byId("state").className = kind;
  const place = byId("state-text");
  if (place.textContent !== text) place.textContent = text;
}

/** Shows facts, each a name, a value, and whether it is bad. Elements stay, so that nothing flickers. */
function facts(id, list, value = (text) => [text]) {
  const box = byId(id);
  while (box.children.length > list.length) box.lastChild.remove();
  list.forEach(([name, shown, isBad], place) => {
    if (!box.children[place]) box.append(el("div", {}, el("dt"), el("dd")));
    const [term, description] = box.children[place].children;
    box.children[place].className = isBad ? "bad" : "";
    term.textContent = name;
    description.replaceChildren(...value(shown));
  });
}

const large = ([number, unit]) => (unit ? [number, el("small", {}, unit)] : [number]);
const apart = (text) => {
  const [number, unit = ""] = text.split(" ");
  return [number, unit];
};

function now({ sessions, rates, commit, commands_waiting: waiting, process, store }) {
  const cpu = past.length > 1 ? (process.cpu_seconds - past.at(-2).process.cpu_seconds) / ((past.at(-1).time - past.at(-2).time) / 1_000) : undefined;
  facts("now", [
    ["Sessions", split(sessions)],
    ["Messages/s", split(rates.messages)],
    ["Pushes/s", split(rates.pushes)],
    ["Commit, p99", commit.count > 0 ? apart(micros(commit.p99_us)) : ["–", ""], commit.p99_us > 250_000],
    ["Waiting", split(waiting), waiting > 100_000],
    ["Processors", [cpu === undefined ? "–" : cpu.toFixed(cpu < 1 ? 2 : 1), ""]],
    ["Memory", apart(bytes(process.resident_bytes))],
    ["Store", apart(bytes(store.bytes)), store.health !== "ok"],
  ], large);
}

function shards({ shards: all, time }) {
  const before = past.at(-2);
  const seconds = before ? (time - before.time) / 1_000 : 0;
  const rate = (place, name) => (seconds > 0 && before.shards[place] ? (all[place][name] - before.shards[place][name]) / seconds : undefined);
  rows("shards", all.map((shard, place) => [
    String(place), count(shard.connections), count(shard.sessions), part(shard.busy ?? undefined), count(rate(place, "commands")), bytes(rate(place, "sent_bytes")), bytes(shard.held_bytes),
  ]));
}

/** Shows the rows of a table. Its head says what its columns are. */
function rows(id, list) {
  const body = byId(id);
  const kinds = [...body.closest("table").tHead.rows[0].cells].map(({ className }) => className);
  while (body.children.length > list.length) body.lastChild.remove();
  list.forEach((cells, place) => {
    if (!body.children[place]) body.append(el("tr", {}, ...kinds.map((kind) => el("td", { class: kind }))));
    cells.forEach((cell, column) => (body.children[place].children[column].textContent = cell));
    if (kinds.at(-1) === "name") body.children[place].title = cells.at(-1);
  });
}

function limits(numbers) {
  const first = past[0];
  const list = [];
  for (const [kind, { what, words }] of Object.entries(KINDS)) {
    for (const [name, total] of Object.entries(numbers[kind] ?? {})) {
      if (total > 0) list.push([what, words(name), name, total - (first[kind]?.[name] ?? 0), total]);
    }
  }
  list.sort((a, b) => b[3] - a[3] || b[4] - a[4]);
  rows("limits", list.map(([what, words, name, recent, total]) => [what, words, count(recent), count(total), name]));
  byId("no-limits").hidden = list.length > 0;
  byId("limits").closest(".table").hidden = list.length === 0;
}

/** How facts are written, by their name. Others are numbers. */
const WRITTEN = {
  behind_bytes: bytes,
  oldest_ms: millis,
  offline_circuit: (state) => CIRCUITS[state] ?? state,
  presence_circuit: (state) => CIRCUITS[state] ?? state,
};

/** Returns the facts of a part that a gateway may have. A back end that rests is bad. */
function factsOf(name, fields) {
  if (!fields) return [[name, "not in use"]];
  return Object.entries(fields).map(([field, value]) => [FACTS[field] ?? `${name}: ${field.replaceAll("_", " ")}`, (WRITTEN[field] ?? count)(value), value === "open"]);
}

function show(numbers) {
  // A gateway that started again counts from 0.
  if (past.length > 0 && numbers.uptime_ms < past.at(-1).uptime_ms) past.length = 0;
  past.push(numbers);
  while (past.length > SECONDS || past[0].time < numbers.time - 1_000 * SECONDS) past.shift();
  plots.add(numbers);
  const { store, http, version, uptime_ms: uptime, ready, backup_running: isBackingUp } = numbers;
  if (store.health !== "ok") state("bad", `${HEALTH[store.health] ?? store.health}${store.reason ? `: ${store.reason}` : ""}`);
  else if (!ready) state("bad", "Not ready");
  else state("good", isBackingUp ? "Ready, a backup is being made" : "Ready");
  byId("about").textContent = `Version ${version}, up for ${duration(uptime)}`;
  now(numbers);
  shards(numbers);
  limits(numbers);
  facts("store", [
    ["Health", HEALTH[store.health] ?? store.health, store.health !== "ok"],
    ["Size", bytes(store.bytes)],
    ["Segments", count(store.segments)],
    ["Segments waiting", count(store.waiting_segments), store.waiting_segments > 16],
    ["Runs", count(store.runs)],
    ["Index in memory", bytes(store.index_bytes)],
    ["Recalls to overwrite", count(store.pending_redactions)],
    ["Not durable yet", bytes(Math.max(store.head - store.durable, 0))],
    ["Conversations in memory", count(numbers.conversations)],
  ]);
  facts("more", [...factsOf("Client API", http), ...factsOf("Webhooks", numbers.webhooks), ...factsOf("Cluster", numbers.cluster)]);
}

let missing;
/** When the last numbers came. */
let heardAt;

function lost(reason) {
  state("bad", `No answer: ${reason}`);
  byId("all").classList.add("old");
  // The plots go on with gaps.
  missing ??= setInterval(() => {
    plots.miss();
    if (heardAt !== undefined) byId("about").textContent = `These numbers are ${duration(performance.now() - heardAt)} old`;
  }, 1_000);
}

function found(numbers) {
  clearInterval(missing);
  missing = undefined;
  heardAt = performance.now();
  byId("all").classList.remove("old");
  byId("all").hidden = false;
  byId("ask").hidden = true;
  show(numbers);
}

async function start() {
  try {
    await admin.follow(found, lost);
  } catch (error) {
    clearInterval(missing);
    missing = undefined;
    if (!(error instanceof Refused)) throw error;
    // Who has given no token yet has done nothing wrong.
    const isFirst = !admin.token && error.status === 401;
    state(isFirst ? "" : "bad", isFirst ? "A token is needed" : "Not allowed");
    byId("all").hidden = true;
    // 404: the API is off. A token does not help then.
    byId("ask").hidden = error.status === 404;
    byId("ask-error").textContent = isFirst ? "" : sentence(error.message);
    byId("token").value = admin.token;
    if (error.status === 404) state("bad", error.message);
    // Another token takes its place, unless one corrects it.
    byId("token").focus();
    byId("token").select();
  }
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  admin.keep(byId("token").value.trim());
  state("", "Connecting…");
  start();
});
new Sessions(admin);
start();
