// A WebSocket class that reports the messages of each socket.

// onWire: called with every message, ("sent" | "received", text)
export function recorded(onWire) {
  return class extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols);
      this.addEventListener("message", ({ data }) => onWire("received", data));
    }

    send(text) {
      onWire("sent", text);
      super.send(text);
    }
  };
}
