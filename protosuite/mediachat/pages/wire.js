// The messages of mediachat.v1 as a page has them: text to values and back. Pure.

export const SUBPROTOCOL = "mediachat.v1";
export const MAX_TEXT = 16_384; // characters; as in the protocol these are code points
export const MAX_NAME = 255;
export const KINDS = ["text", "voice", "image", "video", "file"];

const CONTROL = /\p{Cc}|\p{Cs}/u; // and half a surrogate pair
const CONTROLS = /\p{Cc}|\p{Cs}/gu;

// What the server gives with its type; everything else is a download.
const IMAGES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"]);
const SOUNDS = new Set(
  ["mpeg", "ogg", "wav", "wave", "flac", "mp4", "aac", "webm"].map((name) => `audio/${name}`),
);
const FILMS = new Set(["video/webm", "video/mp4", "video/ogg", "video/quicktime"]);

export const characters = (text) => {
  let count = 0;
  for (const _ of text) count++;
  return count;
};

/** The hours by kind, as text, in our order. */
export const hoursOf = ({ hours }) =>
  Object.fromEntries(KINDS.filter((kind) => kind in hours).map((kind) => [kind, hours[kind].hours]));

/** What is wrong with a text, for a person; null if it may be sent. */
export function problem(text) {
  const over = characters(text) - MAX_TEXT;
  if (over > 0) {
    const most = MAX_TEXT.toLocaleString();
    return `This is too long by ${over.toLocaleString()}: a message has at most ${most} characters.`;
  }
  if (CONTROL.test(text.replace(/[\t\n]/g, ""))) {
    return "There is a control character in this, which no message may have.";
  }
  return null;
}

/** A file's name as a message may have it. */
export const named = (name) => Array.from(name.replace(CONTROLS, "_")).slice(-MAX_NAME).join("") || "file";

/** The kind of message that a picked file makes. */
export const kindOf = (type) => (/^(image|video)\//.exec(type) ?? [null, "file"])[1];

/** How a message is shown: `image`, `audio`, `video`, or as a `download`. */
export function view({ kind, type }) {
  if (IMAGES.has(type)) return "image";
  if (SOUNDS.has(type) || (kind === "voice" && FILMS.has(type))) return "audio";
  return FILMS.has(type) ? "video" : "download";
}

export const encodeHello = (timezone, after) => JSON.stringify({ timezone, after, media: "link" });

export const encodeText = ({ text, key }) => JSON.stringify({ type: "text", text, key });

/** The binary frame that begins a media message. */
export const encodeHead = ({ name, size, kind, sha256, upload }) =>
  new TextEncoder().encode(JSON.stringify({ name, size, kind, upload, ...(sha256 && { sha256 }) }));

export const CANCEL = '{"type":"cancel"}';

/** What the server said; null for a kind that we do not know. Throws if it makes no sense. */
export function decode(text) {
  const said = JSON.parse(text);
  const check = CHECKS[said?.type];
  if (check === undefined) return null;
  if (!check(said)) throw new TypeError(`not a ${said.type}: ${text.slice(0, 200)}`);
  return said;
}

const isText = (value) => typeof value === "string";
const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
const isMaybe = (check) => (value) => value === undefined || value === null || check(value);
const isObject = (value) => typeof value === "object" && value !== null;

const isChat = (value) =>
  isObject(value) && [value.id, value.client_id, value.unread].every(isCount) && isText(value.timezone);

const isMessage = (value) =>
  isObject(value) &&
  [value.id, value.chat_id, value.at].every(isCount) &&
  ["client", "desk"].includes(value.from) &&
  [value.kind, value.status].every(isText) &&
  [value.text, value.name, value.type, value.url].every(isMaybe(isText)) &&
  isMaybe(isCount)(value.size);

const isHours = (value) => isObject(value) && Object.values(value).every((each) => isText(each?.hours));

const CHECKS = {
  __proto__: null,
  welcome: ({ chat, hours }) => isMaybe(isCount)(chat) && isHours(hours),
  status: ({ status, message, offset, code, detail, next_open_at, key, upload }) =>
    isText(status) &&
    [message, offset, next_open_at].every(isMaybe(isCount)) &&
    [code, detail, key, upload].every(isMaybe(isText)),
  // To a client these are what the desk says; to a console, what anybody says.
  message: ({ message, id, text, at }) =>
    message === undefined ? isCount(id) && isText(text) && isCount(at) : isMessage(message),
  media: ({ id, name, kind, size, at }) => [id, size, at].every(isCount) && [name, kind].every(isText),
  chat: ({ chat, connected }) => isChat(chat) && isCount(connected),
  presence: ({ chat, connected }) => isCount(chat) && isCount(connected),
};
