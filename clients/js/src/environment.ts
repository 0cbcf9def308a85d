/**
 * The environment of a client, and its events.
 *
 * @module
 */

/** An event of the page or its network; `persisted` says that the page may enter the back/forward cache. */
export interface PageEvent {
  readonly type: string;
  readonly persisted?: boolean;
}

/** Whether this runs in a page or a worker, and not on a server that renders one. */
export function isPage(): boolean {
  const { location, document, WorkerGlobalScope, navigator } = globalThis as {
    [name: string]: unknown;
    navigator?: { product?: string };
  };
  return !!(location && (document || WorkerGlobalScope)) || navigator?.product === "ReactNative";
}

/** Adds or removes a listener of the network, and of the page being hidden, shown and cached. */
export function listen(on: boolean, listener: (event: PageEvent) => void): void {
  const method = on ? "addEventListener" : "removeEventListener";
  for (const type of ["online", "offline", "pageshow", "pagehide", "visibilitychange"]) {
    // Capturing: `visibilitychange` is an event of the document.
    globalThis[method]?.(type, listener, true);
  }
}
