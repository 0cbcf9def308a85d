// A page in a browser tab, led by lines of JSON: commands come in, events go out.
//
//   node page.js '{"url": "ws://…/ws/", "token": …, "cookie": …, "pingEvery": …, "dropIn": …}'

import { createInterface } from "node:readline";

import WebSocket from "ws";

import { DropIn } from "./dropin.js";
import { LiveSocket } from "./live.js";

const tell = (event) => process.stdout.write(`${JSON.stringify({ at: Date.now(), ...event })}\n`);

const { url, cookie, dropIn, ...options } = JSON.parse(process.argv[2]);
// A browser sends its cookies by itself, and says which page it shows; the proxy in front of a
// deployment passes on which host it was asked for.
const headers = {
  Host: "shop.example",
  Origin: "https://shop.example",
  ...(cookie && { Cookie: cookie }),
};
const Client = dropIn ? DropIn : LiveSocket;
const live = new Client((address) => new WebSocket(address, { headers }), url, {
  ...options,
  watch: tell,
});
const requests = new Map();

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { command, name, room, text } = JSON.parse(line);
    if (command === "subscribe") {
      const requestId = live.subscribe(room, (data) => tell({ event: "heard", name, data }));
      requests.set(name, requestId);
      tell({ event: "asked", name, requestId });
    } else if (command === "unsubscribe") {
      live.unsubscribe(requests.get(name));
    } else if (command === "send") {
      live.send(text);
    }
  })
  .on("close", () => process.exit());
