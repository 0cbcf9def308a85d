// Two gateways behind nginx, with PostgreSQL as the log, and pages in a real browser that miss nothing,
// whatever becomes of a node.
//
//   CHROMIUM  the browser                            [/usr/bin/chromium]
//   VERBOSE   set: shows what site and gateways say

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { startNodes } from "./nodes.js";
import { counted, isCurrent, launch, numbers, open, place, shows, signIn, state, watch } from "./pages.js";

const NAMES = ["maya", "carl", "cleo"];
const ORDER = { customer: "Café Lune", branch: "Harbour", quantity: 1 };

let browser;
let site;
const contexts = {};
let faults;
// Pages of everybody who sees the orders, and what each of them fetched.
let pages;
let fetches;
// Another page, where orders are placed.
let seller;

before(async () => {
  browser = await launch();
  site = await startNodes();
  for (const name of NAMES) contexts[name] = await signIn(browser, site.url, name);
});

after(async () => {
  await browser?.close();
  await site?.stop();
});

beforeEach(async () => {
  faults = [];
  pages = await Promise.all(NAMES.map((name) => open(contexts[name], site.url, faults)));
  seller = await open(contexts.cleo, site.url, faults);
  fetches = pages.map(counted);
});

afterEach(async () => {
  await Promise.all(browser.contexts().flatMap((context) => context.pages()).map((p) => p.close()));
  assert.deepEqual(faults, []);
});

/** Pages connected to a node. */
const connections = (node) => node.metric("connections");

/** Waits until something holds. */
async function until(what, holds) {
  const deadline = Date.now() + 60_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within a minute: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Orders are placed one after the other until it is stopped. */
function selling() {
  const placed = [];
  let isOver = false;
  const work = (async () => {
    while (!isOver) placed.push(await place(seller, ORDER));
  })();
  // It fails where it is waited for.
  work.catch(() => {});
  const further = async (count) => {
    const wanted = placed.length + count;
    await Promise.race([until("orders are placed", () => placed.length >= wanted), work]);
  };
  const end = async () => {
    isOver = true;
    await work;
    return placed;
  };
  return { further, end };
}

/** All pages show all orders, each once and in order, and fetched nothing for it. */
async function missedNothing(placed) {
  const newestFirst = [...placed].sort((one, other) => other - one);
  for (const page of pages) {
    await state(page, "Live");
    for (const number of placed) await shows(page, number);
    assert.deepEqual((await numbers(page)).slice(0, placed.length), newestFirst);
  }
  assert.deepEqual(fetches, pages.map(() => []));
}

test("a node that is killed costs the pages nothing", async () => {
  // Whichever node a page is connected to, it is killed once.
  for (const node of site.nodes) {
    const connected = await connections(node);
    const sales = selling();
    await sales.further(2);
    await node.kill();
    await sales.further(2);
    const other = site.nodes.find((one) => one !== node);
    await until("every page is at the other node", async () => (await connections(other)) === 4);
    await sales.further(1);
    await missedNothing(await sales.end());
    await node.start();
    assert.ok(connected > 0, "pages were connected to the node");
  }
  const recovered = await Promise.all(site.nodes.map((node) => node.metric("gaps_total")));
  assert.deepEqual(recovered, [0, 0]);
});

test("a rolling restart costs the pages nothing", async () => {
  const sales = selling();
  for (const node of site.nodes) {
    await sales.further(2);
    await node.stop();
    await sales.further(2);
    await node.start();
  }
  await sales.further(2);
  await missedNothing(await sales.end());
});

test("a page hears what was published after it was read and before it connected", async () => {
  const page = await contexts.carl.newPage();
  watch(page, faults);
  const reads = counted(page);
  // The first node gave the position; the page may connect to either.
  await until("pages have a position", async () => {
    const answer = await contexts.carl.request.get(site.url);
    return answer.headers()["high-templar-position"] !== undefined;
  });
  let connect;
  const isHeld = new Promise((resolve) => {
    page.route("**/orders/live.js", async (route) => {
      resolve();
      await new Promise((go) => (connect = go));
      await route.continue();
    });
  });
  await page.goto(site.url, { waitUntil: "commit" });
  await isHeld;
  const missed = await place(seller, ORDER);
  assert.ok(!(await numbers(page)).includes(missed), "the page is older than the order");
  connect();
  await shows(page, missed);
  await isCurrent(page);
  assert.deepEqual(reads, []);
});
