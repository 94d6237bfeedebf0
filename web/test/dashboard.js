// Draws the dashboard of deploy/grafana/ from the answers of a Prometheus, without Grafana: for docs/images/dashboard.png.
//
//     NODE_PATH=… node dashboard.js CHROMIUM http://<prometheus> <file.png> [<minutes> [<end, such as 2026-11-30T01:21:00Z>]]
import { readFileSync, writeFileSync } from "node:fs";
import { Browser } from "./chromium.js";

const [program, prometheus, file, minutes = "5", last = Date.now()] = process.argv.slice(2);
const dashboard = JSON.parse(readFileSync(new URL("../../deploy/grafana/trunkline.json", import.meta.url), "utf8"));

/** The first rows of the grid are drawn: those that one looks at first. */
const ROWS = 47;
const STEP = 5;
/** Like Grafana's: four times the interval in which Prometheus asks. */
const RATE = "20s";
const COLUMN = 54;
const LINE = 26;
const COLOURS = ["#2f54d0", "#b04a00", "#14804a", "#8a3ab9", "#b3305f", "#0f7480", "#806000", "#566070"];

const end = Math.floor(new Date(last) / 1_000);
const start = end - 60 * Number(minutes);

/** Returns the series of a query, each with its name and its points. */
async function ask({ expr, legendFormat }) {
  const query = expr.replaceAll("$__rate_interval", RATE).replaceAll("$instance", ".*");
  const answer = await fetch(`${prometheus}/api/v1/query_range?${new URLSearchParams({ query, start, end, step: STEP })}`);
  const { data, error } = await answer.json();
  if (error) throw new Error(`${query}: ${error}`);
  return data.result.map(({ metric, values }) => ({
    name: legendFormat.replace(/\{\{(\w+)\}\}/g, (_, label) => metric[label] ?? ""),
    points: values.map(([time, value]) => [time, Number(value)]).filter(([, value]) => Number.isFinite(value)),
  }));
}

const digits = (value) => `${Number(value.toPrecision(3))}`;
const scaled = (value, step, units) => {
  let place = 0;
  for (; Math.abs(value) >= step && place < units.length - 1; place++) value /= step;
  return `${digits(value)}${units[place]}`;
};

function text(value, unit) {
  if (unit === "bytes") return scaled(value, 1_024, [" B", " KiB", " MiB", " GiB", " TiB"]);
  if (unit === "Bps") return scaled(value, 1_000, [" B/s", " kB/s", " MB/s", " GB/s"]);
  if (unit === "s") return value === 0 ? "0 s" : value < 0.001 ? `${digits(1e6 * value)} µs` : value < 1 ? `${digits(1e3 * value)} ms` : `${digits(value)} s`;
  return scaled(value, 1_000, ["", " K", " M"]);
}

/** Returns round values from 0 to at least `most`. Bytes are counted by 1,024. */
function steps(most, unit) {
  const rough = most / 3;
  const base = unit === "bytes" ? 1_024 ** Math.max(Math.floor(Math.log2(rough) / 10), 0) : 1;
  const power = base * 10 ** Math.floor(Math.log10(rough / base));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * (1 - 1e-9));
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, place) => place * step);
}

/** The colour of a line, and its dashes if there are more lines than colours. */
const colour = (at) => COLOURS[at % COLOURS.length];
const dashes = (at) => ["", "6 3", "2 3"][Math.floor(at / COLOURS.length) % 3];

const escaped = (words) => words.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);

