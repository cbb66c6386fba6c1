// The entries of a log, and what is not in it yet, as elements. What people wrote is only ever set as text.

import { clone, put } from "./assets/elements.js";

const HUES = 8;
const SAME_TURN = 5 * 60_000; // ms: an author who goes on within this is not named again
const LAST_DATE = 8.64e15; // ms: the last moment that a Date can be

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "medium" });

const hue = (author) => {
  let sum = 7;
  for (const letter of author) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  return sum % HUES;
};

/** A list that holds the same run of slots as a Log. */
export class Entries {
  #low = 1;
  #high = 0;
  #generation = null;
  #target = null;

  constructor(list) {
    this.list = list;
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("focusin", ({ target }) => this.#stop(target.closest("li")));
  }

  /** Make the list what `log` is. Returns whether that was more than new entries at the end. */
  render(log, me) {
    const had = this.#generation === log.generation && this.#high >= this.#low;
    if (!had || log.low > this.#high || log.high < this.#low) {
      this.list.replaceChildren();
      this.#generation = log.generation;
      this.#low = log.low;
      this.#high = log.low - 1;
    }
    const [low, high] = [this.#low, this.#high];
    for (; this.#low < log.low; this.#low++) this.list.firstElementChild.remove();
    for (; this.#high > log.high; this.#high--) this.list.lastElementChild.remove();
    this.list.prepend(...this.#make(log, log.low, this.#low - 1, me));
    this.list.append(...this.#make(log, this.#high + 1, log.high, me));
    for (const slot of new Set([log.low, low, high + 1])) this.#place(log, slot);
    [this.#low, this.#high] = [log.low, log.high];
    this.#stop(this.list.querySelector("li:focus") ?? this.list.lastElementChild);
    return !had || log.low < low;
  }

  element(slot) {
    return document.getElementById(`slot-${slot}`);
  }

  /** Highlight a slot and put the focus there. Returns its element. */
  point(slot) {
    this.#target?.classList.remove("target");
    this.#target = this.element(slot);
    this.#target.classList.add("target");
    this.#target.focus({ preventScroll: true });
    return this.#target;
  }

  /** Mark the entries of `me` again: the name has changed. */
  own(log, me) {
    for (let slot = this.#low; slot <= this.#high; slot++) {
      this.element(slot).classList.toggle("own", log.at(slot).author === me);
    }
  }

  #make(log, from, to, me) {
    const made = [];
    for (let slot = from; slot <= to; slot++) made.push(this.#entry(log.at(slot), me));
    for (const [index, item] of made.entries()) this.#place(log, from + index, item);
    return made;
  }

  #entry({ slot, author, content, at }, me) {
    const item = clone("entry");
    item.id = `slot-${slot}`;
    item.classList.add(`hue-${hue(author)}`);
    item.classList.toggle("own", author === me);
    item.querySelector(".author").textContent = author;
    item.querySelector(".content").textContent = content;
    item.querySelector(".slot").textContent = `#${slot}`;
    const link = item.querySelector("a");
    link.href = `#${slot}`;
    const time = item.querySelector("time");
    if (Math.abs(at) <= LAST_DATE) {
      const date = new Date(at);
      time.dateTime = date.toISOString();
      time.textContent = clock.format(date);
      time.title = full.format(date);
    } else {
      time.textContent = `${at} ms`;
    }
    return item;
  }

  /** What an entry shows because of the one before it: a new day, a new author. */
  #place(log, slot, item = this.element(slot)) {
    if (item === null || !log.has(slot)) return;
    const { author, at } = log.at(slot);
    const before = log.at(slot - 1);
    const day = item.querySelector(".day");
    const date = Math.abs(at) <= LAST_DATE ? calendar.format(at) : "";
    const isDay = before === undefined || calendar.format(clamp(before.at)) !== date;
    day.hidden = !isDay;
    day.textContent = isDay ? date : "";
    const goesOn = !isDay && before.author === author && Math.abs(at - before.at) < SAME_TURN;
    item.classList.toggle("goes-on", goesOn);
  }

  /** One entry can be reached with Tab, the others from there with the arrow keys. */
  #stop(item) {
    for (const other of this.list.querySelectorAll("li[tabindex='0']")) other.tabIndex = -1;
    if (item) item.tabIndex = 0;
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const item = event.target.closest("li");
    const next = {
      ArrowUp: item.previousElementSibling ?? item,
      ArrowDown: item.nextElementSibling ?? item,
      Home: this.list.firstElementChild,
      End: this.list.lastElementChild,
    }[event.key];
    if (next) {
      event.preventDefault();
      next.focus({ preventScroll: true });
      next.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter" && event.target === item) {
      item.querySelector("a").click();
    }
  }
}

/** What has been written and is not in the log: it waits, or was refused. */
export class Unsent {
  #items = new Map(); // elements by key

  constructor(list, { retry, edit, discard }) {
    this.list = list;
    const acts = { retry, edit, discard };
    list.addEventListener("click", ({ target }) => {
      const act = acts[target.dataset.act];
      if (act !== undefined) act(target.closest("li").dataset.key);
    });
  }

  render(items, isConnected) {
    const keys = new Set(items.map(({ key }) => key));
    for (const [key, element] of this.#items) {
      if (!keys.has(key)) {
        element.remove();
        this.#items.delete(key);
      }
    }
    for (const item of items) this.#show(item, isConnected);
    this.list.hidden = items.length === 0;
  }

  #show({ key, author, content, error }, isConnected) {
    let element = this.#items.get(key);
    if (element === undefined) {
      element = clone("unsent");
      element.dataset.key = key;
      element.classList.add(`hue-${hue(author)}`);
      element.querySelector(".author").textContent = author;
      element.querySelector(".content").textContent = content;
      this.#items.set(key, element);
      this.list.append(element);
    }
    const isRefused = error !== null;
    element.classList.toggle("refused", isRefused);
    element.querySelector(".acts").hidden = !isRefused;
    const waiting = isConnected ? "Sending…" : "Waits for the connection";
    put(element.querySelector(".state"), isRefused ? "" : waiting);
    put(element.querySelector(".error"), isRefused ? `Not sent: ${error.message}.` : "");
  }
}

const clamp = (at) => Math.max(-LAST_DATE, Math.min(LAST_DATE, at));
