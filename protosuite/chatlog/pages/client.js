// One member of a room: the log that it sees and what it writes. Pure: events in; state, and texts to send, out.

import { Log } from "./log.js";
import { Outbox } from "./outbox.js";
import { decode, encodeUpdate } from "./wire.js";

export class Client {
  constructor(items = []) {
    this.log = new Log();
    this.outbox = new Outbox(items);
    this.isPolling = false; // an idle poll is unanswered
  }

  /** A connection is open; `slot` is the one that is looked for. */
  opened(slot = null) {
    return [...encoded(this.log.opened(slot)), ...this.outbox.opened()];
  }

  /** The connection is gone; `code` is the WebSocket's. */
  closed(code) {
    if (code === 1009) this.outbox.tooBig();
    this.outbox.closed();
    this.log.closed();
    this.isPolling = false;
  }

  idle() {
    this.isPolling = true;
    return encoded(this.log.poll());
  }

  write(item) {
    return [...encoded(this.log.newest()), ...this.outbox.add(item)];
  }

  ask(questions) {
    return encoded(questions);
  }

  /** The server said `text`, which is checked here; it throws if that makes no sense.
   *
   * Returns `{send, progress, broken}`: what to send; whether we got on, so that a server which takes connections
   * and drops them is not tried ever faster; and, if the connection is of no use, why.
   */
  received(text) {
    const message = decode(text);
    const before = `${this.log.generation} ${this.log.low} ${this.log.high} ${this.log.latest}`;
    let send = [];
    let progress = false;
    let broken = null;
    if (message?.type === "ServerAck") {
      progress = this.outbox.acknowledged(message.entry.key);
      send = this.log.acknowledged(message.entry);
    } else if (message?.type === "ServerReply") {
      for (const { key } of message.entries) progress = this.outbox.acknowledged(key) || progress;
      send = this.log.replied(message);
      progress ||= this.isPolling;
      this.isPolling = false;
    } else if (message?.type === "Error") {
      if (message.code === "unauthenticated") {
        // the close that follows says it again
      } else if (!Number.isInteger(message.seq)) {
        if (this.log.refused()) broken = message.message;
        else this.log.notice = { kind: "refused", message: message.message };
      } else if (message.code === "bad-sequence" || message.code === "gap") {
        broken = message.message; // we and the server count differently: begin again at 0
      } else {
        this.outbox.refused(message);
      }
    }
    progress ||= before !== `${this.log.generation} ${this.log.low} ${this.log.high} ${this.log.latest}`;
    return { send: encoded(send), progress, broken };
  }
}

const encoded = (questions) => questions.map(({ n, upto }) => encodeUpdate(n, upto));
