// The page's logic against a server of a few lines, with connections that are cut anywhere. Run by test_chatlog_page.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Client } from "../protosuite/chatlog/pages/client.js";
import { Connection } from "../protosuite/net/assets/connection.js";
import { problem } from "../protosuite/chatlog/pages/wire.js";

/** A repeatable source of chance: whole numbers below `limit`. */
const chance = (seed) => (limit) => {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return Math.floor((seed / 2147483648) * limit);
};

const hash = (text) => text.padStart(32, "0").slice(-32);

class Server {
  entries = [];
  members = new Set();
  first = 1;

  constructor(epoch, most) {
    this.epoch = epoch;
    this.most = most; // entries in a reply
  }

  append(author, content, key) {
    const slot = this.entries.length + 1;
    const entry = { slot, author, content, at: slot, session: "s", seq: 0, hash: hash(`${this.epoch}${slot}`) };
    if (key !== undefined) entry.key = key;
    this.entries.push(entry);
    for (const member of this.members) member.tell({ type: "ServerAck", entry });
  }

  hear(member, { type, seq, author, content, key, n, upto }) {
    if (type === "ClientAppend") {
      assert.equal(seq, member.seq++, "appends are numbered from 0 on each connection");
      const there = this.entries.find((entry) => entry.key === key);
      if (there) member.tell({ type: "ServerAck", entry: there });
      else this.append(author, content, key);
    } else {
      const latest = this.entries.length;
      const high = upto === -1 ? latest : Math.min(upto, latest);
      const low = Math.max(this.first, high - Math.min(n, this.most) + 1);
      const entries = this.entries.slice(low - 1, Math.max(low - 1, high));
      const { first, epoch } = this;
      member.tell({ type: "ServerReply", entries, latest, first, epoch, session: "s" });
    }
  }
}

/** A client and its connection, in which things take their time. */
class Member {
  client = new Client();
  up = []; // texts on their way to the server
  down = []; // and from it
  isOpen = false;
  seq = 0;

  constructor(server) {
    this.server = server;
  }

  connect(slot = null) {
    this.isOpen = true;
    this.seq = 0;
    this.server.members.add(this);
    this.say(this.client.opened(slot));
  }

  cut() {
    this.isOpen = false;
    this.server.members.delete(this);
    this.up = [];
    this.down = [];
    this.client.closed(1006);
  }

  say(texts) {
    if (this.isOpen) this.up.push(...texts);
  }

  tell(message) {
    this.down.push(JSON.stringify(message));
  }

  /** Let one message arrive. Returns whether there was one. */
  step(random) {
    if (this.up.length > 0 && (this.down.length === 0 || random(2))) {
      this.server.hear(this, JSON.parse(this.up.shift()));
    } else if (this.down.length > 0) {
      const { send, broken } = this.client.received(this.down.shift());
      assert.equal(broken, null);
      this.say(send);
      this.check();
    } else {
      return false;
    }
    return true;
  }

  settle(random) {
    while (this.step(random));
  }

  /** What is held is a run of the server's log, within the bound. */
  check() {
    const { log } = this.client;
    assert.deepEqual(log.entries, this.server.entries.slice(log.low - 1, log.high));
    assert.ok(log.entries.length <= 2000);
  }
}

const written = (member, name, count) => {
  const key = `${name}-${count}`;
  member.say(member.client.write({ key, author: name, content: key }));
};

