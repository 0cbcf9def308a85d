/**
 * One subscriber of a room.
 *
 * @module
 */

import { Buffer } from "./buffer.js";
import { dispose } from "./dispose.js";
import type { ConnectionError, SubscribeError } from "./errors.js";
import { UNHANDLED } from "./guard.js";
import type { ConnectionState } from "./options.js";
import { amount } from "./validate.js";
import type { GatewayMessage, JsonObject } from "./wire.js";

/** Called with the data of a publication, and its subscription. */
export type OnPublish<T> = (data: T, subscription: Subscription<T>) => void;

/** The `onSubscribed` callback's argument. */
export interface Subscribed {
  /** Not the first time: publications since the loss did not arrive. */
  readonly again: boolean;
  /**
   * Why the gateway could not deliver them: `age` (too long ago), `epoch` (the gateway was restarted),
   * `too-much`, `permissions` (rights changed meanwhile), `off`, or the reason of a gap, such as
   * `broker`. `undefined` if the client did not ask it to.
   */
  readonly reason?: string | undefined;
}

/** The `onRecovered` callback's argument. */
export interface Recovered {
  /** How many missed publications are delivered next, for all rooms that were recovered together. */
  readonly replayed: number;
}

/** Options of a subscription. */
export interface SubscribeOptions<T = unknown> {
  /** Called with each publication, in the order of the backend's triggers. */
  onPublish?: OnPublish<T> | undefined;
  /**
   * Called each time publications may have been missed: the first time that the gateway confirms the
   * subscription, and `again` after a loss of the connection that was not recovered, or a gap. Fetch
   * the state, or use `live`.
   */
  onSubscribed?: ((how: Subscribed) => void) | undefined;
  /**
   * Called in place of `onSubscribed` when the gateway delivers every publication since the loss, or
   * since `since`: there is nothing to fetch.
   */
  onRecovered?: ((how: Recovered) => void) | undefined;
  /**
   * The position of the state that the page has, as its backend sent it with that state in the header
   * `High-Templar-Position`: the gateway delivers every publication since. Without it, or if the
   * gateway cannot, `onSubscribed` is called.
   */
  since?: string | undefined;
  /** Called when the gateway rejects the subscription, or ends it. */
  onError?: ((error: SubscribeError) => void) | undefined;
  /** Unsubscribes when it is aborted. */
  signal?: AbortSignal | undefined;
  /**
   * Maximum publications that are buffered for a `for await` loop. Beyond it the oldest is
   * dropped, counted in `dropped`, with a `drop` event.
   *
   * @defaultValue 1,000
   */
  maxBuffered?: number | undefined;
  /** @deprecated Use `onSubscribed`, which is called with `again: true` then. */
  onReconnect?: ((how: Subscribed) => void) | undefined;
  /** @deprecated Use `maxBuffered`. */
  bufferMax?: number | undefined;
}

/**
 * The state of a subscription.
 *
 * - `pending`: not confirmed yet, or there is no connection
 * - `subscribed`: confirmed
 * - `refused`: see `error`; requested again on every new connection, and if it was for lack of rights,
 *   when new grants permit the room
 * - `ended`: unsubscribed
 */
export type SubscriptionState = "pending" | "subscribed" | "refused" | "ended";

/** @internal What a subscription needs of its client. */
export interface Client {
  changed(subscription: Subscription): void;
  dropped(subscription: Subscription): void;
  unsubscribe(subscription: Subscription): void;
}

/**
 * A subscriber of a room, until {@link Subscription.unsubscribe}. Subscribers of the same room share
 * one subscription on the wire. Also an async iterator: `for await (const data of
 * socket.subscribe(room))`; leaving the loop unsubscribes, unless there is a callback or another loop.
 */
export class Subscription<T = unknown> implements AsyncIterable<T> {
  /** The requested room. */
  readonly room: JsonObject;
  /** The subscription's `requestId` on the wire. */
  readonly requestId: string;
  /** Number of publications that were dropped because the buffer was full. */
  dropped = 0;

  readonly #client: Client;
  // Bivariant, so that a subscription of orders is a subscription.
  readonly #options: SubscribeOptions<never>;
  readonly #max: number;
  #state: SubscriptionState = "pending";
  #error: SubscribeError | null = null;
  #buffers = new Set<Buffer<unknown>>();
  /** Publications before the first loop, if there is no callback. */
  #early: Buffer<unknown> | null = null;
  /** It was confirmed before the connection was lost. */
  #heard = false;
  /** A refusal is handled, so that no warning is needed. */
  #isWatched = false;
  #ready!: Promise<void>;
  #settle: { resolve(): void; reject(error: Error): void } | null = null;

