// The messages of one chat as they are read: older ones on the way up, new ones at the end.

import { $, put } from "./assets/elements.js";
import { Scroll } from "./assets/scroll.js";
import { Messages } from "./messages.js";

const CALM = 1000; // ms after a page of history during which a screen reader is not told of new messages

export class Pane {
  unseen = 0; // messages of the others behind what was last in sight

  #messages;
  #calm = null;
  #seen = null; // the last message that was in sight
  #thread = null;

  /** `own` is who we are; `older()` loads more, `moved()` is called when somebody scrolled. */
  constructor(own, names, { older, moved }) {
    this.own = own;
    this.log = $("log");
    this.#messages = new Messages($("messages"), own, names);
    this.scroll = new Scroll(this.log, $("messages"), moved);
    this.#older = older;
    $("older").addEventListener("click", older);
    $("latest").addEventListener("click", () => {
      this.scroll.toEnd();
      moved();
    });
  }

  #older;

  /** Another chat comes. */
  clear() {
    this.#messages.clear();
    this.#seen = null;
    this.unseen = 0;
    this.log.setAttribute("aria-live", "off");
  }

  /** Show `messages` of `thread`, and what `below` renders under them. */
  render(thread, messages, below = () => {}) {
    const isOther = this.#thread !== thread;
    this.#thread = thread;
    if (isOther) this.clear();
    this.scroll.keep(() => {
      this.#quieten(() => this.#messages.render(messages));
      $("older").hidden = !thread.hasOlder;
      const beginning = $("beginning");
      beginning.hidden = thread.isBlank || thread.hasOlder;
      put(beginning, thread.messages.length === 0 ? "Nothing here yet." : "This is where the chat begins.");
      below();
    });
    if (isOther) this.scroll.toEnd();
    this.#count(messages);
    if (!thread.isBlank && thread.hasOlder && this.scroll.isNearTop) this.#older();
  }

  get isAtEnd() {
    return this.scroll.isAtEnd;
  }

  toEnd() {
    this.scroll.toEnd();
  }

  /** What is new since the end was last in sight. */
  #count(messages) {
    const last = messages.at(-1)?.id ?? 0;
    if (this.#seen === null || (!document.hidden && this.isAtEnd)) this.#seen = last;
    let count = 0;
    for (let place = messages.length - 1; place >= 0 && messages[place].id > this.#seen; place--) {
      if (messages[place].from !== this.own) count++;
    }
    this.unseen = count;
    const latest = $("latest");
    latest.hidden = this.isAtEnd;
    put(latest, count > 0 ? `${count.toLocaleString()} new ↓` : "Latest ↓");
  }

  /** Screen readers are told of what is added at the end, not of history. */
  #quieten(render) {
    const before = this.log.getAttribute("aria-live");
    this.log.setAttribute("aria-live", "off");
    if (render() || this.#thread.isBlank || before === "off") {
      clearTimeout(this.#calm);
      this.#calm = setTimeout(() => this.log.setAttribute("aria-live", "polite"), CALM);
    } else {
      this.log.setAttribute("aria-live", before);
    }
  }
}

/** `draw`, once at the next frame, however often it is asked for; a page that is hidden has no frames. */
export function soon(draw) {
  let isDrawing = false;
  return () => {
    if (isDrawing) return;
    isDrawing = true;
    const wait = document.hidden ? (act) => setTimeout(act, 100) : requestAnimationFrame;
    wait(() => {
      isDrawing = false;
      draw();
    });
  };
}

/** `act`, which is asynchronous, one at a time: asked for while it runs, it runs once more. */
export function single(act) {
  let running = null;
  let again = false;
  const run = async () => {
    do {
      again = false;
      await act();
    } while (again);
  };
  return () => {
    if (running !== null) again = true;
    else running = run().finally(() => (running = null));
    return running;
  };
}