test("whatever is cut, the view is the log, and everything written is in it once and in order", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = chance(seed);
    const server = new Server("e", 1 + random(60));
    for (let count = random(300); count > 0; count--) server.append("old", "old");
    const members = [new Member(server), new Member(server)];
    const counts = [0, 0];
    for (const member of members) member.connect();
    for (let step = 0; step < 1500; step++) {
      const index = random(2);
      const member = members[index];
      member.client.log.following = random(3) > 0;
      const act = random(100);
      if (act < 8) written(member, `m${index}`, counts[index]++);
      else if (act < 10) server.append("other", "other");
      else if (act < 12) member.isOpen ? member.cut() : member.connect();
      else if (act < 14) member.say(member.client.ask(member.client.log.older()));
      else if (act < 16) member.say(member.client.ask(member.client.log.newer()));
      else if (act < 17) member.say(member.client.idle());
      else if (act < 18 && member.isOpen) {
        const slot = 1 + random(400);
        if (!member.client.log.has(slot)) member.say(member.client.ask(member.client.log.seek(slot)));
      } else member.step(random);
    }
    for (const member of members) {
      if (!member.isOpen) member.connect();
      member.settle(random);
      member.settle(random);
    }
    for (const [index, member] of members.entries()) {
      member.say(member.client.ask(member.client.log.newest()));
      member.settle(random);
      for (const other of members) other.settle(random);
      assert.equal(member.client.log.high, server.entries.length, `seed ${seed}`);
      assert.equal(member.client.outbox.items.length, 0, `seed ${seed}`);
      const mine = server.entries.filter(({ author }) => author === `m${index}`).map(({ content }) => content);
      assert.deepEqual(mine, Array.from({ length: counts[index] }, (_, count) => `m${index}-${count}`));
    }
  }
});

test("all of a long log can be read back, and forward again, within the bound", () => {
  const random = chance(1);
  const server = new Server("e", 1000);
  for (let count = 0; count < 5000; count++) server.append("a", "b");
  const member = new Member(server);
  const { log } = member.client;
  member.connect();
  member.settle(random);
  for (let page = 0; log.hasOlder && page < 200; page++) {
    member.say(member.client.ask(log.older()));
    member.settle(random);
  }
  assert.deepEqual([log.low, log.high, log.live], [1, 2000, false]);
  server.append("a", "new");
  member.settle(random);
  assert.deepEqual([log.high, log.latest], [2000, 5001]);
  for (let page = 0; !log.live && page < 200; page++) {
    member.say(member.client.ask(log.newer()));
    member.settle(random);
  }
  assert.deepEqual([log.low, log.high], [3002, 5001]);
});

test("another epoch, a shorter log and another entry in a slot all make what is held void", () => {
  const random = chance(1);
  for (const change of [
    (server) => Object.assign(server, new Server("other", 50)),
    (server) => server.entries.splice(5),
    (server) => (server.entries[9] = { ...server.entries[9], hash: hash("x") }),
  ]) {
    const server = new Server("e", 50);
    for (let count = 0; count < 10; count++) server.append("a", "b");
    const member = new Member(server);
    member.connect();
    member.settle(random);
    member.cut();
    assert.equal(member.client.log.notice, null);
    change(server);
    server.members = new Set();
    member.connect();
    member.settle(random);
    assert.deepEqual(member.client.log.notice, { kind: "replaced" });
    assert.equal(member.client.log.high, server.entries.length);
  }
});

test("entries that were deleted while we were away leave no hole", () => {
  const random = chance(1);
  const server = new Server("e", 50);
  for (let count = 0; count < 10; count++) server.append("a", "b");
  const member = new Member(server);
  member.connect();
  member.settle(random);
  member.cut();
  for (let count = 0; count < 200; count++) server.append("a", "b");
  server.first = 190;
  member.connect();
  member.settle(random);
  const { low, high, notice } = member.client.log;
  assert.deepEqual([low, high, notice], [190, 210, { kind: "swept" }]);
});

test("a refusal stays with its text, which can be sent again", () => {
  const random = chance(1);
  const server = new Server("e", 50);
  const member = new Member(server);
  const { client } = member;
  member.connect();
  member.settle(random);
  written(member, "m", 0);
  written(member, "m", 1);
  member.up = [];
  const refusal = { type: "Error", code: "storage", message: "not now", seq: 1 };
  client.received(JSON.stringify(refusal));
  assert.deepEqual(client.outbox.items.map(({ error }) => error?.code), [undefined, "storage"]);
  member.cut();
  member.connect();
  member.settle(random);
  assert.deepEqual(server.entries.map(({ content }) => content), ["m-0"]);
  member.say(client.outbox.retry("m-1"));
  member.settle(random);
  assert.deepEqual(server.entries.map(({ content }) => content), ["m-0", "m-1"]);
});

