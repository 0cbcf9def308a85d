/**
 * The events of a client.
 *
 * @module
 */

import type { ConnectionStatus } from "./options.js";
import type { Subscription } from "./subscription.js";
import type { GatewayMessage, JsonObject } from "./wire.js";

/** The `detail` of a `publication` event. */
export interface Published {
  /** The data of the publication. */
  readonly data: unknown;
  /** Its subscription. */
  readonly subscription: Subscription;
}

/** The `detail` of a `drop` event: a queue was full. */
export interface Dropped {
  /** The subscription with a slow loop, or `null` for a message of `send`. */
  readonly subscription: Subscription | null;
  /** The message of `send` that was dropped. */
  readonly message?: object;
}

/** An event of a {@link HighTemplar}, as a `CustomEvent` of the DOM. */
export interface HighTemplarEvent<D> extends Event {
  readonly detail: D;
}

/** The events of a {@link HighTemplar}, by name. */
export interface HighTemplarEventMap {
  /** The status has changed. */
  state: HighTemplarEvent<ConnectionStatus>;
  /** The user's grants: when admitted, and when they change. */
  grants: HighTemplarEvent<readonly JsonObject[]>;
  /** @deprecated Use `grants`. */
  rooms: HighTemplarEvent<readonly JsonObject[]>;
  /** A publication, of any subscription. */
  publication: HighTemplarEvent<Published>;
  /** @deprecated Use `publication`. */
  publish: HighTemplarEvent<Published>;
  /** The state of a subscription has changed. */
  subscription: HighTemplarEvent<Subscription>;
  /**
   * A `SubscribeError`, or a failure of a function of the options or of the connection. Without a
   * listener it is a warning on the console, once.
   */
  error: HighTemplarEvent<Error>;
  /** Something was dropped because a queue was full. */
  drop: HighTemplarEvent<Dropped>;
  /** Any other reply of the gateway, such as that to `status`. */
  message: HighTemplarEvent<GatewayMessage>;
}

/** Listener of an event of a {@link HighTemplar}. */
export type HighTemplarListener<K extends keyof HighTemplarEventMap> =
  // As a method, for functions that expect a `CustomEvent`.
  | { handleEvent(event: HighTemplarEventMap[K]): void }["handleEvent"]
  | { handleEvent(event: HighTemplarEventMap[K]): void };

/** As `AddEventListenerOptions` of the DOM. */
export interface HighTemplarListenerOptions {
  capture?: boolean;
  once?: boolean;
  passive?: boolean;
  signal?: AbortSignal;
}
