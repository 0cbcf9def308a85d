/**
 * Fetch and merge: a state that is loaded, changed by publications, and loaded again whenever some may
 * have been missed and the gateway cannot deliver them.
 *
 * @packageDocumentation
 */

import type { HighTemplar } from "./client.js";
import { dispose } from "./dispose.js";
import type { SubscribeError } from "./errors.js";
import { asError, guard } from "./guard.js";
import type { SubscribeOptions, Subscription, SubscriptionState } from "./subscription.js";
import { amount } from "./validate.js";
import type { JsonMembers, Room } from "./wire.js";

/** Options of {@link live}. */
export interface LiveOptions<S, T = unknown>
  extends Pick<
    SubscribeOptions<T>,
    "onSubscribed" | "onRecovered" | "onError" | "signal" | "since"
  > {
  /**
   * Fetches the state. Called immediately, even without a connection; again each time publications may
   * have been missed; and again with a back-off if it fails.
   *
   * @param signal - aborted when the result is no longer needed
   */
  load: (signal: AbortSignal) => S | Promise<S>;
  /**
   * Applies a publication to the state: returns the new state, or changes it in place. Publications
   * that arrived during a load are applied to its result, which may contain them already: replace by
   * id, do not add.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: a function that changes in place returns nothing
  apply: (state: S, data: T) => S | void;
  /**
   * The state that the page has already, such as what the server rendered. With `since`, its position,
   * `load` is called only if the gateway cannot deliver what was published after it.
   */
  initial?: S | undefined;
  /** Called with each new state: render it. */
  onChange?: ((state: S) => void) | undefined;
  /** Called when `load` fails; it is retried automatically. Without it, an `error` event is dispatched. */
  onLoadError?: ((error: Error) => void) | undefined;
  /**
   * How many publications are kept during a load. If there are more, it is repeated.
   *
   * @defaultValue 1,000
   */
  maxBuffered?: number | undefined;
}

interface Load<T> {
  readonly abort: AbortController;
  /** Publications since it began. */
  recent: T[];
  /** `recent` exceeded its maximum. */
  isLossy: boolean;
}

/** The back-off between loads that fail, in milliseconds. */
const RETRY = { base: 1_000, max: 30_000 };

/** A state that is kept up to date until {@link Live.unsubscribe}. Created by {@link live}. */
export class Live<S, T = unknown> {
  /** The subscription of the room. */
  readonly subscription: Subscription<T>;

