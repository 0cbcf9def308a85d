// The browser's side of a deployment: one socket that is always wanted, whatever happens to it.

import { uuid1 } from "./uuid1.js";

export class LiveSocket {
  #make;
  #socket = null;
  #queue = [];
  #subscriptions = new Map();
  #pings = null;
  #options;

  // `make` makes a WebSocket of an address; `watch` hears of everything.
  constructor(make, url, options = {}) {
    this.#make = make;
    this.#options = { token: null, pingEvery: 30_000, returnAfter: 2_000, watch() {}, ...options };
    const { token } = this.#options;
    this.url = token === null ? url : `${url}?token=${encodeURIComponent(token)}`;
    this.#connect();
  }

  // Calls `heard` with the data of every publication to the room; gives back the request id.
  subscribe(room, heard) {
    const requestId = uuid1();
    this.#subscriptions.set(requestId, { room, heard });
    this.send({ type: "subscribe", requestId, room });
    return requestId;
  }

  unsubscribe(requestId) {
    const { room } = this.#subscriptions.get(requestId);
    this.#subscriptions.delete(requestId);
    this.send({ type: "unsubscribe", requestId, room });
  }

  // Objects go as JSON, texts as they are; at once, or when the socket is open.
  send(message) {
    if (this.#socket?.readyState === 1) {
      this.#socket.send(typeof message === "string" ? message : JSON.stringify(message));
    } else {
      this.#queue.push(message);
    }
  }

  #connect() {
    const socket = this.#make(this.url);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    socket.onerror = () => {}; // A close follows.
  }

  #opened() {
    this.#options.watch({ event: "open" });
    for (const message of this.#queue.splice(0)) {
      this.send(message);
    }
    for (const [requestId, { room }] of this.#subscriptions) {
      this.send({ type: "subscribe", requestId, room });
    }
    this.#pings = setInterval(() => this.send("ping"), this.#options.pingEvery);
  }

  #received(text) {
    this.#options.watch({ event: "frame", text });
    if (text === "pong") {
      return;
    }
    const message = JSON.parse(text);
    if (message.type === "publish") {
      this.#subscriptions.get(message.requestId)?.heard(message.data);
    }
  }

  #closed(code, reason) {
    clearInterval(this.#pings);
    this.#options.watch({ event: "close", code, reason });
    setTimeout(() => this.#connect(), this.#options.returnAfter);
  }
}
