// A whole client for high-templar. No dependencies: take this file as it is.
//
//   const templar = new Templar({ url: () => "wss://example.com/ws/" });
//   templar.subscribe({ target: "order", customer: "7" }, (data) => console.log(data));
//   templar.open();
//
// It comes back after a lost connection (waiting a little longer each time), subscribes again to
// everything, and sends a ping every 30 seconds so that neither side thinks the other is gone.

const PING_EVERY = 30_000; // milliseconds
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
const COME_BACK_LATER = 1013;

export class Templar {
  #options;
  #socket = null;
  #subscriptions = new Map(); // requestId → { room, onData, onReply }
  #asked = []; // answers bear no requestId: they come in the order of the requests
  #wanted = false;
  #refused = false;
  #ready = false;
  #attempts = 0;
  #retry;
  #ping;

  // url: gives the address, called before every attempt; may be async, to fetch a fresh token
  // onState: told { name, ... } with the names connecting, open, refused, waiting, closed
  // onWire: told every message, ("sent" | "received", text)
  constructor({ url, onState = () => {}, onWire = () => {} }) {
    this.#options = { url, onState, onWire };
  }

  open() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#attempts = 0;
    this.#connect();
  }

  close() {
    this.#wanted = false;
    this.#forget();
    this.#options.onState({ name: "closed" });
  }

  // Calls onData with everything published to the room, now and after every reconnect.
  subscribe(room, onData, { requestId = crypto.randomUUID(), onReply = () => {} } = {}) {
    this.#subscriptions.set(requestId, { room, onData, onReply });
    this.#send({ type: "subscribe", room, requestId });
    return requestId;
  }

  unsubscribe(requestId) {
    if (this.#subscriptions.delete(requestId)) this.#send({ type: "unsubscribe", requestId });
  }

  has(requestId) {
    return this.#subscriptions.has(requestId);
  }

  async #connect() {
    this.#options.onState({ name: "connecting" });
    let url;
    try {
      url = await this.#options.url();
    } catch {
      return this.#comeBack();
    }
    if (!this.#wanted) return;
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#refused = false;
    socket.onmessage = (event) => this.#socket === socket && this.#receive(event.data);
    socket.onclose = (event) => this.#socket === socket && this.#closed(event);
  }

  #receive(text) {
    this.#options.onWire("received", text);
    if (text === "pong") return;
    const message = JSON.parse(text);
    if ("is_authorized" in message) this.#greeted(message);
    else if (message.type === "publish") {
      this.#subscriptions.get(message.requestId)?.onData(message.data);
    } else if ("code" in message) this.#answered(message);
  }

  // The first message says whether the backend lets us in, and which rooms it allows.
  #greeted({ is_authorized, allowed_rooms }) {
    this.#refused = !is_authorized;
    if (this.#refused) return; // the close that follows says whether to come back
    this.#ready = true;
    this.#attempts = 0;
    for (const [requestId, { room }] of this.#subscriptions) {
      this.#send({ type: "subscribe", room, requestId });
    }
    this.#ping = setInterval(() => this.#sendText("ping"), PING_EVERY);
    this.#options.onState({ name: "open", rooms: allowed_rooms });
  }

  #answered(message) {
    const { type, requestId } = this.#asked.shift() ?? {};
    const subscription = this.#subscriptions.get(requestId);
    if (type !== "subscribe" || !subscription) return;
    if (message.code === "error") this.#subscriptions.delete(requestId);
    subscription.onReply(message);
  }

  #closed(event) {
    this.#forget();
    if (this.#refused && event.code !== COME_BACK_LATER) {
      this.#wanted = false;
      this.#options.onState({ name: "refused" });
    } else if (this.#wanted) this.#comeBack();
  }

  #comeBack() {
    if (!this.#wanted) return;
    const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#attempts++);
    // Chance spreads thousands of clients that lost the same server at the same moment.
    const wait = longest * (0.5 + Math.random() / 2);
    this.#retry = setTimeout(() => this.#connect(), wait);
    this.#options.onState({ name: "waiting", wait });
  }

  #send(message) {
    if (this.#sendText(JSON.stringify(message))) this.#asked.push(message);
  }

  #sendText(text) {
    if (!this.#ready) return false; // sent when the connection is there
    this.#options.onWire("sent", text);
    this.#socket.send(text);
    return true;
  }

  #forget() {
    clearTimeout(this.#retry);
    clearInterval(this.#ping);
    this.#ready = false;
    this.#asked = [];
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}
