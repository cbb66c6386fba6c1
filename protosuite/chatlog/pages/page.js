// The page: what the client knows as elements, what the reader does as calls of the client.

import { Access } from "./assets/access.js";
import { Connection } from "./assets/connection.js";
import { $ } from "./assets/elements.js";
import { key } from "./assets/key.js";
import { Scroll } from "./assets/scroll.js";
import { Status } from "./assets/status.js";
import { Client } from "./client.js";
import { Composer } from "./composer.js";
import { Entries, Unsent } from "./entries.js";
import * as storage from "./storage.js";
import { SUBPROTOCOL, isRoom } from "./wire.js";

const CALM = 1000; // ms after a page of history during which a screen reader is not told of new entries

const access = await Access.begin();
const room = new URL(location).searchParams.get("room") || "main";
const client = new Client(isRoom(room) ? storage.outbox.read(room) : []);
const { log, outbox } = client;

const entries = new Entries($("entries"));
const unsent = new Unsent($("unsent"), { retry, edit, discard });
const scroll = new Scroll($("log"), $("entries"), moved);
const status = new Status($("status"), () => connection.hurry(), access);
const composer = new Composer($("composer"), { send, changed });

const url = new URL(`rooms/${room}`, document.baseURI);
url.protocol = url.protocol.replace("http", "ws");
url.hash = "";
const owner = {
  opened: () => connection.send(client.opened(sought)),
  received,
  closed(code) {
    client.closed(code);
    redraw();
  },
  idle: () => connection.send(client.idle()),
  changed(state) {
    const hadFocus = document.activeElement === status.button;
    status.show(state);
    if (hadFocus && status.button.hidden) composer.content.focus();
    redraw();
  },
};
const connection = new Connection(url.href, SUBPROTOCOL, owner, { mayConnect: () => access.mayConnect() });

let sought = linked(); // the slot that the address names, until it has been found
let read = null; // the highest slot that was in sight, or there when the page was opened
let isDrawing = false; // at the next frame
let calm = null;

// What comes from the server.

function received(text) {
  let outcome;
  try {
    outcome = client.received(text);
  } catch (error) {
    console.error(error);
    connection.drop();
    return;
  }
  if (outcome.broken !== null) {
    connection.drop();
    return;
  }
  if (outcome.progress) connection.progress();
  connection.send(outcome.send);
  redraw();
}

// What is to be seen.

function redraw() {
  if (isDrawing) return;
  isDrawing = true;
  const soon = document.hidden ? (act) => setTimeout(act, 100) : requestAnimationFrame; // no frames when hidden
  soon(() => {
    isDrawing = false;
    draw();
  });
}

function draw() {
  const me = composer.author.value.trim();
  scroll.keep(() => {
    quieten(() => entries.render(log, me));
    unsent.render(outbox.items, connection.state.name === "connected");
    drawEnds();
  });
  storage.outbox.write(room, outbox.items);
  if (log.notice !== null) {
    say(words(log.notice));
    if (log.notice.kind === "absent") sought = null;
    log.notice = null;
  }
  if (sought !== null && log.has(sought)) {
    scroll.show(entries.point(sought));
    sought = null;
  }
  scroll.sticks = log.live;
  moved();
}

/** Screen readers are told of what is added at the end, not of pages of history. */
function quieten(render) {
  const region = $("log");
  const before = region.getAttribute("aria-live");
  region.setAttribute("aria-live", "off");
  const isHistory = render();
  if (isHistory || log.isBlank) {
    clearTimeout(calm);
    calm = setTimeout(() => region.setAttribute("aria-live", "polite"), CALM);
  } else {
    region.setAttribute("aria-live", before);
  }
}

function drawEnds() {
  const older = $("older");
  if (!log.hasOlder && document.activeElement === older) $("entries").firstElementChild?.focus();
  older.hidden = !log.hasOlder;
  const beginning = $("beginning");
  beginning.hidden = log.isBlank || log.hasOlder;
  const isEmpty = log.entries.length === 0 && log.latest === 0;
  beginning.textContent = isEmpty
    ? "Nothing here yet. Say something."
    : log.first > 1
      ? `Entries before #${log.first} are no longer kept.`
      : "This is where the log begins.";
}

/** The reader is somewhere else, or there is more. */
function moved() {
  log.following = scroll.isAtEnd;
  if (!log.isBlank && connection.state.name === "connected") {
    if (scroll.isNearTop) connection.send(client.ask(log.older()));
    if (scroll.isNearEnd && !log.live) connection.send(client.ask(log.newer()));
  }
  if (!log.isBlank && (read === null || log.latest < read)) read = log.latest;
  if (!log.isBlank && !document.hidden && scroll.isAtEnd) read = Math.max(read, log.high);
  const unread = log.isBlank ? 0 : log.latest - read;
  const latest = $("latest");
  latest.hidden = log.isBlank || (scroll.isAtEnd && log.high >= log.latest);
  latest.textContent = unread > 0 ? `${unread.toLocaleString()} new ↓` : "Latest ↓";
  const count = document.hidden && unread > 0 ? `(${unread.toLocaleString()}) ` : "";
  document.title = `${count}${room} – chatlog`;
}

