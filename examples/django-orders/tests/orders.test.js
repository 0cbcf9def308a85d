// Drives the example in a real browser: real Django, real database, real gateway.
//
//   CHROMIUM      the browser                            [/usr/bin/chromium]
//   DATABASE_URL  another database than an SQLite file   [a new file]
//   SCREENSHOTS   set: takes the pictures in docs/images anew
//   VERBOSE       set: shows what site and gateway say

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";

import {
  counted, fillIn, lacks, launch, numbers, open as openBoard, order, orders, place, shows, signIn,
  state,
} from "./pages.js";
import { startSite } from "./site.js";

const IMAGES = fileURLToPath(new URL("../../../docs/images/", import.meta.url));
const NAMES = ["maya", "carl", "cleo"];

let browser;
let site;
const contexts = {};
// The pages of the manager, the clerk of Harbour, and the customer Café Lune.
let maya;
let carl;
let cleo;
let faults;

before(async () => {
  // One after the other: `after` closes what was started, also if the next one fails.
  browser = await launch();
  site = await startSite();
  for (const name of NAMES) contexts[name] = await signedIn(name);
});

after(async () => {
  await browser?.close();
  await site?.stop();
});

beforeEach(async () => {
  faults = [];
  [maya, carl, cleo] = await Promise.all(NAMES.map((name) => open(contexts[name])));
});

afterEach(async () => {
  await Promise.all(browser.contexts().flatMap((context) => context.pages()).map((p) => p.close()));
  assert.deepEqual(faults, []);
});

const signedIn = (name) => signIn(browser, site.url, name);
const open = (context) => openBoard(context, site.url, faults);

async function say(page, text, channel) {
  if (channel) await page.getByLabel("Channel").selectOption(channel);
  await page.getByLabel("Message").fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}
const said = (page, text) => page.locator("#chat .message", { hasText: text });
const online = (page, name) => page.locator("#online .presence", { hasText: name });

test("an order appears with those who may see it, and with nobody else", async () => {
  const elsewhere = await place(maya, { customer: "Bistro Nord", branch: "Hill" });
  const carls = await place(carl, { customer: "Bistro Nord", branch: "Harbour" });
  const cleos = await place(cleo, { customer: "Café Lune", branch: "Hill" });
  const common = await place(cleo, { customer: "Café Lune", branch: "Harbour" });
  // Publications come in order: with the last one there, all before it would be as well.
  for (const page of [maya, carl, cleo]) await shows(page, common);
  for (const number of [elsewhere, carls, cleos]) await shows(maya, number);
  await shows(carl, carls);
  await shows(cleo, cleos);
  for (const number of [elsewhere, cleos]) await lacks(carl, number);
  for (const number of [elsewhere, carls]) await lacks(cleo, number);
});

test("a step of an order appears everywhere", async () => {
  const number = await place(cleo, { customer: "Café Lune", branch: "Harbour" });
  await order(carl, number).getByRole("button", { name: "Packed" }).click();
  for (const page of [maya, carl, cleo]) {
    await order(page, number).locator(".badge", { hasText: "Packed" }).waitFor();
  }
  // The form of a row that the script made knows its order.
  await order(maya, number).getByRole("button", { name: "Sent" }).click();
  await order(maya, number).getByRole("button", { name: "Delivered" }).click();
  await order(cleo, number).locator(".badge", { hasText: "Delivered" }).waitFor();
  assert.equal(await order(maya, number).getByRole("button").count(), 0);
  assert.equal(await order(cleo, number).getByRole("button").count(), 0);
});

test("what is rolled back shows nowhere", async () => {
  const before = await numbers(maya);
  await fillIn(cleo, { customer: "Café Lune", branch: "Harbour", quantity: 999 });
  await cleo.getByRole("alert").filter({ hasText: "rolled back" }).waitFor();
  await cleo.getByText("New order").click();
  const common = await place(cleo, { customer: "Café Lune", branch: "Harbour", quantity: 1 });
  for (const page of [maya, carl, cleo]) {
    await shows(page, common);
    assert.equal(await orders(page).filter({ hasText: "999" }).count(), 0);
  }
  assert.deepEqual(await numbers(maya), [common, ...before]);
  await maya.reload();
  assert.deepEqual(await numbers(maya), [common, ...before]);
});

