// The state of the connection in words: for the eye with a countdown, for screen readers when it matters.

import { loginAddress } from "./access.js";

const WORDS = { connecting: "Connecting…", connected: "Connected", refused: "Logged out" };
const KEPT = "What you wrote is kept. Log in again to go on.";

export class Status {
  #ticking = null;
  #wasLost = false;

  /** `access` says who is here, and can log them out. */
  constructor(element, retry, access = { role: null }) {
    this.element = element;
    this.words = element.querySelector(".words");
    this.announcement = element.querySelector("[role=status]");
    this.button = element.querySelector("button");
    this.button.addEventListener("click", retry);
    this.link = document.createElement("a");
    this.link.textContent = "Log in again";
    this.link.hidden = true;
    this.link.addEventListener("click", () => this.#aim()); // the page may have gone on meanwhile
    this.leave = document.createElement("button");
    this.leave.type = "button";
    this.leave.className = "quiet";
    this.leave.textContent = "Log out";
    this.leave.hidden = access.role === null;
    this.leave.title = `You are ${access.subject} (${access.role})`;
    this.leave.addEventListener("click", () => access.logOut());
    element.append(this.link, this.leave);
    this.#access = access;
  }

  #access;

  show({ name, delay, reason }) {
    clearInterval(this.#ticking);
    this.element.dataset.state = name;
    this.button.hidden = name !== "lost";
    this.link.hidden = name !== "refused";
    this.words.title = reason ?? "";
    this.#aim();
    this.leave.hidden = this.#access.role === null || name === "refused";
    if (name === "lost") this.#count(performance.now() + delay);
    else this.words.textContent = WORDS[name];
    this.#announce(name, reason);
  }

  #aim() {
    this.link.href = loginAddress();
  }

  #count(end) {
    const tick = () => {
      const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      this.words.textContent = `Lost: trying again in ${left} s`;
    };
    tick();
    this.#ticking = setInterval(tick, 250);
  }

  /** Once when it is lost and once when it is back; not for every attempt between the two. */
  #announce(name, reason) {
    if (name === "connecting" && this.#wasLost) return;
    if (name === "lost" && this.#wasLost) return;
    this.#wasLost = name === "lost";
    this.announcement.textContent = {
      lost: this.words.textContent.replace("Lost", "Connection lost"),
      refused: `${reason ? `Logged out: ${reason}` : "Logged out"}. ${KEPT}`,
    }[name] ?? WORDS[name];
  }
}
