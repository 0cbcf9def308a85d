// The data that one user sees: orders, chat, users who are online.
//
// The pattern to copy: subscribe first, then fetch the state, and keep the higher version of each
// record. So nothing is missed in between, and a reconnect needs no special case.

import { $, call, el, isObject } from "./dom.js";

const NEXT = { new: "packed", packed: "sent", sent: "delivered" };

export class Board {
  #root;
  #user;
  #orders = new Map();
  #lines = new Map();
  #seen = -1; // version of the users who are online

  constructor(root) {
    this.#root = root;
    $(".say", root).addEventListener("submit", (event) => this.#say(event));
  }

  // Starts over for another user; null empties the board.
  show(user) {
    this.#user = user;
    this.#forget();
    const buttons = (user?.customers ?? []).map((customer) =>
      el("button", { type: "button", class: "small", onclick: () => this.#create(customer) },
        el("span", { "aria-hidden": "true" }, "+ "), `Order for ${customer}`));
    $(".create", this.#root).replaceChildren(...buttons);
    $(".say input", this.#root).disabled = !user;
    $(".say button", this.#root).disabled = !user;
    this.#drawOnline({});
    this.#draw();
    this.#drawChat();
  }

  // Fetches the state: at the start and after every reconnect.
  async refresh() {
    const user = this.#user;
    if (!user) return;
    this.#forget(); // the old state may be outdated
    const get = (path) => call("GET", path, { token: user.key });
    const [orders, chat, online] = await Promise.all(
      ["/api/order/", "/api/chat/", "/api/online/"].map(get));
    if (user !== this.#user) return; // another user meanwhile
    for (const order of orders.body?.orders ?? []) this.#take(order);
    for (const line of chat.body?.lines ?? []) this.#lines.set(line.id, line);
    if (online.body) this.#online(online.body);
    this.#draw();
    this.#drawChat();
  }

  // Handles a publication. Anything can be published, so its shape is checked.
  receive(data) {
    if (!isObject(data)) return;
    if (isObject(data.order) && this.#take(data.order)) this.#draw(data.order.id);
    if (isObject(data.chat) && Number.isInteger(data.chat.id)) {
      this.#lines.set(data.chat.id, data.chat);
      this.#drawChat(data.chat.id);
    }
    if (isObject(data.online)) this.#online(data);
  }

  #forget() {
    this.#orders.clear();
    this.#lines.clear();
    this.#seen = -1;
  }

  #take(order) {
    if (!Number.isInteger(order.id) || !Number.isInteger(order.version)) return false;
    const known = this.#orders.get(order.id);
    if (known && known.version >= order.version) return false;
    this.#orders.set(order.id, order);
    return true;
  }

  #draw(fresh) {
    const orders = [...this.#orders.values()].sort((a, b) => b.id - a.id);
    const rows = orders.map((order) => this.#row(order, order.id === fresh));
    const none = el("li", { class: "none" }, this.#user ? "No orders yet." : "Not signed in.");
    $(".orders", this.#root).replaceChildren(...(rows.length ? rows : [none]));
  }

  #row(order, isFresh) {
    const next = NEXT[order.status];
    return el("li", { class: isFresh ? "order fresh" : "order", "data-order": order.id },
      el("div", { class: "what" },
        el("strong", {}, String(order.item)),
        el("span", { class: "quiet" }, `#${order.id} · customer ${order.customer}`)),
      el("span", { class: "status", "data-status": order.status }, String(order.status)),
      next
        ? el("button", {
            type: "button", class: "small ghost", "aria-label": `Set order ${order.id} to ${next}`,
            onclick: () => this.#post(`/api/order/${order.id}/advance/`),
          }, next, el("span", { "aria-hidden": "true" }, " →"))
        : el("span", { class: "done", "aria-hidden": "true" }, "✓"));
  }

  #drawChat(fresh) {
    const lines = [...this.#lines.values()].sort((a, b) => a.id - b.id).slice(-50);
    const list = $(".chat", this.#root);
    list.replaceChildren(...lines.map((line) =>
      el("li", { class: line.id === fresh ? "fresh" : null },
        el("strong", {}, String(line.from)), " ", String(line.text))));
    if (!lines.length) list.append(el("li", { class: "none" }, "No messages yet."));
    list.scrollTop = list.scrollHeight;
  }

  #online({ online, version }) {
    if (!Number.isInteger(version) || version <= this.#seen) return;
    this.#seen = version;
    this.#drawOnline(online);
  }

  #drawOnline(online) {
    const people = Object.entries(online).map(([name, count]) =>
      el("li", {}, name, count > 1 ? el("span", { class: "quiet" }, ` ×${count}`) : null));
    const none = el("li", { class: "none" }, "nobody");
    $(".online", this.#root).replaceChildren(...(people.length ? people : [none]));
  }

  #create(customer) {
    return this.#post("/api/order/", { customer });
  }

  #post(path, body) {
    return call("POST", path, { token: this.#user.key, body });
  }

  async #say(event) {
    event.preventDefault();
    const input = $(".say input", this.#root);
    if (!this.#user || !input.value.trim()) return;
    const done = await this.#post("/api/chat/", { text: input.value });
    if (done.ok) input.value = "";
  }
}
