// Where one writes: Enter sends, Shift+Enter is a new line; files are picked, dropped on the page or pasted.

import { $ } from "./assets/elements.js";
import { MAX_TEXT, characters, problem } from "./wire.js";

const COUNTED = MAX_TEXT - 1000; // from so many characters on they are counted

export class Composer {
  /** `send(text)` returns what is wrong, or null. `files(list)` were chosen; `changed(text)`: something was typed. */
  constructor(form, { send, files, changed }) {
    this.form = form;
    this.content = form.elements.content;
    this.problem = $("problem");
    this.count = form.querySelector("output");
    this.#send = send;
    this.#changed = changed;
    form.addEventListener("submit", (event) => this.#submit(event));
    this.content.addEventListener("input", () => this.#edited());
    this.content.addEventListener("keydown", (event) => {
      const composes = event.isComposing || event.keyCode === 229; // an input method takes this Enter
      if (event.key === "Enter" && !event.shiftKey && !composes) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    this.#picks(files);
    this.#drops(files);
  }

  #send;
  #changed;

  /** Put a text there, before what there is. */
  write(text) {
    const there = this.content.value;
    this.content.value = text && there ? `${text}\n${there}` : text + there;
    this.#edited();
  }

  replace(text) {
    this.content.value = text;
    this.#edited();
  }

  complain(text) {
    this.problem.textContent = text ?? "";
    if (text === null) this.content.removeAttribute("aria-invalid");
    else this.content.setAttribute("aria-invalid", "true");
    if (text !== null) this.content.focus();
  }

  #edited() {
    const length = characters(this.content.value);
    this.count.textContent = length < COUNTED ? "" : `${length.toLocaleString()} / ${MAX_TEXT.toLocaleString()}`;
    this.count.classList.toggle("over", length > MAX_TEXT);
    if (this.problem.textContent !== "") this.complain(null);
    this.#changed(this.content.value);
  }

  #submit(event) {
    event.preventDefault();
    const text = this.content.value;
    this.content.focus();
    if (text.trim() === "") return;
    const wrong = problem(text) ?? this.#send(text);
    this.complain(wrong);
    if (wrong === null) this.replace("");
  }

  #picks(files) {
    const input = this.form.elements.files;
    $("attach").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      const picked = [...input.files];
      input.value = "";
      if (picked.length > 0) files(picked);
    });
    this.content.addEventListener("paste", (event) => {
      const pasted = [...event.clipboardData.files];
      if (pasted.length === 0) return;
      event.preventDefault();
      files(pasted);
    });
  }

  #drops(files) {
    const hint = $("drop");
    const brings = (event) => event.dataTransfer?.types.includes("Files") && !this.form.closest("[hidden]");
    addEventListener("dragover", (event) => {
      if (!brings(event)) return;
      event.preventDefault();
      hint.hidden = false;
    });
    addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) hint.hidden = true;
    });
    addEventListener("drop", (event) => {
      hint.hidden = true;
      if (!brings(event)) return;
      event.preventDefault();
      const dropped = [...event.dataTransfer.files];
      if (dropped.length > 0) files(dropped);
    });
  }
}
