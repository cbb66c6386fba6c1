// Opening hours by the clock of a time zone, as the server has them: both ends included by the minute. Pure.

const MINUTE = 60_000;
const DAY = 24 * 60;
const FURTHEST = 3 * DAY; // a day on which the clock leaves out all of the hours has none

/** Ranges of minutes of the day; null for what we do not understand. */
export function parse(text) {
  if (text === "always") return [[0, DAY - 1]];
  if (text === "never") return [];
  const ranges = text.split(",").map((part) => /^\s*(\d\d):(\d\d)-(\d\d):(\d\d)\s*$/.exec(part)?.slice(1).map(Number));
  if (ranges.includes(undefined)) return null;
  return ranges.map(([hour, minute, lastHour, lastMinute]) => [hour * 60 + minute, lastHour * 60 + lastMinute]);
}

const formats = new Map();

/** What the clock shows in a zone, in minutes of the day; null for a zone that this browser does not know. */
export function minuteOfDay(at, zone) {
  try {
    if (!formats.has(zone)) {
      const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone };
      formats.set(zone, new Intl.DateTimeFormat("en-GB", options));
    }
    const [hour, minute] = formats.get(zone).format(at).split(":").map(Number);
    return hour * 60 + minute;
  } catch {
    return null;
  }
}

const has = (ranges, minute) =>
  ranges.some(([first, last]) =>
    first <= last ? first <= minute && minute <= last : minute >= first || minute <= last,
  );

/** Whether it is open at a time; null if we cannot tell. */
export function isOpen(hours, at, zone) {
  const ranges = parse(hours);
  const minute = minuteOfDay(at, zone);
  return ranges === null || minute === null ? null : has(ranges, minute);
}

/** The first time from `at` on when it is open, in milliseconds; null if that is never, or not known. */
export function nextOpen(hours, at, zone) {
  const ranges = parse(hours);
  if (ranges === null || ranges.length === 0) return null;
  for (let moment = at, count = 0; count < FURTHEST; count++) {
    const minute = minuteOfDay(moment, zone);
    if (minute === null) return null;
    if (has(ranges, minute)) return moment;
    moment = Math.floor(moment / MINUTE + 1) * MINUTE;
  }
  return null;
}

/** The kinds that are closed at a time, those that open together in one: `{kinds, at}`, the soonest first. */
export function closed(hours, at, zone) {
  const found = new Map();
  for (const [kind, text] of Object.entries(hours)) {
    if (isOpen(text, at, zone) !== false) continue;
    const opening = nextOpen(text, at, zone);
    found.set(opening, [...(found.get(opening) ?? []), kind]);
  }
  const groups = Array.from(found, ([opening, kinds]) => ({ kinds, at: opening }));
  return groups.sort((a, b) => (a.at ?? Infinity) - (b.at ?? Infinity));
}
