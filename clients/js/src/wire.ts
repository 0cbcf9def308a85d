/**
 * The wire: messages, rooms, addresses.
 *
 * @module
 */

/** Anything that JSON can express. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json };

/** A JSON object, such as a room or a grant. */
export type JsonObject = { readonly [key: string]: Json };

declare const DATA: unique symbol;
interface Carries<T> {
  /** Never present: carries the type of the room's publications. */
  readonly [DATA]?: T;
}

/**
 * A room: any object that JSON can express, interfaces included. A value `"*"` matches every
 * value, if the grants have it too. The parameter is the type of the room's publications:
 *
 * ```ts
 * const orders = (customer: number): Room<Order> => ({ target: "order", customer });
 * ```
 */
export type Room<T = unknown> =
  | (object & Carries<T>)
  | ({ readonly [key: string]: unknown } & Carries<T>);

type JsonValue<V> = V extends string | number | boolean | null
  ? V
  : V extends undefined | bigint | symbol | ((...args: never[]) => unknown)
    ? never
    : V extends object
      ? { [K in keyof V]: JsonValue<V[K]> }
      : never;

/** The same object type, with `never` for each member that JSON cannot express. */
export type JsonMembers<R> = R extends string
  ? never
  : { [K in keyof R]: K extends typeof DATA ? R[K] : JsonValue<R[K]> };

/** `T`, which TypeScript infers from other places only. */
export type Given<T> = [T][T extends unknown ? 0 : never];

/** A publication on the wire. `data` is what the backend sent. */
export interface Publication {
  readonly type: "publish";
  readonly data: unknown;
  readonly requestId: string;
}

/** A message of the gateway, as parsed from JSON. */
export interface GatewayMessage {
  readonly [member: string]: unknown;
}

/** Why the gateway rejected a subscription; later gateways may have further codes. */
export type SubscribeErrorCode =
  | "room-not-found"
  | "unsubscribed"
  | "too-many-subscriptions"
  | "too-many-wildcards"
  | "room-too-deep"
  | "room-too-long"
  | "invalid-room"
  | (string & {});

/** The gateway's subprotocol. */
export const PROTOCOL = "high-templar.v1";

/** Offered beside {@link PROTOCOL}: the token is sent in the first frame. */
const AUTHENTICATE = "high-templar.authenticate";

/** Offered beside {@link PROTOCOL}: the client accepts messages with a `type`, and ignores unknown ones. */
export const EVENTS = "high-templar.events";

/** Prefix of the resume ticket, offered beside {@link PROTOCOL}. */
export const TICKET = "high-templar.resume.";

/** How a token is sent. */
export type TokenIn = "subprotocol" | "message" | "query";

/** Where to connect and which subprotocols to offer. */
export interface Offer {
  readonly url: string;
  readonly protocols: string[];
}

/**
 * Adds a token and a resume ticket to the request.
 *
 * @param plain - offer no subprotocol: browsers fail a connection if the server selects no
 * offered subprotocol, and gateways before 4.0 select none
 */
export function offer(
  url: string,
  token: string | null,
  tokenIn: TokenIn,
  plain: boolean,
  ticket: string | null = null,
): Offer {
  const protocols = plain ? [] : [PROTOCOL, EVENTS];
  if (ticket) protocols.push(TICKET + base64url(ticket));
  if (token === null) return { url, protocols };
  if (plain || tokenIn === "query") {
    const separator = url.includes("?") ? "&" : "?";
    return { url: `${url}${separator}token=${encodeURIComponent(token)}`, protocols };
  }
  protocols.push(tokenIn === "message" ? AUTHENTICATE : `high-templar.token.${base64url(token)}`);
  return { url, protocols };
}

/** Base64 of the UTF-8 bytes with the URL alphabet, without padding (RFC 4648 §5). */
function base64url(text: string): string {
  // A token has at most 32 KiB, few enough for arguments of a call.
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/**
 * The address of the socket: `http` becomes `ws`, and a relative address is resolved against the
 * page's.
 *
 * @throws TypeError if it is relative and the page has no address of its own (a server, `srcdoc`,
 * `blob:` and `data:` workers, `file:`), or is not an address at all
 */
export function socketUrl(url: string | URL): string {
  const page = (globalThis as { location?: { href: string } }).location?.href;
  let address: URL | undefined;
  try {
    address = new URL(url, page);
  } catch {
    // Reported below.
  }
  const scheme = address?.protocol.replace(/^http/, "ws");
  if (!address || (scheme !== "ws:" && scheme !== "wss:")) {
    const where = page?.slice(0, 60) ?? "no page";
    throw new TypeError(`url: ${url} is no address in ${where}; use wss://host/ws/`);
  }
  address.protocol = scheme;
  address.hash = "";
  return address.href;
}

/**
 * The JSON text of a room; equal for equal rooms, in any order of their keys.
 *
 * @throws TypeError if the room is not an object, or contains something that JSON cannot express
 * without changing it: `undefined`, a function, a BigInt, `NaN`, `-0`, an integer beyond 2^53
 */
export function roomKey(room: unknown): string {
  if (!isObject(room)) throw new TypeError(`a room is an object, not ${JSON.stringify(room)}`);
  JSON.stringify(room); // Throws for a BigInt, and for a circular reference.
  return JSON.stringify(room, (key, value) => {
    if (isObject(value)) {
      return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
    }
    const isPlain =
      typeof value === "number"
        ? Math.abs(value) <= Number.MAX_SAFE_INTEGER && !Object.is(value, -0)
        : ["string", "boolean", "object"].includes(typeof value);
    if (isPlain) return value;
    const shown = Object.is(value, -0) ? "-0" : String(value);
    throw new TypeError(`room: JSON in a page cannot express "${key}": ${shown}; use text`);
  });
}

/** Whether a grant permits a room, as the gateway decides: the same keys, and each value equal or granted as `*`. */
export function permits(grant: JsonObject, room: JsonObject): boolean {
  try {
    const asked = Object.entries(grant).map(([key, value]) => [
      key,
      value === "*" ? room[key] : value,
    ]);
    return roomKey(Object.fromEntries(asked)) === roomKey(room);
  } catch {
    return false; // It has a key that the room lacks, or a number that no room of a page can have.
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