function say(parts) {
  const close = document.createElement("button");
  close.type = "button";
  close.className = "quiet";
  close.textContent = "OK";
  close.addEventListener("click", () => {
    $("notice").replaceChildren();
    composer.content.focus();
  });
  const text = document.createElement("p");
  text.append(...parts);
  $("notice").replaceChildren(text, close);
}

function words({ kind, slot, first, latest, message }) {
  switch (kind) {
    case "replaced":
      return ["This room has another log now. What was shown before is void."];
    case "swept":
      return ["Some entries between those shown before and these are no longer kept."];
    case "absent":
      return slot > latest
        ? [`There is no entry #${slot} yet: the latest is #${latest}.`]
        : [`Entry #${slot} is no longer kept: the oldest is #${first}.`];
    default:
      return [`The server could not answer: ${message}.`];
  }
}

// What the reader does.

function send(author, content) {
  if (outbox.isFull) return { field: "content", text: "Too much waits to be sent already. Your text stays here." };
  sought = null;
  connection.send(client.write({ key: key(), author, content }));
  scroll.sticks = true;
  scroll.toEnd();
  redraw();
  return null;
}

function changed(author, content) {
  storage.draft.write(room, content);
  if (author === storage.author.read()) return;
  storage.author.write(author);
  entries.own(log, author);
}

function retry(key) {
  connection.send(outbox.retry(key));
  composer.content.focus();
  redraw();
}

function edit(key) {
  composer.write(outbox.remove(key)?.content ?? "");
  composer.content.focus();
  redraw();
}

function discard(key) {
  outbox.remove(key);
  composer.content.focus();
  redraw();
}

/** The slot that the address names, or null. */
function linked() {
  const slot = /^#([1-9][0-9]{0,15})$/.exec(location.hash)?.[1];
  return slot !== undefined && Number.isSafeInteger(Number(slot)) ? Number(slot) : null;
}

function toLatest() {
  if (location.hash !== "") history.replaceState(null, "", location.pathname + location.search);
  connection.send(client.ask(log.newest()));
  scroll.sticks = true;
  scroll.toEnd();
  composer.content.focus();
}

function follow() {
  sought = linked();
  if (sought !== null && !log.has(sought) && !log.isBlank) connection.send(client.ask(log.seek(sought)));
  redraw();
}

/** Page Up and Page Down scroll the log from wherever the focus is, and Page Up goes on at the top. */
function turn(event) {
  const direction = { PageUp: -1, PageDown: 1 }[event.key];
  if (direction === undefined || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  scroll.page(direction);
  moved();
}

function join(event) {
  event.preventDefault();
  const name = $("room").value.trim();
  const isGood = isRoom(name);
  $("room").setAttribute("aria-invalid", String(!isGood));
  $("room-problem").textContent = isGood ? "" : "A room's name has 1 to 64 of A–Z a–z 0–9 . _ -";
  if (!isGood) $("room").focus();
  else if (name !== room) location.assign(`?room=${encodeURIComponent(name)}`);
  else composer.content.focus();
}

/** Other rooms of this tab that something waits for. */
function remind() {
  const rooms = storage.outbox.rooms().filter((name) => name !== room && isRoom(name));
  if (rooms.length === 0) return;
  const links = rooms.flatMap((name, index) => {
    const link = document.createElement("a");
    link.href = `?room=${encodeURIComponent(name)}`;
    link.textContent = name;
    return index === 0 ? [link] : [", ", link];
  });
  say(["Something you wrote has not been sent yet in ", ...links, "."]);
}

function begin() {
  $("room-name").textContent = room;
  $("room").value = room;
  document.title = `${room} – chatlog`;
  composer.fill(storage.author.read() || (access.subject ?? ""), storage.draft.read(room));
  if (access.role === "client") composer.sign(access.subject);
  $("join").addEventListener("submit", join);
  $("older").addEventListener("click", () => {
    connection.send(client.ask(log.older()));
    moved();
  });
  $("latest").addEventListener("click", toLatest);
  document.addEventListener("keydown", turn);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    connection.hurry();
    redraw();
  });
  addEventListener("hashchange", follow);
  addEventListener("online", () => connection.hurry());
  if (!isRoom(room)) {
    join(new Event("submit"));
    status.element.hidden = true;
    composer.form.inert = true;
    return;
  }
  remind();
  connection.connect();
  const isTouched = matchMedia("(pointer: coarse)").matches; // a focus would bring up the keyboard
  if (sought === null && !isTouched) (composer.author.value === "" ? composer.author : composer.content).focus();
}

begin();
