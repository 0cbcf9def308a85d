// What only a browser can show: its sockets, cookies, workers, network and visibility, and React.
//
//   CHROMIUM  the browser  [/usr/bin/chromium]

import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import type { HighTemplar, Options, Subscription } from "../src/index.js";
import { eventually } from "./support/eventually.js";
import { type Site, startSite } from "./support/site.js";
import { ORDERS, World } from "./support/world.js";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** What the test pages put into their window. */
declare global {
  interface Window {
    HighTemplar: typeof HighTemplar;
    start(options: Options): void;
    socket: HighTemplar;
    orders: Subscription;
    heard: unknown[];
    reconnects: number;
  }
}

let browser: Browser;
let site: Site;
let world: World;
let context: BrowserContext;
let page: Page;
let faults: string[];

beforeAll(async () => {
  const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
  [browser, site] = await Promise.all([
    chromium.launch({ executablePath, headless: true, args: FLAGS }),
    startSite(),
  ]);
});

afterAll(async () => {
  await browser?.close();
  site?.stop();
});

beforeEach(async () => {
  world = await World.start();
  context = await browser.newContext();
  page = await context.newPage();
  page.setDefaultTimeout(20_000);
  faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
});

afterEach(async () => {
  await context.close();
  await world.stop();
  expect(faults).toEqual([]);
});

/** Opens the plain page, makes a client and hears the orders. */
async function open(options: Partial<Options> = {}): Promise<void> {
  await page.goto(site.url("page"));
  await page.evaluate(
    async ({ options, room }) => {
      window.heard = [];
      window.reconnects = 0;
      window.socket = new window.HighTemplar(options);
      window.orders = window.socket.subscribe(room, (data) => window.heard.push(data), {
        onReconnect: () => window.reconnects++,
      });
      await window.orders.ready;
    },
    { options: { url: world.wire.url, ...options }, room: ORDERS },
  );
}

const state = (wanted: string) =>
  page.waitForFunction((wanted) => window.socket.state === wanted, wanted);
const reconnected = () => page.waitForFunction(() => window.reconnects === 1);

test("a visitor with a cookie hears what is published", async () => {
  await open();
  await world.gateway.publish(ORDERS, { id: 1, note: "größer 😀" });
  await page.waitForFunction(() => window.heard.length === 1);
  expect(await page.evaluate(() => window.heard)).toEqual([{ id: 1, note: "größer 😀" }]);
  expect(world.backend.calls).toEqual(["anna"]);
});

test("a token goes before the cookie", async () => {
  world.backend.allow("töken/+&=", [ORDERS]);
  await open({ token: "töken/+&=" });
  expect(world.backend.calls).toEqual(["töken/+&="]);
});

test("a page that is offline finds out, and comes back as soon as it is online", async () => {
  // Its own back-off would take hours.
  await open({ pongTimeout: 500, backoff: { base: 36_000_000, max: 36_000_000 } });
  await page.evaluate(() => {
    Math.random = () => 0.9;
  });
  world.wire.silence(true);
  await context.setOffline(true);
  await state("waiting");
  world.wire.silence(false);
  await context.setOffline(false);
  await reconnected();
});

test("a page that somebody looks at again asks whether its connection is alive", async () => {
  // Its own pings would take hours.
  const quick = { pongTimeout: 500, connectTimeout: 2_000, backoff: { base: 40, max: 40 } };
  await open({ pingInterval: 36_000_000, ...quick });
  const visible = (state: string) =>
    page.evaluate((state) => {
      Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, state);
  world.wire.silence(true);
  await visible("hidden");
  expect(await page.evaluate(() => window.socket.state)).toBe("open");
  await visible("visible");
  await page.waitForFunction(() => window.socket.status.reason === "no-pong");
  world.wire.silence(false);
  await reconnected();
});

test("a worker hears as well", async () => {
  await page.goto(site.url("page"));
  await page.evaluate(
    async ({ options, room }) => {
      window.heard = [];
      const worker = new Worker("/worker.js", { type: "module" });
      await new Promise((ready) => {
        worker.onmessage = ({ data }) => (data === "ready" ? ready(0) : window.heard.push(data));
        worker.postMessage({ options, room });
      });
    },
    { options: { url: world.wire.url }, room: ORDERS },
  );
  await world.gateway.publish(ORDERS, 1);
  await page.waitForFunction(() => window.heard.length === 1);
  expect(await page.evaluate(() => window.heard)).toEqual([{ heard: 1 }]);
});

test("an address without a host is that of the page", async () => {
  await page.goto(site.url("page"));
  const tried = page.waitForEvent("websocket");
  await page.evaluate(() => {
    window.socket = new window.HighTemplar({ url: "/ws/" });
  });
  const { host } = new URL(site.url(""));
  expect((await tried).url()).toBe(`ws://${host}/ws/`);
});

test("React in strict mode: each publication once, to who is mounted", async () => {
  await page.goto(site.url("react"));
  const text = (id: string, wanted: string) =>
    page.locator(`#${id}`).getByText(wanted, { exact: true }).waitFor();
  const press = (name: string) => page.getByRole("button", { name }).click();
  const sent: string[] = [];
  page.on("websocket", (socket) => {
    socket.on("framesent", ({ payload }) => payload !== "ping" && sent.push(String(payload)));
  });
  await page.evaluate((options) => window.start(options), {
    url: world.wire.url,
  });
  await text("connection", "open");
  await text("room", "subscribed");
  // Mounted twice and rendered often, but asked for once: nothing was connected at the first mount.
  expect(sent).toHaveLength(1);

  // The handler is that of the last render, or the first order would be forgotten.
  await world.gateway.publish(ORDERS, 1);
  await text("orders", "1");
  await world.gateway.publish(ORDERS, 2);
  await text("orders", "1 2");
  expect(sent).toHaveLength(1);

  await press("ben");
  await text("room", "room-not-found");
  expect(sent.slice(1).map((message) => JSON.parse(message).type)).toEqual([
    "unsubscribe",
    "subscribe",
  ]);
  await press("anna");
  await text("room", "subscribed");

  world.wire.cut();
  await text("fetched", "1");
  await text("connection", "open");
  await text("room", "subscribed");

  const before = sent.length;
  await press("nobody");
  await eventually(() => sent.length === before + 1);
  expect(JSON.parse(sent.at(-1) as string).type).toBe("unsubscribe");
});
