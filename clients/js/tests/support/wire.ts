// A wire between client and gateway that can be cut, or go silent; its own port stays the same.

import { once } from "node:events";
import { type AddressInfo, createServer, connect as dial, type Socket } from "node:net";

export async function startWire() {
  const wires = new Set<Socket>();
  let target: number | null = null;
  let silent = false;
  let accepted = 0;

  const server = createServer((near) => {
    accepted++;
    wires.add(near);
    near.on("error", () => {});
    near.on("close", () => wires.delete(near));
    if (target === null) return near.destroy();
    const far = dial(target, "127.0.0.1");
    far.on("error", () => near.destroy());
    // A silent wire swallows what is said, and how it ends.
    near.on("data", (bytes) => silent || far.write(bytes));
    far.on("data", (bytes) => silent || near.write(bytes));
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
