/** What the plots show. */

import { bytes, count, micros, millis, part } from "./format.js";

/** Returns the sum of the numbers of an object. */
const sum = (object) => Object.values(object ?? {}).reduce((all, one) => all + one, 0);

/** Returns a function of the numbers of a second and of those before: how much a counter grew in a second. */
const growth = (of) => (now, before) => (before ? Math.max(of(now) - of(before), 0) / ((now.time - before.time) / 1_000) : undefined);

const most = (all) => (all.every((one) => one === null) ? undefined : Math.max(...all));

/**
 * The plots, in their order. `least` is the value up to which an axis goes at least, `marks` are those of an axis that stays, and `whole` says that there is nothing between
 * two whole numbers. `of` takes the numbers of a second and those of the second before. A plot is hidden while `isOff` says so.
 */
export const PLOTS = [
  {
    title: "Connections", format: count, least: 3, whole: true, series: [
      { name: "sessions", of: ({ sessions }) => sessions },
      { name: "without a session", of: ({ connections, sessions }) => Math.max(connections - sessions, 0) },
    ],
  },
  {
    title: "Messages and pushes per second", format: count, least: 3, whole: true, series: [
      { name: "messages", of: ({ rates }) => rates.messages },
      { name: "pushes", of: ({ rates }) => rates.pushes },
    ],
  },
  {
    title: "Time of a commit", format: micros, least: 300, series: [
      { name: "p50", of: ({ commit }) => commit.p50_us },
      { name: "p90", of: ({ commit }) => commit.p90_us },
      { name: "p99", of: ({ commit }) => commit.p99_us },
    ],
  },
  {
    title: "Bytes per second", format: bytes, base: 1024, least: 3 * 1024, series: [
      { name: "sent", of: ({ rates }) => rates.sent_bytes },
      { name: "received", of: ({ rates }) => rates.received_bytes },
    ],
  },
  {
    title: "Processor of a thread", format: part, marks: [0, 0.25, 0.5, 0.75, 1], series: [
      { name: "busiest shard", of: ({ shards }) => most(shards.map(({ busy }) => busy)) },
      { name: "sequencer", of: ({ sequencer }) => sequencer.busy ?? undefined },
    ],
  },
  {
    title: "Waiting", format: count, least: 3, whole: true, series: [
      { name: "commands", of: ({ commands_waiting: waiting }) => waiting },
      { name: "for full mailboxes, per second", of: growth(({ sequencer }) => sequencer.mailbox_waits) },
    ],
  },
  {
    title: "Log", format: bytes, base: 1024, least: 3 * 1024, series: [
      { name: "written per second", of: growth(({ store }) => store.head) },
      { name: "not durable yet", of: ({ store }) => Math.max(store.head - store.durable, 0) },
    ],
  },
  {
    title: "Segments and runs", format: count, least: 3, whole: true, series: [
      { name: "segments", of: ({ store }) => store.segments },
      { name: "runs", of: ({ store }) => store.runs },
      { name: "segments waiting", of: ({ store }) => store.waiting_segments },
    ],
  },
  {
    title: "Memory", format: bytes, base: 1024, least: 3 * 1024 ** 2, series: [
      { name: "resident", of: ({ process }) => process.resident_bytes },
      { name: "held for clients", of: ({ held_bytes: held }) => held },
    ],
  },
  {
    title: "Limits, errors and closes per second", format: count, least: 3, whole: true, series: [
      { name: "limits", of: growth(({ limited }) => sum(limited)) },
      { name: "errors", of: growth(({ errors }) => sum(errors)) },
      { name: "closes", of: growth(({ closes }) => sum(closes)) },
    ],
  },
  {
    title: "Client API", format: count, least: 3, whole: true, series: [
      { name: "connections", of: ({ http }) => http?.connections },
      { name: "requests that wait", of: ({ http }) => http?.waiting },
      { name: "event streams", of: ({ http }) => http?.streams },
    ],
  },
  {
    title: "Webhooks that wait", format: count, least: 3, whole: true, isOff: ({ webhooks }) => !webhooks, series: [
      { name: "waiting", of: ({ webhooks }) => webhooks?.backlog },
      { name: "failed per second", of: growth(({ webhooks }) => webhooks?.failed ?? 0) },
    ],
  },
  {
    title: "Age of the oldest webhook", format: millis, least: 3_000, isOff: ({ webhooks }) => !webhooks, series: [
      { name: "oldest", of: ({ webhooks }) => webhooks?.oldest_ms },
    ],
  },
];
