// What a console has written and does not know to be stored. Pure but for `post`.

/** An item is `{key, chat, text, state, detail, opening}`; a state is pending or failed. */
export class Answers {
  items = [];

  /** `post(item)` resolves with the message that it became; `isLasting(error)`: trying again is of no use. */
  constructor({ post, changed, sent, isLasting }, items = []) {
    for (const { key, chat, text, state, detail } of items) {
      this.items.push({ key, chat, text, state, detail: detail ?? null, opening: null });
    }
    this.#post = post;
    this.#changed = changed;
    this.#sent = sent;
    this.#isLasting = isLasting;
  }

  #post;
  #changed;
  #sent;
  #isLasting;
  #isBusy = false;

  of(chat) {
    return this.items.filter((item) => item.chat === chat);
  }

  write({ key, chat, text }) {
    this.items.push({ key, chat, text, state: "pending", detail: null, opening: null });
    return this.send();
  }

  /** The server has told of a message: if we wrote it, it does not wait any more. */
  heard({ chat_id, from, text }) {
    const first = this.items.find(({ chat, state }) => chat === chat_id && state === "pending");
    if (from === "desk" && first !== undefined && first.text === text) first.isThere = true;
  }

  retry(key) {
    const item = this.items.find((each) => each.key === key);
    if (item !== undefined) Object.assign(item, { state: "pending", detail: null });
    return this.send();
  }

  remove(key) {
    const item = this.items.find((each) => each.key === key);
    this.items = this.items.filter((each) => each !== item);
    this.#changed();
    return item;
  }

  /** Send what waits, in its order; what the connection broke waits until this is called again. */
  async send() {
    this.#changed();
    if (this.#isBusy) return;
    this.#isBusy = true;
    for (let item; (item = this.items.find(({ state }) => state === "pending")) !== undefined; ) {
      try {
        const message = await this.#post(item);
        this.items = this.items.filter((each) => each !== item);
        this.#sent(message);
      } catch (error) {
        if (!this.#isLasting(error)) break;
        Object.assign(item, { state: "failed", detail: error.message });
      }
      this.#changed();
    }
    this.#isBusy = false;
  }
}