  readonly #client: HighTemplar;
  readonly #options: LiveOptions<S, T>;
  readonly #max: number;
  #data: S | undefined;
  #loadError: Error | null = null;
  /** In progress, the oldest first: at most two. */
  #loads: Load<T>[] = [];
  #isLoaded = false;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @internal */
  constructor(client: HighTemplar, room: Room<T>, options: LiveOptions<S, T>) {
    const { onSubscribed, onRecovered, onError, signal, since, initial, maxBuffered } = options;
    this.#client = client;
    this.#options = options;
    this.#data = initial;
    this.#isLoaded = initial !== undefined;
    this.#max = Math.max(1, amount("maxBuffered", maxBuffered ?? 1_000));
    this.subscription = client.subscribe<T>(room, (data) => this.#published(data), {
      onSubscribed: (how) => {
        this.reload();
        onSubscribed?.(how);
      },
      onRecovered,
      onError,
      signal,
      since: this.#isLoaded ? since : undefined,
    });
    client.addEventListener("state", this.#watch);
    client.addEventListener("subscription", this.#watch);
    if (this.state === "ended") this.#watch();
    else if (!this.#isLoaded || !since) this.reload();
  }

  /** The state; `undefined` until it is loaded. */
  get data(): S | undefined {
    return this.#data;
  }

  /** The state of the subscription. */
  get state(): SubscriptionState {
    return this.subscription.state;
  }

  /** Why the subscription was refused; `null` otherwise. */
  get error(): SubscribeError | null {
    return this.subscription.error;
  }

  /**
   * Why the last load failed; `null` otherwise, and again as soon as one succeeds. It is retried
   * meanwhile, and `data` remains that of the last success.
   */
  get loadError(): Error | null {
    return this.#loadError;
  }

  /** Same as `ready` of the subscription. */
  get ready(): Promise<void> {
    return this.subscription.ready;
  }

  /** Loads again. The state remains until the result arrives. */
  reload(): void {
    clearTimeout(this.#timer);
    // The first state may be that of a load from before the subscription was confirmed.
    const kept = this.#isLoaded ? 0 : 1;
    for (const { abort } of this.#loads.splice(kept)) abort.abort();
    const mine: Load<T> = { abort: new AbortController(), recent: [], isLossy: false };
    this.#loads.push(mine);
    const { signal } = mine.abort;
    const load = async () => (signal.aborted ? undefined : this.#options.load(signal)) as S;
    Promise.resolve()
      .then(load)
      .then(
        (state) => this.#loaded(mine, state),
        (error) => this.#missed(mine, asError(error)),
      );
  }

  /** Ends the subscription. No callback is called afterwards. The state remains. */
  unsubscribe(): void {
    this.subscription.unsubscribe();
  }

  /** Same as `unsubscribe()`, for `using`. */
  [dispose](): void {
    this.unsubscribe();
  }

  #published(data: T): void {
    for (const load of this.#loads) {
      load.recent.push(data);
      if (load.recent.length > this.#max) {
        load.recent.shift();
        load.isLossy = true;
      }
    }
    if (this.#isLoaded) this.#apply([data]);
  }

  /** Aborts loads when the subscription ends, or the client stops connecting for good. */
  readonly #watch = (): void => {
    const isEnded = this.state === "ended";
    const { state } = this.#client;
    if (!isEnded && state !== "closed" && state !== "failed") return;
    if (isEnded) {
      this.#client.removeEventListener("state", this.#watch);
      this.#client.removeEventListener("subscription", this.#watch);
    }
    clearTimeout(this.#timer);
    for (const { abort } of this.#loads.splice(0)) abort.abort();
  };

  #loaded(load: Load<T>, state: S): void {
    const at = this.#loads.indexOf(load);
    if (at < 0) return; // A later one was faster, or it was aborted.
    this.#loads.splice(at, 1);
    for (const { abort } of this.#loads.splice(0, at)) abort.abort();
    this.#failures = 0;
    this.#loadError = null;
    this.#isLoaded = true;
    this.#data = state;
    this.#apply(load.recent);
    if (load.isLossy && !this.#loads.length) this.#later();
  }

  #missed(load: Load<T>, error: Error): void {
    const at = this.#loads.indexOf(load);
    if (at < 0) return;
    this.#loads.splice(at, 1);
    this.#loadError = error;
    const { onLoadError } = this.#options;
    guard(() => (onLoadError ? onLoadError(error) : this.#client.report(error)));
    if (!this.#loads.length) this.#later();
  }

  #later(): void {
    const span = Math.min(RETRY.base * 2 ** Math.min(this.#failures++, 10), RETRY.max);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.reload(), span * (0.5 + Math.random() / 2));
  }

  #apply(publications: readonly T[]): void {
    for (const data of publications) {
      guard(() => {
        const changed = this.#options.apply(this.#data as S, data);
        if (changed !== undefined) this.#data = changed as S;
      });
    }
    guard(() => this.#options.onChange?.(this.#data as S));
  }
}

/**
 * Keeps a state up to date: loads it immediately, applies publications to it, and loads it again each
 * time some may have been missed. It works while the gateway is down.
 *
 * @example
 * ```ts
 * const orders = live(socket, { target: "order", customer: 7 }, {
 *   load: async (signal) => (await fetch("/orders", { signal })).json(),
 *   apply: (all, order) => [...all.filter(({ id }) => id !== order.id), order],
 *   onChange: render,
 * });
 * ```
 *
 * @throws TypeError if JSON cannot express the room
 */
export function live<S, T = unknown, R extends object = object>(
  socket: HighTemplar,
  room: Room<T> & R & JsonMembers<R>,
  options: LiveOptions<S, T>,
): Live<S, T> {
  return new Live<S, T>(socket, room, options);
}
