/**
 * Everything for a page without a bundler, in one file: the client, and {@link live}.
 *
 * @packageDocumentation
 */

export * from "./index.js";
export { Live, type LiveOptions, live } from "./live.js";
