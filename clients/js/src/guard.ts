/**
 * Functions of the page, which may throw.
 *
 * @module
 */

/** Calls a function of the page: what it throws is told as uncaught, and stops nothing else. */
export function guard(act: () => void): void {
  try {
    act();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
