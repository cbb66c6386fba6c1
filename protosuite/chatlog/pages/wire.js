// The messages of chatlog.v1: text to values and back. Pure.

export const SUBPROTOCOL = "chatlog.v1";
export const MAX_AUTHOR = 64; // characters; as in the protocol these are code points
export const MAX_CONTENT = 16_384;
const MAX_MESSAGE = 64 * 1024; // bytes: what the server takes unless it was told otherwise

const CONTROL = /\p{Cc}|\p{Cs}/u; // and half a surrogate pair
const utf8 = new TextEncoder();

export const characters = (text) => {
  let count = 0;
  for (const _ of text) count++;
  return count;
};

/** The bytes of a ClientAppend, near enough: what it has beside author, content and key is small. */
export const size = ({ author, content, key }) =>
  utf8.encode(JSON.stringify({ author, content, key })).length + 64;

export const encodeAppend = (seq, { author, content, key }) =>
  JSON.stringify({ type: "ClientAppend", seq, author, content, key });

export const encodeUpdate = (n, upto) => JSON.stringify({ type: "ClientUpdate", n, upto });

/** Whether a room can have this name. The server allows `.` and `..` too, which no browser can ask for. */
export const isRoom = (name) => /^[A-Za-z0-9._-]{1,64}$/.test(name) && name !== "." && name !== "..";

/** What is wrong with what somebody wrote, as `{field, text}`; null if it may be sent. */
export function problem(author, content) {
  const name = characters(author);
  const length = characters(content);
  if (name === 0) return { field: "author", text: "Who writes this? Please fill in a name." };
  if (name > MAX_AUTHOR) {
    return { field: "author", text: `A name has at most ${MAX_AUTHOR} characters; this one has ${name}.` };
  }
  if (CONTROL.test(author)) return { field: "author", text: "There is a control character in this name." };
  if (length > MAX_CONTENT) {
    const over = (length - MAX_CONTENT).toLocaleString();
    const most = MAX_CONTENT.toLocaleString();
    return { field: "content", text: `This is too long by ${over}: a message has at most ${most} characters.` };
  }
  if (CONTROL.test(content.replace(/[\t\n]/g, ""))) {
    return { field: "content", text: "There is a control character in this, which no message may have." };
  }
  if (size({ author, content, key: "" }) > MAX_MESSAGE) {
    return { field: "content", text: "This is too long: its characters take up more than 64 KiB." };
  }
  return null;
}

/** The message in `text`; null for a kind that we do not know. Throws if it makes no sense. */
export function decode(text) {
  const message = JSON.parse(text);
  const check = CHECKS[message?.type];
  if (check === undefined) return null;
  if (!check(message)) throw new TypeError(`not a ${message.type}: ${text.slice(0, 200)}`);
  return message;
}

const isText = (value) => typeof value === "string";
const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
const isEntry = (value) =>
  isCount(value?.slot) &&
  value.slot > 0 &&
  Number.isSafeInteger(value.at) &&
  [value.author, value.content, value.hash].every(isText);
const isRun = (entries) => entries.every((entry, index) => entry.slot === entries[0].slot + index);

const CHECKS = {
  __proto__: null,
  ServerAck: ({ entry }) => isEntry(entry),
  ServerReply: ({ entries, latest, first, epoch }) =>
    Array.isArray(entries) &&
    entries.every(isEntry) &&
    isRun(entries) &&
    isCount(latest) &&
    isCount(first) &&
    isText(epoch),
  Error: ({ code, message }) => isText(code) && isText(message),
};
