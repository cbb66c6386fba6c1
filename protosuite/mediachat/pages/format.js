// Sizes, times and kinds in words. Pure.

const UNITS = ["bytes", "KB", "MB", "GB", "TB"];
const LAST_DATE = 8.64e15; // ms: the last moment that a Date can be

const NAMES = { text: "texts", voice: "voice messages", image: "pictures", video: "videos", file: "files" };
export const SINGLE = { text: "text", voice: "voice message", image: "picture", video: "video", file: "file" };

export function size(bytes) {
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 || value >= 10 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** `0:07`, `12:34`. */
export const length = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

export const list = (words) => new Intl.ListFormat("en", { type: "conjunction" }).format(words);

/** `texts and files`. */
export const kinds = (names) => list(names.map((name) => NAMES[name] ?? name));

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const clamp = (at) => Math.max(-LAST_DATE, Math.min(LAST_DATE, at));
const format = (options) => {
  const made = new Intl.DateTimeFormat(undefined, options);
  return (at) => made.format(clamp(at));
};

export const clock = format({ timeStyle: "short" });
export const day = format({ dateStyle: "full" });
export const full = format({ dateStyle: "long", timeStyle: "medium" });
const dated = format({ weekday: "long", day: "numeric", month: "long" });

export const iso = (at) => new Date(clamp(at)).toISOString();

/** `today at 14:00`, in the reader's own zone. */
export function when(at, now) {
  const tomorrow = new Date(now);
  tomorrow.setDate(tomorrow.getDate() + 1);
  if (day(at) === day(now)) return `today at ${clock(at)}`;
  if (day(at) === day(tomorrow)) return `tomorrow at ${clock(at)}`;
  return `on ${dated(at)} at ${clock(at)}`;
}

const short = format({ day: "numeric", month: "short" });

/** For a list: the time today, the date before. */
export const brief = (at, now) => (day(at) === day(now) ? clock(at) : short(at));

/** What the clock shows somewhere else, or null if this browser does not know that zone. */
export function clockIn(zone, at) {
  try {
    const options = { weekday: "short", hour: "2-digit", minute: "2-digit", timeZone: zone };
    return new Intl.DateTimeFormat(undefined, options).format(at);
  } catch {
    return null;
  }
}

/** What is closed, and until when, as a sentence: one for each group that `closed` of hours.js returns. */
export const closing = ({ kinds: names, at }, now) =>
  `${capital(kinds(names))} are ${at === null ? "not taken" : `taken again ${when(at, now)}`}.`;
