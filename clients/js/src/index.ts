/**
 * Live updates from a high-templar gateway, over one socket that comes back by itself.
 *
 * @packageDocumentation
 */

export {
  type Dropped,
  HighTemplar,
  type HighTemplarEventMap,
  type Published,
} from "./client.js";
export type { Options, State, Status, WebSocketClass } from "./options.js";
export {
  type OnPublish,
  SubscribeError,
  type SubscribeOptions,
  Subscription,
  type SubscriptionState,
} from "./subscription.js";
export type { Backoff } from "./verdict.js";
export type { Json, Message, Room, TokenIn } from "./wire.js";
