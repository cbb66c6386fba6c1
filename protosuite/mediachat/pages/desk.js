// What a console knows of all chats. Pure: messages and answers in, state out.

import { hoursOf } from "./wire.js";

const MAX_CHATS = 1000; // of those that nobody asked for
const MAX_PREVIEW = 200; // characters of a message in the list

export class Desk {
  chats = new Map(); // by id: a chat, with `connected`, and `preview`, a message, once that is known
  next = null; // what to ask for the chats after those that are loaded; null at the end
  hours = {}; // by kind, as text
  isBlank = true;
  told = 0; // times that the server has told how a chat is, or whether its client is there

  #most = MAX_CHATS;

  /**
   * A page of chats, asked for when so much had been `told`; `isFirst` of the newest ones.
   * Returns the ids of those with messages that were not known.
   */
  listed({ items, next }, isFirst, told = this.told) {
    if (this.isBlank || !isFirst) this.next = next;
    this.isBlank = false;
    const unknown = items.filter((chat) => this.#put(this.#newest(chat, told))).map(({ id }) => id);
    if (!isFirst) this.#most = Math.max(this.#most, this.chats.size);
    return unknown;
  }

  /** Let those go that were still for longest, but for `current`, if very many have been told of. */
  trim(current) {
    if (this.chats.size <= this.#most) return;
    const chats = this.found("");
    for (const { id } of chats.slice(this.#most)) if (id !== current) this.chats.delete(id);
    const last = chats[this.#most - 1];
    this.next = `${activity(last)}.${last.id}`; // as the server says where a page ends
  }

  /** Something that the server tells. Returns whether there is a chat in it that is not loaded. */
  heard(said) {
    if (said.type === "welcome") {
      this.hours = hoursOf(said);
    } else if (said.type === "chat") {
      const told = ++this.told;
      this.#put({ ...said.chat, connected: said.connected, unreadTold: told, connectedTold: told });
    } else if (said.type === "presence") {
      const chat = this.chats.get(said.chat);
      if (chat === undefined) return said.connected > 0;
      chat.connected = said.connected;
      chat.connectedTold = ++this.told;
    } else if (said.type === "message") {
      return !this.#message(said.message);
    }
    return false;
  }

  /** The last message of a chat, as far as is known. */
  preview(message) {
    const chat = this.chats.get(message.chat_id);
    if (chat === undefined || chat.preview?.id > message.id) return;
    chat.preview = message;
  }

  get unread() {
    let sum = 0;
    for (const { unread } of this.chats.values()) sum += unread;
    return sum;
  }

  /** The chats that fit what is searched, the newest first. */
  found(query) {
    const words = query.trim().toLowerCase().split(/\s+/).filter((word) => word !== "");
    const fits = (chat) => {
      const text = haystack(chat);
      return words.every((word) => text.includes(word));
    };
    return [...this.chats.values()].filter(fits).sort((a, b) => activity(b) - activity(a) || b.id - a.id);
  }

  /** A chat of an answer, which may come later than what was told meanwhile, and be older. */
  #newest(chat, told) {
    const known = this.chats.get(chat.id);
    const { unread, connected } = known ?? {};
    return {
      ...chat,
      ...(known?.unreadTold > told ? { unread } : {}),
      ...(known?.connectedTold > told ? { connected } : {}),
    };
  }

  #put(chat) {
    const known = this.chats.get(chat.id);
    const isNew = known === undefined || known.last_message_at !== chat.last_message_at;
    this.chats.set(chat.id, { connected: 0, preview: null, ...known, ...chat });
    return isNew && chat.last_message_at !== null;
  }

  #message(message) {
    const chat = this.chats.get(message.chat_id);
    if (chat === undefined) return false;
    const isNew = !(chat.preview?.id >= message.id);
    if (isNew && message.from === "client" && message.status === "saved") chat.unread++;
    chat.last_message_at = Math.max(chat.last_message_at ?? 0, message.at);
    this.preview(message);
    return true;
  }
}

const activity = ({ last_message_at, created_at }) => last_message_at ?? created_at ?? 0;

const haystack = ({ client_id, timezone, preview }) =>
  [`client ${client_id}`, timezone, preview?.text ?? "", preview?.name ?? ""].join("\n").toLowerCase();

/** The beginning of a message in one line, for the list. */
export const summary = ({ text, name }) => (text ?? name ?? "").replace(/\s+/g, " ").slice(0, MAX_PREVIEW);
