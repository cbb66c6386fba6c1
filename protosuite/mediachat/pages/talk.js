// A client's side of its chat: what was said, and what it wrote that is not stored yet. Pure: it returns what to send.
//
// Every text has a key, so sending it again after a reconnect stores it once, whether or not it had arrived.

import { Thread } from "./thread.js";
import { encodeText, hoursOf } from "./wire.js";

const MAX_ITEMS = 200;

export class Talk {
  thread = new Thread();
  outbox = []; // in order: `{key, text, at, state, detail, opening}`; a state is pending, failed or discarded
  chat = null;
  hours = {}; // by kind, as text
  heard = 0; // the last message from the desk

  #isOpen = false;

  constructor(items = []) {
    for (const { key, text, at, state, detail, opening, id } of items) {
      this.outbox.push({ key, text, at, state, detail: detail ?? null, opening: opening ?? null, id: id ?? null });
    }
  }

  get isFull() {
    return this.outbox.length >= MAX_ITEMS;
  }

  /** The messages to show: those that wait to be written again stand in the outbox. */
  get shown() {
    const kept = new Set(this.outbox.map(({ id }) => id));
    return this.thread.messages.filter(({ id }) => !kept.has(id));
  }

  /** History came. */
  loaded(messages) {
    for (const { id, from } of messages) if (from === "desk") this.heard = Math.max(this.heard, id);
  }

  /** The server takes what we say now: everything that waits goes out again, in its order. */
  welcomed({ chat, hours }) {
    this.#isOpen = true;
    this.chat = chat;
    this.hours = hoursOf({ hours });
    return this.outbox.filter(({ state }) => state === "pending").map(encodeText);
  }

  closed() {
    this.#isOpen = false;
  }

  write(text, key, at) {
    const item = { key, text, at, state: "pending", detail: null, opening: null, id: null };
    this.outbox.push(item);
    return this.#isOpen ? [encodeText(item)] : [];
  }

  /** What became of a text. Returns whether there is one. */
  settled({ status, message, detail, code, next_open_at, key }, now) {
    const item = this.outbox.find((each) => each.key === key);
    if (key === undefined || key === null || item === undefined) return false;
    if (status === "saved") {
      this.remove(key);
      this.#add({ id: message, from: "client", kind: "text", status: "saved", at: now, text: item.text });
    } else if (status === "discarded") {
      Object.assign(item, { state: "discarded", opening: next_open_at ?? null, id: message ?? null });
    } else if (status === "error") {
      Object.assign(item, { state: "failed", detail: detail ?? code ?? "it was refused" });
    }
    return true;
  }

  /** The desk said a text, or media, of which only the history tells the type. */
  said({ type, id, at, text }) {
    this.heard = Math.max(this.heard, id);
    if (type === "message") this.#add({ id, from: "desk", kind: "text", status: "saved", at, text });
  }

  #add(message) {
    this.thread.add({ chat_id: this.chat, ...message });
  }

  /** Send one again that failed, or, under a new key, one that came when it was closed. */
  retry(key, fresh) {
    const item = this.outbox.find((each) => each.key === key);
    if (item === undefined) return [];
    if (item.state === "discarded") Object.assign(item, { key: fresh, id: null });
    Object.assign(item, { state: "pending", detail: null, opening: null });
    return this.#isOpen ? [encodeText(item)] : [];
  }

  remove(key) {
    const index = this.outbox.findIndex((item) => item.key === key);
    return index < 0 ? undefined : this.outbox.splice(index, 1)[0];
  }
}
