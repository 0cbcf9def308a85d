// What docs/clients.md says about Vite: its proxy leads to the gateway, which compares the host.

import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer, type ViteDevServer } from "vite";
import { afterAll, beforeAll, expect, test } from "vitest";
import WebSocket from "ws";

import { World } from "./support/world.js";

const DOCUMENT = new URL("../../../docs/clients.md", import.meta.url);

let world: World;
let folder: string;
beforeAll(async () => {
  world = await World.start();
  folder = await mkdtemp(join(tmpdir(), "vite-"));
});
afterAll(async () => {
  await world.stop();
  await rm(folder, { recursive: true });
});

/** Replaces what has to be there. */
function replace(text: string, old: string, by: string): string {
  expect(text).toContain(old);
  return text.replace(old, by);
}

/** Writes the `vite.config.js` of the document, without its plugin for React; returns its path. */
async function config(ofProxy: string): Promise<string> {
  const blocks = (await readFile(DOCUMENT, "utf8")).split(/^```/m);
  const found = blocks.filter((block) => block.startsWith("js\n// vite.config.js\n"));
  expect(found).toHaveLength(1);
  let text = String(found[0]).replace("js\n", "");
  text = replace(text, 'import react from "@vitejs/plugin-react";\n', "");
  text = replace(text, "plugins: [react()],\n", "");
  text = replace(text, "127.0.0.1:5000", `127.0.0.1:${world.gateway.port}`);
  text = replace(text, "ws: true", `ws: true${ofProxy}`);
  const path = join(folder, `vite${ofProxy.length}.config.mjs`);
  await writeFile(path, text);
  return path;
}

/** The status of a handshake that a page of Vite's development server makes. */
async function handshake(ofProxy = ""): Promise<number> {
  const vite: ViteDevServer = await createServer({
    configFile: await config(ofProxy),
    root: folder,
    logLevel: "silent",
    optimizeDeps: { noDiscovery: true },
    server: { host: "127.0.0.1", port: 0, hmr: false, watch: null },
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
  expect(await handshake()).toBe(101);
});

test("with changeOrigin the gateway takes the page for a stranger's", async () => {
  expect(await handshake(", changeOrigin: true")).toBe(403);
});