  /** @internal */
  constructor(client: Client, room: JsonObject, requestId: string, options: SubscribeOptions<T>) {
    this.#client = client;
    this.room = room;
    this.requestId = requestId;
    this.#options = options as unknown as SubscribeOptions<never>;
    this.#max = amount("maxBuffered", options.maxBuffered ?? options.bufferMax ?? 1_000);
    this.#renew();
    const { signal } = options;
    signal?.addEventListener("abort", () => this.unsubscribe());
    if (signal?.aborted) {
      this.unsubscribe();
      return;
    }
    if (!options.onPublish) this.#early = new Buffer(this.#max, () => this.dropped++);
  }

  /**
   * Resolves when the subscription is confirmed. Rejects with a {@link SubscribeError} if the gateway rejects
   * the subscription, with a {@link ConnectionError} if the client stops connecting first (`failed`,
   * `close()`, a client that is refused and does not log in), and with an `AbortError` if it is
   * unsubscribed first. After `connect()` it is a new promise.
   */
  get ready(): Promise<void> {
    this.#isWatched = true;
    return this.#ready;
  }

  /** The current state. */
  get state(): SubscriptionState {
    return this.#state;
  }

  /** Why it was refused; `null` otherwise. */
  get error(): SubscribeError | null {
    return this.#error;
  }

  /** Unsubscribes. No callback is called afterwards. */
  unsubscribe(): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#error = null;
    this.#client.unsubscribe(this);
    this.#reject(new DOMException("unsubscribed", "AbortError"));
    this.#end();
    this.#client.changed(this);
  }

  /** Same as `unsubscribe()`, for `using`. */
  [dispose](): void {
    this.unsubscribe();
  }

  /** Publications from now on. */
  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    this.#isWatched = true;
    const buffer = this.#early ?? new Buffer<unknown>(this.#max, () => this.dropped++);
    this.#early = null;
    buffer.attend(
      () => this.#client.dropped(this),
      () => {
        this.#buffers.delete(buffer);
        const { onPublish } = this.#options;
        if (!this.#buffers.size && !onPublish) this.unsubscribe();
      },
    );
    if (this.#error) buffer.end(this.#error);
    else if (this.#state === "ended") buffer.end();
    else this.#buffers.add(buffer);
    return buffer as AsyncIterableIterator<T>;
  }

  /** @internal The gateway confirmed it, or reports a gap. */
  confirmed({ recovered, replayed, reason }: GatewayMessage): void {
    const { onSubscribed, onRecovered, onReconnect, since } = this.#options;
    const again = this.#heard;
    this.#heard = true;
    this.#renew();
    this.#settle?.resolve();
    this.#settle = null;
    this.#to("subscribed", null);
    if (this.#state !== "subscribed") return;
    if (recovered && (again || since)) return onRecovered?.({ replayed: Number(replayed) });
    const how: Subscribed = reason ? { again, reason: String(reason) } : { again };
    onSubscribed?.(how);
    if (again) onReconnect?.(how);
  }

  /** @internal The gateway rejected it, which has not ended. Returns whether nobody learnt of it. */
  rejected(error: SubscribeError): boolean {
    this.#renew();
    this.#reject(error);
    this.#to("refused", error);
    this.#end(error);
    const { onError } = this.#options;
    const isHandled = onError && (onError(error) as undefined) !== UNHANDLED;
    return !isHandled && !this.#isWatched;
  }

  /** @internal */
  published(data: T): void {
    for (const buffer of this.#buffers) buffer.push(data);
    this.#early?.push(data);
    this.#options.onPublish?.(data as never, this as never);
  }

  /** @internal The connection is gone. */
  lost(): void {
    this.#to("pending", null);
  }

  /** @internal The client connects again, or asks for the room again. */
  retried(): void {
    this.lost();
    if (this.#state === "pending") this.#renew();
  }

  /** @internal The client has stopped connecting. */
  gaveUp(error: ConnectionError, state: ConnectionState): void {
    this.#reject(error);
    if (state === "refused") return; // Loops go on after `connect()`.
    this.#end(state === "failed" ? error : undefined);
  }

  #end(error?: Error): void {
    for (const buffer of this.#buffers) buffer.end(error);
    this.#buffers.clear();
  }

  /** Another promise, if the last one is settled: it said what is no longer so. */
  #renew(): void {
    if (this.#settle) return;
    this.#ready = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#ready.catch(() => {}); // Whoever does not await it is not bothered.
  }

  #reject(error: Error): void {
    this.#settle?.reject(error);
    this.#settle = null;
  }

  #to(state: SubscriptionState, error: SubscribeError | null): void {
    if (state === this.#state || this.#state === "ended") return;
    this.#state = state;
    this.#error = error;
    this.#client.changed(this);
  }
}
