// The logic of the media chat's pages, without a browser. Run by test_mediachat_pages.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Answers } from "../protosuite/mediachat/pages/answers.js";
import { Desk, summary } from "../protosuite/mediachat/pages/desk.js";
import { size, when } from "../protosuite/mediachat/pages/format.js";
import { closed, isOpen, nextOpen } from "../protosuite/mediachat/pages/hours.js";
import { Posts } from "../protosuite/mediachat/pages/posts.js";
import { clientId } from "../protosuite/mediachat/pages/storage.js";
import { Talk } from "../protosuite/mediachat/pages/talk.js";
import { NEWEST, Thread } from "../protosuite/mediachat/pages/thread.js";
import { CHUNK, Uploads } from "../protosuite/mediachat/pages/uploads.js";
import { patch } from "../protosuite/mediachat/pages/webm.js";
import { decode, named, problem, view } from "../protosuite/mediachat/pages/wire.js";

/** A repeatable source of chance: whole numbers below `limit`. */
const chance = (seed) => (limit) => {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return Math.floor((seed / 2147483648) * limit);
};

const settle = async () => {
  for (let count = 0; count < 20; count++) await Promise.resolve();
};

// Uploads, against a server that is as strict as the real one.

class Server {
  parts = new Map(); // by upload name: bytes
  stored = new Map();
  state = "none";
  head = null;

  take(message) {
    if (typeof message === "string") {
      assert.deepEqual(JSON.parse(message), { type: "cancel" });
      const was = this.state;
      this.state = "none";
      return was === "storing" || was === "waiting" ? [{ status: "error", code: "cancelled", detail: "it was" }] : [];
    }
    if (this.state === "none") {
      this.head = JSON.parse(new TextDecoder().decode(message));
      const { upload } = this.head;
      if (this.stored.has(upload)) return [{ status: "saved", message: 1, upload }];
      this.state = "waiting";
      return [];
    }
    if (this.state === "draining") {
      this.left -= message.byteLength;
      assert.ok(this.left >= 0, "no more than were announced");
      if (this.left === 0) this.state = "none";
      return [];
    }
    assert.equal(this.state, "storing", "bytes come when they are asked for");
    const part = [...this.parts.get(this.head.upload), ...new Uint8Array(message)];
    assert.ok(part.length <= this.head.size, "no more than were announced");
    this.parts.set(this.head.upload, part);
    return this.finish();
  }

  /** What was slow is done: a head is answered. */
  work() {
    if (this.state !== "waiting") return [];
    const { upload } = this.head;
    if (!this.parts.has(upload)) this.parts.set(upload, []);
    this.state = "storing";
    return [{ status: "ready", offset: this.parts.get(upload).length, upload }, ...this.finish()];
  }

  /** The disk is full. */
  fail() {
    if (this.state !== "storing") return [];
    this.state = "draining";
    this.left = this.head.size - this.parts.get(this.head.upload).length;
    return [{ status: "error", code: "full", detail: "no room", upload: this.head.upload }];
  }

  finish() {
    const { upload, size: bytes } = this.head;
    if (this.parts.get(upload).length < bytes) return [];
    this.state = "none";
    this.stored.set(upload, this.parts.get(upload));
    return [{ status: "saved", message: 1, upload }];
  }

  cut() {
    this.state = "none";
  }
}

const bytes = (length, seed) => Uint8Array.from({ length }, (_, index) => (index * 7 + seed) % 256);
const piece = (data) => ({ size: data.length, data });

/** Uploads and their connection, in which things take their time. */
class Sender {
  up = [];
  down = [];
  timers = [];
  isOpen = false;
  saved = [];
  full = false;

  constructor(server, records = [], owner = {}) {
    this.server = server;
    this.uploads = new Uploads(
      {
        send: (messages) => this.isOpen && this.up.push(...messages),
        buffered: () => (this.full ? 10 : 0),
        most: () => 10,
        read: async (file, from, to) => file.data.slice(from, to),
        hash: async () => null,
        later: (act) => this.timers.push(act),
        changed: () => {},
        saved: (item) => this.saved.push(item.name),
        ...owner,
      },
      records,
    );
  }

  connect() {
    this.isOpen = true;
    this.uploads.opened();
  }

  cut() {
    this.isOpen = false;
    this.up = [];
    this.down = [];
    this.server.cut();
    this.uploads.closed();
  }

