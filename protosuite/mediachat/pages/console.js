// The page of the people who answer: all chats, and one of them open.

import { Access } from "./assets/access.js";
import { Connection } from "./assets/connection.js";
import { $, put } from "./assets/elements.js";
import { key } from "./assets/key.js";
import { Status } from "./assets/status.js";
import { Answers } from "./answers.js";
import { Refusal, get, post, socketAddress, upload } from "./api.js";
import { Chats } from "./chats.js";
import { Composer } from "./composer.js";
import { Desk } from "./desk.js";
import { clockIn, closing, kinds } from "./format.js";
import { Gallery } from "./gallery.js";
import { closed, isOpen } from "./hours.js";
import { Files, Unsent } from "./messages.js";
import { Pane, single, soon } from "./pane.js";
import { Posts } from "./posts.js";
import * as storage from "./storage.js";
import { NEWEST, PAGE, Thread } from "./thread.js";
import { SUBPROTOCOL, decode, kindOf, named } from "./wire.js";

const CHATS = 30; // asked for at once
const MOST = 100; // messages in an answer
const PREVIEWS = 4; // asked for at the same time
const TICK = 15_000; // ms until the clocks are looked at again, and what did not work is tried again

const access = await Access.begin();
const desk = new Desk();
const redraw = soon(draw);
const TEMPORARY = [401, 503]; // after another login, or later, it can be done
const isLasting = (error) =>
  error.name === "AbortError" || (error instanceof Refusal && !TEMPORARY.includes(error.status));

let current = null; // the id of the chat that is open
let thread = new Thread(); // its messages
let reading = 0; // up to where it has been marked as read
let isFresh = false; // what was missed while there was no connection has been asked for

const answers = new Answers(
  {
    post: ({ chat, text, key: id }) => post(`chats/${chat}/messages`, { text, key: id }),
    changed: redraw,
    sent: said,
    isLasting,
  },
  storage.outbox.read("desk"),
);
const posts = new Posts({
  post: ({ chat, name, kind, id, file }, progressed) =>
    upload(`chats/${chat}/media`, { name, kind, key: id }, file, progressed),
  changed: redraw,
  sent: said,
  isLasting,
});

const pane = new Pane("desk", { client: "Client", desk: "Desk" }, { older: single(older), moved: redraw });
const unsent = new Unsent($("unsent"), { retry: (id) => answers.retry(id), edit, discard: (id) => answers.remove(id) });
const files = new Files($("files-list"), { resume: (id) => posts.resume(id), remove: (id) => posts.remove(id) });
const chats = new Chats($("list"));
const gallery = new Gallery($("gallery"), $("media"), single(older));
const composer = new Composer($("composer"), {
  send,
  files: sendFiles,
  changed: (text) => storage.draft.write(`desk.${current}`, text),
});
const status = new Status($("status"), () => connection.hurry(), access);

const owner = {
  opened: catchUp,
  received,
  closed() {
    isFresh = false;
    redraw();
  },
  idle: look,
  changed(state) {
    const hadFocus = document.activeElement === status.button;
    status.show(state);
    if (hadFocus && status.button.hidden) $("search").focus();
    redraw();
  },
};
const connection = new Connection(socketAddress("console/ws"), SUBPROTOCOL, owner, {
  mayConnect: () => access.mayConnect(),
});

// What comes from the server.

function received(text) {
  let heard;
  try {
    heard = decode(text);
  } catch (error) {
    drop(error);
    return;
  }
  if (heard === null) return;
  if (desk.heard(heard)) newest(); // a chat that is not in the list
  if (heard.type === "message") said(heard.message);
  redraw();
}

/** There is a message. */
function said(message) {
  answers.heard(message);
  desk.preview(message);
  if (message.chat_id === current) thread.add(message);
  redraw();
}

function drop(error) {
  console.warn(error);
  connection.drop();
}

/** A connection is open: everything that happened before is asked for. */
async function catchUp() {
  try {
    await newest();
    isFresh = true;
    connection.progress();
  } catch (error) {
    drop(error);
    return;
  }
  answers.send();
  posts.resume();
  refresh();
}

/** What the server could not do is tried again while there is a connection: its storage was away, say. */
function again() {
  if (!isFresh) return;
  answers.send();
  posts.resume();
  if (thread.isBlank) refresh();
}

/** Nothing has come for a while. If there is something that we should have been told, this connection is dead. */
async function look() {
  const before = new Map([...desk.chats].map(([id, { last_message_at: at }]) => [id, at]));
  try {
    const { items } = await get("chats", { limit: CHATS });
    if (items.some(({ id, last_message_at: at }) => at !== null && at > (before.get(id) ?? 0))) connection.drop();
    else connection.isHeard();
  } catch (error) {
    drop(error);
  }
}

const newest = single(() => load({}, true));

async function more() {
  try {
    await load({ after: desk.next }, false);
  } catch (error) {
    tell(`More chats could not be loaded: ${error.message}.`);
  }
}

async function load(where, isFirst) {
  const { told } = desk;
  const page = await get("chats", { limit: CHATS, ...where });
  preview(desk.listed(page, isFirst, told));
  redraw();
}

/** Ask for the last message of chats. */
function preview(ids) {
  const ask = async () => {
    for (let id; (id = ids.shift()) !== undefined; ) {
      try {
        const { items } = await get("messages", { chat_id: id, before: NEWEST, limit: 1 });
        for (const message of items) desk.preview(message);
      } catch (error) {
        console.warn(error); // the list does without
      }
      redraw();
    }
  };
  for (let count = 0; count < PREVIEWS; count++) ask();
}

