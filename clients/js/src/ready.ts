/**
 * Waiting for a client to be admitted.
 *
 * @module
 */

import type { HighTemplar } from "./client.js";
import { isOver } from "./options.js";

/**
 * Resolves when the client is admitted; rejects when it stops connecting, or the signal is aborted.
 *
 * @param why - the reason of a stop
 */
export function untilOpen(
  client: HighTemplar,
  signal: AbortSignal | undefined,
  why: () => Error,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = () => {
      if (signal?.aborted) reject(signal.reason);
      else if (client.state === "open") resolve();
      else if (isOver(client.status)) reject(why());
      else return;
      client.removeEventListener("state", look);
    };
    client.addEventListener("state", look);
    signal?.addEventListener("abort", look);
    look();
  });
}
