/**
 * Outstanding requests, and matching replies to them.
 *
 * @module
 */

import { SubscribeError } from "./errors.js";
import type { Published } from "./events.js";
import { guard } from "./guard.js";
import type { Replay } from "./recovery.js";
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
  /**
   * After which cursor it needs publications: one of its own, or `null` for that of the connection.
   * `undefined` if it has not been confirmed: whatever is published from now on.
   */
  since?: string | null | undefined;
  /** Publications that are being replayed for it. */
  replay?: Replay | null;
  /** How many came after its own cursor: in all, and over this connection. */
  heard: number;
  seen: number;
}

/** A request without a reply. */
export interface Request {
  requestId: unknown;
  /** The channel to be subscribed; `null` for unsubscribing, and none for a message of the page. */
  channel?: Channel | null;
  /** The channels to be resumed. */
  channels?: readonly Channel[];
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

/** A channel that was not requested yet. */
export function makeChannel(key: string, requestId: string, since: string | undefined): Channel {
  const room = JSON.parse(key);
  return { key, room, requestId, subscribers: new Set(), state: "idle", since, heard: 0, seen: 0 };
}

/** The connection of a channel is gone. */
export function lost(channel: Channel): void {
  channel.state = "idle";
  channel.replay = null;
  channel.seen = 0;
}

/**
 * Delivers the data of a publication to the subscribers of a channel.
 *
 * @param before - called before each of them
 */
export function deliver(channel: Channel, data: unknown, before: (to: Published) => void): void {
  const subscribers = [...channel.subscribers];
  // Each gets its own copy of the data.
  const copy = subscribers.length > 1 ? JSON.stringify(data) : "";
  for (const [index, subscription] of subscribers.entries()) {
    if (isEnded(subscription)) continue;
    const own = index ? JSON.parse(copy) : data;
    before({ data: own, subscription });
    if (!isEnded(subscription)) guard(() => subscription.published(own));
  }
}

/** A function, so that TypeScript does not assume that callbacks leave the state unchanged. */
function isEnded({ state }: Subscription): boolean {
  return state === "ended";
}

/**
 * A channel is confirmed or rejected, by a reply or by `unsubscribed`.
 *
 * @param refused - called for each subscriber that is rejected; `isUnheard` if nobody else learnt of it
 */
export function settle(
  channel: Channel,
  reply: GatewayMessage,
  refused: (error: SubscribeError, isUnheard: boolean) => void,
): void {
  const { type, code, message = type, reason = "" } = reply;
  const isConfirmed = code === "success";
  const isDenied = message === "room-not-found" || reason === "permissions";
  channel.state = isConfirmed ? "confirmed" : isDenied ? "denied" : "refused";
  if (!isConfirmed) channel.since = undefined;
  for (const subscription of [...channel.subscribers]) {
    guard(() => {
      if (isConfirmed) return subscription.confirmed(reply);
      const { state } = subscription;
      if (state === "refused" || state === "ended") return;
      const error = new SubscribeError(String(message), channel.room, String(reason));
      refused(error, subscription.rejected(error));
    });
  }
}
