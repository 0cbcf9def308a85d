/**
 * Options of a client, and its status.
 *
 * @module
 */

import { amount } from "./validate.js";
import type { Backoff, Spans } from "./verdict.js";
import type { JsonObject, TokenIn } from "./wire.js";

/** The required part of a WebSocket: of a browser, a worker, Node 22, or a package. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

/** The constructor of a WebSocket. */
export type WebSocketClass = new (
  url: string,
  protocols?: string[],
  // Every WebSocket is a `WebSocketLike`, but their declared events differ.
  // biome-ignore lint/suspicious/noExplicitAny: see above
) => any;

/**
 * How a {@link HighTemplar} connects. Durations are milliseconds: zero or more, `Infinity` included;
 * anything else is a `RangeError`.
 */
export interface HighTemplarOptions {
  /**
   * Where the gateway listens: `wss://host/ws/`, or `/ws/` on the page's own host. A function is
   * called before every attempt; one that fails is called again after a back-off.
   */
  url: string | URL | (() => string | URL | Promise<string | URL>);
  /**
   * The user's token, if cookies do not identify the user. A function is called before every
   * attempt and may fetch a fresh token; one that fails is called again after a back-off. It is also
   * called when what the last one permits expires soon: the connection goes on with the new token.
   */
  token?:
    | string
    | null
    | undefined
    | (() => string | null | undefined | Promise<string | null | undefined>);
  /**
   * How the token is sent: as a subprotocol, in the first frame (the gateway's `auth.first_frame`),
   * or in the address, which proxies log.
   *
   * @defaultValue `"subprotocol"`
   */
  tokenIn?: TokenIn | undefined;
  /**
   * For gateways before 4.0: offers no subprotocol. The token is in the address, and replies are
   * matched to requests by their order.
   *
   * @defaultValue `false`
   */
  legacy?: boolean | undefined;
  /**
   * Called when the gateway refuses the client. Logs in again, or asks the user to; then the
   * client reconnects, unless the promise resolves to `false`. Without this function the state stays
   * `refused` until `connect()`.
   */
  authenticate?: ((why: ConnectionStatus) => unknown) | undefined;
  /**
   * Connect in the constructor. By default in a page or a worker, or if `WebSocket` is given: a
   * client that is created during server-side rendering opens no socket.
   */
  autoConnect?: boolean | undefined;
  /** The class of sockets, if there is none globally, as in Node 20. */
  WebSocket?: WebSocketClass | undefined;
  /**
   * Time between two pings (heartbeat); 0 or `Infinity` for none. The gateway closes after
   * `limits.idle_timeout` (300 s) without a message.
   *
   * @defaultValue 30,000
   */
  pingInterval?: number | undefined;
  /**
   * Time limit of a pong, after which the connection counts as dead; 0 or `Infinity` for none.
   *
   * @defaultValue 10,000
   */
  pongTimeout?: number | undefined;
  /**
   * Time limit of an attempt, from the token to the gateway's first frame; 0 or `Infinity` for none.
   *
   * @defaultValue 30,000
   */
  connectTimeout?: number | undefined;
  /**
   * Exponential back-off with full jitter between attempts.
   *
   * @defaultValue `{ base: 1_000, busy: 5_000, max: 30_000 }`
   */
  backoff?: Partial<Backoff> | undefined;
  /**
   * How long an outage may last before `status.display` shows it.
   *
   * @defaultValue 5,000
   */
  outageGrace?: number | undefined;
  /**
   * Maximum messages of `send` that are queued without a connection. Beyond it the oldest is dropped,
   * with a `drop` event.
   *
   * @defaultValue 100
   */
  maxQueued?: number | undefined;
  /**
   * `"session"` keeps the position of each room across a reload of the page, in `sessionStorage`: the
   * gateway then delivers what was published during the reload, and `onSubscribed` is not called. For
   * pages that are rendered by the server, or load their state in any case. By default a reload starts
   * anew.
   */
  persist?: "session" | undefined;
  /** @deprecated Use `maxQueued`. */
  queueMax?: number | undefined;
  /**
   * Logs every frame and every change of state: `true` to the console, or to a function. Tokens are
   * omitted.
   */
  debug?: boolean | ((line: string, detail?: unknown) => void) | undefined;
}

/** @internal With what only the drop-in says. */
export type ConnectionOptions = HighTemplarOptions & { minWait?: number };

/** Defaults, in milliseconds. */
const TIMES = {
  pingInterval: 30_000,
  pongTimeout: 10_000,
  connectTimeout: 30_000,
  outageGrace: 5_000,
  minWait: 0,
};

