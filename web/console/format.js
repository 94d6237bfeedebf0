/** Numbers as people read them. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Returns a number with at most three digits and a unit, as two texts. */
export function split(value) {
  if (value === undefined || Number.isNaN(value)) return ["–", ""];
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e4]]) {
    if (value >= size) return [three(value / (unit === "k" ? 1e3 : size)), unit];
  }
  return [value < 10 && !Number.isInteger(value) ? value.toFixed(1) : whole.format(value), ""];
}

const three = (value) => (value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0));

export const count = (value) => split(value).join("");

export function bytes(value) {
  if (value === undefined || Number.isNaN(value)) return "–";
  for (const [unit, power] of [["TiB", 4], ["GiB", 3], ["MiB", 2], ["KiB", 1]]) {
    if (value >= 1024 ** power) return `${three(value / 1024 ** power)} ${unit}`;
  }
  return value > 0 ? `${whole.format(value)} B` : "0";
}

/** Returns a time in microseconds. */
export function micros(value) {
  if (value === undefined || Number.isNaN(value)) return "–";
  if (value >= 1e6) return `${three(value / 1e6)} s`;
  if (value >= 1e3) return `${three(value / 1e3)} ms`;
  return value > 0 ? `${whole.format(value)} µs` : "0";
}

/** Returns a time in milliseconds. */
export const millis = (value) => (value >= 60_000 ? duration(value) : micros(value * 1_000));

/** Returns a part of one as a percentage. */
export const part = (value) => (value === undefined || Number.isNaN(value) ? "–" : `${whole.format(100 * value)} %`);

export function duration(ms) {
  const minutes = Math.floor(ms / 60_000);
  const [days, hours] = [Math.floor(minutes / 1_440), Math.floor(minutes / 60) % 24];
  if (days > 0) return `${days} d ${hours} h`;
  return hours > 0 ? `${hours} h ${minutes % 60} min` : minutes > 0 ? `${minutes} min` : `${Math.floor(ms / 1_000)} s`;
}
