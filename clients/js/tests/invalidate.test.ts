// The command `invalidate`, with the real gateway: it asks the backend again, and the page follows.

import { afterEach, expect, test, vi } from "vitest";

import { eventually } from "./support/eventually.js";
import { NEWS, ORDERS, statuses, World } from "./support/world.js";

const TOPIC = { target: "news", topic: "tea" };

let world: World;
afterEach(() => world?.stop());

test("a room goes and comes back over one connection, and another misses nothing", async () => {
  world = await World.start();
  const { backend, gateway } = world;
  const client = world.client({ legacy: false });
  const [onError, onSubscribed] = [vi.fn(), vi.fn()];
  const heard: unknown[] = [];
  const orders = client.subscribe(ORDERS, (data) => heard.push(data), { onError, onSubscribed });
  const news: unknown[] = [];
  await Promise.all([orders.ready, client.subscribe(TOPIC, (data) => news.push(data)).ready]);
  const seen = statuses(client);

  backend.allow("anna", [NEWS]);
  await gateway.command({ command: "invalidate", session: "anna" });
  await gateway.publish(ORDERS, "secret");
  await gateway.publish(TOPIC, 1);
  await eventually(() => orders.state === "refused" && news.length);
  expect(orders.error).toMatchObject({ code: "unsubscribed", reason: "permissions" });
  expect(onError).toHaveBeenCalledExactlyOnceWith(orders.error);
  expect(client.status.grants).toEqual([NEWS]);

  backend.allow("anna", [NEWS, ORDERS]);
  await gateway.command({ command: "invalidate", session: "anna" });
  await gateway.publish(TOPIC, 2);
  await eventually(() => orders.state === "subscribed");
  await gateway.publish(ORDERS, "open");
  await eventually(() => heard.length && news.length === 2);
  expect(heard).toEqual(["open"]);
  expect(news).toEqual([1, 2]);
  expect(onSubscribed.mock.calls).toEqual([[{ again: false }], [{ again: true }]]);
  expect(seen.map(({ state }) => state)).toEqual(["open", "open"]);
  expect(backend.calls).toEqual(["anna", "anna", "anna"]);
});

test("the same grants are no news", async () => {
  world = await World.start();
  const { backend, gateway } = world;
  const client = world.client({ legacy: false });
  const heard: unknown[] = [];
  await client.subscribe(ORDERS, (data) => heard.push(data)).ready;
  const seen = statuses(client);
  backend.allow("anna", [NEWS, ORDERS]);
  await gateway.command({ command: "invalidate", session: "anna" });
  await gateway.publish(ORDERS, 1);
  await eventually(() => heard.length);
  expect(seen).toEqual([]);
  expect(backend.calls).toHaveLength(2);
});

test("who may not enter any more is asked to sign in", async () => {
  world = await World.start();
  const { backend, gateway } = world;
  const authenticate = vi.fn(() => backend.allow("anna", [ORDERS]));
  const client = world.client({ legacy: false, authenticate });
  const orders = client.subscribe(ORDERS);
  await orders.ready;
  const seen = statuses(client);
  backend.allow("anna", null);
  await gateway.command({ command: "invalidate", session: "anna" });
  await eventually(() => authenticate.mock.calls.length && orders.state === "subscribed");
  const codes = seen.filter(({ code }) => code).map(({ state, code }) => [state, code]);
  expect(codes).toContainEqual(["waiting", 4002]);
  expect(codes).toContainEqual(["refused", 4300]);
});
