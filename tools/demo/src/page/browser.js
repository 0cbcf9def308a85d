// One of the two "browsers": a user with a connection, and its messages.

import { HighTemplar } from "./client.js";
import { Board } from "./board.js";
import { $, call, copy, el, isObject, jsonView, parse } from "./dom.js";
import { Log } from "./log.js";
import { recorded } from "./wire.js";

const USERS = {
  alice: {
    login: "alice", name: "Alice", key: "alice-demo-key", customers: ["7", "12"],
    about: "Manager. The backend grants her all orders.",
    rooms: [{ target: "order", customer: "*" }, { target: "chat", room: "lobby" }, { target: "online" }],
  },
  bob: {
    login: "bob", name: "Bob", key: "bob-demo-key", customers: ["7"],
    about: "Customer 7. The backend grants him his own orders.",
    rooms: [{ target: "order", customer: "7" }, { target: "chat", room: "lobby" }, { target: "online" }],
  },
  stranger: {
    login: "stranger", name: "A stranger", key: "stranger", customers: [],
    about: "Unknown to the backend, so the gateway refuses the connection.",
    rooms: [],
  },
};

const STATES = {
  connecting: () => "Connecting…",
  open: () => "Connected",
  refused: () => "Refused",
  waiting: ({ retryAt }) => `Connection lost. Reconnecting in ${(Math.max(0, retryAt - Date.now()) / 1000).toFixed(1)} s`,
  failed: ({ reason }) => `Failed: ${reason}`,
  closed: () => "Disconnected",
};

// Milliseconds: a demo's gateway restarts quickly.
const BACKOFF = { base: 500, max: 5_000 };

export class Browser {
  root;
  #name;
  #address;
  #user;
  #client;
  #board;
  #wire;
  #subscriptions = [];
  #release = () => {};

  constructor(number, address, user, by) {
    this.root = copy("browser");
    this.#name = `browser-${number}`;
    this.#address = address;
    this.root.id = this.#name;
    $("h2", this.root).textContent = `Browser ${number}`;
    this.#board = new Board(this.root);
    this.#wire = new Log($(".wire", this.root));
    for (const input of this.root.querySelectorAll("input[type=radio]")) {
      input.name = `${this.#name}-${input.name}`;
      input.checked = input.value === user || input.value === by;
      input.addEventListener("change", () => this.#start());
    }
    $(".link", this.root).addEventListener("click", () => this.#toggle());
    $(".clear", this.root).addEventListener("click", () => this.#wire.clear());
    $(".subscribe", this.root).addEventListener("submit", (event) => this.#subscribe(event));
    this.#start();
  }

  #chosen(name) {
    return $(`input[name="${this.#name}-${name}"]:checked`, this.root).value;
  }

  // A new user: a new client, as if the page were reloaded.
  #start() {
    const before = this.#client;
    this.#client = null;
    before?.close();
    this.#user = USERS[this.#chosen("user")];
    const byToken = this.#chosen("by") === "token";
    $(".url", this.root).textContent = this.#address;
    $(".about", this.root).textContent = this.#user.about;
    this.#grants(null);
    $(".own", this.root).replaceChildren();
    this.#board.show(null);
    this.#wire.note(`${this.#user.name}, by ${byToken ? "token" : "cookie"}`);

    // Messages of an earlier client are not shown.
    const client = new HighTemplar({
      url: async () => {
        await this.#logIn(byToken);
        return this.#address;
      },
      token: byToken ? this.#user.key : null,
      backoff: BACKOFF,
      WebSocket: recorded((direction, text) => client === this.#client && this.#log(direction, text)),
    });
    this.#client = client;
    client.addEventListener("state", ({ detail }) => client === this.#client && this.#state(detail));
    this.#subscriptions = this.#user.rooms.map((room) =>
      client.subscribe(room, (data) => this.#board.receive(data)));
    this.#state(client.status);
  }

  // Both users share the cookies of one browser. So they take turns: log in, connect, log out. An open
  // connection keeps its user.
  async #logIn(byToken) {
    this.#release();
    const { promise: done, resolve } = Promise.withResolvers();
    const { promise: turn, resolve: mine } = Promise.withResolvers();
    navigator.locks.request("templar-demo-cookie", async () => {
      mine();
      await Promise.race([done, new Promise((late) => setTimeout(late, 5000))]);
      if (!byToken) await call("POST", "/api/logout/");
    });
    this.#release = resolve;
    await turn;
    if (byToken) return;
    await call("POST", "/api/login/", { body: { user: this.#user.login } });
  }

  #state(status) {
    const { state, grants } = status;
    const badge = $(".state", this.root);
    badge.textContent = STATES[state](status);
    badge.dataset.state = state;
    this.root.dataset.state = state;
    const isOff = this.#isOff();
    $(".link", this.root).textContent = isOff ? "Connect" : "Disconnect";
    if (state !== "connecting") this.#release();
    if (state === "open") {
      this.#grants(grants);
      if (!this.#shown()) this.#board.show(this.#user);
      this.#refresh();
    }
    if (isOff) {
      this.#grants(state === "refused" ? [] : null);
      this.#board.show(null);
    }
  }

  #isOff() {
    return ["closed", "refused", "failed"].includes(this.root.dataset.state);
  }

  // Fetches the state after all subscriptions are confirmed: changes in between would be missed.
  #refresh() {
    const subscribed = Promise.all(this.#subscriptions.map(({ ready }) => ready));
    // If the connection is lost meanwhile, this is called again after the reconnect.
    subscribed.then(() => this.#board.refresh(), () => {});
  }

  #shown() {
    return !$(".say input", this.root).disabled;
  }

  #toggle() {
    if (this.#isOff()) this.#start();
    else this.#client.close();
  }

  #grants(rooms) {
    const chips = (rooms ?? []).map((room) => el("li", {}, el("code", {}, JSON.stringify(room))));
    const none = rooms === null ? "not known yet" : "nothing";
    $(".grants", this.root).replaceChildren(...(chips.length ? chips : [el("li", { class: "none" }, none)]));
  }

  #log(direction, text) {
    const value = parse(text);
    this.#wire.add({
      arrow: direction === "sent" ? "out" : "in",
      label: direction,
      summary: text.length > 400 ? `${text.slice(0, 400)}…` : text,
      details: () => [value === undefined ? el("pre", { class: "json" }, text) : jsonView(value)],
    });
  }

  // Subscribes to any room.
  #subscribe(event) {
    event.preventDefault();
    const room = parse($(".room", this.root).value);
    const hint = (text) => { $(".hint", this.root).textContent = text; };
    if (!isObject(room)) return hint("A room is a JSON object.");
    if (this.root.dataset.state !== "open") return hint("Connect first.");
    hint("");
    const news = el("span", { class: "quiet" }, "waiting for the reply");
    const item = el("li");
    let count = 0;
    const subscription = this.#client.subscribe(room, () => { news.textContent = `received ${++count}`; }, {
      onSubscribed: () => { news.textContent = "subscribed"; },
      onError: ({ code, reason }) => {
        give();
        hint(`The gateway replied: ${code}${reason && `, ${reason}`}`);
      },
    });
    const give = () => {
      subscription.unsubscribe();
      item.remove();
    };
    item.append(el("code", {}, JSON.stringify(room)), news,
      el("button", { type: "button", class: "small ghost", onclick: give }, "Unsubscribe"));
    $(".own", this.root).append(item);
  }
}