test("a server that takes connections and tells nothing new is no progress; an answered poll is", () => {
  const random = chance(1);
  const server = new Server("e", 50);
  server.append("a", "b");
  const member = new Member(server);
  const answers = () => {
    while (member.up.length > 0) server.hear(member, JSON.parse(member.up.shift()));
    return member.down.splice(0).map((text) => member.client.received(text).progress);
  };
  member.connect();
  assert.deepEqual(answers(), [true]);
  member.cut();
  member.connect();
  assert.deepEqual(answers(), [false]);
  member.say(member.client.idle());
  assert.deepEqual(answers(), [true]);
});

test("what the server would refuse is known before: characters, not bytes or UTF-16 units, are counted", () => {
  assert.equal(problem("a", "x".repeat(16_384)), null);
  assert.equal(problem("a", "x".repeat(16_385)).field, "content");
  assert.equal(problem("😀".repeat(64), "x"), null);
  assert.equal(problem("😀".repeat(65), "x").field, "author");
  assert.equal(problem("", "x").field, "author");
  assert.equal(problem("a", "😀".repeat(16_384)).field, "content"); // more than 64 KiB
  assert.equal(problem("a", "one\n\ttwo"), null);
  for (const bad of ["\u0007", "\r", "\u0085", "\ud800"]) assert.equal(problem("a", bad).field, "content");
  assert.equal(problem("a\nb", "x").field, "author");
});

const { setTimeout, clearTimeout } = globalThis;

/** Time that goes on when it is told to. */
class Clock {
  now = 0;
  timers = [];

  constructor(context) {
    globalThis.setTimeout = (act, delay) => this.timers.push({ act, due: this.now + delay });
    globalThis.clearTimeout = (number) => number > 0 && delete this.timers[number - 1];
    context.after(() => Object.assign(globalThis, { setTimeout, clearTimeout }));
  }

  tick(time) {
    const end = this.now + time;
    for (;;) {
      const due = this.timers.filter((timer) => timer.due <= end).sort((a, b) => a.due - b.due)[0];
      if (due === undefined) break;
      delete this.timers[this.timers.indexOf(due)];
      this.now = due.due;
      due.act();
    }
    this.now = end;
  }
}

/** A Connection with WebSockets that do what they are told. */
const connection = (random, options = {}) => {
  const found = { sockets: [], calls: [], delays: [] };
  globalThis.WebSocket = class {
    static OPEN = 1;
    static CLOSING = 2;
    readyState = 0;
    sent = [];
    constructor() {
      found.sockets.push(this);
    }
    open() {
      this.readyState = 1;
      this.onopen();
    }
    send(text) {
      this.sent.push(text);
    }
    close() {
      this.readyState = 2; // a connection that is dead does not say so
    }
  };
  const owner = Object.fromEntries(
    ["opened", "received", "closed", "idle"].map((name) => [name, () => found.calls.push(name)]),
  );
  owner.changed = ({ name, delay }) => name === "lost" && found.delays.push(delay);
  found.connection = new Connection("ws://host/", "protocol", owner, { random, ...options });
  found.connection.connect();
  return found;
};

test("attempts come ever later, up to a bound and with jitter, until there is progress", (context) => {
  for (const [random, factor] of [
    [() => 0, 0.5],
    [() => 1, 1],
  ]) {
    const clock = new Clock(context);
    const { connection: it, sockets, delays } = connection(random);
    for (let attempt = 0; attempt < 9; attempt++) {
      sockets.at(-1).open(); // which is no progress
      sockets.at(-1).onclose({ code: 1006 });
      assert.equal(sockets.length, attempt + 1);
      clock.tick(delays.at(-1));
      assert.equal(sockets.length, attempt + 2);
    }
    const full = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
    assert.deepEqual(delays, full.map((delay) => delay * factor));
    it.progress();
    sockets.at(-1).onclose({ code: 1006 });
    assert.equal(delays.at(-1), 500 * factor);
    it.hurry();
    assert.equal(sockets.length, 11);
    it.hurry(); // there is an attempt already
    assert.equal(sockets.length, 11);
  }
});

