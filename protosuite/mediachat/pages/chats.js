// The list of chats as elements.

import { clone, put } from "./assets/elements.js";
import { summary } from "./desk.js";
import { SINGLE, brief, capital, full, iso } from "./format.js";

export class Chats {
  #elements = new Map();

  constructor(list) {
    this.list = list;
    list.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show `chats`, in this order; `current` is the id of the one that is open. */
  render(chats, current) {
    const focused = document.activeElement;
    const wanted = chats.map((chat) => this.#show(chat, chat.id === current));
    const ids = new Set(chats.map(({ id }) => id));
    for (const [id, element] of this.#elements) {
      if (ids.has(id)) continue;
      element.remove();
      this.#elements.delete(id);
    }
    wanted.forEach((element, index) => {
      if (this.list.children[index] !== element) this.list.insertBefore(element, this.list.children[index] ?? null);
    });
    if (focused !== document.activeElement && focused.isConnected) focused.focus(); // it was moved
  }

  #show(chat, isCurrent) {
    if (!this.#elements.has(chat.id)) this.#elements.set(chat.id, this.#make(chat));
    const item = this.#elements.get(chat.id);
    const link = item.querySelector("a");
    if (isCurrent) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    const isHere = chat.connected > 0;
    item.querySelector(".presence").classList.toggle("here", isHere);
    put(item.querySelector(".is-here"), isHere ? "is here" : "is away");
    const unread = item.querySelector(".unread");
    unread.hidden = chat.unread === 0;
    put(unread.firstElementChild, chat.unread.toLocaleString());
    const time = item.querySelector("time");
    const at = chat.last_message_at;
    time.hidden = at === null;
    if (at !== null) {
      time.dateTime = iso(at);
      time.title = full(at);
      put(time, brief(at, Date.now()));
    }
    this.#preview(item, chat.preview);
    return item;
  }

  #preview(item, message) {
    put(item.querySelector(".from"), message?.from === "desk" ? "Desk: " : "");
    const kind = message && message.kind !== "text" ? `${capital(SINGLE[message.kind] ?? message.kind)} ` : "";
    const isKept = message?.status !== "discarded";
    put(item.querySelector(".kind"), isKept ? kind : "Came outside the hours ");
    put(item.querySelector(".summary"), message ? summary(message) : "");
  }

  #make(chat) {
    const item = clone("chat");
    item.id = `chat-${chat.id}`;
    item.querySelector("a").href = `#${chat.id}`;
    item.querySelector(".client").textContent = String(chat.client_id);
    return item;
  }

  #key(event) {
    const item = event.target.closest("li");
    const next = { ArrowUp: item?.previousElementSibling, ArrowDown: item?.nextElementSibling }[event.key];
    if (!next) return;
    event.preventDefault();
    next.querySelector("a").focus();
  }
}
