// What only a browser can show: its sockets, cookies, workers, network and visibility, and React.
//
//   CHROMIUM  the browser  [/usr/bin/chromium]

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { HighTemplar, Options, Subscription } from "../src/index.js";
import type { live } from "../src/live.js";
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
    live: typeof live;
    start(options: Options): void;
    socket: HighTemplar;
    orders: Subscription;
    heard: unknown[];
    reconnects: number;
    restored?: boolean;
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
  // One after the other: what was started is closed, also if the next one fails.
  browser = await chromium.launch({
    executablePath,
    headless: true,
    args: FLAGS,
    // What users' browsers do.
    ignoreDefaultArgs: ["--disable-back-forward-cache"],
  });
  site = await startSite();
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
        onRecovered: () => window.reconnects++,
      });
      await window.orders.ready;
    },
    { options: { url: world.wire.url, ...options }, room: ORDERS },
  );
}

const state = (wanted: string) =>
  page.waitForFunction((wanted) => window.socket.state === wanted, wanted);
const reconnected = () => page.waitForFunction(() => window.reconnects === 1);

test("a client with a cookie receives publications", async () => {
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

test("a page goes into the back/forward cache without its socket, and comes back with one", async () => {
  await open({ backoff: { base: 36_000_000, max: 36_000_000 } });
  await page.evaluate(() => {
    Math.random = () => 0.9;
    addEventListener("pageshow", ({ persisted }) => {
      window.restored = persisted;
    });
  });
  await page.goto(site.url("module"));
  await page.goBack({ waitUntil: "commit" });
  await page.waitForFunction(() => window.restored);
  await reconnected();
  await world.gateway.publish(ORDERS, 1);
  await page.waitForFunction(() => window.heard.length === 1);
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

test("after a login the connection has the new cookie, and the room is heard again", async () => {
  world.backend.allow("ben", [ORDERS]);
  await open();
  const [cookie] = await context.cookies();
  await context.addCookies([{ ...cookie, name: "session", value: "ben" } as never]);
  await page.evaluate(() => window.socket.reconnect());
  await reconnected();
  expect(world.backend.calls).toEqual(["anna", "ben"]);
  await world.gateway.publish(ORDERS, 1);
  await page.waitForFunction(() => window.heard.length === 1);
});

describe("a page without an address of its own", () => {
  /** What a client with a relative address says, wherever it runs. */
  const reason = `
    const socket = new HighTemplar({ url: "/ws/" });
    let told = 0;
    socket.addEventListener("error", () => told++);
    const early = told;
    setTimeout(() => report([socket.state, socket.status.reason, early, told]), 0);
  `;
  const script = async (report: string) => {
    const module = await (await fetch(`${site.url("module")}.js`)).text();
    return `${module}
      const report = ${report};
      ${reason}`;
  };

  test("srcdoc", async () => {
    await page.goto(site.url("page"));
    const code = await script("(what) => parent.postMessage(what, '*')");
    const said = await page.evaluate(
      (code) =>
        new Promise((resolve) => {
          addEventListener("message", ({ data }) => resolve(data));
          const frame = document.createElement("iframe");
          frame.srcdoc = `<script type="module">${code.replaceAll("</", "<\\/")}</script>`;
          document.body.append(frame);
        }),
      code,
    );
    expect(said).toEqual(["failed", expect.stringMatching(/\/ws\/.*about:srcdoc.*wss:/), 0, 1]);
  });

  test.each(["blob", "data"])("a worker from %s:", async (kind) => {
    await page.goto(site.url("page"));
    const code = await script("(what) => postMessage(what)");
    const said = await page.evaluate(
      ({ code, kind }) =>
        new Promise((resolve) => {
          const type = "text/javascript";
          const url =
            kind === "blob"
              ? URL.createObjectURL(new Blob([code], { type }))
              : `data:${type};charset=utf-8,${encodeURIComponent(code)}`;
          new Worker(url, { type: "module" }).onmessage = ({ data }) => resolve(data);
        }),
      { code, kind },
    );
    expect(said).toEqual(["failed", expect.stringMatching(`${kind}:.*wss:`), 0, 1]);
  });

  test("a file", async () => {
    const folder = await mkdtemp(join(tmpdir(), "page-"));
    try {
      const code = await script("(what) => { globalThis.said = what; }");
      await writeFile(join(folder, "page.html"), `<script type="module">${code}</script>`);
      await page.goto(`file://${folder}/page.html`);
      const said = await page.waitForFunction(() => (globalThis as { said?: unknown }).said);
      expect(await said.jsonValue()).toEqual([
        "failed",
        expect.stringMatching(/file:.*wss:/),
        0,
        1,
      ]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test("live in a page: shown while the gateway is down, merged, and loaded again", async () => {
  world.wire.lead(null);
  await page.goto(site.url("page"));
  await page.evaluate(
    ({ url, room }) => {
      window.heard = [];
      let loads = 0;
      window.socket = new window.HighTemplar({ url, backoff: { base: 40, max: 40 } });
      window.live(window.socket, room, {
        load: async () => [`loaded ${++loads}`],
        apply: (all, data) => [...all, String(data)],
        onChange: (all) => window.heard.push(all.join()),
      });
    },
    { url: world.wire.url, room: ORDERS },
  );
  const shows = (text: string) =>
    page.waitForFunction((text) => window.heard.at(-1) === text, text);
  await shows("loaded 1");
  world.wire.lead(world.gateway.port);
  await shows("loaded 2");
  await world.gateway.publish(ORDERS, "news");
  await shows("loaded 2,news");
  world.wire.lead(null);
  world.wire.cut();
  await world.gateway.publish(ORDERS, "missed");
  world.wire.lead(world.gateway.port);
  await shows("loaded 2,news,missed");
  await world.gateway.stop("SIGKILL");
  await world.startGateway();
  await shows("loaded 3");
});

test("React in strict mode: each publication once, to who is mounted", async () => {
  await page.goto(site.url("react"));
  const text = (id: string, wanted: string) =>
    page.locator(`#${id}`).getByText(wanted, { exact: true }).waitFor();
  const press = (name: string) => page.getByRole("button", { name }).click();
  const sent: string[] = [];
  page.on("websocket", (socket) => {
    socket.on(
      "framesent",
      ({ payload }) => /"ping"|^ping/.test(String(payload)) || sent.push(String(payload)),
    );
  });
  await page.evaluate((options) => window.start(options), {
    url: world.wire.url,
  });
  await text("connection", "open");
  await text("room", "subscribed");
  // Mounted twice and rendered often, but asked for once: nothing was connected at the first mount.
  expect(sent).toHaveLength(1);

  await world.gateway.publish(ORDERS, 1);
  await text("orders", "1");
  // No order is forgotten, whether a render comes between them or not.
  for (const order of [2, 3, 4]) await world.gateway.publish(ORDERS, order);
  await text("orders", "1 2 3 4");
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

test("a board in React follows the user's rights, and a logout from elsewhere", async () => {
  await page.goto(site.url("react"));
  const text = (id: string, wanted: string) =>
    page.locator(`#${id}`).getByText(wanted, { exact: true }).waitFor();
  await page.evaluate((options) => window.start(options), { url: world.wire.url });
  await text("room", "subscribed");
  // The backend of these tests names a session by its key.
  const whom = { session: "anna" };
  await world.gateway.command({ command: "permit", allowed_rooms: [], ...whom });
  await text("room", "unsubscribed");
  await world.gateway.publish(ORDERS, 1);
  await world.gateway.command({ command: "permit", allowed_rooms: [ORDERS], ...whom });
  await text("room", "subscribed");
  await world.gateway.publish(ORDERS, 2);
  await text("orders", "2");
  await world.gateway.command({ command: "disconnect", ...whom });
  await text("connection", "refused");
});
