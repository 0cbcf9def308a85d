/**
 * A gateway in memory, for tests of pages with vitest, Jest or `node:test`: no network, no timers.
 *
 * @packageDocumentation
 */

import { FakeSocket, type Link, READY } from "./fake.js";
import { type Entry, isAfter, Log, type Loss, type Place, partOf } from "./log.js";
import type { WebSocketClass } from "./options.js";
import { explain } from "./refusal.js";
import { type JsonObject, permits, type Room, roomKey } from "./wire.js";

/** How a {@link FakeGateway} answers. */
export interface FakeGatewayOptions {
  /**
   * The user's grants, as the backend would return them; a value `"*"` is any value. Without them
   * every room is permitted.
   */
  grants?: readonly object[] | undefined;
  /**
   * What the gateway can do. With `[]` it is one of version 4.0, which recovers nothing.
   *
   * @defaultValue `["since", "resume", "ping"]`
   */
  features?: readonly ("since" | "resume" | "ping")[] | undefined;
  /**
   * How many publications it keeps, for pages that reconnect.
   *
   * @defaultValue 1,000
   */
  window?: number | undefined;
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

type Answer = (code: string | null, more?: object) => void;

type Mood = "up" | "down" | "refusing" | "silent";

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
  readonly #features: readonly string[];
  readonly #log: Log;
  #mood: Mood = "up";

