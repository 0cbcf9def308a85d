// What docs/clients.md says about hot reload: a replaced module leaves no connection behind.
//
//   CHROMIUM  the browser  [/usr/bin/chromium]

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, chromium } from "playwright-core";
import { createServer, type ViteDevServer } from "vite";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WebSocket } from "ws";

import { eventually } from "./support/eventually.js";
import { type Scripted, startScripted } from "./support/scripted.js";

const DOCUMENT = new URL("../../../docs/clients.md", import.meta.url);
const CLIENT = fileURLToPath(new URL("../dist/index.js", import.meta.url));

let folder: string;
let gateway: Scripted;
let vite: ViteDevServer;
let browser: Browser;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hot-"));
  gateway = await startScripted();
  browser = await chromium.launch({
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu"],
  });
  vite = await createServer({
    configFile: false,
    root: folder,
    logLevel: "silent",
    optimizeDeps: { noDiscovery: true },
    resolve: { alias: { "@high-templar/client": CLIENT } },
    // Vite learns of changes from the test: the file system reports two that are close as one.
    server: { host: "127.0.0.1", port: 0, fs: { strict: false }, watch: { ignored: ["**"] } },
  });
  await vite.listen();
});
afterEach(async () => {
  await browser.close();
  await vite.close();
  gateway.stop();
  await rm(folder, { recursive: true });
});

/** The line of the document that closes the client. */
async function documented(): Promise<string> {
  const [, section] = (await readFile(DOCUMENT, "utf8")).split("## Vite and hot reload");
  const [, line] = /^```js\n(import\.meta\.hot.*)\n```$/m.exec(section ?? "") ?? [];
  expect(line).toBeDefined();
  return String(line);
}

const write = (name: string, text: string) => writeFile(join(folder, name), text);

/** The module that makes the client; it sends its version, so that the gateway knows it. */
const save = (version: number, ending: string) =>
  write(
    "socket.js",
    `import { HighTemplar } from "@high-templar/client";
     export const socket = new HighTemplar({ url: "${gateway.url}" });
     socket.send({ type: "version ${version}" });
     ${ending}`,
  );

const open = () => gateway.sockets.filter(({ readyState }) => readyState === WebSocket.OPEN).length;

/** Opens a page and replaces its module twice, without a new page. */
async function saveTwice(ending: string): Promise<void> {
  await write("index.html", '<script type="module" src="/main.js"></script>');
  await write(
    "main.js",
    `import "./socket.js";
     window.loads = (window.loads ?? 0) + 1;
     import.meta.hot.accept("./socket.js", () => {});`,
  );
  await save(1, ending);
  const page = await browser.newPage();
  // What is saved before is not hot.
  const isConnected = page.waitForEvent("console", (line) => line.text() === "[vite] connected.");
  await page.goto(String(vite.resolvedUrls?.local[0]));
  await isConnected;
  for (const version of [1, 2, 3]) {
    if (version > 1) {
      await save(version, ending);
      vite.watcher.emit("change", join(folder, "socket.js"));
    }
    const name = JSON.stringify({ type: `version ${version}` });
    await eventually(() => gateway.heard.includes(name), name);
  }
  expect(await page.evaluate(() => (window as { loads?: number }).loads)).toBe(1);
  expect(gateway.sockets).toHaveLength(3);
}

test("with the documented line only the last connection is left", async () => {
  await saveTwice(await documented());
  await eventually(() => open() === 1);
  expect(gateway.sockets[2]?.readyState).toBe(WebSocket.OPEN);
});

test("so it is with Symbol.dispose", async () => {
  await saveTwice("import.meta.hot?.dispose(() => socket[Symbol.dispose]());");
  await eventually(() => open() === 1);
});

test("without it each save leaves one", async () => {
  await saveTwice("");
  expect(open()).toBe(3);
});
