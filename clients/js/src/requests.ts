/**
 * What was asked of the gateway, and which of it an answer is to.
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
  /** `denied`: refused for lack of rights, which the user may get. */
  state: "idle" | "requested" | "heard" | "refused" | "denied";
}

/** A request that is not answered yet. */
export interface Request {
  requestId: unknown;
  /** The channel to be subscribed; none for a message of the page's, and for unsubscribing. */
  channel?: Channel;
  /** The page does not wait for the answer. */
  isSilent?: boolean;
}

/** A message of the page that waits for a connection. */
export interface Waiting {
  message: object;
  text: string;
}

/**
 * Takes out the request that an answer is to: found by the name in it, or else by the order. An answer
 * with a name that nobody has is to no request.
 *
 * @param isLegacy - answers have no names of requests, but their order
 */
export function take(
  requests: Request[],
  { requestId, code }: GatewayMessage,
  isLegacy: boolean,
): Request | undefined {
  const isNamed = !isLegacy && requestId !== undefined;
  // Answers to `status` have no code. Where answers carry names, one without is to a message of the
  // page's.
  const isNext = isNamed
    ? (request: Request) => request.requestId === requestId
    : ({ channel, isSilent }: Request) =>
        (isLegacy && code !== undefined) || (!channel && !isSilent);
  const index = requests.findIndex(isNext);
  return index < 0 ? undefined : requests.splice(index, 1)[0];
}
