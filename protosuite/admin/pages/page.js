// The dashboard: asks the server each second, and draws what it says.

import { Access } from "./assets/access.js";
import { $, clone, put } from "./assets/elements.js";
import { Status } from "./assets/status.js";
import { Chart } from "./chart.js";
import * as format from "./format.js";
import { History } from "./history.js";
import { show, showNodes, showRefusals, showTrouble } from "./overview.js";
import { Poll } from "./poll.js";

const SPANS = { fine: "last 5 minutes", coarse: "last hour" };
const ORDER = ["numbers", "counter", "bus", "chatlog", "mediachat", "admin"];
// Those that do not come with the suite are behind the others.
const place = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
const PROCESS = [
  ["lag", "Reactor late by", format.seconds, "time"],
  ["commit", "Slowest commit", format.seconds, "time"],
  ["cpu", "Processor", format.share, "busy"],
  ["memory", "Memory", format.bytes, "busy"],
];
const SERVICE = [
  ["rate", "Messages", format.rate, "rate"],
  ["slowest", "Slowest storing", format.seconds, "time"],
  ["connections", "Connections", format.count, "busy"],
  ["refusals", "Refused", format.rate, "errors"],
];

class Page {
  #history = new History();
  #charts = new Map(); // by the name of what they show
  #cards = new Map(); // by service
  #span = "fine";

  constructor() {
    this.#addCharts($("process"), "suite", PROCESS);
    for (const input of document.querySelectorAll("#span input")) {
      input.addEventListener("change", () => this.#choose(input.value));
    }
    this.#span = document.querySelector("#span input:checked").value;
  }

  async ask(signal) {
    const { started, count } = this.#history;
    const response = await fetch(`live?started=${started}&after=${count}`, { cache: "no-store", signal });
    if (!response.ok) throw Object.assign(new Error(response.statusText), { status: response.status });
    return response.json();
  }

  received(state) {
    this.#history.take(state);
    this.#about(state);
    for (const name of Object.keys(state.services).sort((a, b) => place(a) - place(b))) {
      const service = state.services[name];
      const card = this.#cards.get(name) ?? this.#addCard(name);
      put(card.querySelector(".listens"), service.listens);
      show(card.querySelector(".overview"), name, service, state);
    }
    showNodes($("nodes"), state.nodes, state.node);
    showRefusals($("refusals"), state.recent_refusals, format.clock);
    this.#draw();
  }

  changed(state) {
    document.body.dataset.connection = state.name;
    status.show(state);
  }

  #about({ version, uptime_seconds: uptime, ready, checks }) {
    const mark = $("ready");
    mark.hidden = false;
    mark.dataset.ready = ready;
    put(mark.querySelector(".words"), ready ? "Ready" : "Not ready");
    put($("about"), `${version}, up ${format.span(uptime * 1000)}`);
    showTrouble($("trouble"), checks);
    document.title = ready ? "protosuite" : "Not ready – protosuite";
  }

  #addCard(name) {
    const card = clone("service");
    const title = card.querySelector("h2");
    title.textContent = name;
    title.id = `service-${name}`;
    card.setAttribute("aria-labelledby", title.id);
    card.dataset.service = name;
    const kinds = name === "admin" ? SERVICE.filter(([key]) => key !== "slowest") : SERVICE; // it stores nothing
    this.#addCharts(card.querySelector(".charts"), name, kinds);
    this.#cards.set(name, card);
    $("services").append(card);
    return card;
  }

  #addCharts(place, name, kinds) {
    for (const [key, what, text, kind] of kinds) {
      const chart = new Chart(what, text, kind);
      this.#charts.set(`${name}.${key}`, chart);
      place.append(chart.element);
    }
  }

  #choose(span) {
    this.#span = span;
    this.#draw();
  }

  #draw() {
    for (const [name, chart] of this.#charts) {
      const now = this.#history.values("fine", name).at(-1) ?? null;
      chart.draw(this.#history.values(this.#span, name), now, History.room(this.#span), SPANS[this.#span]);
    }
  }
}

const access = await Access.begin();
const page = new Page();
const poll = new Poll((signal) => page.ask(signal), page);
const status = new Status($("status"), () => poll.now(), access);
poll.now();
