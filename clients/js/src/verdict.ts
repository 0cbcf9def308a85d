/**
 * What a client does after a connection ended, by the range of the close code.
 *
 * @module
 */

/** What to do after a connection ended. */
export type Verdict =
  /** Reconnect soon. */
  | "soon"
  /** Reconnect later: the gateway is full, or its backend is down. */
  | "later"
  /** Log in again first. */
  | "refused"
  /** Do not reconnect: it would fail again. */
  | "never";

/** Delays between two attempts, in milliseconds. */
export interface Backoff {
  /** Maximum of the first delay after a loss; each further failure doubles it. */
  readonly base: number;
  /** Minimum of that maximum if the gateway is busy or its backend is down (1013, 4100-4199). */
  readonly busy: number;
  /** @deprecated Use `busy`. */
  readonly later?: number;
  /** Upper limit of delays; `Infinity` for none. */
  readonly max: number;
}

/** A complete {@link Backoff}, for {@link wait}. */
export type Spans = Record<"base" | "later" | "max", number>;

/**
 * The meaning of a close frame, and the delay in milliseconds within which to reconnect, if the gateway
 * sent one.
 */
export type Judgement = readonly [verdict: Verdict, within: number | null];

/** Maximum delay of a gateway, in milliseconds: an hour. */
const WITHIN_MAX = 3_600_000;

/** Delay of further attempts if the configured one is zero, in milliseconds. */
const PAUSE = 1_000;

/** Protocol error, unacceptable data, not UTF-8, too long (RFC 6455 §7.4.1). */
const FAULTS = [1002, 1003, 1007, 1009];

/**
 * Reads a close code and its reason, `word` or `word milliseconds`.
 *
 * @param denied - whether the gateway sent `{"is_authorized": false}` before. Without a subprotocol
 * it closes with 1000 then, as it does after silence.
 */
export function judge(code: number, reason: string, denied: boolean): Judgement {
  const hint = /^\S+ (\d+)$/.exec(reason);
  return [verdict(code, denied), hint ? Math.min(Number(hint[1]), WITHIN_MAX) : null];
}

function verdict(code: number, denied: boolean): Verdict {
  if (FAULTS.includes(code) || (code >= 4200 && code < 4300)) return "never";
  if (code >= 4300 && code < 4400) return "refused";
  if (code === 1013 || (code >= 4100 && code < 5000)) return "later";
  return denied && code === 1000 ? "refused" : "soon";
}

/**
 * A delay with full jitter: random, up to the whole span, so that clients that were disconnected
 * together do not reconnect together.
 *
 * @param attempt - failures in a row before this one, from 0
 * @param random - from 0 (included) to 1 (excluded)
 * @returns milliseconds
 */
export function wait(
  [verdict, within]: Judgement,
  attempt: number,
  { base, later, max }: Spans,
  random: number,
): number {
  // 2^30 is beyond any `max`, and the product stays a finite number.
  let span = base * 2 ** Math.min(attempt, 30);
  if (within !== null) {
    // The gateway's delay, but with backoff if it rejects the client repeatedly.
    span = attempt ? Math.max(within, Math.min(span, max)) : within;
  } else {
    span = Math.min(verdict === "later" ? Math.max(span, later) : span, max);
  }
  // A backoff of zero applies to the first attempt only: further ones must not be a busy loop.
  if (attempt && !span) span = PAUSE;
  return span === Infinity ? span : Math.floor(random * span);
}
