/**
 * One room, heard for as long as it is wanted.
 *
 * @module
 */

import { Buffer } from "./buffer.js";
import { type Room, roomKey } from "./wire.js";

/** Called with what the backend published, and the subscription that it came for. */
export type OnPublish<T> = (data: T, subscription: Subscription<T>) => void;

/** How a room is heard. */
export interface SubscribeOptions {
  /**
   * Called when the room is heard again after a loss: what was published meanwhile did not come, so
   * fetch anew what you show.
   */
  onReconnect?: () => void;
  /** Called when the gateway does not let this visitor hear the room. */
  onError?: (error: SubscribeError) => void;
  /**
   * How many publications wait for a `for await` loop; beyond it the oldest is dropped, counted in
   * `dropped` and told by a `drop` event.
   *
   * @defaultValue 1,000
   */
  bufferMax?: number;
}

/**
 * Where a subscription stands.
 *
 * - `pending`: not answered yet, also while there is no connection
 * - `subscribed`: heard
 * - `refused`: see `error`; asked for again at every new connection, as rights may have changed
 * - `ended`: unsubscribed
 */
export type SubscriptionState = "pending" | "subscribed" | "refused" | "ended";

/** The gateway does not let this visitor hear a room. */
export class SubscribeError extends Error {
  override readonly name = "SubscribeError";
  /** The gateway's word, such as `room-not-found` or `too-many-subscriptions`. */
  readonly code: string;
  /** The room that was asked for. */
  readonly room: Room;

  /** @internal */
  constructor(code: string, room: Room) {
    super(`${code}: ${roomKey(room)}`);
    this.code = code;
    this.room = room;
  }
}

/** What a subscription needs of its client. */
export interface Client {
  changed(subscription: Subscription): void;
  dropped(subscription: Subscription): void;
  unsubscribe(subscription: Subscription): void;
}

/**
 * A room that is heard, until {@link Subscription.unsubscribe}. Also an async iterator:
 * `for await (const data of socket.subscribe(room))` hears from there on; leaving the loop
 * unsubscribes.
 */
export class Subscription<T = unknown> implements AsyncIterable<T> {
  /** What was asked for. */
  readonly room: Room;
  /** The name that the subscription has on the wire. */
  readonly requestId: string;
  /** How many publications a full buffer dropped. */
  dropped = 0;

  readonly #client: Client;
  // Of T, but a subscription of orders is a subscription.
  readonly #onPublish: ((data: never, subscription: never) => void) | undefined;
  readonly #options: SubscribeOptions;
  #state: SubscriptionState = "pending";
  #error: SubscribeError | null = null;
  #buffers = new Set<Buffer<unknown>>();
  /** It was heard before the connection was lost. */
  #heard = false;
  #settle!: { resolve(): void; reject(error: Error): void };

  /**
   * Resolves when the room is heard for the first time; rejects with a {@link SubscribeError} where
   * the first answer is no, and with an `AbortError` if it is unsubscribed before there is one.
   */
  readonly ready: Promise<void>;

  /** @internal */
  constructor(
    client: Client,
    room: Room,
    requestId: string,
    onPublish: OnPublish<T> | undefined,
    options: SubscribeOptions,
  ) {
    this.#client = client;
    this.room = room;
    this.requestId = requestId;
    this.#onPublish = onPublish;
    this.#options = options;
    this.ready = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.ready.catch(() => {}); // Who does not wait for it is not bothered.
  }

  /** Where it stands now. */
  get state(): SubscriptionState {
    return this.#state;
  }

  /** Why it is refused; `null` otherwise. */
  get error(): SubscribeError | null {
    return this.#error;
  }

  /** Hears no more. Nothing is called afterwards, also for what is under way. */
  unsubscribe(): void {
    if (this.#state === "ended") return;
    this.#client.unsubscribe(this);
    this.#settle.reject(new DOMException("unsubscribed", "AbortError"));
    this.#to("ended", null);
    this.end();
  }

  /** Publications from now on. */
  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    const dropped = () => {
      this.dropped++;
      this.#client.dropped(this);
    };
    const buffer = new Buffer<unknown>(this.#options.bufferMax ?? 1_000, dropped, () => {
      this.#buffers.delete(buffer);
      this.unsubscribe();
    });
    if (this.#error) buffer.end(this.#error);
    else if (this.#state === "ended") buffer.end();
    else this.#buffers.add(buffer);
    return buffer as AsyncIterableIterator<T>;
  }

  /** @internal The gateway's answer: an error, or null. */
  answered(code: string | null): void {
    if (this.#state === "ended") return;
    if (code === null) {
      const again = this.#heard;
      this.#heard = true;
      this.#settle.resolve();
      this.#to("subscribed", null);
      if (again) this.#options.onReconnect?.();
    } else {
      const error = new SubscribeError(code, this.room);
      this.#settle.reject(error);
      this.#to("refused", error);
      this.end(error);
      this.#options.onError?.(error);
    }
  }

  /** @internal */
  published(data: T): void {
    for (const buffer of this.#buffers) buffer.push(data);
    this.#onPublish?.(data as never, this as never);
  }

  /** @internal The connection is gone. */
  lost(): void {
    this.#to("pending", null);
  }

  /** @internal Ends the loops that read. */
  end(error?: Error): void {
    for (const buffer of this.#buffers) buffer.end(error);
    this.#buffers.clear();
  }

  #to(state: SubscriptionState, error: SubscribeError | null): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#error = error;
    this.#client.changed(this);
  }
}
