// Where one writes: Enter sends, Shift+Enter is a new line, and what is wrong stands beside it.

import { MAX_CONTENT, characters, problem } from "./wire.js";

export class Composer {
  /** `send(author, content)` returns what is wrong, or null. `changed(author, content)` is called for every change. */
  constructor(form, { send, changed }) {
    this.form = form;
    this.author = form.elements.author;
    this.content = form.elements.content;
    this.problem = form.querySelector("[role=alert]");
    this.count = form.querySelector("output");
    this.#send = send;
    this.#changed = changed;
    form.addEventListener("submit", (event) => this.#submit(event));
    form.addEventListener("input", () => this.#edited());
    this.content.addEventListener("keydown", (event) => {
      const composes = event.isComposing || event.keyCode === 229; // an input method takes this Enter
      if (event.key === "Enter" && !event.shiftKey && !composes) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    this.author.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      this.content.focus();
    });
  }

  #send;
  #changed;

  fill(author, content) {
    this.author.value = author;
    this.write(content);
  }

  /** Whoever writes here is `author`, and nobody else. */
  sign(author) {
    this.author.value = author;
    this.author.readOnly = true;
    this.author.title = "Your token says who you are";
    this.#edited();
  }

  /** Put a text there, before what there is. */
  write(text) {
    const there = this.content.value;
    this.content.value = text && there ? `${text}\n${there}` : text + there;
    this.#edited();
  }

  complain(problem) {
    for (const field of [this.author, this.content]) field.removeAttribute("aria-invalid");
    this.problem.textContent = problem?.text ?? "";
    if (problem === null) return;
    const field = this.form.elements[problem.field];
    field.setAttribute("aria-invalid", "true");
    field.focus();
  }

  #edited() {
    const length = characters(this.content.value);
    this.count.textContent = `${length.toLocaleString()} / ${MAX_CONTENT.toLocaleString()}`;
    this.count.classList.toggle("over", length > MAX_CONTENT);
    if (this.problem.textContent !== "") this.complain(null);
    this.#changed(this.author.value.trim(), this.content.value);
  }

  #submit(event) {
    event.preventDefault();
    const [author, content] = [this.author.value.trim(), this.content.value];
    if (content.trim() === "") {
      this.content.focus();
      return;
    }
    const wrong = problem(author, content) ?? this.#send(author, content);
    this.complain(wrong);
    if (wrong !== null) return;
    this.content.value = "";
    this.#edited();
    this.content.focus();
  }
}
