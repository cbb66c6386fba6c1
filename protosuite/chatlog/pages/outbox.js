// What somebody wrote and the log does not have yet. Pure: the methods return the texts to send.
//
// Every item has a key, so sending it again after a reconnect appends it once, whether or not it had arrived.

import { encodeAppend, size } from "./wire.js";

const MAX_ITEMS = 200;

export class Outbox {
  items = []; // in order: `{key, author, content, seq, error}`

  #next = null; // the seq of the next append of this connection; null without one

  constructor(items = []) {
    for (const { key, author, content, error } of items) {
      this.items.push({ key, author, content, seq: null, error: error ?? null });
    }
  }

  get isFull() {
    return this.items.length >= MAX_ITEMS;
  }

  /** A connection is open: everything that was not refused goes out again, in its order. */
  opened() {
    this.#next = 0;
    return this.items.filter((item) => item.error === null).map((item) => this.#send(item));
  }

  closed() {
    this.#next = null;
    for (const item of this.items) item.seq = null;
  }

  add({ key, author, content }) {
    const item = { key, author, content, seq: null, error: null };
    this.items.push(item);
    return this.#next === null ? [] : [this.#send(item)];
  }

  /** An entry with this key is in the log. Returns whether that was ours. */
  acknowledged(key) {
    return key !== undefined && this.remove(key) !== undefined;
  }

  /** The append with this seq is refused. Returns whether there is one. */
  refused({ seq, code, message }) {
    const item = this.items.find((each) => each.seq === seq && each.error === null);
    if (item !== undefined) item.error = { code, message };
    return item !== undefined;
  }

  /** The server closed because a message was too big. If any was, the largest was. */
  tooBig() {
    const sent = this.items.filter((item) => item.seq !== null && item.error === null);
    if (sent.length === 0) return;
    const largest = sent.reduce((a, b) => (size(b) > size(a) ? b : a));
    largest.error = { code: "message-too-big", message: "the server does not take messages this large" };
  }

  /** Send a refused item again, behind the others. */
  retry(key) {
    const item = this.remove(key);
    return item === undefined ? [] : this.add(item);
  }

  remove(key) {
    const index = this.items.findIndex((item) => item.key === key);
    return index < 0 ? undefined : this.items.splice(index, 1)[0];
  }

  #send(item) {
    item.seq = this.#next++;
    return encodeAppend(item.seq, item);
  }
}
