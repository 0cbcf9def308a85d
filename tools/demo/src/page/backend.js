// The backend's HTTP exchanges.
//
// The list arrives through the gateway, in the room {"target":"backend-log"}. That connection is not
// recorded in the list, because each entry would cause another one.

import { HighTemplar } from "./client.js";
import { $, call, el, isObject, jsonView, parse } from "./dom.js";
import { Log } from "./log.js";

const VIEWER = "viewer-demo-key";

const KINDS = {
  bootstrap: { tag: "who is it?", arrow: "in" },
  hook: { tag: "hook", arrow: "in" },
  api: { tag: "api", arrow: "in" },
  trigger: { tag: "trigger", arrow: "out" },
};

export class Backend {
  #root;
  #log;
  #last = 0;
  #reading = null;

  constructor(root, address) {
    this.#root = root;
    this.#log = new Log($(".journal", root));
    $(".trigger", root).addEventListener("submit", (event) => this.#trigger(event));
    $(".restart", root).addEventListener("click", (event) => this.#restart(event.currentTarget));
    const client = new HighTemplar({ url: address, token: VIEWER, backoff: { base: 500, max: 5_000 } });
    client.addEventListener("state", ({ detail }) => { root.dataset.state = detail.state; });
    client.subscribe({ target: "backend-log" }, (data) => this.#receive(data), {
      onSubscribed: () => this.#catchUp(),
    });
    this.#catchUp();
  }

  #receive(data) {
    if (!isObject(data) || !Array.isArray(data.entries)) return;
    const entries = data.entries.filter((entry) => isObject(entry) && Number.isInteger(entry.id));
    if (!entries.length) return;
    // A gap in the ids, or a fetch is in progress: fetch the missing entries.
    if (this.#reading || entries[0].id > this.#last + 1) this.#catchUp();
    else entries.forEach((entry) => this.#show(entry));
  }

  async #catchUp() {
    if (this.#reading) {
      this.#reading.again = true;
      return;
    }
    this.#reading = { again: false };
    const answer = await call("GET", `/api/log/?after=${this.#last}`);
    const isAnotherRun = answer.ok && answer.body.last < this.#last;
    if (isAnotherRun) this.#last = 0;
    else (answer.body?.entries ?? []).forEach((entry) => this.#show(entry));
    const again = this.#reading.again || isAnotherRun;
    this.#reading = null;
    if (again && answer.ok) this.#catchUp();
  }

  #show(entry) {
    const kind = KINDS[entry.kind];
    if (!kind || entry.id <= this.#last) return;
    this.#last = entry.id;
    const isGood = entry.status >= 200 && entry.status < 300;
    const who = entry.who ? `${entry.who}: ` : entry.kind === "bootstrap" ? "unknown user: " : "";
    const rooms = entry.kind === "trigger" && isObject(entry.body) ? JSON.stringify(entry.body.rooms) : null;
    this.#log.add({
      arrow: kind.arrow,
      label: kind.arrow === "in" ? "received" : "sent",
      at: new Date(entry.at),
      tag: kind.tag,
      tone: isGood ? entry.kind : "bad",
      summary: rooms ?? `${who}${entry.method} ${entry.target} → ${entry.status || "no response"}`,
      details: () => this.#details(entry),
    });
  }

  #details(entry) {
    const part = (title, ...nodes) => [el("h4", {}, title), ...nodes];
    const heads = (entry.headers ?? []).map(([name, value]) => `${name}: ${value}`);
    const request = [`${entry.method} ${entry.target}`, ...heads].join("\n");
    const nodes = part("Request", el("pre", { class: "json", tabindex: "0" }, request));
    if (entry.body !== undefined) nodes.push(jsonView(entry.body));
    nodes.push(...part(`Response ${entry.status || "none"}`));
    if (entry.answer !== undefined) nodes.push(jsonView(entry.answer));
    return nodes;
  }

  async #trigger(event) {
    event.preventDefault();
    const form = event.currentTarget;
    const hint = (text) => { $(".hint", form).textContent = text; };
    const [rooms, data] = [form.elements.rooms.value, form.elements.data.value];
    if (parse(rooms) === undefined) return hint("The rooms are not JSON.");
    if (parse(data) === undefined) return hint("The data is not JSON. A text needs quotes.");
    const answer = await call("POST", "/api/trigger/", { body: `{"rooms":${rooms},"data":${data}}` });
    hint(answer.ok ? "Sent to the subscribers of these rooms."
      : `The gateway responded with ${answer.status}: ${answer.body?.error ?? "nothing"}`);
  }

  async #restart(button) {
    button.disabled = true;
    this.#log.note("The gateway restarts. Watch the browsers reconnect.");
    const answer = await call("POST", "/demo/restart-gateway/");
    if (!answer.ok) this.#log.note(`The gateway did not start: ${answer.body?.error ?? "no response"}`);
    button.disabled = false;
  }
}
