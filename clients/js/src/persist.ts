/**
 * The positions of rooms, kept across a reload of the page.
 *
 * @module
 */

import type { HighTemplarOptions } from "./options.js";

/** What is kept: cursors by room, and a resume ticket. */
export interface Kept {
  readonly rooms: Record<string, string | null | undefined>;
  readonly ticket: string | null;
}

/** Returns what was kept before a reload, and keeps what `current` returns until the next one. */
export function persist({ persist, url }: HighTemplarOptions, current: () => Kept): Kept {
  const nothing: Kept = { rooms: {}, ticket: null };
  if (!persist) return nothing;
  const name = `high-templar ${typeof url === "function" ? "" : url}`;
  try {
    const { sessionStorage, performance } = globalThis;
    globalThis.addEventListener("pagehide", () => {
      // Full, or forbidden: the next page starts anew.
      try {
        sessionStorage.setItem(name, JSON.stringify(current()));
      } catch {}
    });
    const kept = JSON.parse(sessionStorage.getItem(name) ?? "null");
    sessionStorage.removeItem(name);
    // Any other page may be older than what this one received: browsers keep pages in a cache.
    const [navigation] = performance.getEntriesByType("navigation");
    const { type } = navigation as PerformanceNavigationTiming;
    if (kept && type === "reload") return { ...nothing, ...kept };
  } catch {
    // No page, or no storage.
  }
  return nothing;
}
