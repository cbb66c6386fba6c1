// The points of the charts, as the server sends them: each second for five minutes, coarser for an hour.

const KEPT = { fine: 300, coarse: 360 }; // points

export class History {
  #points = { fine: new Map(), coarse: new Map() };

  started = 0; // of the process that they are of
  count = 0; // how many of its points have come

  /** Take what the server sent. */
  take({ started, count, is_whole, fine, coarse }) {
    if (is_whole) for (const points of Object.values(this.#points)) points.clear();
    this.started = started;
    this.count = count;
    this.#append("fine", fine);
    this.#append("coarse", coarse);
  }

  /** The values of a name, oldest first; null where there was nothing. */
  values(span, name) {
    return this.#points[span].get(name) ?? [];
  }

  /** How many points a chart has room for. */
  static room(span) {
    return KEPT[span];
  }

  #append(span, columns) {
    const points = this.#points[span];
    for (const [name, values] of Object.entries(columns)) {
      const all = [...(points.get(name) ?? []), ...values];
      points.set(name, all.slice(-KEPT[span]));
    }
  }
}
