/**
 * The client: rooms and handlers over one connection that reconnects automatically.
 *
 * @module
 */

import { Connection } from "./connection.js";
import { dispose } from "./dispose.js";
import { isPage } from "./environment.js";
import { ConnectionError } from "./errors.js";
import type {
  HighTemplarEventMap,
  HighTemplarListener,
  HighTemplarListenerOptions,
} from "./events.js";
import { guard } from "./guard.js";
import {
  type ConnectionState,
  type ConnectionStatus,
  type HighTemplarOptions,
  isOver,
} from "./options.js";
import { type Kept, persist } from "./persist.js";
import { untilOpen } from "./ready.js";
import { RESUME } from "./recovery.js";
import {
  type Channel,
  deliver,
  lost,
  makeChannel,
  type Request,
  settle,
  take,
  type Waiting,
} from "./requests.js";
import { type OnPublish, type SubscribeOptions, Subscription } from "./subscription.js";
import { amount } from "./validate.js";
import {
  type GatewayMessage,
  type Given,
  type JsonMembers,
  permits,
  type Room,
  roomKey,
} from "./wire.js";

/** How to stop listening to the events of a {@link HighTemplar}. */
export interface HighTemplar {
  removeEventListener<K extends keyof HighTemplarEventMap>(
    type: K,
    listener: HighTemplarListener<K> | null,
    options?: boolean | { capture?: boolean },
  ): void;
}

