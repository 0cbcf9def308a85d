// Drives the example in a real browser: two sites, one gateway, one nginx.
//
//   CHROMIUM   the browser                     [/usr/bin/chromium]
//   VERBOSE    set: shows what the programs say

import assert from "node:assert/strict";
import { readFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

import { Process, freePorts } from "../../django-orders/tests/process.js";

const RUN = fileURLToPath(new URL("../run", import.meta.url));
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"];
const TIMEOUT = 60_000; // milliseconds

let browser;
let folder;
let service;
let port;
let gateway;

before(async () => {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
  folder = await mkdtemp(join(tmpdir(), "service-"));
  const [SERVICE_PORT, TEA_PORT, NOTES_PORT, GATEWAY_PORT, TRIGGER_PORT] = await freePorts(5);
  port = SERVICE_PORT;
  gateway = GATEWAY_PORT;
  service = new Process(RUN, [], {
    ...process.env, SERVICE_PORT, TEA_PORT, NOTES_PORT, GATEWAY_PORT, TRIGGER_PORT,
    FOLDER: join(folder, "run"), HT_THREADS: "1", HT_DRAIN__PERIOD: "0s",
  });
  await service.line(/Ctrl-C ends everything/);
});

after(async () => {
  await browser?.close();
  await service?.stop();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** A page of a tenant that is connected. */
async function open(tenant) {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(TIMEOUT);
  await page.goto(`http://${tenant}.localhost:${port}/`);
  await page.locator("#state", { hasText: "live" }).waitFor();
  return page;
}

async function add(page, text) {
  await page.getByLabel("Text").fill(text);
  await page.getByRole("button", { name: "Add" }).click();
}

const items = (page) => page.locator("#items li").allTextContents();
const shows = (page, text) => page.locator("#items li", { hasText: text }).waitFor();

test("what a tenant publishes reaches its own pages, and none of the other's", async () => {
  const [tea, tea2, notes, notes2] = await Promise.all(["tea", "tea", "notes", "notes"].map(open));
  await add(tea, "Earl Grey");
  for (const page of [tea, tea2]) await shows(page, "Earl Grey");
  // The log has one order: had the other tenant got the first one, it would be there before this.
  await add(notes, "Buy milk");
  for (const page of [notes, notes2]) await shows(page, "Buy milk");
  assert.deepEqual(await items(notes2), ["Buy milk"]);
  await add(tea2, "Assam");
  await shows(tea, "Assam");
  assert.deepEqual(await items(tea), ["Earl Grey", "Assam"]);
});

test("a tenant is suspended and served again while the other goes on", async () => {
  const [tea, notes] = await Promise.all(["tea", "notes"].map(open));
  const file = join(folder, "run/tenants/tea.toml");
  const text = await readFile(file, "utf8");
  await writeFile(file, text.replace("suspended = false", "suspended = true"));
  await tea.locator("#state").filter({ hasNotText: "live" }).waitFor();
  await add(notes, "Still there");
  await shows(notes, "Still there");
  await writeFile(file, text);
  await service.line(/tenants changed.* changed="tea".* suspended=""/);
  await open("tea");
});

test("a host that is nobody's gets 404, from nginx and from the gateway itself", async () => {
  for (const to of [port, gateway]) {
    assert.equal(await handshake(to, "notes.localhost"), 101);
    assert.equal(await handshake(to, "nobody.localhost"), 404);
  }
  // nginx has a rule of its own for such a host; the gateway says that it has one, too.
  await service.line(/rejecting clients that belong to no tenant, with 404.*nobody\.localhost/);
});

/** The status of a WebSocket handshake. `fetch` does not send a Host of ours. */
function handshake(to, host) {
  const headers = {
    Host: host, Connection: "Upgrade", Upgrade: "websocket",
    "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port: to, path: "/ws/", headers, timeout: TIMEOUT });
    asked.on("response", (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    asked.on("upgrade", (response, socket) => {
      socket.destroy();
      resolve(response.statusCode);
    });
    asked.on("timeout", () => asked.destroy(new Error(`no answer for ${host}`)));
    asked.on("error", reject);
    asked.end();
  });
}
