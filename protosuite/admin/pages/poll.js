// Asks again and again, and says how that goes in the words of `assets/status.js`.
//
// `owner.received(answer)` and `owner.changed(state)` are called. While the page is hidden nobody asks; what was
// missed comes with the next answer.

const DEFAULTS = {
  interval: 1000, // ms from an answer to the next question
  longest: 30_000, // between two attempts while nobody answers
  timeout: 10_000, // for an answer
  random: Math.random,
  page: globalThis.document,
};

export class Poll {
  #ask;
  #owner;
  #options;
  #failures = 0;
  #timer = null;

  /** `ask(signal)` is asked for an answer. It throws an error whose `status` is 401 if one has to log in. */
  constructor(ask, owner, options = {}) {
    this.#ask = ask;
    this.#owner = owner;
    this.#options = { ...DEFAULTS, ...options };
    this.#options.page?.addEventListener("visibilitychange", () => this.#shown());
  }

  /** Ask now. */
  async now() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const options = this.#options;
    try {
      const answer = await this.#ask(AbortSignal.timeout(options.timeout));
      this.#failures = 0;
      this.#owner.received(answer);
      this.#owner.changed({ name: "connected" });
      this.#again(options.interval);
    } catch (error) {
      if (error.status === 401) {
        this.#owner.changed({ name: "refused" });
        return;
      }
      const most = Math.min(options.longest, options.interval * 2 ** this.#failures);
      const delay = most * (1 - options.random() / 2);
      this.#failures += 1;
      this.#owner.changed({ name: "lost", delay });
      this.#again(delay);
    }
  }

  #again(delay) {
    if (!this.#options.page?.hidden) this.#timer = setTimeout(() => this.now(), delay);
  }

  #shown() {
    if (!this.#options.page.hidden && this.#timer === null) this.now();
  }
}
