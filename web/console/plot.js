/** Plots of the last ten minutes, each second a place, whether or not numbers came for it. */

import { el, eachFrame } from "/shared/dom.js";

/** The seconds that a plot shows. */
export const SECONDS = 600;

const NAMES = ["one", "two", "three"];
const DASHES = [[], [6, 4], [2, 3]];

/** Returns round values from 0 to at least `most`. `base` is 1,024 for bytes. */
function steps(most, base) {
  const rough = Math.max(most / 3, 1);
  const unit = base === 1024 ? 1024 ** Math.floor(Math.log2(rough) / 10) : 1;
  const power = unit * 10 ** Math.floor(Math.log10(rough / unit));
  const step = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((one) => one * power).find((one) => one >= rough);
  return [0, 1, 2, 3].map((one) => one * step);
}

/** The values of some seconds, the newest last. `undefined`: the gateway did not say. */
export class Series {
  #values = new Float64Array(SECONDS).fill(NaN);
  #next = 0;

  add(value) {
    this.#values[this.#next] = value ?? NaN;
    this.#next = (this.#next + 1) % SECONDS;
  }

  /** Returns the value of so many seconds ago. */
  ago(seconds) {
    return this.#values[(this.#next - 1 - seconds + 2 * SECONDS) % SECONDS];
  }

  get range() {
    const known = this.#values.filter((value) => !Number.isNaN(value));
    return known.length === 0 ? undefined : [Math.min(...known), Math.max(...known)];
  }
}

/** Plots that share their time. */
export class Plots {
  #plots;
  /** When the last numbers were taken: by the clock of the gateway, and by that of this page. Both go on while the machine sleeps. */
  #last;
  /** The seconds without numbers that have been drawn since then. */
  #missed = 0;

  /** @param {Plot[]} plots */
  constructor(plots) {
    this.#plots = plots;
  }

  /** Adds numbers of the gateway, behind a gap as long as the time without any. */
  add(numbers) {
    if (this.#last) this.#missUntil(seconds(numbers.time - this.#last.time) - 1);
    this.#last = { time: numbers.time, at: Date.now() };
    this.#missed = 0;
    for (const plot of this.#plots) plot.add(numbers);
  }

  /** Draws that there have been no numbers until now. */
  miss() {
    if (this.#last) this.#missUntil(seconds(Date.now() - this.#last.at));
  }

  /** Beyond ten minutes there is nothing left to move out of sight. */
  #missUntil(count) {
    for (; this.#missed < Math.min(count, SECONDS); this.#missed++) for (const plot of this.#plots) plot.add(undefined);
  }
}

const seconds = (ms) => Math.round(ms / 1_000);

export class Plot {
  #series;
  #format;
  #base;
  #canvas;
  #values;
  #pointed;

  /** @param {{title: string, series: {name: string, of: (numbers: object) => number | undefined}[], format: (value: number) => string, base?: 1024}} what */
  constructor({ title, series, format, base }) {
    this.#base = base;
    this.#format = format;
    this.#series = series.map((one) => ({ ...one, values: new Series() }));
    this.#values = series.map(({ name }, place) => ({ name, place, text: el("span", { class: `legend ${NAMES[place]}` }, name) }));
    this.#canvas = el("canvas", { role: "img" });
    this.title = title;
    this.element = el("figure", {}, el("figcaption", {}, el("span", {}, title), ...this.#values.map(({ text }) => text)), this.#canvas);
    this.draw = eachFrame(() => this.#draw());
    this.#canvas.addEventListener("pointermove", ({ offsetX }) => this.#point(offsetX));
    this.#canvas.addEventListener("pointerleave", () => this.#point(undefined));
    new ResizeObserver(this.draw).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.draw);
  }

  /** Adds a second. `undefined`: the gateway did not answer. */
  add(numbers) {
    for (const { of, values } of this.#series) values.add(numbers && of(numbers));
    this.draw();
  }

  #point(x) {
    this.#pointed = x;
    this.draw();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width === 0) return;
    const ratio = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      Object.assign(this.#canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    }
    const style = getComputedStyle(this.#canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const context = this.#canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = `12px ${style.fontFamily}`;
    const ranges = this.#series.map(({ values }) => values.range);
    const marks = steps(Math.max(0, ...ranges.map((range) => range?.[1] ?? 0)), this.#base);
    const left = Math.max(...marks.map((mark) => context.measureText(this.#format(mark)).width)) + 10;
    const [right, top, bottom] = [width - 4, 10, height - 22];
    const x = (ago) => right - ((right - left) * ago) / (SECONDS - 1);
    const y = (value) => bottom - ((bottom - top) * value) / marks.at(-1);
    this.#grid(context, { marks, left, right, bottom, x, y, line: colour("grid"), text: colour("quiet") });
    this.#series.forEach(({ values }, place) => {
      Object.assign(context, { strokeStyle: colour(NAMES[place]), lineWidth: 2, lineJoin: "round" });
      context.setLineDash(DASHES[place]);
      context.beginPath();
      let isDown = false;
      for (let ago = SECONDS - 1; ago >= 0; ago--) {
        const value = values.ago(ago);
        if (Number.isNaN(value)) isDown = false;
        else {
          if (isDown) context.lineTo(x(ago), y(value));
          else context.moveTo(x(ago), y(value));
          isDown = true;
        }
      }
      context.stroke();
    });
    context.setLineDash([]);
    this.#say(context, { left, right, top, bottom, x, text: colour("quiet") }, ranges);
  }

  #grid(context, { marks, left, right, bottom, x, y, line, text }) {
    Object.assign(context, { strokeStyle: line, fillStyle: text, lineWidth: 1, textBaseline: "middle", textAlign: "right" });
    for (const mark of marks) {
      context.beginPath();
      context.moveTo(left, Math.round(y(mark)) + 0.5);
      context.lineTo(right, Math.round(y(mark)) + 0.5);
      context.stroke();
      context.fillText(this.#format(mark), left - 6, y(mark));
    }
    Object.assign(context, { textBaseline: "alphabetic", textAlign: "center" });
    for (const minutes of [8, 6, 4, 2]) context.fillText(`−${minutes} min`, x(60 * minutes), bottom + 16);
    context.textAlign = "right";
    context.fillText("now", right, bottom + 16);
  }

  /** Writes the values of the second under the pointer, or of the last one. */
  #say(context, { left, right, top, bottom, x, text }, ranges) {
    let ago = 0;
    if (this.#pointed !== undefined && this.#pointed >= left) {
      ago = Math.round(((right - Math.min(this.#pointed, right)) / (right - left)) * (SECONDS - 1));
      context.strokeStyle = text;
      context.beginPath();
      context.moveTo(x(ago), top);
      context.lineTo(x(ago), bottom);
      context.stroke();
    }
    const said = this.#series.map(({ name, values }, place) => {
      const value = values.ago(ago);
      const shown = Number.isNaN(value) ? "–" : this.#format(value);
      this.#values[place].text.textContent = `${name} ${shown}${ago > 0 ? ` (${ago} s ago)` : ""}`;
      const range = ranges[place];
      return range ? `${name}: now ${shown}, from ${this.#format(range[0])} to ${this.#format(range[1])}` : `${name}: not known`;
    });
    this.#canvas.setAttribute("aria-label", `${this.title}, the last ten minutes. ${said.join(". ")}`);
  }
}