  carryUp() {
    const message = this.up.shift();
    if (message !== undefined) this.down.push(...this.server.take(message));
  }

  carryDown() {
    const status = this.down.shift();
    if (status !== undefined) this.uploads.heard({ type: "status", ...status });
  }

  async run() {
    for (let idle = 0; idle < 3; ) {
      const before = [this.up.length, this.down.length, this.timers.length].join();
      this.carryUp();
      this.down.push(...this.server.work());
      this.carryDown();
      for (const act of this.timers.splice(0)) act();
      await settle();
      idle = before === "0,0,0" && this.up.length + this.down.length === 0 ? idle + 1 : 0;
    }
  }
}

const file = (name, length, seed, more = {}) => {
  const data = bytes(length, seed);
  return { file: piece(data), name, modified: 1, kind: "file", id: name, ...more };
};

test("files go one after the other, whole", async () => {
  const server = new Server();
  const sender = new Sender(server);
  sender.uploads.add(file("a", CHUNK * 2 + 5, 1));
  sender.uploads.add(file("b", 0, 2));
  sender.connect();
  sender.uploads.add(file("c", 10, 3));
  await sender.run();
  assert.deepEqual(sender.saved, ["a", "b", "c"]);
  assert.deepEqual(Uint8Array.from(server.stored.get("a")), bytes(CHUNK * 2 + 5, 1));
  assert.deepEqual(sender.uploads.items, []);
});

test("whatever happens at whatever moment, every file that is not cancelled arrives once and right", async () => {
  for (let seed = 1; seed <= 150; seed++) {
    const random = chance(seed);
    const server = new Server();
    const sender = new Sender(server);
    const names = ["a", "b", "c"];
    const cancelled = new Set();
    sender.connect();
    for (const [index, name] of names.entries()) sender.uploads.add(file(name, CHUNK * index + 3, index));
    for (let step = 0; step < 60; step++) {
      const name = names[random(3)];
      switch (random(14)) {
        case 0:
          sender.cut();
          break;
        case 1:
          sender.uploads.pause(name);
          break;
        case 2:
          sender.uploads.resume(name);
          break;
        case 3:
          if (random(4) === 0) {
            sender.uploads.remove(name);
            cancelled.add(name);
          }
          break;
        case 4:
          sender.down.push(...server.fail());
          break;
        case 5:
          sender.full = !sender.full;
          break;
        case 6:
        case 7:
          if (!sender.isOpen) sender.connect();
          break;
        case 8:
        case 9:
          sender.down.push(...server.work());
          break;
        case 10:
        case 11:
          sender.carryUp();
          break;
        default:
          sender.carryDown();
      }
      if (random(2) === 0) for (const act of sender.timers.splice(0)) act();
      await settle();
    }
    sender.full = false;
    if (!sender.isOpen) sender.connect();
    for (let count = 0; count < 4; count++) {
      await sender.run();
      for (const name of names) sender.uploads.resume(name);
    }
    await sender.run();
    const left = sender.uploads.items.map(({ name, state }) => `${name} ${state}`);
    assert.deepEqual(left, [], `seed ${seed}`);
    for (const [index, name] of names.entries()) {
      if (!cancelled.has(name)) assert.equal(sender.saved.filter((each) => each === name).length, 1, `seed ${seed}`);
      if (server.stored.has(name)) assert.deepEqual(Uint8Array.from(server.stored.get(name)), bytes(CHUNK * index + 3, index));
    }
  }
});

test("after a reload the same file goes on under its name, and another one does not", async () => {
  const server = new Server();
  const first = new Sender(server);
  first.connect();
  first.uploads.add(file("a", CHUNK * 3, 1, { id: "name of the upload" }));
  await settle();
  first.carryUp();
  first.down.push(...server.work());
  first.carryDown();
  await settle();
  first.carryUp();
  server.cut();
  const records = JSON.parse(JSON.stringify(first.uploads.records));
  const second = new Sender(server, records);
  second.connect();
  assert.deepEqual(second.uploads.items.map(({ state }) => state), ["lost"]);
  second.uploads.add(file("a", CHUNK * 3, 9, { id: "other", modified: 2 }));
  second.uploads.add(file("a", CHUNK * 3, 1, { id: "another" }));
  await second.run();
  assert.deepEqual([...server.stored.keys()].sort(), ["name of the upload", "other"]);
  assert.deepEqual(Uint8Array.from(server.stored.get("name of the upload")), bytes(CHUNK * 3, 1));
  assert.deepEqual(second.uploads.records, []);
});

