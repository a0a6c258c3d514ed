// One chart over time, drawn as SVG: lines, or areas on top of each other. A value
// that is missing is a gap. Beside it stand a legend with values and, for who reads
// rather than looks, a table; with the keyboard it is a slider over time.

import { element, say, shape } from "./elements.js";
import { amount, clock, MISSING } from "./words.js";

// Room for labels around what is drawn, in pixels.
const LEFT = 52;
const RIGHT = 6;
const TOP = 8;
const BOTTOM = 18;
// Points further apart than this have something missing between them.
const GAP_MS = 2_500;
// Distances between times that are labelled, in seconds.
const STEPS_S = [15, 60, 300];

export class Chart {
  /**
   * `about` has a `title`, a `unit`, the `series` (each with a `label`, a `colour`
   * and `of(point)`), whether they are `stacked`, and the least upper end of the
   * scale, `least`. `marked(at_ms)` is called when a reader points at a time.
   */
  constructor(about, marked) {
    Object.assign(this, { about, marked, points: [], range_s: 900, at_ms: null });
    this.figure = element("figure", { class: `card${about.stacked ? " stacked" : ""}` });
    const caption = element("figcaption", {}, about.title);
    if (about.unit) caption.append(element("small", {}, about.unit));
    this.figure.append(caption, this.legend(), this.plot(), this.table());
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  legend() {
    const legend = element("ul", { class: "legend" });
    this.values = this.about.series.map((series, at) => {
      const key = shape("svg", { "aria-hidden": "true", viewBox: "0 0 18 8" });
      key.append(this.about.stacked
        ? shape("rect", { width: 18, height: 8, class: `area ${series.colour}` })
        : shape("path", { d: "M1 4H17", class: stroke(series, at) }));
      const value = element("span", {});
      const item = element("li", {});
      item.append(key, `${series.label} `, value);
      legend.append(item);
      return value;
    });
    return legend;
  }

  plot() {
    const slider = element("div", {
      class: "plot", role: "slider", tabindex: 0, "aria-label": `${this.about.title} over time`,
      "aria-valuemin": 0,
    });
    this.svg = shape("svg", { "aria-hidden": "true" });
    slider.append(this.svg);
    slider.addEventListener("pointermove", (event) => {
      const { left, width } = this.svg.getBoundingClientRect();
      const share = (event.clientX - left - LEFT) / (width - LEFT - RIGHT);
      const shown = this.shown();
      const end = shown.at(-1)?.at_ms ?? 0;
      const at = end - (1 - share) * this.range_s * 1000;
      const near = shown.reduce((best, point) =>
        Math.abs(point.at_ms - at) < Math.abs(best.at_ms - at) ? point : best, shown[0]);
      this.marked(near?.at_ms ?? null);
    });
    slider.addEventListener("pointerleave", () => this.marked(null));
    slider.addEventListener("blur", () => this.marked(null));
    slider.addEventListener("keydown", (event) => this.step(event));
    this.slider = slider;
    return slider;
  }

  step(event) {
    const shown = this.shown();
    const now = this.at_ms === null ? shown.length - 1
      : shown.findIndex((point) => point.at_ms >= this.at_ms);
    const steps = {
      ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1,
      PageDown: -30, PageUp: 30, Home: -shown.length, End: shown.length,
    };
    if (event.key === "Escape") this.marked(null);
    const by = steps[event.key];
    if (by === undefined || shown.length === 0) return;
    event.preventDefault();
    const place = Math.min(shown.length - 1, Math.max(0, now + by));
    this.marked(shown[place].at_ms);
  }

  table() {
    const details = element("details", {});
    details.append(element("summary", {}, "As a table"));
    details.addEventListener("toggle", () => this.fill());
    this.details = details;
    return details;
  }

  /** The points of the range, which ends with the last one. */
  shown() {
    const end = this.points.at(-1)?.at_ms ?? 0;
    return this.points.filter((point) => point.at_ms > end - this.range_s * 1000);
  }

  update(points, range_s) {
    Object.assign(this, { points, range_s });
    this.draw();
    this.fill();
  }

  /** Marks a time; `null` is the present. */
  mark(at_ms) {
    this.at_ms = at_ms;
    this.draw();
  }

  draw() {
    const shown = this.shown();
    const width = this.svg.clientWidth;
    const height = this.svg.clientHeight;
    const end = shown.at(-1)?.at_ms ?? 0;
    const begin = end - this.range_s * 1000;
    const layers = this.layers(shown);
    const highest = Math.max(this.about.least, ...layers.flat().map(({ high }) => high ?? 0));
    const top = ceiling(highest, this.about.scale);
    const x = (at_ms) => LEFT + ((at_ms - begin) / (end - begin)) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - value / top) * (height - TOP - BOTTOM);
    const parts = [...this.scale(top, width, y), ...times(begin, end, x, height)];
    this.about.series.forEach((series, at) => {
      const runs = unbroken(layers[at]);
      if (this.about.stacked || this.about.series.length === 1) {
        const area = runs.map((run) => {
          const upper = run.map(({ at_ms, high }) => `${px(x(at_ms))} ${px(y(high))}`);
          const lower = run.map(({ at_ms, low }) => `${px(x(at_ms))} ${px(y(low))}`).reverse();
          return `M${upper.join("L")}L${lower.join("L")}Z`;
        });
        parts.push(shape("path", { d: area.join(""), class: `area ${series.colour}` }));
      }
      const line = runs.map((run) => {
        const places = run.map(({ at_ms, high }) => `${px(x(at_ms))} ${px(y(high))}`);
        // A point alone is a dot.
        return `M${places.join("L")}${run.length === 1 ? "h0.01" : ""}`;
      });
      parts.push(shape("path", { d: line.join(""), class: stroke(series, at) }));
    });
    const marked = this.at_ms === null ? undefined
      : shown.find((point) => point.at_ms >= this.at_ms);
    if (marked) {
      const at = px(x(marked.at_ms));
      parts.push(shape("path", { d: `M${at} ${TOP}V${height - BOTTOM}`, class: "mark" }));
      const early = at < width / 2;
      const anchor = early ? "start" : "end";
      const time = shape("text", { x: at + (early ? 5 : -5), y: TOP + 10, "text-anchor": anchor });
      time.textContent = clock(marked.at_ms);
      parts.push(time);
    }
    this.svg.replaceChildren(...parts);
    this.say(shown, marked);
  }

