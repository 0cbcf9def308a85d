// A list of messages, newest first. Each opens to show its JSON.

import { el } from "./dom.js";

const KEPT = 150;

export class Log {
  #list;
  #empty;

  constructor(list) {
    this.#list = list;
    this.#empty = list.firstElementChild;
  }

  // arrow: "out" or "in"; summary: one line; details: creates nodes when opened
  add({ arrow, label, at = new Date(), tag, tone, summary, details }) {
    this.#empty?.remove();
    const head = el(
      "summary",
      {},
      el("span", { class: `arrow ${arrow}`, role: "img", "aria-label": label }, arrow === "out" ? "↑" : "↓"),
      el("time", { datetime: at.toISOString() }, time(at)),
      tag ? el("span", { class: `tag ${tone ?? ""}` }, tag) : null,
      el("code", {}, summary),
    );
    const entry = el("details", { class: "entry" }, head);
    entry.addEventListener("toggle", () => {
      // Created once, when it is opened first.
      if (entry.open && !entry.lastElementChild.matches(".inside")) {
        entry.append(el("div", { class: "inside" }, ...details()));
      }
    });
    this.#list.prepend(el("li", {}, entry));
    while (this.#list.children.length > KEPT) this.#list.lastElementChild.remove();
    return entry;
  }

  note(text) {
    this.#empty?.remove();
    this.#list.prepend(el("li", { class: "note" }, text));
  }

  clear() {
    this.#list.replaceChildren();
  }
}

function time(at) {
  const two = (number) => String(number).padStart(2, "0");
  const millis = String(at.getMilliseconds()).padStart(3, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${millis}`;
}
