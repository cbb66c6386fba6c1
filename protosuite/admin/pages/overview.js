// What each service shows of itself below its charts.

import { put } from "./assets/elements.js";
import { count, described, digits, span } from "./format.js";

const make = (name, text, className) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};

/** Terms and what they are: `[["Streams", "3"], …]`. A third says that it is nothing good. */
function terms(pairs) {
  const list = make("dl");
  for (const [term, text, isBad] of pairs) {
    const item = make("div", undefined, isBad ? "bad" : "");
    item.append(make("dt", term), make("dd", text));
    list.append(item);
  }
  return list;
}

/** A table; cells are texts or elements. */
function table(caption, heads, rows) {
  const element = make("table");
  element.append(make("caption", caption, "hidden"));
  const head = make("tr");
  for (const text of heads) {
    const cell = make("th", text);
    cell.scope = "col";
    head.append(cell);
  }
  const body = make("tbody");
  for (const row of rows) {
    const line = make("tr");
    for (const cell of row) {
      const place = make("td");
      if (typeof cell === "string") place.append(make("bdi", cell));
      else place.append(cell);
      line.append(place);
    }
    body.append(line);
  }
  const top = make("thead");
  top.append(head);
  element.append(top, body);
  return element;
}

function bar(value, most, label) {
  const element = make("progress");
  element.max = Math.max(1, most);
  element.value = value;
  element.setAttribute("aria-label", label);
  const place = make("span", undefined, "bar");
  place.append(element, make("span", `${count(value)} of ${count(most)}`));
  return place;
}

const more = (all, shown) => (all > shown ? [make("p", `and ${count(all - shown)} more`, "more")] : []);

const SHOWN = {
  numbers({ streams, shown }) {
    const rows = shown.map(({ client, next, count: all }) => [client, bar(next, all, `Stream of ${client}`)]);
    const list = rows.length ? [table("Streams", ["Client", "Sent"], rows), ...more(streams, rows.length)] : [];
    return [terms([["Streams", count(streams)]]), ...list];
  },

  counter({ value, unstored, storing_fails: fails }) {
    const big = make("p", undefined, "value");
    big.append(make("span", "Value ", "hidden"), make("span", digits(value)));
    const stored = fails ? "cannot be stored" : `${digits(unstored)} not stored yet`;
    return [big, make("p", stored, fails ? "problem" : "soft")];
  },

  bus({ published, dropped, publishers_waiting: waiting, durables, shown }) {
    const rows = shown.map(({ name, pattern, owed, limit, consumers }) => [
      name,
      pattern,
      count(consumers),
      bar(owed, limit, `Owed to ${name}`),
    ]);
    const figures = [
      ["Published", count(published)],
      ["Dropped", count(dropped), dropped > 0],
      ["Publishers waiting", count(waiting), waiting > 0],
      ["Durable", count(durables)],
    ];
    const heads = ["Durable", "Pattern", "Consumers", "Owed"];
    const list = rows.length ? [table("Durable subscriptions", heads, rows), ...more(durables, rows.length)] : [];
    return [terms(figures), ...list];
  },

  chatlog({ rooms, shown }) {
    const rows = shown.map(({ room, latest, members, waiting }) => [
      room,
      latest === null ? "…" : latest.toLocaleString("en"),
      count(members),
      count(waiting),
    ]);
    const list = rows.length
      ? [table("Rooms", ["Room", "Head", "Members", "Waiting"], rows), ...more(rooms, rows.length)]
      : [];
    return [terms([["Open rooms", count(rooms)]]), ...list];
  },

  mediachat({ clients, desks, uploads, awaiting, shown }, now) {
    const rows = shown.map(({ client, unread, since, connected }) => [
      `Client ${client}`,
      count(unread),
      span(now - since),
      connected ? "here" : "away",
    ]);
    const figures = [
      ["Clients", count(clients)],
      ["Consoles", count(desks), clients > 0 && desks === 0],
      ["Uploads", count(uploads)],
      ["Awaiting an answer", awaiting === null ? "–" : count(awaiting), awaiting > 0],
    ];
    const heads = ["Chat", "Unread", "For", "Client is"];
    const list = rows.length
      ? [table("Chats awaiting an answer", heads, rows), ...more(awaiting ?? 0, rows.length)]
      : [];
    return [terms(figures), ...list];
  },

  admin(_, now, { checks }) {
    const list = make("ul", undefined, "checks");
    for (const [name, { ok, detail }] of Object.entries(checks)) {
      const item = make("li", undefined, ok ? "ok" : "bad");
      item.append(make("b", name), ok ? " in order" : ` ${detail}`);
      list.append(item);
    }
    return [list];
  },
};

/** Have `element` contain just these, unless it does: what stays the same keeps its place for whoever reads it. */
function fill(element, children) {
  const there = [...element.childNodes];
  const isSame = there.length === children.length && children.every((child, place) => child.isEqualNode(there[place]));
  if (!isSame) element.replaceChildren(...children);
}

/** Show in `element` what `service` says of itself. */
export function show(element, name, service, state) {
  const known = SHOWN[name]?.(service.overview, state.now, state);
  fill(element, known ?? [terms(described(service.overview))]);
}

/** Show the nodes in a section with a table, by name; null: nobody can tell. A suite alone has nothing to show. */
export function showNodes(section, nodes, own) {
  const all = Object.entries(nodes ?? {});
  section.hidden = nodes !== null && all.length < 2;
  section.querySelector(".none").hidden = nodes !== null;
  section.querySelector(".scroll").hidden = nodes === null;
  const rows = all.sort(([, a], [, b]) => (a < b ? -1 : 1)).map(([name, place]) => {
    const at = place.lastIndexOf(" ");
    const row = make("tr");
    for (const text of [place.slice(0, at), place.slice(at + 1), name === own ? `${name} (this one)` : name]) {
      const cell = make("td");
      cell.append(make("bdi", text));
      row.append(cell);
    }
    return row;
  });
  fill(section.querySelector("tbody"), rows);
}

/** Show the refusals in a section with a table. */
export function showRefusals(section, refusals, clock) {
  section.querySelector(".none").hidden = refusals.length > 0;
  section.querySelector(".scroll").hidden = refusals.length === 0;
  const rows = refusals.map(({ at, service, peer, code, reason }) => {
    const row = make("tr");
    const time = make("time", clock(at));
    const when = make("td");
    when.append(time);
    row.append(when, make("td", service));
    for (const text of [code, peer, reason]) {
      const cell = make("td");
      cell.append(make("bdi", text));
      row.append(cell);
    }
    return row;
  });
  fill(section.querySelector("tbody"), rows);
}

/** What is wrong, for everybody to hear. */
export function showTrouble(element, checks) {
  const wrong = Object.entries(checks).filter(([, { ok }]) => !ok);
  put(element, wrong.map(([name, { detail }]) => `${name}: ${detail}`).join(" · "));
}
