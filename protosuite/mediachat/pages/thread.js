// The messages of one chat that a page holds: the newest, and older ones as far as somebody went back. Pure.

export const PAGE = 50; // messages asked for at once
export const NEWEST = Number.MAX_SAFE_INTEGER; // before this is everything
const MAX_MESSAGES = 2000; // of those that come while somebody is at the end

export class Thread {
  messages = []; // by id
  isBlank = true; // nothing has been asked yet
  hasOlder = false;
  high = 0; // everything up to this id that the chat had when it was asked is held

  get low() {
    return this.messages[0]?.id ?? NEWEST;
  }

  get last() {
    return this.messages.at(-1);
  }

  get(id) {
    const message = this.messages[this.#place(id)];
    return message?.id === id ? message : undefined;
  }

  /** The answer to a question for the newest page, or for what is older than `low`. */
  older(page, limit = PAGE) {
    for (const message of page) this.add(message);
    this.hasOlder = page.length === limit;
    if (this.isBlank) this.high = page.at(-1)?.id ?? 0;
    this.isBlank = false;
  }

  /** The answer to a question for what comes after `high`. Returns whether there may be more. */
  newer(page, limit = PAGE) {
    for (const message of page) this.add(message);
    this.high = Math.max(this.high, page.at(-1)?.id ?? 0);
    return page.length === limit;
  }

  /** A message came, in whatever order. Returns whether it is new. */
  add(message) {
    const place = this.#place(message.id);
    const isNew = this.messages[place]?.id !== message.id;
    this.messages.splice(place, isNew ? 0 : 1, message);
    return isNew;
  }

  /** Let the oldest go, if there are very many. */
  trim() {
    const over = this.messages.length - MAX_MESSAGES;
    if (over <= 0) return;
    this.messages.splice(0, over);
    this.hasOlder = true;
  }

  #place(id) {
    let [low, high] = [0, this.messages.length];
    if (high > 0 && this.messages[high - 1].id < id) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.messages[middle].id < id) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
