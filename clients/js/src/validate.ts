/**
 * Validation of numbers in options.
 *
 * @module
 */

/** Timers of more than 2^31 - 1 milliseconds (24.8 days) would fire immediately. */
const TIMER_MAX = 2e9;

/**
 * A duration or a count: zero or more, `Infinity` included.
 *
 * @throws RangeError naming the option, for anything else
 */
export function amount(name: string, value: unknown): number {
  if (typeof value === "number" && value >= 0) return value;
  throw new RangeError(`${name} is ${String(value)}, not a number >= 0`);
}

/** Starts a timer of any length. `Infinity` starts none. */
export function timer(ms: number, act: () => void): ReturnType<typeof setTimeout> | undefined {
  return ms === Infinity ? undefined : setTimeout(act, Math.min(ms, TIMER_MAX));
}
