// One of the two "browsers": a visitor, a socket of its own, and what went over it.

import { Board } from "./board.js";
import { $, call, copy, el, isObject, jsonView, parse } from "./dom.js";
import { Log } from "./log.js";
import { Templar } from "./templar.js";

const USERS = {
  alice: {
    login: "alice", name: "Alice", key: "alice-demo-key", customers: ["7", "12"],
    about: "Manager. The backend allows her every order.",
    rooms: [{ target: "order", customer: "*" }, { target: "chat", room: "lobby" }, { target: "online" }],
  },
  bob: {
    login: "bob", name: "Bob", key: "bob-demo-key", customers: ["7"],
    about: "Customer 7. The backend allows him his own orders.",
    rooms: [{ target: "order", customer: "7" }, { target: "chat", room: "lobby" }, { target: "online" }],
  },
  stranger: {
    login: "stranger", name: "A stranger", key: "stranger", customers: [],
    about: "Not known to the backend, so the gateway lets nobody in.",
    rooms: [],
  },
};

const STATES = {
  connecting: () => "Connecting…",
  open: () => "Connected",
  refused: () => "Refused",
  waiting: ({ wait }) => `Lost. Trying again in ${(wait / 1000).toFixed(1)} s`,
  closed: () => "Disconnected",
};

export class Browser {
  root;
  #name;
  #address;
  #user;
  #templar;
  #board;
  #wire;
  #own = new Map(); // requestId → list item of the free subscribe box
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

  // A new visitor: a new client, as if the page were opened anew.
  #start() {
    this.#templar?.close();
    this.#user = USERS[this.#chosen("user")];
    const byToken = this.#chosen("by") === "token";
    const query = byToken ? `?token=${encodeURIComponent(this.#user.key)}` : "";
    const url = this.#address + query;
    $(".url", this.root).textContent = url;
    $(".about", this.root).textContent = this.#user.about;
    this.#grants(null);
    this.#own.clear();
    $(".own", this.root).replaceChildren();
    this.#board.show(null);
    this.#wire.note(`${this.#user.name}, by ${byToken ? "token" : "cookie"}`);

    this.#templar = new Templar({
      url: async () => {
        await this.#logIn(byToken);
        return url;
      },
      onState: (state) => this.#state(state),
      onWire: (direction, text) => this.#log(direction, text),
    });
    for (const room of this.#user.rooms) {
      this.#templar.subscribe(room, (data) => this.#board.receive(data), { requestId: room.target });
    }
    this.#templar.open();
  }

  // A cookie belongs to the whole browser, and here two visitors share one. So they take turns:
  // log in, connect, log out; a socket that is open stays who it is.
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

  #state(state) {
    const badge = $(".state", this.root);
    badge.textContent = STATES[state.name](state);
    badge.dataset.state = state.name;
    this.root.dataset.state = state.name;
    const isOff = state.name === "closed" || state.name === "refused";
    $(".link", this.root).textContent = isOff ? "Connect" : "Disconnect";
    if (state.name !== "connecting") this.#release();
    if (state.name === "open") {
      this.#grants(state.rooms);
      if (!this.#shown()) this.#board.show(this.#user);
      this.#board.refresh();
    }
    if (isOff) {
      this.#grants(state.name === "refused" ? [] : null);
      this.#board.show(null);
    }
  }

  #shown() {
    return !$(".say input", this.root).disabled;
  }

  #toggle() {
    const state = this.root.dataset.state;
    if (state === "closed" || state === "refused") this.#start();
    else this.#templar.close();
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

  // The free box: any room under any requestId.
  #subscribe(event) {
    event.preventDefault();
    const room = parse($(".room", this.root).value);
    const requestId = $(".request", this.root).value;
    const say = (text) => { $(".hint", this.root).textContent = text; };
    if (!isObject(room)) return say("A room is a JSON object.");
    if (this.root.dataset.state !== "open") return say("Connect first.");
    if (this.#templar.has(requestId)) return say("This requestId is in use here. Choose another.");
    say("");
    const news = el("span", { class: "quiet" }, "waiting for the answer");
    const item = el("li", {}, el("code", {}, requestId), news,
      el("button", { type: "button", class: "small ghost", onclick: () => {
        this.#templar.unsubscribe(requestId);
        item.remove();
      } }, "Unsubscribe"));
    let heard = 0;
    this.#templar.subscribe(room, () => { news.textContent = `heard ${++heard}`; }, {
      requestId,
      onReply: (reply) => {
        if (reply.code === "success") news.textContent = "subscribed";
        else {
          item.remove();
          say(`The gateway answered: ${reply.message}`);
        }
      },
    });
    $(".own", this.root).append(item);
  }
}