  /** Each series as points with a lower and an upper end. */
  layers(shown) {
    const floor = shown.map(() => 0);
    return this.about.series.map(({ of }) => shown.map((point, at) => {
      const value = of(point);
      if (value === null || value === undefined) return { at_ms: point.at_ms, high: null };
      const low = floor[at];
      if (this.about.stacked) floor[at] += value;
      return { at_ms: point.at_ms, low, high: low + value };
    }));
  }

  scale(top, width, y) {
    return [0, 0.5, 1].flatMap((share) => {
      const at = px(y(top * share));
      const label = shape("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" });
      label.textContent = amount(top * share, this.about.scale);
      return [shape("path", { d: `M${LEFT} ${at}H${width - RIGHT}`, class: "grid" }), label];
    });
  }

  /** The values in the legend and to who hears the chart. */
  say(shown, marked) {
    const point = marked ?? shown.at(-1);
    const values = this.about.series.map(({ of }) => amount(point && of(point), this.about.scale));
    this.values.forEach((value, at) => say(value, values[at]));
    const place = point ? shown.indexOf(point) : 0;
    this.slider.setAttribute("aria-valuemax", Math.max(0, shown.length - 1));
    this.slider.setAttribute("aria-valuenow", place);
    const words = this.about.series.map(({ label }, at) =>
      `${label} ${values[at] === MISSING ? "unknown" : values[at]}`);
    const when = point ? clock(point.at_ms) : "nothing yet";
    // Who stands on the present would hear it change every second.
    if (marked || !this.slider.matches(":focus")) {
      this.slider.setAttribute("aria-valuetext", `${when}: ${words.join(", ")}`);
    }
  }

  /** A row a minute, with the highest values. */
  fill() {
    if (!this.details.open) return;
    const minutes = new Map();
    for (const point of this.points) {
      const minute = Math.floor(point.at_ms / 60_000);
      minutes.set(minute, [...(minutes.get(minute) ?? []), point]);
    }
    const head = element("tr", {});
    const titles = ["minute", ...this.about.series.map(({ label }) => label)];
    head.append(...titles.map((title, at) =>
      element("th", { scope: "col", class: at > 0 ? "number" : "" }, title)));
    const rows = [...minutes].reverse().map(([minute, points]) => {
      const row = element("tr", {});
      row.append(element("th", { scope: "row" }, clock(minute * 60_000, false)));
      for (const { of } of this.about.series) {
        const known = points.map(of).filter((value) => value !== null && value !== undefined);
        const highest = known.length > 0 ? Math.max(...known) : null;
        row.append(element("td", { class: "number" }, amount(highest, this.about.scale)));
      }
      return row;
    });
    const table = element("table", {});
    table.append(element("caption", { class: "soft" }, `${this.about.title}: highest of each minute`));
    table.append(element("thead", {}), element("tbody", {}));
    table.tHead.append(head);
    table.tBodies[0].append(...rows);
    const held = element("div", { tabindex: 0, role: "region", "aria-label": `${this.about.title} as a table` });
    held.append(table);
    const [, old] = this.details.children;
    if (old) old.firstChild.replaceWith(table);
    else this.details.append(held);
  }
}

const px = (value) => Math.round(value * 10) / 10;
const stroke = (series, at) => `stroke ${series.colour} dash-${at + 1}`;

/** The runs of points between which nothing is missing. */
function unbroken(points) {
  const runs = [];
  let before = null;
  for (const point of points) {
    if (point.high !== null) {
      if (before === null || point.at_ms - before > GAP_MS) runs.push([]);
      runs.at(-1).push(point);
    }
    before = point.high === null ? null : point.at_ms;
  }
  return runs;
}

/** The least round number that is not below: in bytes a power of two, else 1, 2, 4,
 * 6 or 8 times a power of ten. */
function ceiling(value, unit) {
  if (unit === "B") return 2 ** Math.ceil(Math.log2(value));
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 4, 6, 8, 10].find((step) => step * power >= value * 0.999);
  return step * power;
}

function times(begin, end, x, height) {
  if (end === 0) return [];
  const seconds = (end - begin) / 1000;
  const step = STEPS_S.find((step) => seconds / step <= 5) * 1000;
  const parts = [];
  for (let at = Math.ceil(begin / step) * step; at <= end; at += step) {
    const text = shape("text", { x: px(x(at)), y: height - 4, "text-anchor": "middle" });
    text.textContent = clock(at, step < 60_000);
    // Half of a label must not hang over an end.
    if (x(at) > LEFT + 12 && x(end) - x(at) > 16) parts.push(text);
  }
  return parts;
}
