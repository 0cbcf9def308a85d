// Builds the page.

import { Backend } from "./backend.js";
import { Browser } from "./browser.js";
import { $, call } from "./dom.js";

const about = (await call("GET", "/demo/about.json")).body;
const address = `ws://${location.hostname}:${about.gateway}/ws/`;

for (const place of document.querySelectorAll("[data-port]")) {
  place.textContent = about[place.dataset.port];
}
$(".version").textContent = about.version;

$(".browsers").append(
  new Browser(1, address, "alice", "cookie").root,
  new Browser(2, address, "bob", "token").root,
);
new Backend($("#backend"), address);
