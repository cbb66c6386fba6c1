// A voice message: recorded, listened to, and then sent or discarded.

import { $, put } from "./assets/elements.js";
import { length } from "./format.js";
import { withDuration } from "./webm.js";

const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"]; // the first that the browser has
const SUFFIXES = { "audio/webm": "webm", "audio/mp4": "m4a", "audio/ogg": "ogg" };

export class Recorder {
  #recorder = null;
  #begun = 0;
  #ticking = null;
  #file = null;
  #isAsking = false; // for the microphone

  /** `done(file)` is called with what is to be sent, `complain(text)` with what is wrong. */
  constructor(panel, button, { done, complain }) {
    this.panel = panel;
    this.button = button;
    this.words = panel.querySelector("[role=status]");
    this.time = panel.querySelector(".time");
    this.player = panel.querySelector("audio");
    this.#done = done;
    this.#complain = complain;
    button.addEventListener("click", () => this.#start());
    const acts = { stop: () => this.#stop(), send: () => this.#send(), discard: () => this.#discard() };
    panel.addEventListener("click", ({ target }) => acts[target.dataset.act]?.());
  }

  #done;
  #complain;

  /** Something would be lost if the page were closed. */
  get isBusy() {
    return this.#recorder !== null || this.#file !== null;
  }

  async #start() {
    if (this.isBusy || this.#isAsking) return;
    this.#complain(null);
    this.#isAsking = true;
    let stream = null;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      this.#recorder = this.#record(stream);
    } catch (error) {
      if (stream !== null) hush(stream);
      this.#complain(trouble(error));
      return;
    } finally {
      this.#isAsking = false;
    }
    this.#begun = performance.now();
    this.#show("Recording…", ["stop", "discard"]);
    this.#ticking = setInterval(() => this.#tick(), 200);
    this.#tick();
  }

  #record(stream) {
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const recorder = new MediaRecorder(stream, mimeType === undefined ? {} : { mimeType });
    const pieces = [];
    recorder.ondataavailable = ({ data }) => pieces.push(data);
    recorder.onstop = () => this.#stopped(recorder, stream, pieces);
    recorder.start(1000);
    return recorder;
  }

  #tick() {
    put(this.time, length((performance.now() - this.#begun) / 1000));
  }

  #stop() {
    clearInterval(this.#ticking);
    this.#recorder?.stop();
  }

  async #stopped(recorder, stream, pieces) {
    const lasted = performance.now() - this.#begun;
    hush(stream);
    const type = recorder.mimeType.split(";")[0];
    const blob = await withDuration(new Blob(pieces, { type }), lasted);
    if (this.#recorder !== recorder) return; // discarded
    const at = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000).toISOString();
    const name = `voice-${at.slice(0, 10)}-${at.slice(11, 19).replaceAll(":", "")}.${SUFFIXES[type] ?? "bin"}`;
    this.#recorder = null;
    this.#file = new File([blob], name, { type });
    this.player.src = URL.createObjectURL(this.#file);
    put(this.time, length(lasted / 1000));
    this.#show("Recorded", ["send", "discard"]);
  }

  #send() {
    const file = this.#file;
    this.#clear();
    this.#done(file);
  }

  #discard() {
    const recorder = this.#recorder;
    this.#recorder = null;
    recorder?.stop();
    this.#clear();
  }

  #clear() {
    clearInterval(this.#ticking);
    this.#file = null;
    if (this.player.src !== "") URL.revokeObjectURL(this.player.src);
    this.player.removeAttribute("src");
    this.player.load();
    this.panel.hidden = true;
    this.button.disabled = false;
    $("content").focus();
  }

  #show(words, acts) {
    this.panel.hidden = false;
    this.panel.dataset.state = this.#file === null ? "recording" : "recorded";
    this.button.disabled = true;
    this.player.hidden = this.#file === null;
    put(this.words, words);
    for (const button of this.panel.querySelectorAll("[data-act]")) button.hidden = !acts.includes(button.dataset.act);
    this.panel.querySelector(`[data-act=${acts[0]}]`).focus();
  }
}

/** Let the microphone go. */
function hush(stream) {
  for (const track of stream.getTracks()) track.stop();
}

function trouble(error) {
  if (navigator.mediaDevices === undefined) {
    return "The browser lets a page use the microphone only over https, or on this machine.";
  }
  switch (error.name) {
    case "NotFoundError":
      return "No microphone was found.";
    case "NotAllowedError":
      return "This page may not use the microphone: the browser's settings for it say so.";
    default:
      return "The microphone cannot be used now; another program may have it.";
  }
}
