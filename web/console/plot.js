/** Plots of the last ten minutes, each second a place, whether or not numbers came for it. */

import { el, eachFrame } from "/shared/dom.js";

/** The seconds that a plot shows. */
export const SECONDS = 600;

/** Lines go on over so many seconds, if there are no numbers between. */
const GAP = 3;

const NAMES = ["one", "two", "three"];
const DASHES = [[], [6, 4], [2, 3]];

/** The height of the texts in a plot, in pixels: as large as its width allows, so that it is read from some steps away. */
const textSize = (width) => Math.min(Math.max(width / 26, 13), 20);

/** Returns round values from 0 to at least `most`. `base` is 1,024 for bytes. `isWhole`: there is nothing between whole numbers. */
function steps(most, base, isWhole) {
  const rough = most / 3;
  const unit = base === 1024 ? 1024 ** Math.max(Math.floor(Math.log2(rough) / 10), 0) : 1;
  const power = unit * 10 ** Math.floor(Math.log10(rough / unit));
  const round = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((one) => one * power);
  const step = round.find((one) => one >= rough * (1 - 1e-9) && (!isWhole || Number.isInteger(one)));
  return [0, 1, 2, 3].map((one) => one * step);
}

/** Returns a number of an axis without zeros that say nothing: "9 KiB" for "9.00 KiB". */
const short = (text) => text.replace(/\.(\d*?)0+(?!\d)/, (_, rest) => (rest ? `.${rest}` : ""));

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
  /** The numbers of the second before. */
  #before;

  /** @param {Plot[]} plots */
  constructor(plots) {
    this.#plots = plots;
  }

  /** Adds numbers of the gateway, behind a gap as long as the time without any. */
  add(numbers) {
    if (this.#last) this.#missUntil(seconds(numbers.time - this.#last.time) - 1);
    this.#last = { time: numbers.time, at: Date.now() };
    this.#missed = 0;
    // A gateway that started again counts from 0.
    if (this.#before?.uptime_ms > numbers.uptime_ms) this.#before = undefined;
    for (const plot of this.#plots) plot.add(numbers, this.#before);
    this.#before = numbers;
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
  #what;
  #canvas;
  #values;
  #pointed;
  #ago;

  /** @param what one of the list in plots.js */
  constructor(what) {
    this.#what = what;
    this.#series = what.series.map((one) => ({ ...one, values: new Series() }));
    this.#values = what.series.map(({ name }, place) => {
      const value = el("b", {}, "–");
      return { value, text: el("span", { class: `legend ${NAMES[place]}` }, value, el("span", {}, name)) };
    });
    this.#ago = el("span", { class: "ago" });
    this.#canvas = el("canvas", { role: "img" });
    this.element = el("figure", { hidden: Boolean(what.isOff) }, el("figcaption", {}, el("span", {}, what.title, this.#ago), ...this.#values.map(({ text }) => text)), this.#canvas);
    this.draw = eachFrame(() => this.#draw());
    this.#canvas.addEventListener("pointermove", ({ offsetX }) => this.#point(offsetX));
    this.#canvas.addEventListener("pointerleave", () => this.#point(undefined));
    new ResizeObserver(this.draw).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.draw);
  }

  /** Adds a second, with the numbers of the one before. `undefined`: the gateway did not answer. */
  add(numbers, before) {
    if (numbers && this.#what.isOff) this.element.hidden = this.#what.isOff(numbers);
    for (const { of, values } of this.#series) values.add(numbers && of(numbers, before));
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
    const size = textSize(width);
    context.font = `${size}px ${style.fontFamily}`;
    const { format, base, least, whole } = this.#what;
    const ranges = this.#series.map(({ values }) => values.range);
    const marks = this.#what.marks ?? steps(Math.max(least, ...ranges.map((range) => range?.[1] ?? 0)), base, whole);
    // Times of plots that stand below each other are below each other, unless one has longer numbers.
    const left = Math.max(4.4 * size, ...marks.map((mark) => context.measureText(short(format(mark))).width)) + 10;
    const [right, top, bottom] = [width - 4, size, height - 1.7 * size];
    const x = (ago) => right - ((right - left) * ago) / (SECONDS - 1);
    const y = (value) => bottom - ((bottom - top) * value) / marks.at(-1);
    this.#grid(context, { marks, left, right, bottom, size, x, y, line: colour("grid"), text: colour("quiet") });
    this.#series.forEach(({ values }, place) => {
      Object.assign(context, { strokeStyle: colour(NAMES[place]), lineWidth: 2.5, lineJoin: "round" });
      context.setLineDash(DASHES[place]);
      context.beginPath();
      let last;
      for (let ago = SECONDS - 1; ago >= 0; ago--) {
        const value = values.ago(ago);
        if (Number.isNaN(value)) continue;
        // Numbers that are a little late are no gap.
        if (last - ago <= GAP) context.lineTo(x(ago), y(value));
        else context.moveTo(x(ago), y(value));
        last = ago;
      }
      context.stroke();
    });
    context.setLineDash([]);
    this.#say(context, { left, right, top, bottom, x, text: colour("quiet") }, ranges);
  }

  #grid(context, { marks, left, right, bottom, size, x, y, line, text }) {
    Object.assign(context, { strokeStyle: line, fillStyle: text, lineWidth: 1, textBaseline: "middle", textAlign: "right" });
    for (const mark of marks) {
      context.beginPath();
      context.moveTo(left, Math.round(y(mark)) + 0.5);
      context.lineTo(right, Math.round(y(mark)) + 0.5);
      context.stroke();
      context.fillText(short(this.#what.format(mark)), left - 8, y(mark));
    }
    context.textBaseline = "alphabetic";
    const below = bottom + 1.3 * size;
    // As many times as there is room for.
    const room = 1.7 * context.measureText("−10 min").width;
    const every = [2, 5].find((minutes) => ((right - left) * minutes) / 10 >= room) ?? 10;
    for (let minutes = 10; minutes > 0; minutes -= every) {
      context.textAlign = minutes === 10 ? "left" : "center";
      context.fillText(`−${minutes} min`, minutes === 10 ? left : x(60 * minutes), below);
    }
    context.textAlign = "right";
    context.fillText("now", right, below);
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
    this.#ago.textContent = ago > 0 ? ` ${ago} s ago` : "";
    const { title, format } = this.#what;
    const said = this.#series.map(({ name, values }, place) => {
      const value = values.ago(ago);
      const shown = Number.isNaN(value) ? "–" : format(value);
      this.#values[place].value.textContent = shown;
      const range = ranges[place];
      return range ? `${name}: now ${shown}, from ${format(range[0])} to ${format(range[1])}` : `${name}: not known`;
    });
    this.#canvas.setAttribute("aria-label", `${title}, the last ten minutes. ${said.join(". ")}`);
  }
}
