/** Small SVG charts of the last minutes. */

import { make } from "./elements.js";

const POINTS = 90;
const WIDTH = 240;
const HEIGHT = 56;
const SVG = "http://www.w3.org/2000/svg";

export class Chart {
  #values = [];
  #show;
  #path = svg("path", { class: "stroke" });
  #area = svg("path", { class: "area" });
  #cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
  #value = make("strong", {}, "–"); // not an `output` element: screen readers would announce it every two seconds
  #more = make("small");
  #top = make("span", { className: "top", "aria-hidden": "true" });
  #svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  #title;

  /** `show(value)` formats a value; `seconds` is the interval between two values. */
  constructor(title, show, seconds) {
    this.#title = title;
    this.#show = show;
    this.#svg.append(this.#area, this.#path, this.#cursor);
    this.element = make(
      "article",
      { className: "chart" },
      make("h3", {}, title),
      make("p", {}, this.#value, this.#more),
      make("div", { className: "plot" }, this.#svg, this.#top),
    );
    this.#svg.addEventListener("pointermove", (event) => this.#point(event, seconds));
    this.#svg.addEventListener("pointerleave", () => this.#showNewest());
  }

  /** Add the newest value (NaN if unknown) and the text next to it. */
  add(value, more = "") {
    this.#values.push(value);
    if (this.#values.length > POINTS) this.#values.shift();
    this.#more.dataset.now = more;
    this.#draw();
    this.#showNewest();
  }

  #showNewest() {
    const now = this.#values.at(-1);
    this.#value.textContent = Number.isFinite(now) ? this.#show(now) : "–";
    this.#more.textContent = this.#more.dataset.now;
    this.#cursor.setAttribute("visibility", "hidden");
  }

  #point(event, seconds) {
    const box = this.#svg.getBoundingClientRect();
    const slot = Math.round(((event.clientX - box.left) / box.width) * (POINTS - 1));
    const position = slot - (POINTS - this.#values.length);
    const value = this.#values[position];
    if (!Number.isFinite(value)) return;
    this.#value.textContent = this.#show(value);
    this.#more.textContent = `${Math.round((this.#values.length - 1 - position) * seconds)} s ago`;
    const x = xOf(slot);
    for (const [name, at] of [
      ["x1", x],
      ["x2", x],
      ["visibility", "visible"],
    ])
      this.#cursor.setAttribute(name, at);
  }

  #draw() {
    const known = this.#values.filter(Number.isFinite);
    const top = roundUp(1.15 * Math.max(...known, 0)); // room above the line for the scale
    const offset = POINTS - this.#values.length;
    const runs = lines(
      this.#values,
      (value, position) => `${xOf(offset + position).toFixed(1)} ${yOf(value, top).toFixed(1)}`,
    );
    this.#path.setAttribute("d", runs.map((points) => `M${points.join("L")}`).join(""));
    this.#area.setAttribute(
      "d",
      runs
        .map(
          (points) =>
            `M${points[0].split(" ")[0]} ${HEIGHT}L${points.join("L")}L${points.at(-1).split(" ")[0]} ${HEIGHT}Z`,
        )
        .join(""),
    );
    this.#top.textContent = known.length ? this.#show(top) : "";
    const summary = known.length
      ? `now ${this.#show(known.at(-1))}, maximum ${this.#show(Math.max(...known))}`
      : "no data yet";
    this.#svg.setAttribute("aria-label", `${this.#title}: ${summary}`);
  }
}

function xOf(slot) {
  return (slot / (POINTS - 1)) * WIDTH;
}

function yOf(value, top) {
  return HEIGHT - 2 - (value / top) * (HEIGHT - 6);
}

/** Runs of consecutive known values, as points: unknown values leave a gap in the line. */
function lines(values, point) {
  const runs = [[]];
  values.forEach((value, position) => {
    if (Number.isFinite(value)) runs.at(-1).push(point(value, position));
    else if (runs.at(-1).length) runs.push([]);
  });
  return runs.filter((run) => run.length).map((run) => (run.length === 1 ? [run[0], run[0]] : run));
}

/** Round up to 1, 2, 5, 10, 20, … so that the scale rarely changes. */
export function roundUp(value) {
  if (value <= 1) return value > 0.1 ? 1 : value > 0.01 ? 0.1 : value > 0 ? 0.01 : 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