test("the chat reaches everybody, and staff's channel staff only", async () => {
  await say(carl, "Not for customers", "Staff only");
  await said(maya, "Not for customers").waitFor();
  await say(carl, "The van is back", "Everybody");
  for (const page of [maya, carl, cleo]) await said(page, "The van is back").waitFor();
  await say(cleo, "Thank you");
  for (const page of [maya, carl, cleo]) await said(page, "Thank you").waitFor();
  assert.equal(await said(cleo, "Not for customers").count(), 0);
  await cleo.reload();
  await said(cleo, "Thank you").waitFor();
  assert.equal(await said(cleo, "Not for customers").count(), 0);
});

test("what others write is text, never markup", async () => {
  const evil = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;
  await say(cleo, evil);
  await said(maya, "<img src=x").waitFor();
  await maya.reload();
  await said(maya, "<img src=x").waitFor();
  assert.equal(await maya.locator("main img, main script").count(), 0);
});

test("who is online follows pages that come and go", async () => {
  for (const name of ["Maya", "Carl", "Cleo"]) await online(maya, name).waitFor();
  for (const name of ["Maya", "Carl"]) await online(cleo, name).waitFor();
  // A second page of the same user is no second user.
  const second = await open(contexts.carl);
  await carl.close();
  await say(cleo, "Is Carl there?");
  await said(maya, "Is Carl there?").waitFor();
  await online(maya, "Carl").waitFor();
  await second.close();
  for (const page of [maya, cleo]) await online(page, "Carl").waitFor({ state: "detached" });
  await open(contexts.carl);
  for (const page of [maya, cleo]) await online(page, "Carl").waitFor();
});

test("customers do not see each other", async () => {
  await cleo.reload();
  await state(cleo, "Live");
  await online(maya, "Cleo").waitFor();
  assert.equal(await online(cleo, "Cleo").count(), 0);
});

test("after a restart of the gateway all pages reconnect and show what they missed", async () => {
  for (const page of [maya, carl, cleo]) await page.evaluate(() => (window.isSamePage = true));
  await site.stopGateway();
  for (const page of [maya, carl, cleo]) await state(page, "Connection lost");
  const missed = await place(maya, { customer: "Café Lune", branch: "Harbour" });
  for (const page of [carl, cleo]) await lacks(page, missed);
  await site.startGateway();
  for (const page of [maya, carl, cleo]) {
    await state(page, "Live");
    await shows(page, missed);
  }
  const fresh = await place(cleo, { customer: "Café Lune", branch: "Harbour" });
  for (const page of [maya, carl, cleo]) {
    await shows(page, fresh);
    assert.equal(await page.evaluate(() => window.isSamePage), true);
  }
  for (const name of ["Maya", "Carl", "Cleo"]) await online(maya, name).waitFor();
});

test("what a page misses while its connection is lost arrives, and it fetches nothing", async () => {
  const seller = await open(contexts.cleo);
  const fetches = [maya, carl, cleo].map(counted);
  site.wire.cut();
  for (const page of [maya, carl, cleo]) await state(page, "Connection lost");
  // This page says what it did itself.
  const missed = await place(seller, { customer: "Café Lune", branch: "Harbour" });
  for (const page of [maya, carl, cleo]) await lacks(page, missed);
  site.wire.mend();
  for (const page of [maya, carl, cleo]) {
    await state(page, "Live");
    await shows(page, missed);
  }
  assert.deepEqual(fetches, [[], [], []]);
});

