// What this browser remembers: who the client is, and, in a tab, what has not been sent.

import { attempt } from "./assets/attempt.js";

const CLIENT = "mediachat.client";
const MAX_ID = Number.MAX_SAFE_INTEGER;

const isId = (id) => Number.isSafeInteger(id) && id > 0;

/** A client that nobody else is: 52 bits at random. */
const drawn = () => {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high % 2 ** 20) * 2 ** 32 + low || 1;
};

const parsed = (text) => (/^[1-9][0-9]{0,15}$/.test(text) && Number(text) <= MAX_ID ? Number(text) : null);

/** The client that the address names, or that this browser is; `null` if the address makes no sense.
 *
 * Somebody with the token of a client is that one, whom the address may name but need not.
 */
export function clientId(search, { role, subject }) {
  const named = new URLSearchParams(search).get("client");
  if (role === "client") return named === null || named === subject ? parsed(subject) : null;
  if (named !== null) return parsed(named);
  const there = attempt(() => Number(localStorage.getItem(CLIENT)), 0);
  if (isId(there)) return there;
  const id = drawn();
  attempt(() => localStorage.setItem(CLIENT, id));
  return id;
}

const kept = (name, otherwise) => ({
  read: (id) => attempt(() => JSON.parse(sessionStorage.getItem(`mediachat.${name}.${id}`)), null) ?? otherwise,
  write: (id, value) =>
    attempt(() => {
      if (value.length === 0) sessionStorage.removeItem(`mediachat.${name}.${id}`);
      else sessionStorage.setItem(`mediachat.${name}.${id}`, JSON.stringify(value));
    }),
});

/** Texts without an answer. */
export const outbox = kept("outbox", []);

/** What is known of uploads that have not ended. */
export const uploads = kept("uploads", []);

/** A text that is being written. */
export const draft = kept("draft", "");