function plot({ w, h }, series, unit) {
  const [width, height, left, top] = [w * COLUMN - 34, h * LINE - 78, 62, 4];
  const values = series.flatMap(({ points }) => points.map(([, value]) => value));
  const most = Math.max(...values, 0) || 1;
  const x = (time) => left + ((time - start) / (end - start)) * (width - left);
  const marks = steps(most, unit);
  const y = (value) => top + 6 + (1 - value / marks.at(-1)) * (height - top - 24);
  const lines = marks.map((mark) => `<path d="M${left} ${y(mark)}H${width}"/><text x="${left - 6}" y="${y(mark) + 4}" text-anchor="end">${text(mark, unit)}</text>`);
  const times = [0.08, 0.5, 0.92].map((part) => start + part * (end - start));
  const clock = times.map((time) => `<text x="${x(time)}" y="${height - 2}" text-anchor="middle">${new Date(1_000 * time).toISOString().slice(11, 19)}</text>`);
  // A line ends where there are no values.
  const path = (points) => points.map(([time, value], at) => `${at > 0 && time - points[at - 1][0] <= STEP ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`);
  const drawn = series.map(({ points }, place) => `<path class="line" stroke="${colour(place)}" stroke-dasharray="${dashes(place)}" d="${path(points).join("")}"/>`);
  return `<svg width="${width}" height="${height}"><g class="grid">${lines.join("")}${clock.join("")}</g>${drawn.join("")}</svg>`;
}

async function panel({ type, title, gridPos, targets = [], fieldConfig }) {
  const { x, y, w, h } = gridPos;
  const place = `left:${x * COLUMN}px;top:${y * LINE}px;width:${w * COLUMN - 8}px;height:${h * LINE - 8}px`;
  if (type === "row") return `<h2 style="${place}">${escaped(title)}</h2>`;
  const unit = fieldConfig?.defaults?.unit;
  const series = (await Promise.all(targets.map(ask))).flat();
  if (type === "stat") {
    const last = series[0]?.points.at(-1)?.[1];
    return `<section style="${place}"><h3>${escaped(title)}</h3><p>${last === undefined ? "no data" : text(last, unit)}</p></section>`;
  }
  const names = series.map(({ name }, at) => name && `<li><svg width="18" height="4"><path class="line" stroke="${colour(at)}" stroke-dasharray="${dashes(at)}" d="M0 2H18"/></svg>${escaped(name)}</li>`);
  return `<section style="${place}"><h3>${escaped(title)}</h3>${plot(gridPos, series, unit)}<ul>${names.join("")}</ul></section>`;
}

const panels = dashboard.panels.filter(({ gridPos: { y, h } }) => y + h <= ROWS);
const drawn = await Promise.all(panels.map(panel));
const style = `
  * { box-sizing: border-box; margin: 0; padding: 0 }
  body { position: relative; background: #f4f5f8; color: #171a21; font: 12px/1.35 system-ui, sans-serif }
  h2, section { position: absolute }
  h2 { font-size: 14px; line-height: ${LINE}px }
  section { padding: 8px 10px; background: #fff; border: 1px solid #dcdfe6; border-radius: 6px; overflow: hidden }
  h3 { font-size: 12px; font-weight: 600 }
  p { margin-top: 8px; font-size: 27px; font-weight: 650; white-space: nowrap }
  svg { display: block; margin-top: 6px }
  .grid path { stroke: #e4e7ed } .grid text { fill: #5a6170; font-size: 10px }
  .line { fill: none; stroke-width: 1.6; stroke-linejoin: round }
  ul { display: flex; flex-wrap: wrap; gap: 0 12px; height: 32px; list-style: none; overflow: hidden }
  li { display: flex; align-items: center; gap: 5px; color: #3a4150 } li svg { margin: 0 } .line { stroke-width: 2 }`;
const browser = new Browser(program);
await browser.start();
try {
  const tab = await browser.open("about:blank", { width: 24 * COLUMN + 8, height: ROWS * LINE + 8 });
  const page = `<style>${style}</style><div style="position:absolute;left:8px;top:8px">${drawn.join("")}</div>`;
  await tab.evaluate(`document.body.innerHTML = ${JSON.stringify(page)}; 1`);
  writeFileSync(file, await tab.picture());
} finally {
  await browser.end();
}
console.log(`${panels.length} parts of the dashboard, ${minutes} minutes up to ${new Date(1_000 * end).toISOString()}`);