test("a gateway that is stopped and started again with its window keeps it", async () => {
  const window = { HT_WINDOW__FILE: `${site.folder}/window` };
  await site.stopGateway();
  await site.startGateway(window);
  for (const page of [maya, carl, cleo]) await state(page, "Live");
  const known = await place(cleo, { customer: "Café Lune", branch: "Harbour" });
  for (const page of [maya, carl, cleo]) await shows(page, known);
  const seller = await open(contexts.cleo);
  const fetches = [maya, carl, cleo].map(counted);
  site.wire.cut();
  for (const page of [maya, carl, cleo]) await state(page, "Connection lost");
  const missed = await place(seller, { customer: "Café Lune", branch: "Harbour" });
  await site.stopGateway();
  await site.startGateway(window);
  site.wire.mend();
  for (const page of [maya, carl, cleo]) await shows(page, missed);
  assert.deepEqual(fetches, [[], [], []]);
});

test("signing out in one tab ends the others at once", async () => {
  await cleo.close();
  const context = await signedIn("cleo");
  const [first, second] = [await open(context), await open(context)];
  await online(maya, "Cleo").waitFor();
  await first.getByRole("button", { name: "Sign out" }).click();
  await first.waitForURL(/sign-in/);
  // Django disconnects the sign-in, and the gateway tells the page that it has to sign in again.
  await second.waitForURL(/sign-in/);
  await online(maya, "Cleo").waitFor({ state: "detached" });
  await context.close();
});

test("whoever loses the role loses the board at once, and has it again with the role", async () => {
  await carl.evaluate(() => {
    window.states = [];
    const note = () => window.states.push(document.body.dataset.state);
    new MutationObserver(note).observe(document.body, { attributeFilter: ["data-state"] });
  });
  await site.manage("appoint", "carl", "none");
  for (const list of ["#orders", "#chat", "#online"]) {
    await carl.locator(list).waitFor({ state: "hidden" });
    assert.equal(await carl.locator(`${list} > *`).count(), 0);
  }
  await carl.getByText("You have no role any more.").waitFor();
  await state(carl, "Live");
  const missed = await place(maya, { customer: "Bistro Nord", branch: "Harbour" });
  await lacks(carl, missed);
  await site.manage("appoint", "carl", "clerk", "--branch", "Harbour");
  await shows(carl, missed);
  await carl.getByText("You have no role any more.").waitFor({ state: "hidden" });
  const fresh = await place(cleo, { customer: "Café Lune", branch: "Harbour" });
  await shows(carl, fresh);
  // On one page, over one connection.
  assert.deepEqual([...new Set(await carl.evaluate(() => window.states))], ["open"]);
});

test("nothing is wider than a phone", async () => {
  for (const page of [maya, cleo]) {
    await page.setViewportSize({ width: 320, height: 640 });
    await page.getByText("New order").click();
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.equal(over, 0);
  }
});

test("pictures for the README", { skip: !process.env.SCREENSHOTS }, async () => {
  const decaf = { branch: "Hill", product: "Decaf", quantity: 5 };
  await place(maya, { customer: "Bistro Nord", ...decaf });
  await place(carl, { customer: "Café Lune", branch: "Harbour", product: "Yirgacheffe", quantity: 8 });
  await place(cleo, { customer: "Café Lune", branch: "Harbour", quantity: 12 });
  await say(maya, "Can Café Lune have theirs today?", "Staff only");
  await said(carl, "today?").waitFor();
  await say(carl, "They are on the van.", "Staff only");
  await say(cleo, "Are my twelve bags on their way?");
  await say(carl, "Packed, and with you by noon!", "Everybody");
  for (const page of [maya, cleo]) {
    await said(page, "by noon").waitFor();
    await page.emulateMedia({ reducedMotion: "reduce" });
  }
  const take = (page, name) => page.screenshot({ path: `${IMAGES}${name}.png` });
  await maya.setViewportSize({ width: 1200, height: 720 });
  await maya.getByLabel("Channel").selectOption("Everybody");
  await take(maya, "example-desktop");
  await cleo.setViewportSize({ width: 390, height: 780 });
  await cleo.emulateMedia({ colorScheme: "dark" });
  await take(cleo, "example-phone");
});
