// A page of a tutorial in headless Chromium, told what to do a line at a time.
//
//   node page.js ADDRESS [USER]   signs in with the user's name as password, if one is given
//
//   sees TEXT    answers "sees TEXT" once the page shows it
//   lost TEXT    answers "lost TEXT" once it does not
//   click TEXT   answers "click TEXT" once the button with this text is clicked
//
// CHROMIUM is the browser, /usr/bin/chromium if it is not set.

import { createInterface } from "node:readline";
import { chromium } from "../../clients/js/node_modules/playwright-core/index.mjs";

const [address, user] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args });
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.log(`fault ${error}`));
  await page.goto(address);
  if (user) {
    await page.fill("[name=username]", user);
    await page.fill("[name=password]", user);
    await page.click("[type=submit]");
  }
  for await (const line of createInterface({ input: process.stdin })) {
    const [word, ...rest] = line.split(" ");
    const text = rest.join(" ");
    if (word === "click") await page.click(`button:text-is("${text}")`);
    else
      await page.waitForFunction(
        ([text, shown]) => document.body.innerText.includes(text) === shown,
        [text, word === "sees"],
        { timeout: 30_000 },
      );
    console.log(line);
  }
} finally {
  await browser.close();
}
