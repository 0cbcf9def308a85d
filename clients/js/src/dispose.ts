/**
 * Explicit resource management: `using`, if the runtime or a polyfill supports it.
 *
 * @module
 */

declare global {
  // As in TypeScript's library from `ESNext.Disposable` on.
  interface SymbolConstructor {
    readonly dispose: unique symbol;
  }
}

/** `Symbol.dispose`; otherwise a unique symbol. */
export const dispose: typeof Symbol.dispose = Symbol.dispose ?? Symbol();
