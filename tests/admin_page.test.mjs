// The logic of the dashboard, without a browser. Run by test_admin_page.

import assert from "node:assert/strict";
import { test } from "node:test";

import { HEIGHT, WIDTH, paths } from "../protosuite/admin/pages/chart.js";
import { bytes, count, described, digits, rate, seconds, span } from "../protosuite/admin/pages/format.js";
import { History } from "../protosuite/admin/pages/history.js";
import { Poll } from "../protosuite/admin/pages/poll.js";

const settle = async () => {
  for (let count = 0; count < 20; count++) await Promise.resolve();
};

test("figures are short", () => {
  assert.equal(count(0), "0");
  assert.equal(count(999), "999");
  assert.equal(count(12_345), "12.3K");
  assert.equal(rate(0.9917), "0.99/s");
  assert.equal(rate(32_412), "32.4K/s");
  assert.equal(seconds(0.00042), "0.42 ms");
  assert.equal(seconds(1.25), "1.25 s");
  assert.equal(bytes(90.2 * 1024 ** 2), "90.2 MiB");
  assert.equal(bytes(0), "0 B");
});

test("a whole number of any size has all its digits", () => {
  assert.equal(digits("18446744073709551615").replaceAll("\u202f", ""), "18446744073709551615");
  assert.equal(digits("1234"), "1\u202f234");
  assert.equal(digits("123"), "123");
});

test("what a service of somebody's own says is shown in words", () => {
  const overview = { votes: 1234, most_voted: ["tea: 2", "milk: 1"], none: [], odd: {}, is_open: true };
  assert.deepEqual(described(overview), [
    ["Votes", "1.23K"],
    ["Most voted", "tea: 2, milk: 1"],
    ["None", "none"],
    ["Odd", "–"],
    ["Is open", "true"],
  ]);
});

test("a span has two units at most", () => {
  assert.equal(span(0), "0 s");
  assert.equal(span(-5), "0 s");
  assert.equal(span(61_000), "1 min 1 s");
  assert.equal(span(3_600_000), "1 h");
  assert.equal(span(90_061_000), "1 d 1 h");
});

test("the newest value is at the right edge, the greatest at the top", () => {
  const { line } = paths([1, 2, 4], 3, 4);
  assert.equal(line, `M0 ${HEIGHT - 45 / 4}L150 ${HEIGHT - 45 / 2}L${WIDTH} 3`.replace("36.75", "36.8"));
  assert.ok(paths([4], 3, 4).line.startsWith(`M${WIDTH} 3`));
});

test("where there was nothing there is a gap", () => {
  const { line, area } = paths([1, null, 1, 1], 4, 1);
  assert.equal(line.split("M").length - 1, 2);
  assert.equal(area.split("Z").length - 1, 2);
  assert.deepEqual(paths([null, null], 4, 0), { line: "", area: "" });
  assert.deepEqual(paths([], 4, 0), { line: "", area: "" });
});

test("nothing but zeros is a line at the bottom", () => {
  assert.equal(paths([0, 0], 2, 0).line, `M0 ${HEIGHT}L${WIDTH} ${HEIGHT}`);
});

const state = (more) => ({ started: 1, count: 2, is_whole: true, fine: {}, coarse: {}, ...more });

test("what is new is put behind what is there, and bounded", () => {
  const history = new History();
  history.take(state({ fine: { a: [1, 2] }, coarse: { a: [1.5] } }));
  history.take(state({ count: 3, is_whole: false, fine: { a: [3] } }));
  assert.deepEqual(history.values("fine", "a"), [1, 2, 3]);
  assert.deepEqual(history.values("coarse", "a"), [1.5]);
  history.take(state({ is_whole: false, fine: { a: Array(400).fill(7) } }));
  assert.equal(history.values("fine", "a").length, History.room("fine"));
  history.take(state({ started: 2, count: 1, fine: { b: [5] } }));
  assert.deepEqual([history.values("fine", "a"), history.values("fine", "b")], [[], [5]]);
  assert.deepEqual([history.started, history.count], [2, 1]);
});

class Owner {
  answers = [];
  states = [];
  received(answer) {
    this.answers.push(answer);
  }
  changed({ name, delay }) {
    this.states.push(delay === undefined ? name : `${name} ${delay}`);
  }
}

class Page extends EventTarget {
  hidden = false;
  show(on) {
    this.hidden = !on;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

const OPTIONS = { random: () => 0 };

test("it asks again a second after each answer", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const owner = new Owner();
  let number = 0;
  const poll = new Poll(async () => ++number, owner, OPTIONS);
  await poll.now();
  context.mock.timers.tick(999);
  await settle();
  assert.deepEqual(owner.answers, [1]);
  context.mock.timers.tick(1);
  await settle();
  assert.deepEqual(owner.answers, [1, 2]);
});

test("while nobody answers it waits longer and longer, and not for ever", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const owner = new Owner();
  let fails = true;
  const ask = async () => {
    if (fails) throw new TypeError("nobody there");
    return "answer";
  };
  const poll = new Poll(ask, owner, OPTIONS);
  await poll.now();
  for (const delay of [1000, 2000, 4000, 8000, 16_000, 30_000]) {
    context.mock.timers.tick(delay);
    await settle();
  }
  assert.deepEqual(
    owner.states,
    [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].map((delay) => `lost ${delay}`),
  );
  fails = false;
  await poll.now();
  assert.deepEqual([owner.answers, owner.states.at(-1)], [["answer"], "connected"]);
});

test("who has to log in is not asked for again", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const owner = new Owner();
  let asked = 0;
  const ask = async () => {
    asked += 1;
    throw Object.assign(new Error("no"), { status: 401 });
  };
  await new Poll(ask, owner, OPTIONS).now();
  context.mock.timers.tick(100_000);
  await settle();
  assert.deepEqual([asked, owner.states], [1, ["refused"]]);
});

test("a page that nobody sees asks nobody, and at once when it is seen", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const [owner, page] = [new Owner(), new Page()];
  const poll = new Poll(async () => "answer", owner, { ...OPTIONS, page });
  page.hidden = true;
  await poll.now();
  context.mock.timers.tick(100_000);
  await settle();
  assert.equal(owner.answers.length, 1);
  page.show(true);
  await settle();
  assert.equal(owner.answers.length, 2);
  page.show(true);
  await settle();
  assert.equal(owner.answers.length, 2);
});
