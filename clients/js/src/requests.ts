/**
 * Outstanding requests, and matching replies to them.
 *
 * @module
 */

import type { Subscription } from "./subscription.js";
import type { GatewayMessage, JsonObject } from "./wire.js";

/** A room on the wire, and its subscribers in this page. */
export interface Channel {
  readonly key: string;
  readonly room: JsonObject;
  readonly requestId: string;
  readonly subscribers: Set<Subscription>;
  /** `denied`: refused because no grant permits it, which may change. */
  state: "idle" | "requested" | "confirmed" | "refused" | "denied";
}

/** A request without a reply. */
export interface Request {
  requestId: unknown;
  /** The channel to be subscribed; `null` for unsubscribing, and none for a message of the page. */
  channel?: Channel | null;
}

/** A queued message of the page. */
export interface Waiting {
  message: object;
  text: string;
}

/**
 * Removes the request that a reply is for: by its `requestId`, or else by the order. A reply with an
 * unknown `requestId` is for no request.
 *
 * @param isLegacy - replies have no `requestId`, but the order of requests
 */
export function take(
  requests: Request[],
  { requestId, code }: GatewayMessage,
  isLegacy: boolean,
): Request | undefined {
  const isNamed = !isLegacy && requestId !== undefined;
  // Replies to `status` have no code. With `requestId`s, a reply without one is for a message of the
  // page.
  const isNext = isNamed
    ? (request: Request) => request.requestId === requestId
    : ({ channel }: Request) => (isLegacy && code !== undefined) || channel === undefined;
  const index = requests.findIndex(isNext);
  return index < 0 ? undefined : requests.splice(index, 1)[0];
}
