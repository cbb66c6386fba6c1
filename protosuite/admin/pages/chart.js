// A line over time. The newest value is at the right edge; where there was nothing there is a gap.

import { clone, put } from "./assets/elements.js";

export const WIDTH = 300;
export const HEIGHT = 48;
const TOP = 3; // room for the width of the line

/** What is drawn: the line, and the area below it, for values of which `room` fill the width. */
export function paths(values, room, highest) {
  const scale = highest > 0 ? (HEIGHT - TOP) / highest : 0;
  const step = WIDTH / Math.max(1, room - 1);
  const at = (place) => WIDTH - (values.length - 1 - place) * step;
  const runs = [];
  let run = null;
  values.forEach((value, place) => {
    if (value === null) run = null;
    else {
      if (run === null) runs.push((run = []));
      run.push([round(at(place)), round(HEIGHT - value * scale)]);
    }
  });
  return {
    line: runs.map((points) => `M${points.map(([x, y]) => `${x} ${y}`).join("L")}${dot(points)}`).join(""),
    area: runs
      .map((points) => {
        const [[first], [last]] = [points[0], points.at(-1)];
        return `M${first} ${HEIGHT}L${points.map(([x, y]) => `${x} ${y}`).join("L")}L${last} ${HEIGHT}Z`;
      })
      .join(""),
  };
}

const round = (value) => Math.round(value * 10) / 10;

/** A line of one point is none: it gets a length that its round ends make a dot. */
const dot = (points) => (points.length === 1 ? "h0.01" : "");

export class Chart {
  #format;
  #what;
  #parts;

  /** `what` it shows, and `format`, which makes text of a value. `kind` is for its colour. */
  constructor(what, format, kind) {
    this.#what = what;
    this.#format = format;
    this.element = clone("chart");
    this.element.classList.add(kind);
    const find = (selector) => this.element.querySelector(selector);
    this.#parts = {
      now: find(".now"),
      peak: find(".peak"),
      svg: find("svg"),
      line: find(".line"),
      area: find(".area"),
    };
    find(".what").textContent = what;
  }

  /** Draw `values`, of which `room` fill the width, beside the value of `now`; null: there is none. */
  draw(values, now, room, span) {
    const known = values.filter((value) => value !== null);
    const highest = Math.max(0, ...known);
    const { line, area } = paths(values, room, highest);
    this.#parts.line.setAttribute("d", line);
    this.#parts.area.setAttribute("d", area);
    const text = now === null ? "–" : this.#format(now);
    const peak = known.length ? this.#format(highest) : "none";
    put(this.#parts.now, text);
    put(this.#parts.peak, highest > 0 ? `max ${peak}` : "");
    this.#parts.svg.setAttribute("aria-label", `${this.#what}, ${span}: now ${text}, highest ${peak}`);
    this.element.classList.toggle("quiet", highest === 0 && !now);
  }
}
