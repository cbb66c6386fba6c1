// The state of the connection in words: for the eye with a countdown, for screen readers when it matters.

const WORDS = { connecting: "Connecting…", connected: "Connected" };

export class Status {
  #ticking = null;
  #wasLost = false;

  constructor(element, retry) {
    this.element = element;
    this.words = element.querySelector(".words");
    this.announcement = element.querySelector("[role=status]");
    this.button = element.querySelector("button");
    this.button.addEventListener("click", retry);
  }

  show({ name, delay }) {
    clearInterval(this.#ticking);
    this.element.dataset.state = name;
    this.button.hidden = name !== "lost";
    if (name === "lost") this.#count(performance.now() + delay);
    else this.words.textContent = WORDS[name];
    this.#announce(name);
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
  #announce(name) {
    if (name === "connecting" && this.#wasLost) return;
    if (name === "lost" && this.#wasLost) return;
    this.#wasLost = name === "lost";
    this.announcement.textContent =
      name === "lost" ? this.words.textContent.replace("Lost", "Connection lost") : WORDS[name];
  }
}