test("silence is looked into, and a connection that does not answer is given up", (context) => {
  const clock = new Clock(context);
  const { connection: it, sockets, calls, delays } = connection(() => 1);
  sockets[0].open();
  it.send(["text"]);
  clock.tick(19_999);
  sockets[0].onmessage({ data: "anything" });
  clock.tick(20_000);
  assert.deepEqual(calls, ["opened", "received", "idle"]);
  clock.tick(9_999);
  sockets[0].onmessage({ data: "an answer" });
  clock.tick(20_000);
  assert.equal(it.state.name, "connected");
  clock.tick(10_000);
  assert.deepEqual(calls.slice(3), ["received", "idle", "closed"]);
  assert.equal(it.state.name, "lost");
  it.send(["nobody hears this"]);
  assert.deepEqual(sockets[0].sent, ["text"]);
  clock.tick(delays[0]);
  clock.tick(10_000); // nor is the handshake answered
  assert.equal(delays.length, 2);
});

/** Let promises that are settled be heard. */
const settled = async () => {
  for (let turn = 0; turn < 5; turn++) await null;
};

test("a server that takes us for nobody is not asked again before somebody has logged in", async (context) => {
  const clock = new Clock(context);
  let may = false;
  const { connection: it, sockets, calls } = connection(() => 1, { mayConnect: async () => may });
  sockets[0].open();
  sockets[0].onclose({ code: 4401, reason: "the token has been revoked" });
  assert.deepEqual(it.state, { name: "refused", reason: "the token has been revoked" });
  clock.tick(1_000_000);
  assert.deepEqual([sockets.length, calls], [1, ["opened", "closed"]]);
  it.hurry();
  await settled();
  assert.deepEqual([it.state.name, sockets.length], ["refused", 1]);
  may = true;
  it.hurry();
  await settled();
  assert.deepEqual([it.state.name, sockets.length], ["connecting", 2]);
  sockets[1].onclose({ code: 1006 }); // scripts are not told why: it may be anything
  await settled();
  assert.equal(it.state.name, "lost");
  may = false;
  it.hurry();
  sockets[2].onclose({ code: 1006 });
  await settled();
  assert.equal(it.state.name, "refused");
  clock.tick(1_000_000);
  assert.equal(sockets.length, 3);
});

test("a page that is left has no connection until it is shown again", (context) => {
  const clock = new Clock(context);
  const page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  context.after(() => delete globalThis.addEventListener);
  const show = (persisted) => page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted }));
  const { connection: it, sockets, calls } = connection(() => 1);
  sockets[0].open();
  show(false); // as at the end of loading: nothing was left
  assert.equal(sockets.length, 1);
  page.dispatchEvent(new Event("pagehide"));
  assert.deepEqual([sockets[0].readyState, it.state.name, calls], [2, "lost", ["opened", "closed"]]);
  clock.tick(1_000_000);
  page.dispatchEvent(new Event("pagehide"));
  assert.deepEqual([sockets.length, calls.length], [1, 2]);
  show(true);
  sockets[1].open();
  assert.deepEqual([it.state.name, calls.at(-1)], ["connected", "opened"]);
});

test("an answer to a question that was asked before something else happened is not heard", async (context) => {
  new Clock(context);
  let answer;
  const mayConnect = () => new Promise((resolve) => (answer = resolve));
  const { connection: it, sockets } = connection(() => 1, { mayConnect });
  sockets[0].onclose({ code: 1006 });
  it.hurry();
  sockets[1].open();
  answer(false);
  await settled();
  assert.equal(it.state.name, "connected");
});

test("that the token is no longer good is no answer to what was asked", () => {
  const client = new Client();
  client.opened();
  const said = client.received(JSON.stringify({ type: "Error", code: "unauthenticated", message: "revoked" }));
  assert.deepEqual([said.broken, client.log.notice], [null, null]);
});
