/**
 * Calls of the page's code, which may throw.
 *
 * @module
 */

/** Calls a function of the page; reports what it throws as uncaught, without stopping the caller. */
export function guard(act: () => void): void {
  try {
    act();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** The value of an option that may be a function. */
export async function called<T>(option: T | (() => T | Promise<T>)): Promise<T> {
  return typeof option === "function" ? (option as () => T | Promise<T>)() : option;
}

/** Whatever was thrown, as an `Error`. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/**
 * Returned by a callback of the hooks without a handler: the client reports the error itself. A
 * string, because each module of the package is bundled separately.
 */
export const UNHANDLED = "unhandled" as unknown as undefined;
