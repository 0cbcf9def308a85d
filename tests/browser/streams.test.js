// A plain EventSource in a real browser: nodes are killed, and it hears everything once.
//
//   HIGH_TEMPLAR      the binary           [target/debug/high-templar]
//   CHROMIUM          the browser          [/usr/bin/chromium]
//   HT_STREAM_KILLS   how many nodes are killed   [5]

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";

import { startNodes } from "./nodes.js";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"];
const KILLS = Number(process.env.HT_STREAM_KILLS ?? 5);
const DEADLINE = 60_000; // milliseconds

let admitted = true;
let browser;
let nodes;
let page;

before(async () => {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
  nodes = await startNodes({ admits: () => admitted });
});

after(async () => {
  await browser?.close();
  await nodes?.stop();
});

beforeEach(async () => {
  admitted = true;
  await page?.close();
  page = await browser.newPage();
  await page.goto(nodes.page);
});

/** Opens an EventSource in the page, which writes down all that it hears. */
const open = (path) =>
  page.evaluate((url) => {
    const source = new EventSource(url);
    globalThis.source = source;
    globalThis.heard = [];
    globalThis.others = [];
    source.addEventListener("publish", ({ data, lastEventId }) => {
      const { requestId, data: value } = JSON.parse(data);
      globalThis.heard.push({ requestId, value, lastEventId });
    });
    for (const name of ["open", "close", "gap"]) {
      source.addEventListener(name, ({ data }) => data && globalThis.others.push([name, JSON.parse(data)]));
    }
  }, nodes.url + path);

const ROOMS = [{ n: 1 }, { n: "*" }];
const path = `sse/?${ROOMS.map((room) => `room=${encodeURIComponent(JSON.stringify(room))}`).join("&")}`;

const waitFor = (what, look, argument) =>
  page.waitForFunction(look, argument, { timeout: DEADLINE, polling: 20 }).catch((error) => {
    throw new Error(`${what}: ${error.message}`);
  });

const opened = (count) =>
  waitFor(`${count} streams`, (count) => globalThis.others.filter(([name]) => name === "open").length >= count, count);

test("nodes are killed, and a plain EventSource hears everything once and in order", async () => {
  await open(path);
  await opened(1);
  let published = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    for (const end = published + 10; published < end; published += 1) {
      await nodes.publish({ number: published, text: "line\u2028one\nline two" });
    }
    // One of the two has the stream.
    await nodes.kill(kill % 2);
    for (const end = published + 10; published < end; published += 1) await nodes.publish({ number: published });
    await nodes.start(kill % 2);
  }
  const expected = 2 * published;
  await waitFor("everything", (expected) => globalThis.heard.length >= expected, expected);
  // What comes twice would come before this.
  await nodes.publish("last");
  await waitFor("the last", () => globalThis.heard.filter(({ value }) => value === "last").length === 2);
  const heard = await page.evaluate(() => globalThis.heard);
  for (const requestId of [1, 2]) {
    const numbers = heard.filter((it) => it.requestId === requestId && it.value !== "last").map((it) => it.value.number);
    assert.deepEqual(numbers, Array.from({ length: published }, (_, number) => number));
  }
  const others = await page.evaluate(() => globalThis.others);
  for (const [name, data] of others.slice(1)) {
    assert.deepEqual([name, data.recovered], ["open", true], JSON.stringify(data));
  }
});

test("a refused EventSource stops, and a revoked one comes back, is refused and stops", async () => {
  admitted = false;
  await open(path);
  await waitFor("the end", () => globalThis.source.readyState === EventSource.CLOSED);
  admitted = true;
  await open(path);
  await opened(1);
  admitted = false;
  await nodes.command({ command: "invalidate", everyone: true });
  await waitFor("the end", () => globalThis.source.readyState === EventSource.CLOSED);
  const others = await page.evaluate(() => globalThis.others);
  assert.deepEqual(others.at(-1).slice(0, 1), ["close"]);
  assert.equal(others.at(-1)[1].code, 4002);
});

test("quiet pages keep a fresh id, and nothing is dispatched for it", async () => {
  const silent = await page.evaluate(async (url) => {
    // What the gateway sends as a heartbeat, from a URL that needs no gateway.
    const body = "retry: 1\nid: first\nevent: open\ndata: 1\n\nid: second\n\n";
    const source = new EventSource(URL.createObjectURL(new Blob([body], { type: "text/event-stream" })));
    const seen = [];
    source.onmessage = ({ lastEventId }) => seen.push(lastEventId);
    source.addEventListener("open", ({ data, lastEventId }) => data && seen.push(lastEventId));
    await new Promise((resolve) => (source.onerror = resolve));
    source.close();
    return { seen, url };
  }, nodes.url);
  assert.deepEqual(silent.seen, ["first"]);
});

test("a page of another site is not answered, by EventSource, fetch or an image", async () => {
  // The same server under another name is another site, and is not the host of the gateway.
  await page.goto(nodes.page.replace("127.0.0.1", "localhost"));
  const asked = nodes.asked.length;
  const results = await page.evaluate(async (url) => {
    const stream = new Promise((resolve) => {
      const source = new EventSource(url, { withCredentials: true });
      source.onerror = () => resolve(source.readyState === EventSource.CLOSED ? "closed" : "retries");
      source.onopen = () => resolve("open");
    });
    const get = fetch(url, { credentials: "include", headers: { Accept: "text/event-stream" } });
    const post = fetch(url, { method: "POST", body: '{"subscriptions": []}', headers: { "X-High-Templar-SDK": "1" } });
    const image = new Promise((resolve) => {
      const element = new Image();
      element.onerror = () => resolve("failed");
      element.onload = () => resolve("loaded");
      element.src = url;
    });
    const failed = (answer) => answer.then((response) => response.status, () => "failed");
    return Promise.all([stream, failed(get), failed(post), image]);
  }, nodes.url + path);
  assert.deepEqual(results, ["closed", "failed", "failed", "failed"]);
  assert.equal(nodes.asked.length, asked, "the API is not called");
});

test("fetch polls in a page of the same host", async () => {
  const answer = await page.evaluate(async (url) => {
    const body = JSON.stringify({ subscriptions: [{ requestId: 1, room: { n: 1 } }], wait: 0 });
    const response = await fetch(url, { method: "POST", body, headers: { "Content-Type": "application/json" } });
    return { status: response.status, body: await response.json(), cursor: response.headers.get("High-Templar-Cursor") };
  }, `${nodes.url}poll/`);
  assert.equal(answer.status, 200);
  assert.equal(answer.body.is_authorized, true);
  assert.equal(answer.cursor, answer.body.cursor);
});
