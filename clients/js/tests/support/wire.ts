// A wire between client and gateway that can be cut, or go silent; its own port stays the same.

import { once } from "node:events";
import { type AddressInfo, createServer, connect as dial, type Socket } from "node:net";

export async function startWire() {
  const wires = new Set<Socket>();
  let target: number | null = null;
  let silent = false;
  let passed = 0;
  let accepted = 0;
  /** How many bytes of the gateway further connections let through. */
  const limits: number[] = [];

  const server = createServer((near) => {
    accepted++;
    wires.add(near);
    near.on("error", () => {});
    near.on("close", () => wires.delete(near));
    if (target === null) return near.destroy();
    const far = dial(target, "127.0.0.1");
    far.on("error", () => near.destroy());
    let left = limits.shift() ?? Number.POSITIVE_INFINITY;
    // A silent wire swallows what is said, and how it ends.
    near.on("data", (bytes) => silent || far.write(bytes));
    far.on("data", (bytes: Buffer) => {
      if (silent) return;
      passed += bytes.length;
      if (bytes.length < left) near.write(bytes);
      else if (left > 0) near.end(bytes.subarray(0, left), () => near.destroy());
      left -= bytes.length;
    });
    near.on("close", () => far.destroy());
    far.on("close", () => silent || near.end());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;

  return {
    port,
    url: `ws://127.0.0.1:${port}/ws/`,
    /** How many connections came, up to now. */
    get accepted() {
      return accepted;
    },
    /** How many bytes of the gateway came, up to now. */
    get passed() {
      return passed;
    },
    /** Cuts the next connection after so many bytes of the gateway. */
    limit(bytes: number) {
      limits.push(bytes);
    },
    /** Where it leads from now on; `null` hangs up at once. */
    lead(to: number | null) {
      target = to;
    },
    /** Swallows everything, in both directions, until told otherwise. */
    silence(on: boolean) {
      silent = on;
    },
    /** Cuts every connection, without a close frame. */
    cut() {
      for (const wire of wires) wire.destroy();
    },
    async stop() {
      for (const wire of wires) wire.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

export type Wire = Awaited<ReturnType<typeof startWire>>;