  constructor({ grants, features, window }: FakeGatewayOptions = {}) {
    this.grants = grants ?? null;
    this.#features = features ?? ["since", "resume", "ping"];
    this.#log = new Log(window ?? 1_000);
    const link: Link = {
      features: this.#features,
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
    const entry = this.#log.append(targets, JSON.stringify(data ?? null));
    let reached = 0;
    for (const socket of [...this.#sockets]) {
      for (const message of this.#messages(socket, entry)) {
        reached++;
        socket.deliver(message);
      }
    }
    return reached;
  }

  /** The position of everything published so far, as a backend sends it with a page. */
  get position(): string {
    return this.#log.head;
  }

  /** Loses publications that pages should have received, and tells them so. */
  gap(reason = "broker"): void {
    this.#log.lose();
    for (const socket of [...this.#sockets]) {
      if (!socket.hasCursors) socket.end(1012, "gap 0");
      else if (socket.hasEvents) socket.deliver({ type: "gap", cursor: this.#log.head, reason });
    }
  }

  /** Restarts, without what was published before: pages that reconnect cannot recover it. */
  restart(): void {
    this.#log.restart();
    this.close();
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
    const more = socket.hasCursors ? { cursor: this.#log.head, features: this.#features } : {};
    socket.deliver(
      isAuthorized
        ? { is_authorized: true, allowed_rooms: rooms, ...more }
        : { is_authorized: false },
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
    const { requestId, type } = message;
    if (type === "ping" && socket.hasCursors) {
      this.pings++;
      const named = requestId === undefined ? {} : { requestId };
      return socket.deliver({ code: "success", ...named, cursor: this.#log.head });
    }
    this.received.push(message);
    const named = socket.protocol && requestId !== undefined ? { requestId } : {};
    const answer = (code: string | null, more: object = {}) =>
      socket.deliver(
        code
          ? { code: "error", message: code, ...named, ...more }
          : { code: "success", ...named, ...more },
      );
    if (type === "subscribe") this.#subscribed(socket, message, answer);
    else if (type === "resume" && socket.hasCursors) this.#resumed(socket, message, answer);
    else if (type === "unsubscribe") {
      if (requestId === undefined) answer("no-request-id");
      else answer(socket.rooms.delete(requestId) ? null : "not-subscribed");
    } else if (type === "status") {
      const rooms = new Set(this.subscriptions.map((room) => roomKey(room)));
      socket.deliver({ open_connections: this.#sockets.size, num_rooms: rooms.size });
    } else if (type === "authenticate") {
      // A token of the first frame has no reply.
      const reply = socket.tokenReply;
      socket.tokenReply = null;
      if (reply) answer(reply === "success" ? null : reply);
    } else answer("message-type-not-allowed");
  }

  #subscribed(socket: FakeSocket, message: JsonObject, answer: Answer): void {
    const { room, requestId, since } = message;
    const from = socket.hasCursors && since !== undefined ? this.#log.find(since) : undefined;
    if (from === null)
      return answer(typeof since === "string" ? "invalid-cursor" : "invalid-since");
    const others = socket.rooms.size;
    const code = this.#subscribe(socket, message);
    if (code) {
      const isExplained = code === "room-not-found" && socket.protocol;
      const reason =
        isExplained && explain((this.grants ?? []) as JsonObject[], room as JsonObject);
      return answer(code, reason ? { reason } : {});
    }
    if (!socket.hasCursors) return answer(null);
    const { head } = this.#log;
    if (from === undefined) return answer(null, { cursor: head });
    // Other rooms of the page are further: the cursor that it has stays theirs.
    const [cursor, asked] = others ? [null, undefined] : [from, since];
    this.#replay(socket, new Map([[requestId, from]]), cursor, asked, answer);
  }

  #resumed(socket: FakeSocket, message: JsonObject, answer: Answer): void {
    const { requestId, cursor, subscriptions } = message;
    const place = this.#log.find(cursor);
    if (requestId === undefined) return answer("no-request-id");
    if (place === null) return answer("invalid-cursor");
    if (!Array.isArray(subscriptions)) return answer("invalid-subscriptions");
    const others = socket.rooms.size;
    const refused: object[] = [];
    const bounds = new Map<unknown, Place | Loss>();
    for (const subscription of subscriptions as readonly JsonObject[]) {
      const { requestId, since } = subscription;
      const bound = since === undefined ? place : this.#log.find(since);
      const invalid = typeof since === "string" ? "invalid-cursor" : "invalid-since";
      const code = bound ? this.#subscribe(socket, subscription) : invalid;
      if (code) refused.push({ requestId, message: code });
      else bounds.set(requestId, bound as Place | Loss);
    }
    const more = refused.length ? { refused } : {};
    const [from, at] = others ? [null, this.#log.head] : [place, cursor];
    this.#replay(socket, bounds, from, at, (code, reply) => answer(code, { ...reply, ...more }));
  }

  /** Answers, and delivers what subscriptions missed. */
  #replay(
    socket: FakeSocket,
    bounds: ReadonlyMap<unknown, Place | Loss>,
    place: Place | Loss | null,
    asked: unknown,
    answer: Answer,
  ): void {
    const { head } = this.#log;
    const places: Place[] = [];
    for (const each of [...bounds.values(), place ?? []].flat()) {
      if (typeof each === "string") {
        return answer(null, { recovered: false, reason: each, cursor: head });
      }
      places.push(each);
    }
    const first = Math.min(...places.map(({ position }) => position));
    const messages = this.#log
      .from(first)
      .flatMap((entry) =>
        this.#messages(socket, entry, bounds as Map<unknown, Place>, place as Place),
      );
    const replayed = messages.length;
    answer(null, { recovered: true, replayed, cursor: replayed ? asked : head });
    for (const message of messages) socket.deliver(message);
  }

  /**
   * What a socket receives of an entry, in the order of the parts.
   *
   * @param bounds - only these subscriptions, each only after its place
   * @param place - only messages after it carry a cursor; `null` for none
   */
  #messages(
    socket: FakeSocket,
    entry: Entry,
    bounds?: ReadonlyMap<unknown, Place>,
    place?: Place | null,
  ): object[] {
    const hits: { requestId: unknown; part: number }[] = [];
    for (const [requestId, rooms] of socket.rooms) {
      const part = partOf(requestId);
      const bound = bounds?.get(requestId);
      if (bounds && !(bound && isAfter(entry, part, bound))) continue;
      if (!rooms.some((room) => entry.rooms.some((target) => meets(room, target)))) continue;
      hits.push({ requestId, part });
    }
    if (socket.hasCursors) hits.sort((one, other) => one.part - other.part);
    return hits.map(({ requestId, part }, index) => {
      const message = { type: "publish", data: JSON.parse(entry.data), requestId };
      const isTold = place === undefined || (place && isAfter(entry, part, place));
      if (!socket.hasCursors || !isTold) return message;
      const isLast = index === hits.length - 1;
      return { ...message, cursor: this.#log.cursor(entry, isLast ? undefined : part) };
    });
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
