/**
 * Errors of the client. Each has a stable `code` and a sentence that says what to fix.
 *
 * @module
 */

import type { JsonObject, SubscribeErrorCode } from "./wire.js";

/** The gateway rejected a subscription, or ended it. */
export class SubscribeError extends Error {
  override readonly name = "SubscribeError";
  /**
   * The gateway's code, such as `room-not-found` or `too-many-subscriptions`; `unsubscribed` if it was
   * subscribed, and the backend took the right or ended the subscription.
   */
  readonly code: SubscribeErrorCode;
  /** The requested room. */
  readonly room: JsonObject;
  /**
   * The gateway's explanation of `room-not-found`: which of the user's grants is closest to the room,
   * and where it differs. Of `unsubscribed`: `permissions` or `command`. `""` for other codes, and from
   * gateways of version 4.0.0.
   */
  readonly reason: string;

  /** @internal */
  constructor(code: string, room: JsonObject, reason = "") {
    super(`${code}: ${JSON.stringify(room)}${reason && `: ${reason}`}`);
    this.code = code;
    this.room = room;
    this.reason = reason;
  }
}

/** The connection ended and the client does not reconnect on its own. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
  /** The close code (RFC 6455 §7.4); `null` if no connection was made. */
  readonly code: number | null;
  /** The reason, as in `status.reason`. */
  readonly reason: string;

  /** @internal */
  constructor(what: string, code: number | null, reason: string, cause?: Error | null) {
    super(what, cause ? { cause } : undefined);
    this.code = code;
    this.reason = reason;
  }
}