test("a file that cannot be read fails, and the next one has its turn", async () => {
  const server = new Server();
  const sender = new Sender(server, [], {
    read: async ({ data }, from, to) => {
      if (data.length === 7) throw new Error("gone");
      return data.slice(from, to);
    },
  });
  const { warn } = console;
  console.warn = () => {};
  sender.connect();
  sender.uploads.add(file("a", 7, 1));
  sender.uploads.add(file("b", 8, 2));
  await sender.run();
  console.warn = warn;
  assert.deepEqual(sender.saved, ["b"]);
  assert.deepEqual(sender.uploads.items.map(({ state }) => state), ["failed"]);
});

test("a file that came when it was closed is sent again under another name", async () => {
  const sender = new Sender(new Server());
  sender.connect();
  sender.uploads.add(file("a", 5, 1));
  await settle();
  sender.up = [];
  sender.uploads.heard({ status: "discarded", message: 4, next_open_at: 5, upload: "a" });
  assert.deepEqual(sender.uploads.items.map(({ state, opening }) => [state, opening]), [["discarded", 5]]);
  assert.deepEqual(sender.uploads.records, []);
  sender.uploads.again("a", "fresh");
  await sender.run();
  assert.deepEqual([...sender.server.stored.keys()], ["fresh"]);
});

// Texts.

const welcome = { chat: 1, hours: { text: { hours: "always" } } };

test("a text is sent until it is answered, with one key, and in its order", () => {
  const talk = new Talk();
  assert.deepEqual(talk.write("one", "k1", 1), []);
  assert.deepEqual(talk.welcomed(welcome).map(JSON.parse), [{ type: "text", text: "one", key: "k1" }]);
  assert.equal(talk.write("two", "k2", 2).length, 1);
  assert.ok(talk.settled({ status: "saved", message: 5, key: "k1" }, 3));
  talk.closed();
  assert.deepEqual(talk.write("three", "k3", 4), []);
  assert.deepEqual(talk.welcomed(welcome).map((text) => JSON.parse(text).key), ["k2", "k3"]);
  assert.deepEqual(talk.shown.map(({ id, text }) => [id, text]), [[5, "one"]]);
  assert.equal(talk.settled({ status: "saved", message: 6 }, 3), false);
  const again = new Talk(JSON.parse(JSON.stringify(talk.outbox)));
  assert.deepEqual(again.welcomed(welcome).map((text) => JSON.parse(text).key), ["k2", "k3"]);
});

test("a text that was refused or came too late stays, and goes out again when that is wanted", () => {
  const talk = new Talk();
  talk.welcomed(welcome);
  talk.write("one", "k1", 1);
  talk.write("two", "k2", 1);
  talk.settled({ status: "error", code: "overloaded", detail: "too much", key: "k1" }, 2);
  talk.settled({ status: "discarded", message: 9, next_open_at: 77, key: "k2" }, 2);
  talk.thread.add({ id: 9, from: "client", kind: "text", status: "discarded", at: 2 });
  assert.deepEqual(talk.shown, []);
  assert.deepEqual(talk.outbox.map(({ state, opening }) => [state, opening]), [["failed", null], ["discarded", 77]]);
  assert.deepEqual(talk.welcomed(welcome), []);
  assert.equal(JSON.parse(talk.retry("k1", "new")[0]).key, "k1");
  assert.equal(JSON.parse(talk.retry("k2", "new")[0]).key, "new");
  assert.deepEqual(talk.shown.map(({ id }) => id), [9]);
  assert.equal(talk.remove("new").text, "two");
});

test("what the desk said is known up to its last message", () => {
  const talk = new Talk();
  talk.loaded([{ id: 3, from: "desk" }, { id: 8, from: "client" }]);
  assert.equal(talk.heard, 3);
  talk.said({ type: "message", id: 9, text: "hi", at: 1 });
  talk.said({ type: "media", id: 11, name: "a", kind: "image", size: 1, at: 1 });
  assert.equal(talk.heard, 11);
  assert.deepEqual(talk.thread.messages.map(({ id }) => id), [9]);
});

// Messages of a chat.

