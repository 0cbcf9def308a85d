// Drives the demo's page in a real browser, against the real binary.
//
//   HIGH_TEMPLAR  the binary     [target/debug/high-templar]
//   CHROMIUM      the browser    [/usr/bin/chromium]

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";

import { startDemo } from "./start.js";

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

let browser;
let demo;
let page;
let faults;

before(async () => {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  // One after the other: what was started is closed, also if the next one fails.
  browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
  demo = await startDemo();
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

beforeEach(async () => {
  page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("dialog", (dialog) => {
    faults.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(demo.url);
  await state(1, "Connected");
  await state(2, "Connected");
});

afterEach(async () => {
  await page.close();
  assert.deepEqual(faults, []);
});

const panel = (number) => page.locator(`#browser-${number}`);
const state = (number, text) =>
  panel(number).locator(".state", { hasText: text }).waitFor();
const newest = async (number) =>
  Number(await panel(number).locator("[data-order]").first().getAttribute("data-order"));

// Creates an order as Alice and gives its number, as soon as her board shows it.
async function order(customer) {
  const before = await newest(1);
  await panel(1).getByRole("button", { name: `Order for ${customer}`, exact: false }).click();
  await page.waitForFunction(
    (before) => Number(document.querySelector("#browser-1 [data-order]").dataset.order) > before, before);
  return newest(1);
}

test("Bob sees his own new order and not that of another customer", async () => {
  const other = await order("12");
  const own = await order("7");
  assert.ok(own > other);
  // Triggers come in order: when his own is here, the other one would have been as well.
  await panel(2).locator(`[data-order="${own}"]`).waitFor();
  assert.equal(await panel(2).locator(`[data-order="${other}"]`).count(), 0);
  const wire = await panel(2).locator(".wire").innerText();
  assert.ok(wire.includes(`"id":${own}`) && !wire.includes(`"id":${other}`), wire);
});

test("both are online, as the hooks say", async () => {
  for (const number of [1, 2]) {
    for (const name of ["Alice", "Bob"]) {
      await panel(number).locator(".online li", { hasText: name }).waitFor();
    }
  }
  await panel(2).getByRole("button", { name: "Disconnect" }).click();
  await panel(1).locator(".online li", { hasText: "Bob" }).waitFor({ state: "detached" });
});

test("a change of status appears on both boards", async () => {
  const id = await order("7");
  await panel(2).getByRole("button", { name: `Set order ${id} to packed` }).click();
  for (const number of [1, 2]) {
    await panel(number).locator(`[data-order="${id}"] .status`, { hasText: "packed" }).waitFor();
  }
});

test("a stranger is refused, and the backend's log says why", async () => {
  for (const by of ["Token", "Cookie"]) {
    await panel(2).getByText(by, { exact: true }).click();
    await panel(2).getByText("Stranger", { exact: true }).click();
    await state(2, "Refused");
    await panel(2).locator(".wire code", { hasText: '"is_authorized": false' }).or(
      panel(2).locator(".wire code", { hasText: '"is_authorized":false' })).first().waitFor();
    await panel(2).getByText("Bob", { exact: true }).click();
    await state(2, "Connected");
  }
  await page.locator(".journal code", { hasText: "unknown user: GET /api/bootstrap/ → 403" }).first().waitFor();
});

test("two users by cookie stay who they are", async () => {
  await panel(2).getByText("Cookie", { exact: true }).click();
  await state(2, "Connected");
  await panel(2).locator(".grants", { hasText: '"customer":"7"' }).waitFor();
  await panel(1).locator(".grants", { hasText: '"customer":"*"' }).waitFor();
});

test("after a restart of the gateway both come back and hear again", async () => {
  // The wait for the next attempt may be too short to be seen.
  await page.evaluate(() => {
    window.states = [];
    const panel = document.querySelector("#browser-1");
    const note = () => window.states.push(panel.dataset.state);
    new MutationObserver(note).observe(panel, { attributeFilter: ["data-state"] });
  });
  await page.getByRole("button", { name: "Restart the gateway" }).click();
  await page.waitForFunction(() => window.states.includes("waiting") && window.states.at(-1) === "open");
  await state(1, "Connected");
  await state(2, "Connected");
  const id = await order("7");
  await panel(2).locator(`[data-order="${id}"]`).waitFor();
  // The log's own connection is back as well.
  await page.locator(".journal code", { hasText: "POST /api/order/ → 201" }).first().waitFor();
});

test("what others write is text, never markup", async () => {
  const evil = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;
  await panel(1).getByLabel("Say something").fill(evil);
  await panel(1).getByRole("button", { name: "Send" }).click();
  await panel(2).locator(".chat li", { hasText: "<img src=x" }).first().waitFor();
  const rooms = page.getByLabel("Rooms");
  await rooms.fill(`[{"target":"order","customer":"7"}]`);
  await page.getByLabel("Data").fill(JSON.stringify({
    order: { id: 9999, version: 1, item: evil, status: evil, customer: evil }, [evil]: evil,
  }));
  await page.getByRole("button", { name: "Send as the backend" }).click();
  await panel(2).locator('[data-order="9999"]', { hasText: "<img src=x" }).waitFor();
  await panel(2).locator(".wire summary").first().click();
  await page.locator(".journal summary").first().click();
  assert.equal(await page.locator("main img, main script").count(), 0);
});

test("a room of one's own: granted, refused, given up", async () => {
  await panel(1).getByText("Subscribe to a room of your own").click();
  await panel(1).getByLabel("Room").fill(`{"target":"order","customer":"12"}`);
  await panel(1).getByRole("button", { name: "Subscribe", exact: true }).click();
  await panel(1).locator(".own", { hasText: "subscribed" }).waitFor();
  await order("12");
  await panel(1).locator(".own", { hasText: "received 1" }).waitFor();
  await panel(1).getByRole("button", { name: "Unsubscribe" }).click();
  await panel(1).getByLabel("Room").fill(`{"target":"secrets"}`);
  await panel(1).getByRole("button", { name: "Subscribe", exact: true }).click();
  await panel(1).locator(".hint", { hasText: "room-not-found" }).waitFor();
});

test("a large publication comes compressed, and whole", async () => {
  // A socket of the test's own: the demo's client does not show what was agreed upon.
  const address = (await panel(1).locator(".url").innerText()).split("?")[0];
  const url = `${address}?token=alice-demo-key`;
  const { extensions, answers } = await page.evaluate(async (url) => {
    const room = { target: "order", customer: "7" };
    const words = Array.from({ length: 400 }, (_, at) => `word ${at}, Zoë`);
    const answers = [];
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
      setTimeout(() => reject(new Error(JSON.stringify(answers))), 20_000);
      socket.onmessage = ({ data }) => {
        answers.push(JSON.parse(data));
        if (answers.length === 1) {
          // Chromium compresses this as well.
          socket.send(JSON.stringify({ type: "subscribe", room, requestId: "x".repeat(500) }));
        } else if (answers.length === 2) {
          document.querySelector("[name=rooms]").value = JSON.stringify([room]);
          document.querySelector("[name=data]").value = JSON.stringify({ words });
          document.querySelector("[name=rooms]").form.requestSubmit();
        } else if (answers.at(-1).data?.words) {
          resolve();
        }
      };
    });
    socket.close();
    return { extensions: socket.extensions, answers };
  }, url);
  assert.match(extensions, /^permessage-deflate; server_no_context_takeover/);
  assert.deepEqual(answers[1], { code: "success" });
  const { data, requestId } = answers.at(-1);
  assert.equal(requestId, "x".repeat(500));
  assert.equal(data.words.length, 400);
  assert.equal(data.words[399], "word 399, Zoë");
});

test("nothing is wider than a phone", async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.equal(over, 0);
});
