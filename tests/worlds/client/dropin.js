// The same page with the client that takes the old one's place: one import is another.

import { Socket } from "../../../clients/js/dist/spine.js";

export class DropIn {
  #socket;
  #subscriptions = new Map();

  // What `LiveSocket` takes.
  constructor(make, url, { token, pingEvery, returnAfter, watch }) {
    // `new` gives back what a constructor returns.
    function Watched(address) {
      const socket = make(address);
      socket.addEventListener("open", () => watch({ event: "open" }));
      socket.addEventListener("message", ({ data }) => watch({ event: "frame", text: data }));
      socket.addEventListener("close", ({ code, reason }) => watch({ event: "close", code, reason }));
      return socket;
    }
    this.#socket = new Socket({
      url, token, pingInterval: pingEvery, reconnectInterval: returnAfter, WebSocket: Watched,
    });
  }

  subscribe(room, heard) {
    const onPublish = ({ data }) => heard(data);
    const subscription = this.#socket.subscribe({ room, onPublish });
    this.#subscriptions.set(subscription.requestId, subscription);
    return subscription.requestId;
  }

  unsubscribe(requestId) {
    this.#socket.unsubscribe(this.#subscriptions.get(requestId));
  }

  // Texts as they are, which are the page's own.
  send(text) {
    this.#socket.instance.send(text);
  }
}
