// The client's page: what it knows as elements, what the reader does as calls.

import { Access } from "./assets/access.js";
import { Connection } from "./assets/connection.js";
import { $, put } from "./assets/elements.js";
import { key } from "./assets/key.js";
import { Status } from "./assets/status.js";
import { get, socketAddress } from "./api.js";
import { Composer } from "./composer.js";
import { closing } from "./format.js";
import { closed } from "./hours.js";
import { Files, Unsent } from "./messages.js";
import { Pane, single, soon } from "./pane.js";
import { Recorder } from "./recorder.js";
import * as storage from "./storage.js";
import { Talk } from "./talk.js";
import { NEWEST, PAGE } from "./thread.js";
import { Uploads } from "./uploads.js";
import { SUBPROTOCOL, decode, encodeHello, kindOf, named } from "./wire.js";

const MOST = 100; // messages in an answer
const HASHED = 64 * 1024 * 1024; // bytes; a larger file is not hashed, which would need all of it in memory
const TICK = 15_000; // ms until the hours are looked at again

const access = await Access.begin();
const client = storage.clientId(location.search, access);
const talk = new Talk(client === null ? [] : storage.outbox.read(client));
const { thread } = talk;
const redraw = soon(draw);

let zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
let run = 0; // of the connection
let picked = null; // the upload whose file is to be chosen again

const uploads = new Uploads(
  {
    send: (messages) => connection.send(messages),
    buffered: () => connection.buffered,
    most: () => (document.hidden ? 8 : 0.5) * 1024 * 1024, // a hidden page looks after it only once a second
    read: (file, from, to) => file.slice(from, to).arrayBuffer(),
    hash,
    later: setTimeout.bind(globalThis),
    changed: redraw,
    saved: () => told(),
  },
  client === null ? [] : storage.uploads.read(client),
);

const pane = new Pane("client", { client: "You", desk: "Desk" }, { older: single(older), moved: redraw });
const unsent = new Unsent($("unsent"), { retry, edit, discard });
const files = new Files($("files-list"), {
  pause: (id) => uploads.pause(id),
  resume: (id) => uploads.resume(id),
  remove: (id) => uploads.remove(id),
  again: (id) => uploads.again(id, key()),
  choose,
});
const composer = new Composer($("composer"), {
  send,
  files: sendFiles,
  changed: (text) => storage.draft.write(client, text),
});
const recorder = new Recorder($("recorder"), $("record"), {
  done: (file) => sendFile(file, "voice"),
  complain: (text) => tell(text ?? ""),
});
const status = new Status($("status"), () => connection.hurry(), access);
const others = new BroadcastChannel(`mediachat.${client}`); // this client's other tabs

const owner = {
  opened,
  received,
  closed() {
    run++;
    talk.closed();
    uploads.closed();
    redraw();
  },
  idle: look,
  changed(state) {
    const hadFocus = document.activeElement === status.button;
    status.show(state);
    if (hadFocus && status.button.hidden) composer.content.focus();
    redraw();
  },
};
const connection = new Connection(socketAddress(`ws/${client}`), SUBPROTOCOL, owner, {
  mayConnect: () => access.mayConnect(),
});

// What goes to the server and comes from it.

async function opened() {
  const mine = ++run;
  try {
    if (thread.isBlank) await load();
  } catch (error) {
    if (mine === run) drop(error);
    return;
  }
  if (mine === run) connection.send([encodeHello(zone, talk.heard)]);
}

function received(text) {
  let said;
  try {
    said = decode(text);
  } catch (error) {
    drop(error);
    return;
  }
  if (said?.type === "welcome") {
    connection.progress();
    connection.send(talk.welcomed(said));
    uploads.opened();
    refresh();
  } else if (said?.type === "status") {
    settle(said);
  } else if (said?.type === "message" || said?.type === "media") {
    talk.said(said);
    if (said.type === "media") refresh();
  }
  redraw();
}

function settle(said) {
  if (said.code === "unauthenticated") return; // the close that follows says it again
  if (said.code === "invalid-timezone" && zone !== "UTC") {
    zone = "UTC"; // the server's tables do not have ours: the times of opening are for this one then
    return;
  }
  if (said.status === "discarded") told(); // that it came is recorded
  if (uploads.heard(said)) return;
  if (talk.settled(said, Date.now())) others.postMessage("news");
  else if (said.status === "error") tell(`The server could not do that: ${said.detail ?? said.code}.`);
}

function drop(error) {
  console.warn(error);
  connection.drop();
}

