/**
 * A gateway in memory, for tests of pages with vitest, Jest or `node:test`: no network, no timers.
 *
 * @packageDocumentation
 */

import type { WebSocketClass, WebSocketLike } from "./options.js";
import { explain } from "./refusal.js";
import { EVENTS, type JsonObject, PROTOCOL, permits, type Room, roomKey } from "./wire.js";

/** How a {@link FakeGateway} answers. */
export interface FakeGatewayOptions {
  /**
   * The user's grants, as the backend would return them; a value `"*"` is any value. Without them
   * every room is permitted.
   */
  grants?: readonly object[] | undefined;
}

/** What a client is to do that the backend disconnects, as in the command `disconnect`. */
export type ComeBack = "soon" | "later" | "sign-in" | "never";

/** The close codes that say so. */
const COME_BACK: Record<ComeBack, number> = {
  soon: 4003,
  later: 4103,
  never: 4203,
  "sign-in": 4303,
};

/** The code of the gateway's reply to a new token. */
export type TokenReply = "success" | "other-user" | "token-refused" | "backend-unavailable";

type Mood = "up" | "down" | "refusing" | "silent";

const READY = { connecting: 0, open: 1, closing: 2, closed: 3 };

/** The gateway's end of a connection. */
class FakeSocket implements WebSocketLike {
  readyState = READY.connecting;
  onopen: WebSocketLike["onopen"] = null;
  onmessage: WebSocketLike["onmessage"] = null;
  onclose: WebSocketLike["onclose"] = null;
  onerror: WebSocketLike["onerror"] = null;
  readonly protocol: string;
  /** The page wants to know of what it did not ask for. */
  readonly hasEvents: boolean;
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

interface Link {
  opened(socket: FakeSocket): void;
  received(socket: FakeSocket, text: string): void;
  closed(socket: FakeSocket): void;
}

/**
 * A gateway in memory. It speaks the protocol of the real one: grants, wildcards, answers, close
 * codes. Everything happens in microtasks, so that tests work with fake timers as well.
 *
 * @example
 * ```ts
 * const gateway = new FakeGateway({ grants: [{ target: "order", customer: "*" }] });
 * const socket = new HighTemplar({ url: "ws://test/ws/", WebSocket: gateway.WebSocket });
 * await socket.subscribe({ target: "order", customer: 7 }, show).ready;
 * gateway.publish({ target: "order", customer: 7 }, { id: 1 });
 * ```
 */
export class FakeGateway {
  /** Give it to a client as `WebSocket`, or see {@link FakeGateway.install}. */
  readonly WebSocket: WebSocketClass;
  /**
   * The user's grants, from the next connection on; `null` permits every room. For open connections
   * see {@link FakeGateway.permit}.
   */
  grants: readonly object[] | null;
  /** Every message that came, `ping` aside, the oldest first. */
  readonly received: JsonObject[] = [];
  /** How many pings came, answered or not. */
  pings = 0;
  /** Every address that was connected to, the oldest first. */
  readonly urls: string[] = [];

  readonly #sockets = new Set<FakeSocket>();
  #mood: Mood = "up";

  constructor({ grants }: FakeGatewayOptions = {}) {
    this.grants = grants ?? null;
    const link: Link = {
      opened: (socket) => this.#opened(socket),
      received: (socket, text) => this.#received(socket, text),
      closed: (socket) => this.#sockets.delete(socket),
    };
    const { urls } = this;
    const FakeWebSocket = class extends FakeSocket {
      static readonly CONNECTING = READY.connecting;
      static readonly OPEN = READY.open;
      static readonly CLOSING = READY.closing;
      static readonly CLOSED = READY.closed;

      constructor(url: string | URL, protocols: string | string[] = []) {
        super(link, String(url), [protocols].flat());
        urls.push(this.url);
      }
    };
    this.WebSocket = FakeWebSocket as WebSocketClass;
  }

