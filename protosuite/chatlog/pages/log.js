// What is held of a room's log: one run of slots without a hole. Pure: messages in, state and questions out.
//
// The methods return what to ask the server, as `{n, upto}`. It answers in the order in which it was asked.
//
// The run is `live` while it is meant to reach the latest slot: what it misses is asked for. It is not after a jump
// to an old slot, or when its newer end was let go; then it grows when somebody wants it to.

export const PAGE = 50; // entries asked for at once
const MAX_ENTRIES = 2000; // held; a page that has them all in its document still scrolls smoothly
const MAX_CHARACTERS = 4_000_000; // of their contents: 16 MB at most
const MAX_FILL = 1000; // a longer gap is not filled: whoever reads goes on at their own pace, or jumps

export class Log {
  entries = [];
  epoch = null; // of the log that the entries are from
  latest = 0; // the highest slot that there is
  first = 1; // the lowest that the server still holds
  live = true;
  following = true; // set by whoever shows it: the newest entries are in sight
  generation = 0; // another one: nothing of what was shown remains
  notice = null; // `{kind, ...}`: something that must be said

  #base = 0; // the slot below the run
  #characters = 0;
  #asked = []; // questions without an answer yet
  #ahead = new Map(); // entries behind a gap, by slot
  #connected = false;
  #synchronised = false; // this connection has been told where the log is
  #jump = false; // to the newest, when there is a connection

  get low() {
    return this.#base + 1;
  }

  get high() {
    return this.#base + this.entries.length;
  }

  /** Nothing is known yet: the first answer is still to come. */
  get isBlank() {
    return this.epoch === null;
  }

  get hasOlder() {
    return !this.isBlank && this.low > this.first;
  }

  get isLoadingOlder() {
    return this.#isAsking("older");
  }

  has(slot) {
    return slot >= this.low && slot <= this.high;
  }

  at(slot) {
    return this.entries[slot - this.low];
  }

  /** A connection is open. It begins with what is around `slot`, if that is wanted. */
  opened(slot = null) {
    this.#connected = true;
    if (slot !== null && !this.has(slot)) return this.seek(slot);
    return this.#ask(this.#jump ? "newest" : "latest", PAGE, -1);
  }

  closed() {
    this.#connected = this.#synchronised = false;
    this.#asked = [];
    this.#ahead.clear();
  }

  /** Nothing has come for a while: ask whether there is anything. */
  poll() {
    return this.#asked.length > 0 ? [] : this.#ask("latest", 1, -1);
  }

  older() {
    if (!this.hasOlder || this.isLoadingOlder) return [];
    return this.#ask("older", PAGE, this.low - 1);
  }

