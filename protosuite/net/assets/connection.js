// A WebSocket that comes back. It knows nothing of what is said over it.
//
// `opened()`, `received(text)`, `closed(code)`, `idle()` and `changed(state)` are called. A state is
// `{name: "connecting" | "connected"}`, `{name: "lost", delay}`, with milliseconds until the next attempt, or
// `{name: "refused", reason}`: the server takes us for nobody, and is not asked again before somebody says `hurry()`.
//
// Why a WebSocket was not let in is not told to scripts. So `mayConnect` looks, each time that one is lost.
//
// The delay doubles with every attempt, and begins anew only when `progress()` says that a connection was of use.
//
// A page that is left may be kept as it is, with its connection, for whoever comes back to it: nobody is there
// then, so it is closed until the page is shown again.

import { UNAUTHENTICATED } from "./access.js";

const LEFT = 1001; // https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1: an endpoint goes away

const DEFAULTS = {
  shortest: 500, // ms before the first attempt
  longest: 30_000, // before any
  patience: 10_000, // for the handshake, and for the answer to what `idle` sends
  idleAfter: 20_000, // of silence
  random: Math.random,
  mayConnect: async () => true,
};

export class Connection {
  state = { name: "connecting" };

  #attempts = 0; // since there was progress
  #socket = null;
  #timer = null; // until the next attempt, the end of the handshake, or the next look for silence

  constructor(url, protocol, owner, options = {}) {
    this.#url = url;
    this.#protocol = protocol;
    this.#owner = owner;
    this.#options = { ...DEFAULTS, ...options };
    globalThis.addEventListener?.("pagehide", () => this.#leave());
    globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted && this.hurry());
  }

  #url;
  #protocol;
  #owner;
  #options;

  connect() {
    this.#forget();
    const socket = new WebSocket(this.#url, this.#protocol);
    this.#socket = socket;
    socket.onopen = () => {
      this.#listen();
      this.#enter({ name: "connected" });
      this.#owner.opened();
    };
    socket.onmessage = ({ data }) => {
      this.#listen();
      this.#owner.received(data);
    };
    socket.onclose = ({ code, reason }) => this.#lose(code, reason);
    this.#wait(this.#options.patience, () => this.drop());
    this.#enter({ name: "connecting" });
  }

  /** Send messages, if there is a connection; whoever calls sends again what mattered when there is one again. */
  send(messages) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    for (const message of messages) this.#socket.send(message);
  }

  /** The bytes that have been sent and are still in the browser. */
  get buffered() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** It is known otherwise that the server hears us, so this silence is not looked into. */
  isHeard() {
    if (this.state.name === "connected") this.#listen();
  }

  /** The connection is of use. */
  progress() {
    this.#attempts = 0;
  }

  /** Do not wait for the next attempt. */
  hurry() {
    if (this.state.name === "lost") this.connect();
    else if (this.state.name === "refused") this.#look((may) => may && this.connect());
  }

  /** The server takes us for nobody. */
  refuse(reason = "") {
    this.#forget();
    this.#owner.closed(UNAUTHENTICATED);
    this.#enter({ name: "refused", reason });
  }

  /** See whether we may connect, unless something else happens meanwhile. */
  async #look(act) {
    const { state } = this;
    const may = await this.#options.mayConnect();
    if (state === this.state) act(may);
  }

  /** This connection is of no use: try another one after a while. */
  drop() {
    this.#socket?.close();
    this.#lose(1006);
  }

  /** The page is left. No attempt follows: whoever comes back is in a hurry. */
  #leave() {
    if (this.#socket === null) return;
    this.#forget();
    this.#owner.closed(LEFT);
    this.#enter({ name: "lost", delay: 0 });
  }

  #lose(code, reason = "") {
    if (code === UNAUTHENTICATED) {
      this.refuse(reason);
      return;
    }
    this.#forget();
    const { shortest, longest, random } = this.#options;
    const most = Math.min(longest, shortest * 2 ** Math.min(this.#attempts++, 20));
    const delay = most * (0.5 + random() / 2); // so that those who were cut off together come back one by one
    this.#wait(delay, () => this.connect());
    this.#owner.closed(code);
    this.#enter({ name: "lost", delay });
    this.#look((may) => may || this.refuse());
  }

  /** Something came: be silent for so long again before that is looked into. */
  #listen() {
    this.#wait(this.#options.idleAfter, () => {
      this.#wait(this.#options.patience, () => this.drop());
      this.#owner.idle();
    });
  }

  #forget() {
    clearTimeout(this.#timer);
    if (this.#socket === null) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    if (this.#socket.readyState < WebSocket.CLOSING) this.#socket.close();
    this.#socket = null;
  }

  #wait(delay, act) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, delay);
  }

  #enter(state) {
    this.state = state;
    this.#owner.changed(state);
  }
}