  /** The rooms that pages are subscribed to now, as often as there are subscriptions on the wire. */
  get subscriptions(): JsonObject[] {
    return [...this.#sockets].flatMap(({ rooms }) => [...rooms.values()].flat());
  }

  /** How many pages are connected now. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Replaces the global `WebSocket`. Returns a function that restores it. */
  install(): () => void {
    const scope = globalThis as { WebSocket?: unknown };
    const before = Object.getOwnPropertyDescriptor(scope, "WebSocket");
    Object.defineProperty(scope, "WebSocket", {
      value: this.WebSocket,
      configurable: true,
      writable: true,
    });
    return () => {
      if (before) Object.defineProperty(scope, "WebSocket", before);
      else delete scope.WebSocket;
    };
  }

  /**
   * Publishes as the backend does, to one room or several: handlers have been called when it
   * returns. Returns the number of subscriptions that it reached. In React tests, call it in `act`.
   */
  publish(rooms: Room | readonly Room[], data: unknown): number {
    const targets = [rooms].flat().map((room) => JSON.parse(roomKey(room)) as JsonObject);
    let reached = 0;
    for (const socket of [...this.#sockets]) {
      for (const [requestId, subscribed] of [...socket.rooms]) {
        if (!subscribed.some((room) => targets.some((target) => meets(room, target)))) continue;
        reached++;
        socket.deliver({ type: "publish", data: data ?? null, requestId });
      }
    }
    return reached;
  }

  /**
   * Gives every page other grants, as the backend does with the command `permit`: subscriptions that
   * they do not permit end, and pages learn of both. In React tests, call it in `act`.
   */
  permit(grants: readonly object[]): void {
    const isSame = keysOf(grants) === keysOf(this.grants);
    this.grants = grants;
    if (isSame) return;
    for (const socket of [...this.#sockets]) {
      socket.drop((room) => !this.#isGranted(room), "permissions");
      if (socket.hasEvents) socket.deliver({ type: "permissions", allowed_rooms: grants });
    }
  }

  /**
   * Ends the subscriptions to rooms, as the backend does with the command `unsubscribe`; a value `"*"`
   * is any value. Pages keep their grants. In React tests, call it in `act`.
   */
  unsubscribe(rooms: Room | readonly Room[]): void {
    const from = [rooms].flat().map((room) => JSON.parse(roomKey(room)) as JsonObject);
    const isMeant = (room: JsonObject) => from.some((covering) => permits(covering, room));
    for (const socket of [...this.#sockets]) socket.drop(isMeant, "command");
  }

  /**
   * Asks every page for a new token, as the gateway does when what a token permits expires soon. A
   * token is in {@link FakeGateway.received}; `reply` is the code of the answer to it.
   */
  expire(within = 60_000, reply: TokenReply = "success"): void {
    for (const socket of [...this.#sockets]) {
      if (!socket.hasEvents) continue;
      socket.tokenReply = reply;
      socket.deliver({ type: "authenticate", within });
    }
  }

  /** Closes every connection, as the backend does with the command `disconnect`. */
  disconnect(comeBack: ComeBack = "sign-in", reason = "ended"): void {
    this.close(COME_BACK[comeBack], reason);
  }

  /**
   * Closes every connection: 1012 `restart 5000` for a restart, 4300 `refused` for a user who must
   * log in. See the protocol for what each code means.
   */
  close(code = 1012, reason = "restart 0"): void {
    for (const socket of [...this.#sockets]) socket.end(code, reason);
  }

  /** Cuts every connection without a close frame, as a broken network does. */
  cut(): void {
    this.close(1006, "");
  }

  /** No connection succeeds until `up()`, and those that there are end. */
  down(): void {
    this.#mood = "down";
    this.cut();
  }

  /** Refuses every client until `up()`, as after a logout, and closes open connections. */
  refuse(): void {
    this.#mood = "refusing";
    this.close(4300, "refused");
  }

  /** Connections stay, and nothing is answered until `up()`: a dead network. */
  silence(): void {
    this.#mood = "silent";
  }

  /** Everything works again. The client reconnects by its own back-off, or with `connect()`. */
  up(): void {
    this.#mood = "up";
  }

  /** Sends any message to every page, of a later version for one. */
  deliver(message: object): void {
    for (const socket of [...this.#sockets]) socket.deliver(message);
  }

  #opened(socket: FakeSocket): void {
    if (this.#mood === "silent") return;
    if (this.#mood === "down") return socket.end(1006, "");
    this.#sockets.add(socket);
    socket.readyState = READY.open;
    socket.onopen?.({} as never);
    const isAuthorized = this.#mood !== "refusing";
    const rooms = this.grants ?? [];
    socket.deliver(
      isAuthorized ? { is_authorized: true, allowed_rooms: rooms } : { is_authorized: false },
    );
    if (isAuthorized) return;
    if (socket.protocol) socket.end(4300, "refused");
    else socket.end(1000, "");
  }

  #received(socket: FakeSocket, text: string): void {
    if (text === "ping") this.pings++;
    if (this.#mood === "silent" || socket.readyState !== READY.open) return;
    if (text === "ping") return socket.deliver("pong");
    const message = JSON.parse(text) as JsonObject;
    this.received.push(message);
    const { requestId } = message;
    const named = socket.protocol && requestId !== undefined ? { requestId } : {};
    const answer = (code: string | null, more: object = {}) =>
      socket.deliver(
        code ? { code: "error", message: code, ...named, ...more } : { code: "success", ...named },
      );
    if (message["type"] === "subscribe") {
      const code = this.#subscribe(socket, message);
      const grants = (this.grants ?? []) as readonly JsonObject[];
      const isExplained = code === "room-not-found" && socket.protocol;
      const reason = isExplained && explain(grants, message["room"] as JsonObject);
      answer(code, reason ? { reason } : {});
    } else if (message["type"] === "unsubscribe") {
      if (requestId === undefined) answer("no-request-id");
      else answer(socket.rooms.delete(requestId) ? null : "not-subscribed");
    } else if (message["type"] === "status") {
      const rooms = new Set(this.subscriptions.map((room) => roomKey(room)));
      socket.deliver({ open_connections: this.#sockets.size, num_rooms: rooms.size });
    } else if (message["type"] === "authenticate") {
      // A token of the first frame has no reply.
      const reply = socket.tokenReply;
      socket.tokenReply = null;
      if (reply) answer(reply === "success" ? null : reply);
    } else answer("message-type-not-allowed");
  }

  #subscribe(socket: FakeSocket, { room, requestId }: JsonObject): string | null {
    if (requestId === undefined) return "no-request-id";
    if (typeof room !== "object" || room === null || Array.isArray(room)) return "invalid-room";
    const asked = room as JsonObject;
    if (!this.#isGranted(asked)) return "room-not-found";
    const rooms = socket.rooms.get(requestId) ?? [];
    if (!rooms.some((other) => roomKey(other) === roomKey(asked))) rooms.push(asked);
    socket.rooms.set(requestId, rooms);
    return null;
  }

  #isGranted(room: JsonObject): boolean {
    return this.grants?.some((grant) => permits(grant as JsonObject, room)) ?? true;
  }
}

/** Equal for equal grants, in whatever order; `undefined` for none that are known. */
function keysOf(grants: readonly object[] | null): string | undefined {
  return grants?.map(roomKey).sort().join();
}

/** Whether a subscription hears a trigger: the same keys; `*` on either side is any value. */
function meets(subscribed: JsonObject, target: JsonObject): boolean {
  const keys = Object.keys(subscribed);
  const isMet = (key: string) => {
    const [one, other] = [subscribed[key], target[key]];
    return one === "*" || other === "*" || roomKey({ one }) === roomKey({ one: other });
  };
  const isSame = keys.length === Object.keys(target).length;
  return isSame && keys.every((key) => Object.hasOwn(target, key) && isMet(key));
}
