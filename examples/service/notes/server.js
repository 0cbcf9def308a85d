// The tenant `notes`: a site with Express, with an API for the gateway.
//
// PORT and KEY come from ../run: KEY is the tenant's own key, with which it publishes.

import { fileURLToPath } from "node:url";
import express from "express";

const PAGE = fileURLToPath(new URL("../page.html", import.meta.url));
const CLIENT = fileURLToPath(
  new URL("../../../clients/python/src/high_templar/django/static/high_templar/client.js", import.meta.url),
);
const items = [];

const app = express();
app.use(express.json({ limit: "10kb" }));
app.get("/", (_, response) => response.sendFile(PAGE));
app.get("/client.js", (_, response) => response.sendFile(CLIENT));

// The gateway calls this for each page that connects: everybody may see the items.
app.get("/api/bootstrap/", (_, response) => {
  response.set("Cache-Control", "private, no-store");
  response.json({ user: { id: 1 }, allowed_rooms: [{ target: "items" }] });
});

app.get("/items/", (_, response) => response.json(items));

app.post("/items/", async (request, response) => {
  const item = { id: items.length + 1, text: String(request.body.text).slice(0, 200) };
  items.push(item);
  // The item is there: if it cannot be published, pages show it once they load again.
  await publish([{ target: "items" }], item).catch(console.error);
  response.status(201).json(item);
});

/** Sends one trigger: the gateway knows by the key that it is this tenant's. */
async function publish(rooms, data) {
  const answer = await fetch(process.env.TRIGGER_URL, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${process.env.KEY}` },
    body: JSON.stringify({ rooms, data }),
    signal: AbortSignal.timeout(5000),
  });
  if (!answer.ok) throw new Error(`not published: ${answer.status} ${await answer.text()}`);
}

app.listen(Number(process.env.PORT), "127.0.0.1");
