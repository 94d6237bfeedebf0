/** The console: what the gateway does now, and did in the last ten minutes. */

import { byId, el } from "/shared/dom.js";
import { bytes, count, duration, micros, split } from "./format.js";
import { Plot, Plots, SECONDS } from "./plot.js";
import { Sessions } from "./sessions.js";
import { Admin, Refused } from "./stream.js";

const HEALTH = {
  ok: "",
  full: "The disk is full: nothing is stored",
  short: "The store lacks room or descriptors",
  lost: "The data folder is missing",
  failed: "The store has failed",
};

const PLOTS = [
  { title: "Connections", format: count, series: [{ name: "sessions", of: ({ sessions }) => sessions }, { name: "connections", of: ({ connections }) => connections }] },
  { title: "Messages and pushes per second", format: count, series: [{ name: "messages", of: ({ rates }) => rates.messages }, { name: "pushes", of: ({ rates }) => rates.pushes }] },
  { title: "Time of a commit", format: micros, series: [{ name: "p50", of: ({ commit }) => commit.p50_us }, { name: "p90", of: ({ commit }) => commit.p90_us }, { name: "p99", of: ({ commit }) => commit.p99_us }] },
  { title: "Bytes per second", format: bytes, base: 1024, series: [{ name: "sent", of: ({ rates }) => rates.sent_bytes }, { name: "received", of: ({ rates }) => rates.received_bytes }] },
  { title: "Commands waiting", format: count, series: [{ name: "at the sequencer", of: ({ commands_waiting: waiting }) => waiting }] },
  { title: "Memory", format: bytes, base: 1024, series: [{ name: "resident", of: ({ process }) => process.resident_bytes }, { name: "held for clients", of: ({ held_bytes: held }) => held }] },
];

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
    ["Commands waiting", split(waiting), waiting > 100_000],
    ["Processors", [cpu === undefined ? "–" : cpu.toFixed(1), ""]],
    ["Store", apart(bytes(store.bytes)), store.health !== "ok"],
  ], large);
}

function shards({ shards: all, time }) {
  const before = past.at(-2);
  const seconds = before ? (time - before.time) / 1_000 : 0;
  const rate = (place, name) => (seconds > 0 && before.shards[place] ? (all[place][name] - before.shards[place][name]) / seconds : undefined);
  rows("shards", all.map((shard, place) => [
    String(place), count(shard.connections), count(shard.sessions), count(rate(place, "commands")), bytes(rate(place, "sent_bytes")), bytes(shard.held_bytes),
  ]));
}

function rows(id, list) {
  const body = byId(id);
  while (body.children.length > list.length) body.lastChild.remove();
  list.forEach((cells, place) => {
    if (!body.children[place]) body.append(el("tr", {}, ...cells.map((_, column) => el("td", { class: column > 0 ? "number" : "" }))));
    cells.forEach((cell, column) => (body.children[place].children[column].textContent = cell));
  });
}

function limits(numbers) {
  const first = past[0];
  const list = [];
  for (const [kind, words] of [["limited", "limit"], ["errors", "error"], ["closes", "close"]]) {
    for (const [name, total] of Object.entries(numbers[kind] ?? {})) {
      if (total > 0) list.push([`${words} ${name}`, total - (first[kind]?.[name] ?? 0), total]);
    }
  }
  list.sort((a, b) => b[1] - a[1] || b[2] - a[2]);
  rows("limits", list.map(([name, recent, total]) => [name, count(recent), count(total)]));
  byId("no-limits").hidden = list.length > 0;
  byId("limits").closest(".table").hidden = list.length === 0;
}

/** Returns the facts of a part that a gateway may have: its numbers by their names. An open circuit is bad. */
function part(name, fields) {
  if (!fields) return [[name, "not in use"]];
  const simple = Object.entries(fields).filter(([, value]) => typeof value !== "object");
  return simple.map(([field, value]) => [`${name}: ${field.replaceAll("_", " ")}`, typeof value === "number" ? count(value) : String(value), value === "open"]);
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
    ["Health", store.health, store.health !== "ok"],
    ["Size", bytes(store.bytes)],
    ["Segments", count(store.segments)],
    ["Segments waiting", count(store.waiting_segments), store.waiting_segments > 16],
    ["Runs", count(store.runs)],
    ["Index in memory", bytes(store.index_bytes)],
    ["Recalls to overwrite", count(store.pending_redactions)],
    ["Not durable yet", bytes(Math.max(store.head - store.durable, 0))],
    ["Conversations in memory", count(numbers.conversations)],
  ]);
  facts("more", [...part("HTTP", http), ...part("Webhooks", numbers.webhooks), ...part("Cluster", numbers.cluster)]);
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
    state("bad", "Not allowed");
    byId("all").hidden = true;
    // 404: the API is off. A token does not help then.
    byId("ask").hidden = error.status === 404;
    byId("ask-error").textContent = admin.token || error.status !== 401 ? error.message : "";
    if (error.status === 404) state("bad", error.message);
    byId("token").focus();
  }
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  admin.keep(byId("token").value.trim());
  byId("token").value = "";
  state("", "Connecting…");
  start();
});
new Sessions(admin);
start();
