/**
 * What the end of a connection asks of a client: close codes carry the answer in their range.
 *
 * @module
 */

/** What to do after a connection ended. */
export type Verdict =
  /** Come back soon: nobody is to blame. */
  | "soon"
  /** Come back later: there is no place or no backend now. */
  | "later"
  /** Sign in again first. */
  | "refused"
  /** Never come back by oneself: it would end in the same way. */
  | "never";

/** How long to wait between two attempts. All in milliseconds. */
export interface Backoff {
  /** The span of the first wait after a loss; each further failure doubles it. */
  readonly base: number;
  /** The least span if the gateway is busy or its backend is down (1013, 4100-4199). */
  readonly busy: number;
  /** @deprecated Use `busy`. */
  readonly later?: number;
  /** No span grows beyond this. `Infinity` removes the bound. */
  readonly max: number;
}

/** A complete {@link Backoff}, as {@link wait} reads it. */
export type Spans = Record<"base" | "later" | "max", number>;

/** What a close frame says. */
export interface Judgement {
  readonly verdict: Verdict;
  /** The span in milliseconds within which the gateway wants the client back. */
  readonly within: number | null;
}

/** The longest span that a gateway may ask for, in milliseconds: an hour. */
const WITHIN_MAX = 3_600_000;

/** The span of further attempts where the configured one is zero, in milliseconds. */
const PAUSE = 1_000;

/** Broke RFC 6455, sent what it may not, not UTF-8, too long (RFC 6455 §7.4.1). */
const FAULTS = [1002, 1003, 1007, 1009];

/**
 * Reads a close code and its reason, `word` or `word milliseconds`.
 *
 * @param denied - whether the gateway said `{"is_authorized": false}` before. Without a subprotocol
 * it closes with 1000 then, as it does after silence.
 */
export function judge(code: number, reason: string, denied: boolean): Judgement {
  const hint = /^\S+ (\d+)$/.exec(reason);
  return {
    verdict: verdict(code, denied),
    within: hint ? Math.min(Number(hint[1]), WITHIN_MAX) : null,
  };
}

function verdict(code: number, denied: boolean): Verdict {
  if (FAULTS.includes(code) || (code >= 4200 && code < 4300)) return "never";
  if (code >= 4300 && code < 4400) return "refused";
  if (code === 1013 || (code >= 4100 && code < 5000)) return "later";
  return denied && code === 1000 ? "refused" : "soon";
}

/**
 * A wait with full jitter: anything from nothing to the whole span, so that those who were cut off
 * together do not come back together.
 *
 * @param attempt - failures in a row before this one, from 0
 * @param random - from 0 (included) to 1 (excluded)
 * @returns milliseconds
 */
export function wait(
  { verdict, within }: Judgement,
  attempt: number,
  { base, later, max }: Spans,
  random: number,
): number {
  // 2^30 is beyond any `max`, and the product stays a finite number.
  let span = base * 2 ** Math.min(attempt, 30);
  if (within !== null) {
    // The gateway knows best, but one that sends away whoever comes back is not asked in a loop.
    span = attempt ? Math.max(within, Math.min(span, max)) : within;
  } else {
    span = Math.min(verdict === "later" ? Math.max(span, later) : span, max);
  }
  // A back-off of zero is for the first attempt: it must not become a loop without a pause.
  if (attempt && !span) span = PAUSE;
  return span === Infinity ? span : Math.floor(random * span);
}
