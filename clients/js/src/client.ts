/**
 * The client: rooms and handlers upon one connection that comes back by itself.
 *
 * @module
 */

import { Connection } from "./connection.js";
import { guard } from "./guard.js";
import type { Options, State, Status } from "./options.js";
import { type OnPublish, type SubscribeOptions, Subscription } from "./subscription.js";
import type { Message, Room } from "./wire.js";

/** The `detail` of a `publish` event. */
export interface Published {
  /** What the backend published. */
  readonly data: unknown;
  /** The subscription that it came for. */
  readonly subscription: Subscription;
}

/** The `detail` of a `drop` event: something had to go, because a queue was full. */
export interface Dropped {
  /** The subscription whose loop reads too slowly, or `null` for a message of `send`. */
  readonly subscription: Subscription | null;
  /** The message of `send` that was dropped. */
  readonly message?: object;
}

/** The events of a {@link HighTemplar}, by name. */
export interface HighTemplarEventMap {
  /** The state, or what belongs to it, is another one. */
  state: CustomEvent<Status>;
  /** Let in: what the visitor may hear. */
  rooms: CustomEvent<readonly Room[]>;
  /** A publication, whatever the subscription. */
  publish: CustomEvent<Published>;
  /** A subscription is in another state. */
  subscription: CustomEvent<Subscription>;
  /** A `SubscribeError`, or what a function of the options threw. */
  error: CustomEvent<Error>;
  /** A full queue. */
  drop: CustomEvent<Dropped>;
  /** Any other message of the gateway, such as the answer to `status`. */
  message: CustomEvent<Message>;
}