test("a thread is in order and has each message once, however they come", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = chance(seed);
    const thread = new Thread();
    const there = new Set();
    for (let count = 0; count < 60; count++) {
      const id = 1 + random(30);
      assert.equal(thread.add({ id, count }), !there.has(id));
      there.add(id);
      assert.equal(thread.get(id).count, count);
    }
    assert.deepEqual(thread.messages.map(({ id }) => id), [...there].sort((a, b) => a - b));
  }
});

test("a thread knows whether there is more, at both ends", () => {
  const thread = new Thread();
  assert.deepEqual([thread.isBlank, thread.low], [true, NEWEST]);
  thread.older([{ id: 5 }, { id: 7 }], 2);
  assert.deepEqual([thread.isBlank, thread.hasOlder, thread.high, thread.low], [false, true, 7, 5]);
  thread.add({ id: 12 });
  assert.equal(thread.high, 7); // 8 to 11 may be missing
  assert.equal(thread.newer([{ id: 9 }, { id: 12 }], 2), true);
  assert.equal(thread.newer([{ id: 13 }], 2), false);
  thread.older([{ id: 2 }], 2);
  assert.deepEqual([thread.hasOlder, thread.high], [false, 13]);
});

// The console.

const chat = (id, more = {}) => ({ id, client_id: id + 100, timezone: "Europe/Paris", created_at: id, last_message_at: id, unread: 0, ...more });
const message = (id, chat_id, more = {}) => ({ id, chat_id, from: "client", kind: "text", status: "saved", at: id, text: `text ${id}`, ...more });

test("the list has the newest first, counts what is unread, and is searched by client and words", () => {
  const desk = new Desk();
  assert.deepEqual(desk.listed({ items: [chat(2), chat(1)], next: "x" }, true), [2, 1]);
  assert.equal(desk.heard({ type: "message", message: message(10, 1) }), false);
  assert.equal(desk.heard({ type: "message", message: message(11, 1, { from: "desk", text: "An Answer" }) }), false);
  assert.equal(desk.heard({ type: "message", message: message(12, 2, { status: "discarded" }) }), false);
  assert.equal(desk.heard({ type: "message", message: message(13, 9) }), true);
  assert.equal(desk.unread, 1);
  assert.deepEqual(desk.found("").map(({ id }) => id), [2, 1]);
  assert.deepEqual(desk.found(" answer 101 ").map(({ id }) => id), [1]);
  assert.deepEqual(desk.found("nobody"), []);
  desk.heard({ type: "chat", chat: chat(1, { last_message_at: 11 }), connected: 2 });
  assert.deepEqual([desk.unread, desk.chats.get(1).connected, desk.chats.get(1).preview.id], [0, 2, 11]);
  desk.heard({ type: "presence", chat: 1, connected: 0 });
  assert.equal(desk.chats.get(1).connected, 0);
  assert.deepEqual(desk.listed({ items: [chat(3), chat(2, { last_message_at: 12 })], next: "y" }, true), [3]);
  assert.equal(desk.next, "x"); // a look at the newest does not move the end of the list
});

test("of very many chats those that were still for longest go, and are there to be asked for again", () => {
  const desk = new Desk();
  desk.listed({ items: [chat(1), chat(2)], next: null }, true);
  for (let id = 3; id <= 1100; id++) desk.heard({ type: "chat", chat: chat(id), connected: 1 });
  desk.trim(5);
  const ids = [...desk.chats.keys()].sort((a, b) => a - b);
  assert.deepEqual([ids.length, ids[0], ids[1], desk.next], [1001, 5, 101, `${chat(101).last_message_at}.101`]);
  const page = Array.from({ length: 30 }, (_, index) => chat(100 - index));
  desk.listed({ items: page, next: "71.71" }, false);
  desk.trim(5);
  assert.deepEqual([desk.chats.size, desk.chats.has(71), desk.next], [1031, true, "71.71"]);
  desk.heard({ type: "chat", chat: chat(1101), connected: 1 });
  desk.trim(null);
  assert.deepEqual([desk.chats.size, desk.chats.has(5)], [1031, false]);
});

