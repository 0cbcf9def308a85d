// Clients of the gateway in memory: no network, and no waiting.

import { HighTemplar, type HighTemplarOptions } from "../../src/index.js";
import { FakeGateway, type FakeGatewayOptions } from "../../src/testing.js";

/** A client that is connected to a fake gateway with these grants; by default one that recovers nothing. */
export function connect(
  options: Partial<HighTemplarOptions> = {},
  grants?: readonly object[],
  features: FakeGatewayOptions["features"] = [],
): { gateway: FakeGateway; client: HighTemplar } {
  const gateway = new FakeGateway({ grants, features });
  const client = new HighTemplar({
    url: "ws://gateway/ws/",
    WebSocket: gateway.WebSocket,
    backoff: { base: 1, busy: 1, max: 1 },
    ...options,
  });
  return { gateway, client };
}

/** Waits until nothing is under way that needs no time. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
}
