// Messages, and what is not sent yet, as elements. What people wrote, names too, is only ever set as text.

import { $, clone, put } from "./assets/elements.js";
import { address } from "./api.js";
import { SINGLE, capital, clock, closing, day, full, iso, size } from "./format.js";
import { view } from "./wire.js";

const SAME_TURN = 5 * 60_000; // ms: who goes on within this is not named again

/** A list that shows what a Thread holds. `names` are those of `client` and `desk`; `own` is which of them we are. */
export class Messages {
  #shown = []; // `{id, element, content, message}`, by id

  constructor(list, own, names) {
    this.list = list;
    this.own = own;
    this.names = names;
  }

  clear() {
    this.list.replaceChildren();
    this.#shown = [];
  }

  /** Make the list what `messages` are. Returns whether that was more than new ones at the end. */
  render(messages) {
    const before = new Map(this.#shown.map((item) => [item.id, item]));
    const last = this.#shown.at(-1)?.id ?? 0;
    const wasEmpty = this.#shown.length === 0;
    let isHistory = false;
    this.#shown = messages.map((message) => {
      const found = before.get(message.id);
      before.delete(message.id);
      if (found?.message === message) return found;
      isHistory ||= found === undefined && (wasEmpty || message.id < last);
      const content = JSON.stringify(message);
      const element = found?.content === content ? found.element : this.#make(message);
      return { id: message.id, message, content, element };
    });
    for (const { element } of before.values()) element.remove();
    this.#arrange();
    return isHistory;
  }

  #arrange() {
    const wanted = new Set(this.#shown.map(({ element }) => element));
    for (const element of [...this.list.children]) if (!wanted.has(element)) element.remove();
    let place = this.list.firstElementChild;
    let previous = null;
    for (const { element, message } of this.#shown) {
      if (place === element) place = place.nextElementSibling;
      else this.list.insertBefore(element, place);
      turn(element, message, previous);
      previous = message;
    }
  }

  #make(message) {
    const item = clone("message");
    item.id = `message-${message.id}`;
    item.classList.add(message.from === this.own ? "own" : "other");
    item.classList.toggle("discarded", message.status === "discarded");
    item.querySelector(".who").textContent = this.names[message.from];
    const time = item.querySelector("time");
    time.dateTime = iso(message.at);
    time.textContent = clock(message.at);
    time.title = full(message.at);
    const isSent = message.from === this.own && message.status === "saved";
    item.querySelector(".tick").hidden = !isSent;
    item.querySelector(".body").append(...body(message));
    return item;
  }
}

/** What a message shows because of the one before it: a new day, somebody else. */
function turn(item, message, before) {
  const heading = item.querySelector(".day");
  const isDay = before === null || day(before.at) !== day(message.at);
  heading.hidden = !isDay;
  put(heading, isDay ? day(message.at) : "");
  const goesOn = !isDay && before.from === message.from && message.at - before.at < SAME_TURN;
  item.classList.toggle("goes-on", goesOn);
}

const make = (tag, text, name) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name !== undefined) element.className = name;
  return element;
};

function body(message) {
  if (message.status === "discarded") return discarded(message);
  if (message.kind !== "text") return media(message);
  const text = make("p", message.text ?? "", "text");
  text.dir = "auto";
  return [text];
}

function discarded({ kind, name, size: bytes }) {
  const note = make("p", `${capital(SINGLE[kind] ?? kind)} that came outside the hours: not kept`, "note");
  return name === undefined ? [note] : [note, caption(name, bytes)];
}

/** A name of somebody's choosing, which cannot reorder what stands around it, and a size. */
function caption(name, bytes) {
  const line = make("p", undefined, "caption");
  line.append(make("bdi", name), " ", make("span", size(bytes ?? 0), "size"));
  return line;
}

export const mediaAddress = ({ id }) => address(`media/${id}`).href;

function media(message) {
  const source = mediaAddress(message);
  const name = message.name ?? "file";
  switch (view(message)) {
    case "image":
      return [picture(source, name), caption(name, message.size)];
    case "audio":
    case "video":
      return [player(view(message), source, labelled(message, name)), caption(name, message.size)];
    default:
      return [download(source, name, message.size)];
  }
}

export function picture(source, name) {
  const link = make("a", undefined, "picture");
  link.href = source;
  link.target = "_blank";
  link.rel = "noopener";
  const image = make("img");
  image.src = source;
  image.alt = name;
  image.loading = "lazy";
  link.append(image);
  return link;
}

const labelled = ({ kind }, name) => `${capital(SINGLE[kind] ?? kind)} ${name}`;

function player(tag, source, label) {
  const element = make(tag);
  element.controls = true;
  element.preload = "metadata";
  element.src = source;
  element.setAttribute("aria-label", label);
  return element;
}