  newer() {
    if (this.isBlank || this.high >= this.latest || this.#isAsking("newer") || this.#isAsking("fill")) return [];
    return this.#askBehind("newer");
  }

  /** Go to the newest entries, whatever is held now. */
  newest() {
    if (this.live || this.#isAsking("newest")) return [];
    this.#jump = true;
    return this.#ask("newest", PAGE, -1);
  }

  /** Go to `slot`, which is not held. */
  seek(slot) {
    this.#jump = false;
    return this.#ask("around", PAGE, Math.min(slot + PAGE / 2 - 1, Number.MAX_SAFE_INTEGER), slot);
  }

  /** An entry has been committed. */
  acknowledged(entry) {
    if (!this.#synchronised) return []; // the answer that is on its way has it
    this.latest = Math.max(this.latest, entry.slot);
    return this.#follow([entry]);
  }

  /** The answer to the question that was asked first. */
  replied(reply) {
    const asked = this.#asked.shift() ?? { kind: "latest" };
    if (this.entries.length > 0 && !this.#continues(reply)) this.#clear({ kind: "replaced" });
    const isNew = this.isBlank;
    this.#synchronised = true;
    this.epoch = reply.epoch;
    this.first = reply.first;
    this.latest = Math.max(this.latest, reply.latest);
    if (asked.kind === "newest" || asked.kind === "around" || (isNew && asked.upto === -1)) {
      return this.#replace(reply, asked);
    }
    if (isNew) return this.#ask("newest", PAGE, -1);
    if (asked.kind === "older") {
      this.#prepend(reply.entries);
      return [];
    }
    if (asked.kind === "fill" && reply.entries.length === 0 && this.high + 1 >= this.first) {
      this.live = false; // it should have had some: do not ask for ever
    }
    return asked.kind === "newer" ? this.#grow(reply.entries) : this.#follow(reply.entries);
  }

  /** The question that was asked first is refused. Returns whether this connection knows nothing now. */
  refused() {
    this.#asked.shift();
    return !this.#synchronised;
  }

  #isAsking(kind) {
    return this.#asked.some((asked) => asked.kind === kind);
  }

  #ask(kind, n, upto, slot = null) {
    if (!this.#connected) return [];
    this.#asked.push({ kind, upto, slot });
    return [{ n, upto }];
  }

  /** Ask for what comes behind the run: up to the latest, to what is held ahead, or for a page. */
  #askBehind(kind) {
    const upto = Math.min(this.high + PAGE, this.latest, ...[...this.#ahead.keys()].map((slot) => slot - 1));
    return this.#ask(kind, upto - this.high, upto);
  }

  /** Entries have come that nobody here waited for. */
  #follow(entries) {
    if (this.#isFull && !this.following) this.live = false; // somebody reads what would have to go
    return this.live ? this.#grow(entries) : [];
  }

  #grow(entries) {
    this.#extend(entries);
    return this.#fill();
  }

  /** Ask for what is missing, if something is. */
  #fill() {
    if (this.high >= this.latest) this.live = true;
    if (this.high >= this.latest || (!this.live && this.#ahead.size === 0)) return [];
    if (this.high + 1 < this.first) {
      this.#clear({ kind: "swept" }); // deleted while we were away: there is no filling that
      return this.#ask("newest", PAGE, -1);
    }
    if (this.latest - this.high > MAX_FILL) {
      this.live = false;
      return [];
    }
    return this.#isAsking("fill") ? [] : this.#askBehind("fill");
  }

  /** Whether an answer is from the log that the entries are from. */
  #continues(reply) {
    if (reply.epoch !== this.epoch || reply.latest < this.high) return false;
    return reply.entries.every((entry) => !this.has(entry.slot) || this.at(entry.slot).hash === entry.hash);
  }

  #clear(notice) {
    this.#set([], 0);
    this.#ahead.clear();
    this.epoch = null;
    this.latest = 0;
    this.live = true;
    this.notice = notice;
  }

  #set(entries, base) {
    this.entries = entries;
    this.#base = base;
    this.#characters = entries.reduce((sum, entry) => sum + entry.content.length, 0);
    this.generation++;
  }

  #replace(reply, { kind, slot }) {
    const entries = reply.entries;
    this.#ahead.clear();
    this.#jump = false;
    this.#set([...entries], entries.length > 0 ? entries[0].slot - 1 : reply.latest);
    this.live = this.high >= this.latest;
    if (kind !== "around") return this.#fill();
    if (!this.has(slot)) this.notice = { kind: "absent", slot, first: this.first, latest: this.latest };
    return entries.length === 0 && reply.latest >= reply.first ? this.#ask("newest", PAGE, -1) : [];
  }

  #prepend(entries) {
    if (entries.length === 0 || entries.at(-1).slot !== this.low - 1) return;
    this.entries = [...entries, ...this.entries];
    this.#base -= entries.length;
    for (const entry of entries) this.#characters += entry.content.length;
    while (this.#isOver) {
      this.#characters -= this.entries.pop().content.length;
      this.live = false;
    }
  }

  /** Add what goes on where the run ends, and keep what is behind a gap until that is filled. */
  #extend(entries) {
    for (const entry of entries) {
      if (entry.slot === this.high + 1) this.#push(entry);
      else if (entry.slot > this.high && entry.slot <= this.high + 2 * PAGE) this.#ahead.set(entry.slot, entry);
    }
    for (let next; (next = this.#ahead.get(this.high + 1)) !== undefined; ) this.#push(next);
    for (const slot of this.#ahead.keys()) if (slot <= this.high) this.#ahead.delete(slot);
  }

  #push(entry) {
    this.entries.push(entry);
    this.#characters += entry.content.length;
    while (this.#isOver) {
      this.#characters -= this.entries.shift().content.length;
      this.#base++;
    }
  }

  get #isFull() {
    return this.entries.length >= MAX_ENTRIES || this.#characters >= MAX_CHARACTERS;
  }

  get #isOver() {
    return this.entries.length > MAX_ENTRIES || (this.#characters > MAX_CHARACTERS && this.entries.length > 1);
  }
}
