/**
 * Explicit resource management: `using`, where the runtime or a polyfill offers it.
 *
 * @module
 */

declare global {
  // As TypeScript's own library has it from `ESNext.Disposable` on.
  interface SymbolConstructor {
    readonly dispose: unique symbol;
  }
}

/** `Symbol.dispose`; where there is none, a symbol that nobody has. */
export const dispose: typeof Symbol.dispose = Symbol.dispose ?? Symbol();
