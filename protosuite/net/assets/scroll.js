// Where the reader is: kept in place when something is added above, at the end when they follow what comes.

const NEAR = 300; // pixels from an end at which more is loaded
const AT_END = 40; // pixels within which somebody is at the end

export class Scroll {
  sticks = true; // the end of the list is the end of the log: who is there stays there

  #wasAtEnd = true;
  #mark = null; // the first entry in sight, and where it is
  #height = 0; // of what is in sight, when this was looked at

  constructor(element, list, moved) {
    this.element = element;
    this.list = list;
    const scrolled = () => {
      this.#remember();
      moved();
    };
    element.addEventListener("scroll", scrolled, { passive: true });
    new ResizeObserver(() => this.#restore()).observe(element);
  }

  get isAtEnd() {
    return this.#left <= AT_END;
  }

  get isNearEnd() {
    return this.#left < NEAR;
  }

  get isNearTop() {
    return this.element.scrollTop < NEAR;
  }

  toEnd() {
    this.element.scrollTop = this.element.scrollHeight;
    this.#remember();
  }

  /** Do `change` to the list, and keep what is read where it is. */
  keep(change) {
    if (this.element.clientHeight === this.#height) this.#remember();
    else this.#restore(); // something beside it grew, and the observer has not been called yet
    change();
    this.#restore();
  }

  /** Bring an entry into sight. */
  show(item) {
    item.scrollIntoView({ block: "center" });
    this.#remember();
  }

  page(direction) {
    this.element.scrollBy({ top: direction * this.element.clientHeight * 0.9 });
    this.#remember();
  }

  get #left() {
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    return scrollHeight - scrollTop - clientHeight;
  }

  #remember() {
    this.#height = this.element.clientHeight;
    this.#wasAtEnd = this.isAtEnd;
    const item = this.#first()?.querySelector(".line"); // what is above that comes and goes: the name of a day
    this.#mark = item && { item, top: item.getBoundingClientRect().top - this.#edge };
  }

  #restore() {
    this.#height = this.element.clientHeight;
    if (this.#wasAtEnd && this.sticks) this.toEnd();
    else if (this.#mark?.item.isConnected) {
      this.element.scrollTop += this.#mark.item.getBoundingClientRect().top - this.#edge - this.#mark.top;
    }
  }

  get #edge() {
    return this.element.getBoundingClientRect().top;
  }

  /** The first entry that is in sight. */
  #first() {
    const edge = this.#edge;
    const items = this.list.children;
    let [low, high] = [0, items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (items[middle].getBoundingClientRect().bottom <= edge) low = middle + 1;
      else high = middle;
    }
    return items[low] ?? null;
  }
}
