// The media of a chat side by side, as far as its messages are loaded.

import { $, put } from "./assets/elements.js";
import { brief, iso } from "./format.js";
import { download, mediaAddress, picture } from "./messages.js";
import { view } from "./wire.js";

export class Gallery {
  #shown = "";

  constructor(section, button, older) {
    this.section = section;
    this.button = button;
    button.addEventListener("click", () => this.toggle(section.hidden));
    $("gallery-older").addEventListener("click", older);
    $("gallery-close").addEventListener("click", () => {
      this.toggle(false);
      button.focus();
    });
  }

  toggle(isOpen) {
    this.section.hidden = !isOpen;
    this.button.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) $("gallery-close").focus();
  }

  render(thread) {
    $("gallery-older").hidden = !thread.hasOlder;
    const media = thread.messages.filter(({ kind, status }) => kind !== "text" && status === "saved").reverse();
    const none = thread.hasOlder ? "None in the messages that are loaded." : "Nothing here yet.";
    put($("gallery-none"), media.length > 0 ? "" : none);
    const shown = media.map(({ id }) => id).join();
    if (shown === this.#shown) return;
    this.#shown = shown;
    $("gallery-list").replaceChildren(...media.map(tile));
  }
}

function tile(message) {
  const item = document.createElement("li");
  const name = message.name ?? "file";
  const source = mediaAddress(message);
  if (view(message) === "image") item.append(picture(source, name));
  else item.append(download(source, name, message.size));
  const line = document.createElement("p");
  const time = document.createElement("time");
  time.dateTime = iso(message.at);
  time.textContent = brief(message.at, Date.now());
  line.append(`${message.from === "desk" ? "Desk" : "Client"}, `, time);
  item.append(line);
  return item;
}
