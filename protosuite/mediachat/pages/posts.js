// Files on their way from a console to chats, one after the other, over HTTP. No DOM.

/** An item is `{id, chat, file, name, size, kind, state, offset, detail}`; a state is waiting, posting, finishing or
 * failed. Each has its id as a key, so that it is stored once however often it is sent.
 */
export class Posts {
  items = [];

  #active = null; // `{item, abort}`

  /** `post(item, progressed)` returns `{done, abort}`; `isLasting(error)` says that trying again is of no use. */
  constructor({ post, changed, sent, isLasting }) {
    this.#post = post;
    this.#changed = changed;
    this.#sent = sent;
    this.#isLasting = isLasting;
  }

  #post;
  #changed;
  #sent;
  #isLasting;

  of(chat) {
    return this.items.filter((item) => item.chat === chat);
  }

  add({ id, chat, file, name, kind }) {
    this.items.push({ id, chat, file, name, kind, size: file.size, state: "waiting", offset: 0, detail: null });
    this.#next();
  }

  /** Try again; for all whose connection broke if no id is given. */
  resume(id) {
    for (const item of this.items) {
      const isMeant = id === undefined ? item.isBroken === true : item.id === id;
      if (isMeant && item.state === "failed") Object.assign(item, { state: "waiting", detail: null, offset: 0 });
    }
    this.#next();
  }

  remove(id) {
    this.items = this.items.filter((item) => item.id !== id);
    if (this.#active?.item.id === id) this.#active.abort();
    this.#changed();
  }

  async #next() {
    this.#changed();
    const item = this.items.find(({ state }) => state === "waiting");
    if (this.#active !== null || item === undefined) return;
    Object.assign(item, { state: "posting", isBroken: false });
    const { done, abort } = this.#post(item, (loaded) => {
      item.offset = Math.min(loaded, item.size);
      if (loaded >= item.size) item.state = "finishing";
      this.#changed();
    });
    this.#active = { item, abort };
    try {
      const message = await done;
      this.items = this.items.filter((other) => other !== item);
      this.#sent(message);
    } catch (error) {
      item.state = "failed";
      item.isBroken = !this.#isLasting(error);
      item.detail = item.isBroken ? "the connection broke; it is tried again" : error.message;
    }
    this.#active = null;
    this.#next();
  }
}
