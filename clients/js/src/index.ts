/**
 * Live updates from a high-templar gateway, over one socket that reconnects automatically.
 *
 * @packageDocumentation
 */

import type { ConnectionState, ConnectionStatus, HighTemplarOptions } from "./options.js";
import type { GatewayMessage } from "./wire.js";

export { HighTemplar } from "./client.js";
export { ConnectionError, SubscribeError } from "./errors.js";
export type {
  Dropped,
  HighTemplarEvent,
  HighTemplarEventMap,
  HighTemplarListener,
  HighTemplarListenerOptions,
  Published,
} from "./events.js";
export type {
  ConnectionDisplay,
  ConnectionState,
  ConnectionStatus,
  HighTemplarOptions,
  WebSocketClass,
} from "./options.js";
export {
  type OnPublish,
  type Recovered,
  type Subscribed,
  type SubscribeOptions,
  Subscription,
  type SubscriptionState,
} from "./subscription.js";
export type { Backoff } from "./verdict.js";
export type {
  GatewayMessage,
  Json,
  JsonObject,
  Room,
  SubscribeErrorCode,
  TokenIn,
} from "./wire.js";

/** @deprecated Use `HighTemplarOptions`. */
export type Options = HighTemplarOptions;
/** @deprecated Use `ConnectionState`. */
export type State = ConnectionState;
/** @deprecated Use `ConnectionStatus`. */
export type Status = ConnectionStatus;
/** @deprecated Use `GatewayMessage`. */
export type Message = GatewayMessage;