/**
 * One connection to a gateway, for a whole page.
 *
 * It reconnects automatically after every loss, subscribes to every room again, and reports it. It
 * stops if the close code says that reconnecting would not help: see {@link ConnectionState}.
 *
 * @example
 * ```ts
 * const socket = new HighTemplar({ url: "/ws/" });
 * const orders = socket.subscribe({ target: "order", customer: 7 }, (order) => show(order), {
 *   onSubscribed: () => fetchOrders(),
 * });
 * // later
 * orders.unsubscribe();
 * ```
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the interface only types an inherited method
export class HighTemplar extends EventTarget {
  /** Messages of `send` that were dropped because the queue was full. */
  dropped = 0;

  readonly #connection: Connection;
  readonly #maxQueued: number;
  readonly #isLegacy: boolean;
  /** Cursors of rooms before a reload. */
  readonly #kept: Kept["rooms"];
  /** Channels by room, and by their names on the wire. */
  readonly #rooms = new Map<string, Channel>();
  readonly #channels = new Map<unknown, Channel>();
  /** Callbacks for subscriptions. */
  readonly #parent = {
    changed: (subscription: Subscription) => this.#emit("subscription", subscription),
    dropped: (subscription: Subscription) => this.#emit("drop", { subscription }),
    unsubscribe: (subscription: Subscription) => this.#unsubscribe(subscription),
  };
  /** Without a `requestId`, replies are in the order of the requests. */
  #requests: Request[] = [];
  #queue: Waiting[] = [];
  #lastId = 0;
  #hasErrorListener = false;
  /** Warnings that were written to the console. */
  readonly #warned = new Set<string>();

  /**
   * Never throws because of its environment, such as a server: `state` is then `failed`, with the
   * reason in `status`, and an `error` event follows.
   *
   * @throws RangeError if a duration or a bound is not a number >= 0
   */
  constructor(options: HighTemplarOptions) {
    super();
    this.#maxQueued = amount("maxQueued", options.maxQueued ?? options.queueMax ?? 100);
    this.#isLegacy = !!options.legacy;
    this.#connection = new Connection(
      {
        admitted: () => this.#admitted(),
        received: (message) => this.#received(message),
        lost: () => this.#lost(),
        changed: (before) => this.#changed(before),
        failed: (error) => this.report(error),
      },
      options,
    );
    const { recovery } = this.#connection;
    const kept = persist(options, () => recovery.kept(this.#rooms.values()));
    this.#kept = kept.rooms;
    recovery.ticket = kept.ticket;
    if (!(options.autoConnect ?? (isPage() || !!options.WebSocket))) return;
    this.#connection.connect();
    // Dispatched later, so that listeners can be added.
    if (this.state === "failed") queueMicrotask(() => this.#emit("state", this.status));
  }

  /** The state and its details: a new object at every change. */
  get status(): ConnectionStatus {
    return this.#connection.status;
  }

  /** The state of the connection. */
  get state(): ConnectionState {
    return this.status.state;
  }

  /** Connects immediately: for the first time, after `close()`, or instead of waiting. */
  connect(): void {
    this.#connection.connect();
  }

  /**
   * Replaces the connection by a new one, with the current cookies, and with `url` and `token`
   * evaluated again. Call it after a login or logout. Subscriptions and loops continue.
   */
  reconnect(): void {
    this.#connection.reconnect();
  }

  /** Closes the connection. Subscriptions remain for the next `connect()`; `for await` loops end. */
  close(): void {
    this.#connection.close();
  }

  /** Same as `close()`, for `using`. */
  [dispose](): void {
    this.close();
  }

  /**
   * Resolves when the client is admitted.
   *
   * @throws ConnectionError if the client has stopped connecting, or does so first: `failed`,
   * `closed`, or `refused` without signing in
   */
  ready({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    return untilOpen(this, signal, () => this.#end());
  }

  /**
   * Subscribes to a room, now or as soon as there is a connection, and again after each loss.
   *
   * @param room - compared by content; a value `"*"` matches every value if the grants have it
   * @param onPublish - called with the backend's `data`, in the order of its triggers; or the options
   * @throws TypeError if JSON cannot express the room; nothing else is affected
   */
  subscribe<T = unknown, R extends object = object>(
    room: Room<T> & R & JsonMembers<R>,
    onPublish?: OnPublish<T> | null,
    options?: SubscribeOptions<T>,
  ): Subscription<Given<T>>;
  subscribe<T = unknown, R extends object = object>(
    room: Room<T> & R & JsonMembers<R>,
    options: SubscribeOptions<T>,
  ): Subscription<Given<T>>;
  subscribe<T>(
    room: Room<T>,
    second?: OnPublish<T> | SubscribeOptions<T> | null,
    third?: SubscribeOptions<T>,
  ): Subscription<T> {
    const options = {
      ...(typeof second === "function" ? { onPublish: second } : second),
      ...third,
    };
    const key = roomKey(room);
    const known = this.#rooms.get(key);
    options.since ??= this.#kept[key] ?? undefined;
    delete this.#kept[key];
    // What was not asked for is not recovered.
    if (known && known.since !== options.since) options.since = undefined;
    const requestId = known?.requestId ?? String(++this.#lastId);
    const channel = known ?? makeChannel(key, requestId, options.since);
    const subscription = new Subscription<T>(this.#parent, channel.room, requestId, options);
    if (subscription.state === "ended") return subscription;
    this.#rooms.set(key, channel);
    this.#channels.set(requestId, channel);
    channel.subscribers.add(subscription as Subscription);
    if (channel.state === "confirmed") {
      // Later, when the caller has the subscription.
      queueMicrotask(() => {
        const isNew = channel.state === "confirmed" && subscription.state === "pending";
        if (isNew) guard(() => subscription.confirmed({}));
      });
    } else if (channel.state !== "requested" && this.state === "open") this.#request(channel);
    return subscription;
  }

  /**
   * Sends a message unchanged, for example `{ type: "status" }`; the reply is a `message` event.
   * Without a connection it is queued, up to a limit.
   *
   * @throws TypeError if JSON cannot express it; nothing is queued then
   */
  send<M extends { type: string }>(message: M): void {
    const text = JSON.stringify(message);
    if (this.state === "open" && this.#send(message, text)) return;
    this.#queue.push({ message, text });
    if (this.#queue.length <= this.#maxQueued) return;
    this.dropped++;
    this.#emit("drop", { subscription: null, message: (this.#queue.shift() as Waiting).message });
  }

  /** Adds a listener of an event. */
  override addEventListener<K extends keyof HighTemplarEventMap>(
    type: K,
    listener: HighTemplarListener<K> | null,
    options?: boolean | HighTemplarListenerOptions,
  ): void {
    if (type === "error") this.#hasErrorListener = true;
    super.addEventListener(type, listener as never, options);
  }

  #send(message: object, text: string): boolean {
    if (!this.#connection.send(text)) return false;
    this.#requests.push({ requestId: (message as Record<string, unknown>)["requestId"] });
    return true;
  }

  #request(channel: Channel): void {
    const { key, requestId } = channel;
    const since = this.#connection.recovery.since(channel);
    const text = `{"type":"subscribe","room":${key},"requestId":"${requestId}"${since}}`;
    if (!this.#connection.send(text)) return; // A loss follows, and another connection.
    channel.state = "requested";
    this.#requests.push({ requestId, channel });
  }

  #unsubscribe(subscription: Subscription): void {
    const { requestId } = subscription;
    const channel = this.#channels.get(requestId);
    if (!channel?.subscribers.delete(subscription) || channel.subscribers.size) return;
    const { key, state } = channel;
    this.#rooms.delete(key);
    this.#channels.delete(requestId);
    if (state !== "confirmed" && state !== "requested") return;
    const text = `{"type":"unsubscribe","requestId":"${requestId}"}`;
    if (this.#connection.send(text)) {
      this.#requests.push({ requestId, channel: null });
    }
  }

  #admitted(): void {
    const channels = [...this.#rooms.values()];
    for (const resume of this.#connection.recovery.resume(channels)) {
      if (!this.#connection.send(resume.text)) return; // A loss follows.
      for (const channel of resume.channels) channel.state = "requested";
      this.#requests.push({ requestId: RESUME, channels: resume.channels, channel: null });
    }
    for (const channel of channels) if (channel.state === "idle") this.#request(channel);
    this.#queue = this.#queue.filter(({ message, text }) => !this.#send(message, text));
  }

  #received(message: GatewayMessage): void {
    const { type } = message;
    // Replies have no type. A message with an unknown type is from a later version: ignored.
    if (type === "publish") this.#published(message);
    else if (type === "unsubscribed") {
      const channel = this.#channels.get(message["requestId"]);
      if (channel?.state === "confirmed") this.#settled(channel, message);
    } else if (type === "permissions") this.#granted();
    else if (type === "gap") this.#missed(message);
    else if (type === undefined) {
      if (!("is_authorized" in message)) this.#answered(message);
      else if (message["is_authorized"]) this.#granted();
    }
  }

  /** Subscribes to rooms that were refused and are permitted now. */
  #granted(): void {
    const { grants } = this.status;
    this.#emit("grants", grants, "rooms");
    for (const channel of [...this.#rooms.values()]) {
      if (channel.state !== "denied") continue;
      if (!grants.some((grant) => permits(grant, channel.room))) continue;
      this.#request(channel);
      for (const subscription of [...channel.subscribers]) subscription.retried();
    }
  }

  #published(message: GatewayMessage): void {
    const { requestId, data } = message;
    const channel = this.#channels.get(requestId);
    if (!channel || !this.#connection.recovery.isNew(channel, message)) return;
    deliver(channel, data, (detail) => this.#emit("publication", detail, "publish"));
  }

  #answered(message: GatewayMessage): void {
    const { channel, channels } = take(this.#requests, message, this.#isLegacy) ?? {};
    if (channel) this.#replied([channel], message);
    else if (channels) this.#replied(channels, message, message["code"] !== "success");
    else if (channel !== null) this.#emit("message", message);
  }

  /**
   * The reply to a subscribe or a `resume`.
   *
   * @param isAgain - to subscribe to each room by itself
   */
  #replied(channels: readonly Channel[], message: GatewayMessage, isAgain = false): void {
    const refused = [message["refused"] ?? []].flat() as GatewayMessage[];
    this.#connection.recovery.confirmed(channels, message);
    for (const channel of channels) {
      // A callback may have left the room, or the connection.
      if (!channel.subscribers.size || channel.state !== "requested") continue;
      const reply = refused.find(({ requestId }) => requestId === channel.requestId) ?? message;
      // Without a cursor that this gateway cannot read.
      if (isAgain || /^invalid-[cs]/.test(String(reply["message"]))) this.#request(channel);
      else this.#settled(channel, reply);
    }
  }

  /** Publications were missed on this connection. */
  #missed(message: GatewayMessage): void {
    const channels = [...this.#rooms.values()].filter(({ state }) => state === "confirmed");
    this.#connection.recovery.confirmed(channels, message);
    for (const channel of channels) {
      if (channel.state === "confirmed") this.#settled(channel, { ...message, code: "success" });
    }
  }

  #settled(channel: Channel, reply: GatewayMessage): void {
    settle(channel, reply, (error, isUnheard) => {
      if (isUnheard) this.report(error, `subscription refused: ${error.message}`);
      else this.#emit("error", error);
    });
  }

  #lost(): void {
    this.#requests = [];
    for (const channel of this.#rooms.values()) lost(channel);
    this.#each((subscription) => subscription.lost());
  }

  #changed(before: ConnectionStatus): void {
    const { state, status } = this;
    if (state === "connecting") this.#each((subscription) => subscription.retried());
    else if (isOver(status) && !isOver(before)) {
      const error = this.#end();
      this.#each((subscription) => subscription.gaveUp(error, state));
    }
    this.#emit("state", status);
  }

  /** Why the client has stopped. */
  #end(): ConnectionError {
    const { state, code, reason, cause } = this.status;
    const how = code === null ? reason : `the gateway closed: ${code} ${reason}`;
    return new ConnectionError(state === "failed" ? how : state, code, reason, cause);
  }

  /** @internal Dispatches an `error` event; without a listener, warns once. */
  report(error: Error, warning = error.message): void {
    this.#emit("error", error);
    if (this.#hasErrorListener || this.#warned.has(warning) || this.#warned.size >= 100) return;
    this.#warned.add(warning);
    console.warn(`high-templar: ${warning}`);
  }

  #each(act: (subscription: Subscription) => void): void {
    for (const { subscribers } of [...this.#rooms.values()]) [...subscribers].forEach(act);
  }

  /** @param alias - the event's old name */
  #emit<K extends keyof HighTemplarEventMap>(
    type: K,
    detail: HighTemplarEventMap[K]["detail"],
    alias?: keyof HighTemplarEventMap,
  ): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
    if (alias) this.dispatchEvent(new CustomEvent(alias, { detail }));
  }
}