test("an answer that comes behind what was told since it was asked for does not take that back", () => {
  const desk = new Desk();
  desk.listed({ items: [chat(1), chat(2), chat(3)], next: null }, true);
  const { told } = desk;
  desk.heard({ type: "chat", chat: chat(1, { unread: 2 }), connected: 1 });
  desk.heard({ type: "presence", chat: 2, connected: 1 });
  desk.heard({ type: "message", message: message(10, 1) });
  const older = { connected: 0, unread: 5 };
  desk.listed({ items: [1, 2, 3, 4].map((id) => chat(id, older)), next: null }, true, told);
  const seen = [...desk.chats.values()].map(({ id, unread, connected }) => [id, unread, connected]);
  assert.deepEqual(seen, [[1, 3, 1], [2, 5, 1], [3, 5, 0], [4, 5, 0]]);
  desk.listed({ items: [chat(1, older)], next: null }, true);
  assert.equal(desk.chats.get(1).unread, 5);
});

test("an answer is sent once it can be, and one that the server told of first is not shown twice", async () => {
  let outcome = () => Promise.reject(new TypeError("away"));
  const sent = [];
  const answers = new Answers({
    post: (item) => outcome(item),
    changed: () => {},
    sent: ({ id }) => sent.push(id),
    isLasting: ({ message: text }) => text === "refused",
  });
  await answers.write({ key: "a", chat: 1, text: "one" });
  await answers.write({ key: "b", chat: 1, text: "two" });
  assert.deepEqual(answers.of(1).map(({ state }) => state), ["pending", "pending"]);
  answers.heard({ chat_id: 1, from: "desk", text: "one" });
  assert.deepEqual(answers.of(1).map(({ isThere }) => isThere === true), [true, false]);
  outcome = async ({ key }) => {
    if (key === "b") throw new Error("refused");
    return { id: 1 };
  };
  await answers.send();
  assert.deepEqual([sent, answers.of(1).map(({ state, detail }) => [state, detail])], [[1], [["failed", "refused"]]]);
  outcome = async () => ({ id: 2 });
  await answers.retry("b");
  assert.deepEqual([sent, answers.items], [[1, 2], []]);
});

test("files are posted one after the other, and again after the connection broke", async () => {
  const calls = [];
  const sent = [];
  const posts = new Posts({
    post(item, progressed) {
      const call = { item, progressed, abort: () => call.reject(new DOMException("", "AbortError")) };
      call.done = new Promise((resolve, reject) => Object.assign(call, { resolve, reject }));
      calls.push(call);
      return call;
    },
    changed: () => {},
    sent: ({ id }) => sent.push(id),
    isLasting: ({ name }) => name === "AbortError",
  });
  for (const id of ["a", "b", "c"]) posts.add({ id, chat: 1, file: { size: 4 }, name: id, kind: "file" });
  assert.deepEqual(posts.items.map(({ state }) => state), ["posting", "waiting", "waiting"]);
  calls[0].progressed(9);
  assert.deepEqual([posts.items[0].offset, posts.items[0].state], [4, "finishing"]);
  calls[0].reject(new TypeError("away"));
  await settle();
  assert.deepEqual(posts.items.map(({ state }) => state), ["failed", "posting", "waiting"]);
  posts.remove("b");
  await settle();
  posts.resume();
  calls[2].resolve({ id: 3 });
  await settle();
  calls[3].resolve({ id: 1 });
  await settle();
  assert.deepEqual([sent.sort(), posts.items], [[1, 3], []]);
});

// Hours, words, bytes.

test("hours are those of the zone, both ends included, over midnight and changes of the clock", () => {
  const at = (text) => Date.parse(text);
  assert.equal(isOpen("08:00-12:00", at("2026-01-05T11:00:59.999Z"), "Europe/Paris"), true);
  assert.equal(isOpen("08:00-12:00", at("2026-01-05T11:01:00Z"), "Europe/Paris"), false);
  assert.equal(isOpen("22:00-06:00", at("2026-01-05T22:00:00Z"), "Europe/Paris"), true);
  assert.equal(isOpen("always", 0, "UTC"), true);
  assert.equal(isOpen("never", 0, "UTC"), false);
  assert.equal(isOpen("08:00-12:00", 0, "No/Where"), null);
  assert.equal(isOpen("whenever", 0, "UTC"), null);
  assert.equal(nextOpen("08:00-12:00", at("2026-01-05T11:01:30Z"), "Europe/Paris"), at("2026-01-06T07:00:00Z"));
  assert.equal(nextOpen("never", 0, "UTC"), null);
  // On the 29th of March 2026 the clock of Paris goes from 1:59 to 3:00.
  assert.equal(nextOpen("02:00-02:30", at("2026-03-29T00:00:00Z"), "Europe/Paris"), at("2026-03-30T00:00:00Z"));
  const hours = { text: "always", image: "never", voice: "10:00-11:00", file: "10:00-12:00", video: "09:00-09:30" };
  const zone = "Asia/Kolkata";
  assert.deepEqual(closed(hours, at("2026-01-05T03:00:00Z"), zone), [
    { kinds: ["video"], at: at("2026-01-05T03:30:00Z") },
    { kinds: ["voice", "file"], at: at("2026-01-05T04:30:00Z") },
    { kinds: ["image"], at: null },
  ]);
});