async function older() {
  const mine = thread;
  if (!mine.hasOlder) return;
  try {
    mine.older((await get("messages", { chat_id: current, before: mine.low, limit: PAGE })).items);
  } catch (error) {
    console.warn(error);
    return;
  }
  redraw();
}

/** The messages of the chat that is open: the newest at first, and later what was missed. */
const refresh = single(async () => {
  const [mine, chat] = [thread, current];
  if (chat === null) return;
  try {
    if (mine.isBlank) {
      mine.older((await get("messages", { chat_id: chat, before: NEWEST, limit: PAGE })).items);
    } else {
      while (mine.newer((await get("messages", { chat_id: chat, after: mine.high, limit: MOST })).items, MOST));
    }
    if (mine === thread) tell("");
  } catch (error) {
    if (mine === thread && isLasting(error)) tell(`This chat could not be loaded: ${error.message}.`);
    console.warn(error);
  }
  redraw();
});

// What is to be seen.

function draw() {
  const isConnected = connection.state.name === "connected";
  desk.trim(current);
  drawList();
  const chat = desk.chats.get(current);
  document.body.dataset.step = current === null ? "list" : "chat";
  $("conversation").hidden = current === null;
  $("none").hidden = current !== null;
  if (current !== null) {
    if (pane.isAtEnd) thread.trim();
    const waiting = answers.of(current).filter(({ isThere }) => !isThere);
    pane.render(thread, thread.messages, () => unsent.render(waiting, isConnected));
    files.render(posts.of(current), isConnected);
    gallery.render(thread);
    drawAbout(chat);
    if (chat !== undefined) markRead(chat);
  }
  storage.outbox.write("desk", answers.items);
  document.title = desk.unread > 0 ? `(${desk.unread.toLocaleString()}) Desk` : "Desk";
}

function drawList() {
  const found = desk.found($("search").value);
  chats.render(found, current);
  $("more").hidden = desk.next === null;
  const nothing = desk.chats.size === 0 ? "Nobody has written yet." : "No chat that is loaded fits.";
  put($("no-chats"), found.length > 0 || desk.isBlank ? "" : nothing);
  put($("found"), $("search").value.trim() === "" ? "" : `${found.length} found`);
}

function drawAbout(chat) {
  put($("client"), String(chat?.client_id ?? ""));
  const isHere = chat?.connected > 0;
  $("presence").classList.toggle("here", isHere);
  put($("is-here"), isHere ? "is here" : "is away: answers wait for their return");
  const now = Date.now();
  const time = chat && clockIn(chat.timezone, now);
  put($("zone"), chat?.timezone ?? "");
  put($("local"), time ? `${time} there` : "");
  const open = Object.keys(desk.hours).filter((kind) => chat && isOpen(desk.hours[kind], now, chat.timezone));
  const shut = chat ? closed(desk.hours, now, chat.timezone) : [];
  const what = shut.length === 0 ? "everything" : kinds(open);
  put($("open"), open.length > 0 ? `Open for ${what}` : shut.length > 0 ? "Closed" : "");
  $("open").title = shut.map((group) => closing(group, now)).join(" ");
}

/** What is in sight has been read. */
function markRead(chat) {
  const last = thread.last;
  const isSeen = !document.hidden && isFresh && pane.isAtEnd;
  if (!isSeen || last === undefined || chat.unread === 0 || last.id <= reading) return;
  const [id, upto] = [current, last.id];
  reading = upto;
  post(`chats/${id}/read`, { upto }).catch((error) => {
    console.warn(error);
    if (id === current) reading = 0; // at the next occasion
  });
}

function tell(text) {
  put($("notice"), text);
}

// What the reader does.

/** Open the chat that the address names. */
function follow() {
  const id = /^#([1-9][0-9]{0,15})$/.exec(location.hash)?.[1];
  const next = id === undefined ? null : Number(id);
  if (next === current) return;
  const before = current;
  current = next;
  thread = new Thread();
  reading = 0;
  tell("");
  gallery.toggle(false);
  if (current === null) {
    draw();
    $(`chat-${before}`)?.querySelector("a").focus();
    return;
  }
  composer.replace(storage.draft.read(`desk.${current}`));
  draw();
  refresh();
  if (!matchMedia("(pointer: coarse)").matches) composer.content.focus();
}

function send(text) {
  answers.write({ key: key(), chat: current, text });
  pane.toEnd();
  return null;
}

function edit(id) {
  composer.write(answers.remove(id)?.text ?? "");
  composer.content.focus();
}

function sendFiles(list) {
  for (const file of list) {
    posts.add({ id: key(), chat: current, file, name: named(file.name), kind: kindOf(file.type) });
  }
  composer.content.focus();
}

function begin() {
  $("search").addEventListener("input", redraw);
  $("search").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    $("list").querySelector("a")?.focus();
  });
  $("more").addEventListener("click", more);
  $("back").addEventListener("click", () => {
    history.pushState(null, "", location.pathname + location.search);
    follow();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    connection.hurry();
    redraw();
  });
  addEventListener("online", () => connection.hurry());
  addEventListener("hashchange", follow);
  addEventListener("popstate", follow);
  addEventListener("beforeunload", (event) => {
    if (posts.items.length > 0) event.preventDefault(); // texts are kept in this tab
  });
  setInterval(() => {
    again();
    redraw();
  }, TICK);
  connection.connect();
  follow();
  redraw();
}

begin();
