// Tokens that stay out of addresses, from a real browser to a backend.
//
//   HIGH_TEMPLAR  the binary     [target/debug/high-templar]
//   CHROMIUM      the browser    [/usr/bin/chromium]

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";

import { startGateway } from "./gateway.js";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"];
const TOKEN = "a.b/ü c";

let browser;
let gateway;
let page;

before(async () => {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  // One after the other: what was started is closed, also if the next one fails.
  browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
  gateway = await startGateway({
    settings: { HT_AUTH__FIRST_FRAME: "true" },
    admits: (headers) => headers.authorization === `Token ${Buffer.from(TOKEN).toString("latin1")}`,
  });
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
});

beforeEach(async () => {
  await page?.close();
  page = await browser.newPage();
  await page.goto(gateway.page);
  gateway.asked.length = 0;
});

// Opens a websocket in the page, sends texts if there are any, and tells what came of it: once it
// is admitted and heard an answer, or closed.
const talk = (offer, texts = []) =>
  page.evaluate(
    ({ url, offer, texts }) =>
      new Promise((resolve) => {
        const base64url = (text) =>
          btoa(String.fromCharCode(...new TextEncoder().encode(text)))
            .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
        const names = offer.map((name) =>
          typeof name === "string" ? name : `high-templar.token.${base64url(name.token)}`);
        const socket = new WebSocket(url, names);
        const heard = [];
        socket.onopen = () => texts.forEach((text) => socket.send(text));
        socket.onmessage = ({ data }) => {
          heard.push(JSON.parse(data));
          if (heard.length === 1 && heard[0].is_authorized) {
            socket.send('{"type": "subscribe", "room": {"room": 1}, "requestId": "mine"}');
          } else if (heard.length === 2) {
            resolve({ protocol: socket.protocol, heard });
            socket.close();
          }
        };
        socket.onclose = ({ code, reason }) =>
          resolve({ protocol: socket.protocol, heard, code, reason });
      }),
    { url: gateway.url, offer, texts },
  );

/** The reply to the subscribe, which has a cursor as well. */
function assertSuccess({ cursor, ...reply }) {
  assert.match(cursor, /^[a-z2-9]{6}-\d+-[\w-]{4}$/);
  assert.deepEqual(reply, { code: "success", requestId: "mine" });
}

test("a token as a subprotocol reaches the backend and is not echoed", async () => {
  const { protocol, heard } = await talk(["high-templar.v1", { token: TOKEN }]);
  assert.equal(protocol, "high-templar.v1");
  assert.equal(heard[0].is_authorized, true);
  assertSuccess(heard[1]);
  assert.equal(gateway.asked.length, 1);
  assert.equal(gateway.asked[0]["sec-websocket-protocol"], undefined);
});

test("a wrong token is closed with 4300", async () => {
  const { heard, code, reason } = await talk(["high-templar.v1", { token: "wrong" }]);
  assert.deepEqual(heard, [{ is_authorized: false }]);
  assert.deepEqual([code, reason], [4300, "refused"]);
  assert.equal(gateway.asked[0].authorization, "Token wrong");
});

test("a token in the first frame reaches the backend", async () => {
  const authenticate = JSON.stringify({ type: "authenticate", token: TOKEN });
  const { heard } = await talk(["high-templar.v1"], [authenticate]);
  assert.equal(heard[0].is_authorized, true);
  assertSuccess(heard[1]);
  assert.equal(gateway.asked.length, 1);
});

test("another first frame is closed with 4301", async () => {
  const { heard, code, reason } = await talk(["high-templar.v1"], ["ping"]);
  assert.deepEqual(heard, [{ is_authorized: false }]);
  assert.deepEqual([code, reason], [4301, "authenticate"]);
  assert.equal(gateway.asked.length, 0);
});
