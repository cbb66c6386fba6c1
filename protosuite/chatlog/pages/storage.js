// What this browser remembers. It may refuse to: then nothing is remembered, and all else works.

import { attempt } from "./assets/attempt.js";

const OUTBOX = "chatlog.outbox.";

export const author = {
  read: () => attempt(() => localStorage.getItem("chatlog.author"), null) ?? "",
  write: (name) => attempt(() => localStorage.setItem("chatlog.author", name)),
};

/** What a room has not acknowledged yet; it outlives a reload of this tab. */
export const outbox = {
  read: (room) => attempt(() => JSON.parse(sessionStorage.getItem(OUTBOX + room)), null) ?? [],
  write: (room, items) =>
    attempt(() => {
      if (items.length === 0) sessionStorage.removeItem(OUTBOX + room);
      else sessionStorage.setItem(OUTBOX + room, JSON.stringify(items));
    }),
  /** The rooms that have something waiting. */
  rooms: () =>
    attempt(() => Object.keys(sessionStorage), [])
      .filter((name) => name.startsWith(OUTBOX))
      .map((name) => name.slice(OUTBOX.length)),
};

/** A text that is being written, a room. */
export const draft = {
  read: (room) => attempt(() => sessionStorage.getItem(`chatlog.draft.${room}`), null) ?? "",
  write: (room, text) => attempt(() => sessionStorage.setItem(`chatlog.draft.${room}`, text)),
};