/** How to listen to the events of a {@link HighTemplar}. */
export interface HighTemplar {
  addEventListener<K extends keyof HighTemplarEventMap>(
    type: K,
    listener: (event: HighTemplarEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof HighTemplarEventMap>(
    type: K,
    listener: (event: HighTemplarEventMap[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

/** What was asked and is not answered yet. */
interface Request {
  requestId: unknown;
  subscription: Subscription | null;
}

/**
 * One connection to a gateway, for a whole page.
 *
 * It comes back by itself whenever it is cut off, asks again for every room, and tells whoever
 * listens. It stays away where the gateway says so: see {@link State}.
 *
 * @example
 * ```ts
 * const socket = new HighTemplar({ url: "/ws/" });
 * const orders = socket.subscribe({ target: "order", customer: "7" }, (order) => show(order), {
 *   onReconnect: () => refetch(),
 * });
 * // later
 * orders.unsubscribe();
 * ```
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the interface only types inherited methods
export class HighTemplar extends EventTarget {
  /** Messages of `send` that a full queue dropped. */
  dropped = 0;

  readonly #connection: Connection;
  readonly #queueMax: number;
  readonly #subscriptions = new Map<unknown, Subscription>();
  /** Answers come in the order of requests. */
  #asked: Request[] = [];
  #queue: object[] = [];
  #lastId = 0;

  /**
   * @throws TypeError if the address is none
   * @throws Error if there is no WebSocket here and none was given
   */
  constructor(options: Options) {
    super();
    this.#queueMax = options.queueMax ?? 100;
    this.#connection = new Connection(
      {
        admitted: () => this.#admitted(),
        received: (message) => this.#received(message),
        lost: () => this.#lost(),
        changed: (before) => this.#changed(before),
        failed: (error) => this.#tell("error", error),
      },
      options,
    );
    if (options.autoConnect !== false) this.#connection.connect();
  }

  /** The state and what belongs to it: a new object at every change. */
  get status(): Status {
    return this.#connection.status;
  }

  /** What the connection is doing. */
  get state(): State {
    return this.status.state;
  }

  /** Connects at once: for the first time, after `close()`, or instead of waiting. */
  connect(): void {
    this.#connection.connect();
  }

  /** Closes the connection. Subscriptions stay, for the next `connect()`; `for await` loops end. */
  close(): void {
    this.#connection.close();
  }

  /**
   * Hears a room, from the next connection on if there is none now, and again after each loss.
   *
   * @param room - compared by content; one value `"*"` hears every value where the grants have it
   * @param onPublish - called with the backend's `data`, in the order of its triggers
   */
  subscribe<T = unknown>(
    room: Room,
    onPublish?: OnPublish<T>,
    options: SubscribeOptions = {},
  ): Subscription<T> {
    const client = {
      changed: (subscription: Subscription) => this.#tell("subscription", subscription),
      dropped: (subscription: Subscription) => this.#tell("drop", { subscription }),
      unsubscribe: (subscription: Subscription) => this.#unsubscribe(subscription),
    };
    const requestId = String(++this.#lastId);
    const subscription = new Subscription<T>(client, room, requestId, onPublish, options);
    this.#subscriptions.set(requestId, subscription);
    if (this.state === "open") this.#subscribe(subscription);
    return subscription;
  }

  /**
   * Sends a message as it is, `{ type: "status" }` for one; the answer comes as a `message` event.
   * Without a connection it waits in a bounded queue.
   */
  send(message: object): void {
    if (this.state === "open") return this.#send(message, null);
    this.#queue.push(message);
    if (this.#queue.length <= this.#queueMax) return;
    this.dropped++;
    this.#tell("drop", { subscription: null, message: this.#queue.shift() as object });
  }

  #send(message: object, subscription: Subscription | null): void {
    const { requestId } = message as { requestId?: unknown };
    if (this.#connection.send(message)) this.#asked.push({ requestId, subscription });
  }

  #subscribe(subscription: Subscription): void {
    const { room, requestId } = subscription;
    this.#send({ type: "subscribe", room, requestId }, subscription);
  }

  #unsubscribe({ requestId }: Subscription): void {
    this.#subscriptions.delete(requestId);
    if (this.state === "open") this.#send({ type: "unsubscribe", requestId }, null);
  }

  #admitted(): void {
    for (const subscription of this.#subscriptions.values()) this.#subscribe(subscription);
    for (const message of this.#queue.splice(0)) this.#send(message, null);
  }

  #received(message: Message): void {
    if (message["type"] === "publish") {
      const subscription = this.#subscriptions.get(message["requestId"]);
      if (!subscription) return; // Unsubscribed meanwhile.
      const { data } = message;
      this.#tell("publish", { data, subscription });
      guard(() => subscription.published(data));
    } else if ("is_authorized" in message) {
      if (message["is_authorized"]) this.#tell("rooms", this.status.rooms);
    } else {
      this.#answered(message);
    }
  }

  /** Finds the request by the name in the answer, or else by the order. */
  #answered(message: Message): void {
    const { requestId, code } = message;
    const named = this.#asked.findIndex((request) => request.requestId === requestId);
    const [request] = this.#asked.splice(requestId === undefined ? 0 : Math.max(named, 0), 1);
    const subscription = request?.subscription;
    if (!subscription) return this.#tell("message", message);
    const failure = code === "success" ? null : String(message["message"]);
    guard(() => subscription.answered(failure));
    if (subscription.error && failure) this.#tell("error", subscription.error);
  }

  #lost(): void {
    this.#asked = [];
    for (const subscription of this.#subscriptions.values()) subscription.lost();
  }

  #changed(before: Status): void {
    const { state, code, reason } = this.status;
    this.#tell("state", this.status);
    if (state === before.state || (state !== "closed" && state !== "failed")) return;
    const error =
      state === "failed" ? new Error(`the gateway closed: ${code} ${reason}`) : undefined;
    for (const subscription of this.#subscriptions.values()) subscription.end(error);
  }

  #tell<K extends keyof HighTemplarEventMap>(
    type: K,
    detail: HighTemplarEventMap[K]["detail"],
  ): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