export function download(source, name, bytes) {
  const link = make("a", undefined, "download");
  link.href = source;
  link.download = name;
  link.append(make("span", "↓", "arrow"), make("bdi", name), make("span", size(bytes ?? 0), "size"));
  link.firstElementChild.ariaHidden = "true";
  return link;
}

/** A list whose elements are made once and then kept, by a key. `acts` are what its buttons do. */
class Kept {
  #elements = new Map();

  constructor(list, template, key, acts) {
    this.list = list;
    this.template = template;
    this.key = key;
    this.acts = Object.keys(acts);
    list.addEventListener("click", ({ target }) => {
      const button = target.closest("[data-act]");
      if (button !== null) acts[button.dataset.act](button.closest("li").dataset.key);
    });
  }

  render(items, ...rest) {
    const keys = new Set(items.map((item) => item[this.key]));
    for (const [key, element] of this.#elements) {
      if (keys.has(key)) continue;
      element.remove();
      this.#elements.delete(key);
    }
    for (const item of items) {
      const key = item[this.key];
      if (!this.#elements.has(key)) this.#elements.set(key, this.#add(item, key));
      this.show(this.#elements.get(key), item, ...rest);
    }
    this.list.hidden = items.length === 0;
  }

  /** Show those buttons that do something now. */
  offer(element, acts) {
    for (const button of element.querySelectorAll("[data-act]")) {
      const isWanted = acts.includes(button.dataset.act) && this.acts.includes(button.dataset.act);
      if (!isWanted && document.activeElement === button) $("content").focus();
      button.hidden = !isWanted;
    }
  }

  #add(item, key) {
    const element = clone(this.template);
    element.dataset.key = key;
    this.fill(element, item);
    this.list.append(element);
    return element;
  }
}

/** Texts that have been written and are not stored. */
export class Unsent extends Kept {
  constructor(list, acts) {
    super(list, "unsent", "key", acts);
  }

  fill(element, { text }) {
    element.querySelector(".text").textContent = text;
  }

  show(element, { state, detail, opening }, isConnected) {
    element.classList.toggle("refused", state !== "pending");
    const waiting = isConnected ? "Sending…" : "Waits for the connection";
    put(element.querySelector(".state"), state === "pending" ? waiting : "");
    put(element.querySelector(".error"), reason(state, detail, opening, "text"));
    this.offer(element, state === "pending" ? [] : ["retry", "edit", "discard"]);
  }
}

/** Files on their way. */
export class Files extends Kept {
  constructor(list, acts) {
    super(list, "file", "id", acts);
  }

  fill(element, { name }) {
    element.querySelector(".name").textContent = name;
    element.querySelector("progress").setAttribute("aria-label", name);
    for (const button of element.querySelectorAll("[data-act]")) {
      button.setAttribute("aria-label", `${button.textContent} ${name}`);
    }
  }

  show(element, item, isConnected) {
    const { state, kind, size: bytes, offset, detail, opening } = item;
    element.dataset.state = state;
    const bar = element.querySelector("progress");
    bar.max = Math.max(bytes, 1);
    bar.value = bytes === 0 ? 0 : offset;
    const isRefused = state === "failed" || state === "discarded";
    bar.hidden = isRefused;
    put(element.querySelector(".state"), isRefused ? size(bytes) : words(state, offset, bytes, isConnected));
    put(element.querySelector(".error"), reason(state, detail, opening, kind));
    put(element.querySelector(".note"), state === "lost" ? LOST : "");
    this.offer(element, ACTS[state] ?? []);
  }
}

const LOST = "This page was loaded again and may not read the file any more. Choose it again: it goes on where it was.";

const ACTS = {
  waiting: ["pause", "remove"],
  hashing: ["pause", "remove"],
  asking: ["pause", "remove"],
  sending: ["pause", "remove"],
  posting: ["remove"], // over HTTP, where there is no pause
  pausing: ["remove"],
  paused: ["resume", "remove"],
  lost: ["choose", "remove"],
  failed: ["resume", "remove"],
  discarded: ["again", "remove"],
};

function words(state, offset, bytes, isConnected) {
  const part = `${bytes > 0 ? Math.floor((offset / bytes) * 100) : 0} % of ${size(bytes)}`;
  switch (state) {
    case "waiting":
      return `${isConnected ? "Waits for its turn" : "Waits for the connection"} · ${part}`;
    case "paused":
    case "pausing":
      return `Paused · ${part}`;
    case "lost":
      return `Interrupted · ${part}`;
    case "finishing":
      return `Being stored · ${size(bytes)}`;
    default:
      return part;
  }
}

function reason(state, detail, opening, kind) {
  if (state === "failed") return `Not sent: ${detail}.`;
  if (state !== "discarded") return "";
  return `Closed now, so this was not taken. ${closing({ kinds: [kind], at: opening }, Date.now())}`;
}
