// The pages of the example in a real browser, and what one does there.
//
//   CHROMIUM      the browser                            [/usr/bin/chromium]

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const TIMEOUT = 60_000; // milliseconds

export function launch() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, headless: true, args: FLAGS });
}

/** A browser of its own, signed in. */
export async function signIn(browser, url, name) {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/Amsterdam" });
  context.setDefaultTimeout(TIMEOUT);
  const page = await context.newPage();
  await page.goto(url);
  await page.getByRole("button", { name: new RegExp(name, "i") }).click();
  await page.waitForURL(url);
  await page.close();
  return context;
}

/** The board, live and up to date. */
export async function open(context, url, faults) {
  const page = await context.newPage();
  watch(page, faults);
  await page.goto(url);
  await isCurrent(page);
  return page;
}

/** Notes what must not happen on a page. */
export function watch(page, faults) {
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("dialog", (dialog) => {
    faults.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
}

export const isCurrent = (page) => page.locator("body[data-state=open][data-current]").waitFor();
export const state = (page, text) => page.locator("#state", { hasText: text }).waitFor();
export const orders = (page) => page.locator("#orders .order");
export const numbers = (page) =>
  orders(page).evaluateAll((rows) => rows.map(({ dataset }) => Number(dataset.key.split("-")[1])));
export const order = (page, number) => page.locator(`#orders [data-key=order-${number}]`);
export const shows = (page, number) => order(page, number).waitFor();
export const lacks = async (page, number) => assert.equal(await order(page, number).count(), 0);

/** Fills in the form for an order and sends it. */
export async function fillIn(page, { customer, branch, product = "House blend", quantity = 3 }) {
  await page.getByText("New order").click();
  const form = page.locator(".new form");
  await form.getByLabel("Product").selectOption(product);
  await form.getByLabel("Quantity").fill(String(quantity));
  await form.getByLabel("Customer").selectOption(customer);
  await form.getByLabel("Branch").selectOption(branch);
  await form.getByRole("button", { name: "Order" }).click();
}

/** Places an order and gives its number, as soon as this page shows it. */
export async function place(page, members) {
  const [newest] = await numbers(page);
  await fillIn(page, members);
  await page.waitForFunction(
    (newest) => {
      const key = document.querySelector("#orders .order").dataset.key;
      return Number(key.split("-")[1]) > newest;
    },
    newest,
  );
  return (await numbers(page))[0];
}

/** Counts the fetches of a page. */
export function counted(page) {
  const fetches = [];
  page.on("request", (request) => {
    if (request.resourceType() === "fetch" && request.method() === "GET") fetches.push(request.url());
  });
  return fetches;
}
