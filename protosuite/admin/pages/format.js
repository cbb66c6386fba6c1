// Figures as people read them: three digits and a unit.

const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const rough = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export const count = (value) => (Math.abs(value) < 1000 ? plain.format(value) : compact.format(value));

// It is counted over a second or so: a third digit would mean nothing.
export const rate = (value) => `${value < 100 ? rough.format(value) : count(value)}/s`;

export const share = (value) => `${plain.format(value * 100)} %`;

/** Seconds: a time that something took. */
export function seconds(value) {
  if (value >= 1) return `${plain.format(value)} s`;
  return `${plain.format(value * 1000)} ms`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${plain.format(value)} ${units[unit]}`;
}

/** A whole number that may be larger than JavaScript's: digits in groups of three. */
export const digits = (text) => text.replace(/\B(?=(\d{3})+$)/g, "\u202f");

/** How long ago something was, or for how long it has gone on. */
export function span(milliseconds) {
  const total = Math.max(0, Math.floor(milliseconds / 1000));
  const parts = [
    [Math.floor(total / 86400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "min"],
    [total % 60, "s"],
  ];
  const first = parts.findIndex(([number]) => number > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([number]) => number > 0)
    .map(([number, unit]) => `${number} ${unit}`)
    .join(" ");
}

/** What a service that the page does not know says of itself, as terms and texts. */
export function described(overview) {
  const text = (value) => {
    if (typeof value === "number") return count(value);
    if (Array.isArray(value)) return value.map(text).join(", ") || "none";
    if (value === null || typeof value === "object") return "–";
    return String(value);
  };
  const name = (key) => key.charAt(0).toUpperCase() + key.slice(1).replaceAll("_", " ");
  return Object.entries(overview).map(([key, value]) => [name(key), text(value)]);
}

export const clock = (milliseconds) =>
  new Date(milliseconds).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