/** Nothing has come for a while: is the connection, of which the server knows, alive? */
async function look() {
  const mine = run;
  try {
    const { items } = await get("chats", { client_id: client, limit: 1 });
    if (mine !== run) return;
    if (items.some(({ connected }) => connected > 0)) connection.isHeard();
    else connection.drop();
  } catch (error) {
    if (mine === run) drop(error);
  }
}

/** The newest messages, before anything is said. */
async function load() {
  const { items } = await get("chats", { client_id: client, limit: 1 });
  let page = [];
  if (items.length > 0) {
    talk.chat = items[0].id;
    page = (await get("messages", { chat_id: talk.chat, before: NEWEST, limit: PAGE })).items;
  }
  thread.older(page);
  talk.loaded(page);
  redraw();
}

async function older() {
  if (!thread.hasOlder) return;
  try {
    thread.older((await get("messages", { chat_id: talk.chat, before: thread.low, limit: PAGE })).items);
  } catch (error) {
    console.warn(error);
    return;
  }
  redraw();
}

/** What the history has that we have not: media, and what another tab wrote. */
const refresh = single(async () => {
  if (talk.chat === null || thread.isBlank) return;
  try {
    while (thread.newer((await get("messages", { chat_id: talk.chat, after: thread.high, limit: MOST })).items, MOST));
  } catch (error) {
    console.warn(error); // it is asked for again at the next occasion
  }
  redraw();
});

function told() {
  refresh();
  others.postMessage("news");
}

// What is to be seen.

function draw() {
  const isConnected = connection.state.name === "connected";
  if (pane.isAtEnd) thread.trim();
  pane.render(thread, talk.shown, () => unsent.render(talk.outbox, isConnected));
  files.render(uploads.items, isConnected);
  storage.outbox.write(client, talk.outbox);
  storage.uploads.write(client, uploads.records);
  drawHours();
  document.title = document.hidden && pane.unseen > 0 ? `(${pane.unseen.toLocaleString()}) Chat` : "Chat";
}

function drawHours() {
  const now = Date.now();
  const groups = closed(talk.hours, now, zone);
  const isClosed = groups.flatMap((group) => group.kinds).length === Object.keys(talk.hours).length;
  put($("closed"), [...(isClosed ? ["Closed now."] : []), ...groups.map((group) => closing(group, now))].join(" "));
}

function tell(text) {
  put($("notice"), text);
}

// What the reader does.

function send(text) {
  if (talk.isFull) return "Too much waits to be sent already. Your text stays here.";
  tell("");
  connection.send(talk.write(text, key(), Date.now()));
  pane.toEnd();
  redraw();
  return null;
}

function retry(id) {
  connection.send(talk.retry(id, key()));
  composer.content.focus();
  redraw();
}

function edit(id) {
  composer.write(talk.remove(id)?.text ?? "");
  composer.content.focus();
  redraw();
}

function discard(id) {
  talk.remove(id);
  composer.content.focus();
  redraw();
}

function sendFiles(list) {
  tell("");
  const item = picked;
  picked = null;
  for (const file of list) {
    if (item === null || isThat(file, item)) sendFile(file, kindOf(file.type), file.lastModified);
    else tell(`That is not the file that was interrupted: ${item.name}.`);
  }
}

const isThat = (file, { name, size, modified }) =>
  named(file.name) === name && file.size === size && file.lastModified === modified;

function sendFile(file, kind, modified = null) {
  uploads.add({ file, name: named(file.name), modified, kind, id: key() });
  composer.content.focus();
}

/** Let the reader pick the file of an upload that was interrupted by a reload. */
function choose(id) {
  picked = uploads.items.find((item) => item.id === id) ?? null;
  $("attach").click();
}

async function hash(file) {
  if (file.size > HASHED || crypto.subtle === undefined) return null;
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function begin() {
  if (client === null) {
    tell(
      access.role === "client"
        ? `Your token is for “${access.subject}”, who is not the client of this address.`
        : "This address names no client: after “client=” belongs a whole number from 1 on.",
    );
    composer.form.inert = true;
    status.element.hidden = access.role === null;
    put(status.words, "");
    return;
  }
  put($("client"), String(client));
  composer.replace(storage.draft.read(client));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    connection.hurry();
    refresh();
    redraw();
  });
  addEventListener("online", () => connection.hurry());
  addEventListener("beforeunload", (event) => {
    if (recorder.isBusy || uploads.holdsRecordings) event.preventDefault();
  });
  others.onmessage = refresh;
  $("files").addEventListener("cancel", () => (picked = null));
  $("attach").addEventListener("click", (event) => {
    if (event.isTrusted) picked = null;
  });
  setInterval(drawHours, TICK);
  connection.connect();
  redraw();
  if (!matchMedia("(pointer: coarse)").matches) composer.content.focus(); // a focus would bring up the keyboard
}

begin();
