/**
 * The end of a connection at the gateway in memory.
 *
 * @module
 */

import type { WebSocketLike } from "./options.js";
import type { TokenReply } from "./testing.js";
import { EVENTS, type JsonObject, PROTOCOL } from "./wire.js";

export const READY = { connecting: 0, open: 1, closing: 2, closed: 3 };

/** The gateway's end of a connection. */
export class FakeSocket implements WebSocketLike {
  readyState = READY.connecting;
  onopen: WebSocketLike["onopen"] = null;
  onmessage: WebSocketLike["onmessage"] = null;
  onclose: WebSocketLike["onclose"] = null;
  onerror: WebSocketLike["onerror"] = null;
  readonly protocol: string;
  /** The page wants to know of what it did not ask for. */
  readonly hasEvents: boolean;
  /** It receives cursors. */
  readonly hasCursors: boolean;
  /** How a new token is answered, if the page was asked for one. */
  tokenReply: TokenReply | null = null;
  /** Rooms by the names of their subscriptions. */
  readonly rooms = new Map<unknown, JsonObject[]>();
  readonly #gateway: Link;

  constructor(
    gateway: Link,
    readonly url: string,
    protocols: readonly string[],
  ) {
    this.protocol = protocols.includes(PROTOCOL) ? PROTOCOL : "";
    this.hasEvents = !!this.protocol && protocols.includes(EVENTS);
    this.hasCursors = !!this.protocol && gateway.features.length > 0;
    this.#gateway = gateway;
    queueMicrotask(() => this.readyState === READY.connecting && gateway.opened(this));
  }

  send(text: string): void {
    if (this.readyState === READY.connecting) throw new Error("the socket is still connecting");
    if (this.readyState === READY.open) queueMicrotask(() => this.#gateway.received(this, text));
  }

  close(code = 1000, reason = ""): void {
    if (this.readyState >= READY.closing) return;
    this.readyState = READY.closing;
    queueMicrotask(() => this.end(code, reason));
  }

  /** Delivers a message to the page. */
  deliver(message: object | string): void {
    if (this.readyState !== READY.open) return;
    const data = typeof message === "string" ? message : JSON.stringify(message);
    this.onmessage?.({ data });
  }

  /** Ends the subscriptions to certain rooms, and notifies pages that listen for it. */
  drop(isMeant: (room: JsonObject) => boolean, reason: "permissions" | "command"): void {
    for (const [requestId, rooms] of [...this.rooms]) {
      const kept = rooms.filter((room) => !isMeant(room));
      if (kept.length) this.rooms.set(requestId, kept);
      else this.rooms.delete(requestId);
      if (!this.hasEvents) continue;
      for (const room of rooms.filter(isMeant)) {
        this.deliver({ type: "unsubscribed", requestId, room, reason });
      }
    }
  }

  /** Ends the connection, as the page sees it. */
  end(code: number, reason: string): void {
    if (this.readyState === READY.closed) return;
    this.readyState = READY.closed;
    this.rooms.clear();
    this.#gateway.closed(this);
    this.onclose?.({ code, reason });
  }
}

export interface Link {
  readonly features: readonly string[];
  opened(socket: FakeSocket): void;
  received(socket: FakeSocket, text: string): void;
  closed(socket: FakeSocket): void;
}