/** @internal Milliseconds; `Infinity` where a zero means none. */
export type Times = typeof TIMES;

/** @internal @throws RangeError if a duration is none */
export function timesOf(options: ConnectionOptions): Times {
  const times = { ...TIMES };
  for (const name of Object.keys(TIMES) as (keyof Times)[]) {
    // For pings, pongs and attempts, zero means never; for others, immediately.
    const zero = /^[pc]/.test(name) ? Infinity : 0;
    times[name] = amount(name, options[name] ?? TIMES[name]) || zero;
  }
  return times;
}

/** @internal @throws RangeError if a duration is none */
export function spansOf({ backoff }: ConnectionOptions): Spans {
  const { base, busy, later, max } = backoff ?? {};
  return {
    base: amount("backoff.base", base ?? 1_000),
    later: amount("backoff.busy", busy ?? later ?? 5_000),
    max: amount("backoff.max", max ?? 30_000),
  };
}

/**
 * The state of the connection.
 *
 * - `connecting`: opening a socket, or waiting for the gateway's first message
 * - `open`: admitted
 * - `waiting`: the connection was lost; the client reconnects at `retryAt`
 * - `refused`: the user must log in; `authenticate` is called, `connect()` tries again
 * - `failed`: reconnecting would fail again; `connect()` tries again
 * - `closed`: not connected yet, or closed by `close()`
 */
export type ConnectionState = "connecting" | "open" | "waiting" | "refused" | "failed" | "closed";

/**
 * The state for user interfaces, which does not flicker: an outage shows after `outageGrace` only.
 *
 * - `connecting`: the first connection is being made
 * - `live`: updates arrive, or are interrupted for no longer than `outageGrace`
 * - `reconnecting`: updates are interrupted; the client keeps trying
 * - `signed-out`, `failed`, `closed`: the client has stopped trying
 */
export type ConnectionDisplay =
  | "connecting"
  | "live"
  | "reconnecting"
  | "signed-out"
  | "failed"
  | "closed";

/** The state and its details. Never modified, only replaced. */
export interface ConnectionStatus {
  readonly state: ConnectionState;
  /** The state for user interfaces. */
  readonly display: ConnectionDisplay;
  /**
   * The close code of the last connection (RFC 6455 §7.4); `null` if there was none, while open,
   * and after `connect()`. 1006 is any loss without a close frame.
   */
  readonly code: number | null;
  /**
   * Why: the gateway's reason, or one of the client's: `no-pong`, `connect-timeout`, `pagehide` (the
   * page is in the back/forward cache), `unreachable` (the handshake failed: no server, 404, 403),
   * `url` and `token` (the function failed). In `failed` without a close code it is a sentence.
   */
  readonly reason: string;
  /** The error behind `reason`, if there is one. */
  readonly cause: Error | null;
  /** When the client reconnects, in milliseconds since 1970; only in `waiting`. */
  readonly retryAt: number | null;
  /** The user's current grants; `*` matches any value. Empty unless `open`. */
  readonly grants: readonly JsonObject[];
  /** @deprecated Use `grants`. */
  readonly rooms: readonly JsonObject[];
}

/** The fields of a status. */
type Fields = Omit<ConnectionStatus, "display" | "grants">;

/** @internal The members that came with 4.1 are not enumerable: who compares a status does not know them. */
export function makeStatus(
  { state, code, reason, retryAt, rooms, cause }: Fields,
  display: ConnectionDisplay,
): ConnectionStatus {
  const status = { state, code, reason, retryAt, rooms };
  return Object.defineProperties(status as ConnectionStatus, {
    display: { value: display },
    cause: { value: cause },
    grants: { value: rooms },
  });
}

/** The status of a client that was never connected, and of every client on a server. */
export const CLOSED: ConnectionStatus = makeStatus(
  { state: "closed", code: null, reason: "", retryAt: null, rooms: [], cause: null },
  "closed",
);

/** @internal The names of states in user interfaces, if they differ. */
export const SHOWN: Record<string, ConnectionDisplay> = { open: "live", refused: "signed-out" };

/** @internal Connected or connecting. */
export function isUp({ state }: ConnectionStatus): boolean {
  return state === "open" || state === "connecting";
}

/** @internal The client has stopped until a method is called. */
export function isOver({ display }: ConnectionStatus): boolean {
  return /^(failed|closed|signed-out)$/.test(display);
}
