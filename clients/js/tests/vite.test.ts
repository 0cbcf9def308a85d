// What docs/clients.md says about Vite: its proxy leads to the gateway, which compares the host.

import { once } from "node:events";
import { createServer, type ViteDevServer } from "vite";
import { afterAll, beforeAll, expect, test } from "vitest";
import WebSocket from "ws";

import { World } from "./support/world.js";

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world.stop());

/** The status of a handshake that a page of Vite's development server makes. */
async function handshake(changeOrigin: boolean): Promise<number> {
  const target = `ws://127.0.0.1:${world.gateway.port}`;
  const vite: ViteDevServer = await createServer({
    configFile: false,
    root: import.meta.dirname,
    logLevel: "silent",
    optimizeDeps: { noDiscovery: true },
    server: {
      host: "127.0.0.1",
      port: 0,
      hmr: false,
      watch: null,
      proxy: { "/ws": { target, ws: true, changeOrigin } },
    },
  });
  try {
    await vite.listen();
    const address = vite.httpServer?.address() as { port: number };
    const host = `site.localhost:${address.port}`;
    const socket = new WebSocket(`ws://127.0.0.1:${address.port}/ws/`, ["high-templar.v1"], {
      headers: { Host: host, Origin: `http://${host}`, Cookie: "session=anna" },
    });
    const answered = Promise.race([
      once(socket, "open").then(() => 101),
      once(socket, "unexpected-response").then(([, response]) => response.statusCode),
    ]);
    const status = await answered;
    socket.on("error", () => {});
    socket.terminate();
    return status;
  } finally {
    await vite.close();
  }
}

test("its proxy leads a page to the gateway", async () => {
  expect(await handshake(false)).toBe(101);
});

test("with changeOrigin the gateway takes the page for a stranger's", async () => {
  expect(await handshake(true)).toBe(403);
});
