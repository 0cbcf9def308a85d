/**
 * The words on the wire.
 *
 * @module
 */

/** Anything that JSON can say. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json };

/** A room: any JSON object. A value `"*"` stands for every value, where the grants have it too. */
export type Room = { readonly [key: string]: Json };

/** What the gateway calls a publication: `data` is what the backend sent. */
export interface Publication {
  readonly type: "publish";
  readonly data: unknown;
  readonly requestId: string;
}

/** A message of the gateway, as parsed from JSON. */
export interface Message {
  readonly [member: string]: unknown;
}

/** The gateway's own subprotocol. */
export const PROTOCOL = "high-templar.v1";

/** Offered beside {@link PROTOCOL}: the token comes in the first frame. */
const AUTHENTICATE = "high-templar.authenticate";

/** How a token travels. */
export type TokenIn = "subprotocol" | "message" | "query";

/** Where to connect and what to offer there. */
export interface Offer {
  readonly url: string;
  readonly protocols: string[];
}

/**
 * Puts a token where the gateway looks for it.
 *
 * @param plain - offer no subprotocol at all: a browser gives up where its offer is not answered,
 * and gateways before 4.0 answer none.
 */
export function offer(url: string, token: string | null, tokenIn: TokenIn, plain: boolean): Offer {
  const protocols = plain ? [] : [PROTOCOL];
  if (token === null) return { url, protocols };
  if (plain || tokenIn === "query") {
    const separator = url.includes("?") ? "&" : "?";
    return { url: `${url}${separator}token=${encodeURIComponent(token)}`, protocols };
  }
  protocols.push(tokenIn === "message" ? AUTHENTICATE : `high-templar.token.${base64url(token)}`);
  return { url, protocols };
}

/** Base64 of the UTF-8 bytes with the alphabet for addresses, without padding (RFC 4648 §5). */
function base64url(text: string): string {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/**
 * The address of the socket: `http` becomes `ws`, and what is relative starts at the page.
 *
 * @throws TypeError if it is relative and there is no page, or no address at all
 */
export function socketUrl(url: string | URL): string {
  const page = (globalThis as { location?: { href: string } }).location?.href;
  const address = new URL(url, page);
  address.protocol = address.protocol.replace(/^http/, "ws");
  address.hash = "";
  return address.href;
}

/** The same text for equal rooms, whatever the order of their keys. */
export function roomKey(room: Room): string {
  return JSON.stringify(room, (_, value) =>
    value && typeof value === "object" && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}
