/**
 * What a client is told, and what it tells.
 *
 * @module
 */

import type { Backoff } from "./verdict.js";
import type { Room, TokenIn } from "./wire.js";

/** What is needed of a WebSocket: that of a browser, a worker, Node 22, or of a package. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

/** Makes a WebSocket, as the class of that name does. */
export type WebSocketClass = new (
  url: string,
  protocols?: string[],
  // Every WebSocket there is passes for `WebSocketLike`, but their declared events differ.
  // biome-ignore lint/suspicious/noExplicitAny: see above
) => any;

/** How a {@link HighTemplar} connects. */
export interface Options {
  /**
   * Where the gateway listens: `wss://host/ws/`, or `/ws/` on the page's own host. A function is
   * asked before every attempt.
   */
  url: string | URL | (() => string | URL);
  /**
   * The visitor's token, if cookies do not say who it is. A function is asked before every attempt
   * and may fetch a fresh one.
   */
  token?: string | null | (() => string | null | undefined | Promise<string | null | undefined>);
  /**
   * How the token travels: offered as a subprotocol, in the first frame (`auth.first_frame` of the
   * gateway), or in the address, where proxies log it.
   *
   * @defaultValue `"subprotocol"`
   */
  tokenIn?: TokenIn;
  /**
   * For gateways before 4.0: offers no subprotocol, so that the token is in the address and answers
   * are told apart by their order.
   *
   * @defaultValue `false`
   */
  legacy?: boolean;
  /**
   * Called when the gateway refuses the visitor. Signs in again, or asks the visitor to; then the
   * client comes back, unless the promise gives `false`. Without it the state stays `refused` until
   * `connect()`.
   */
  authenticate?: (why: Status) => unknown;
  /**
   * Connect at once.
   *
   * @defaultValue `true`
   */
  autoConnect?: boolean;
  /** The class of sockets, where there is none globally, as in Node 20. */
  WebSocket?: WebSocketClass;
  /**
   * Milliseconds between two pings. The gateway closes after `limits.idle_timeout` (300 s) without
   * a message.
   *
   * @defaultValue 30,000
   */
  pingInterval?: number;
  /**
   * Milliseconds after which a ping without any answer means that the connection is dead.
   *
   * @defaultValue 10,000
   */
  pongTimeout?: number;
  /**
   * Milliseconds for an attempt, from the token to the gateway's first frame.
   *
   * @defaultValue 30,000
   */
  connectTimeout?: number;
  /**
   * How long to wait before coming back: a random part of a span that doubles.
   *
   * @defaultValue `{ base: 1_000, later: 5_000, max: 30_000 }`
   */
  backoff?: Partial<Backoff>;
  /**
   * How many messages of `send` wait for a connection; beyond it the oldest is dropped, and a
   * `drop` event says so.
   *
   * @defaultValue 100
   */
  queueMax?: number;
}

/**
 * What the connection is doing.
 *
 * - `connecting`: opening a socket, or waiting for the gateway's first word
 * - `open`: let in
 * - `waiting`: cut off; comes back by itself at `retryAt`
 * - `refused`: the visitor must sign in; `authenticate` is asked, `connect()` tries again
 * - `failed`: the gateway closed for a reason that would come again; `connect()` tries again
 * - `closed`: not connected yet, or closed by `close()`
 */
export type State = "connecting" | "open" | "waiting" | "refused" | "failed" | "closed";

/** A state and what belongs to it. Never changed, only replaced. */
export interface Status {
  readonly state: State;
  /**
   * The close code of the last connection, `null` while none has ended. 1006 stands for every loss
   * without a close frame.
   */
  readonly code: number | null;
  /**
   * What was said of it: a word of the gateway, or one of this client: `no-pong`,
   * `connect-timeout`, `token` (the function failed).
   */
  readonly reason: string;
  /** When it comes back, in milliseconds since 1970; only while `waiting`. */
  readonly retryAt: number | null;
  /** What the visitor may hear, `*` being any value; empty unless `open`. */
  readonly rooms: readonly Room[];
}