test("sizes and moments in words", () => {
  assert.deepEqual([0, 999, 1000, 1_250_000, 10_000_000, 3e9].map(size), ["0 bytes", "999 bytes", "1.0 KB", "1.3 MB", "10 MB", "3.0 GB"]);
  const noon = new Date(2026, 0, 31, 12).getTime();
  assert.match(when(noon + 60_000, noon), /^today at /);
  assert.match(when(noon + 86_400_000, noon), /^tomorrow at /);
  assert.match(when(noon + 3 * 86_400_000, noon), /^on .*Tuesday.* at /);
});

test("what the server says is checked, and what we send is fit to be sent", () => {
  assert.equal(decode('{"type":"news"}'), null);
  for (const bad of ["[", '{"type":"status"}', '{"type":"message","id":1}', '{"type":"chat","chat":{},"connected":1}']) {
    assert.throws(() => decode(bad));
  }
  assert.equal(decode('{"type":"status","status":"saved","message":1,"code":null}').message, 1);
  assert.equal(problem("a\n\tb"), null);
  assert.match(problem("\u0000"), /control/);
  assert.equal(problem("😀".repeat(16_384)), null);
  assert.match(problem("x".repeat(16_385)), /too long by 1:/);
  assert.equal(named("a\u0000b"), "a_b");
  assert.equal(Array.from(named(`${"😀".repeat(300)}.png`)).length, 255);
  assert.equal(named(""), "file");
  assert.equal(view({ kind: "file", type: "image/svg+xml" }), "download");
  assert.equal(view({ kind: "voice", type: "video/webm" }), "audio");
  assert.equal(summary({ text: "a\n\n b" }), "a b");
});

test("a recording gets its length, and what is none is left as it is", () => {
  const hex = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
  const head = hex("1a45dfa38442868101" + "18538067" + "01ffffffffffffff" + "1549a96687" + "2ad7b1830f4240" + "1f43b67501ffffffffffffff");
  const patched = Buffer.from(patch(head, 2500)).toString("hex");
  const duration = "448988" + "40a3880000000000"; // 2500
  assert.equal(patched, "1a45dfa38442868101" + "18538067" + "01ffffffffffffff" + "1549a966" + "0100000000000012" + "2ad7b1830f4240" + duration + "1f43b67501ffffffffffffff");
  assert.equal(patch(hex(patched), 1), null);
  assert.equal(patch(hex("000000"), 1), null);
  for (let end = 0; end < 33; end++) assert.equal(patch(head.subarray(0, end), 1), null);
});

test("who has the token of a client is that one, whatever the address or the browser says", () => {
  const of = (search, subject) => clientId(search, { role: "client", subject });
  assert.deepEqual([of("", "7"), of("?client=7", "7"), of("?client=8", "7")], [7, 7, null]);
  for (const subject of ["ana", "07", "9007199254740993"]) assert.equal(of("", subject), null);
  assert.equal(of("?client=ana", "ana"), null);
  assert.deepEqual([clientId("?client=9", { role: "service", subject: "7" })], [9]);
  assert.deepEqual([clientId("?client=9", { role: null, subject: null })], [9]);
});

test("answers that were written before a page was loaded again are sent", async () => {
  const sent = [];
  const owner = {
    post: async ({ key, text }) => ({ id: sent.push([key, text]) }),
    changed: () => {},
    sent: () => {},
    isLasting: () => false,
  };
  const answers = new Answers(owner, [{ key: "a", chat: 1, text: "one", state: "pending" }]);
  await answers.send();
  assert.deepEqual([sent, answers.items], [[["a", "one"]], []]);
});
