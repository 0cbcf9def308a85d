import { afterAll, beforeAll, expect, test, vi } from "vitest";

import { type Dropped, type Message, SubscribeError } from "../src/index.js";
import { eventually } from "./support/eventually.js";
import { NEWS, ORDERS, until, World } from "./support/world.js";

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world.stop());

test("a room asked for before there is a connection is heard", async () => {
  const heard: unknown[] = [];
  const client = world.client();
  const orders = client.subscribe(ORDERS, (data) => heard.push(data));
  expect(orders.state).toBe("pending");
  await orders.ready;
  expect(orders.state).toBe("subscribed");
  const data = { id: 1, note: "größer <&> 😀\u2028", list: [null, 1.5, "x".repeat(100_000)] };
  await world.gateway.publish(ORDERS, data);
  await world.gateway.publish(ORDERS, null);
  await eventually(() => heard.length === 2);
  expect(heard).toEqual([data, null]);
});

test("the user's grants are reported in an event and in the status", async () => {
  const client = world.client();
  const told: unknown[] = [];
  client.addEventListener("rooms", ({ detail }) => told.push(detail));
  const { rooms } = await until(client, "open");
  expect(rooms).toEqual([ORDERS, NEWS]);
  await eventually(() => told.length === 1);
  expect(told[0]).toEqual([ORDERS, NEWS]);
});

test("two subscriptions to a room each hear; one that ends leaves the other alone", async () => {
  const client = world.client();
  const [one, other] = [vi.fn(), vi.fn()];
  const first = client.subscribe(ORDERS, one);
  const second = client.subscribe({ customer: "anna", target: "order" }, other);
  await Promise.all([first.ready, second.ready]);
  first.unsubscribe();
  expect(first.state).toBe("ended");
  await world.gateway.publish(ORDERS, 7);
  await eventually(() => other.mock.calls.length === 1);
  expect(other).toHaveBeenCalledWith(7, second);
  expect(one).not.toHaveBeenCalled();
});

test("a hundred subscriptions of one room, and refused ones among them", async () => {
  const client = world.client();
  await client.ready();
  const secret = { target: "secret" };
  const handlers = Array.from({ length: 100 }, () => vi.fn());
  const onError = vi.fn();
  const subscribeAll = () =>
    handlers.map((handler) => {
      client.subscribe(secret, handler, { onError });
      return client.subscribe(ORDERS, handler);
    });
  const first = subscribeAll();
  await Promise.all(first.map(({ ready }) => ready));
  await eventually(() => onError.mock.calls.length === 100);
  await world.gateway.publish(ORDERS, 1);
  await eventually(() => handlers.every(({ mock }) => mock.calls.length === 1));
  // As a list does that is rendered again: a room that was refused is asked for once more.
  const second = subscribeAll();
  for (const subscription of first) subscription.unsubscribe();
  await Promise.all(second.map(({ ready }) => ready));
  await eventually(() => onError.mock.calls.length >= 200);
  expect(new Set(onError.mock.calls.map(([{ code }]) => code))).toEqual(
    new Set(["room-not-found"]),
  );
  await world.gateway.publish(ORDERS, 2);
  await eventually(() => handlers.every(({ mock }) => mock.calls.length === 2));
  expect(client.state).toBe("open");
});

test("a room that is not granted is refused to the caller, and nobody else is touched", async () => {
  const client = world.client();
  const [onError, onPublish, told] = [vi.fn(), vi.fn(), vi.fn()];
  client.addEventListener("error", ({ detail }) => told(detail));
  const before = client.subscribe(ORDERS);
  const secret = client.subscribe({ target: "secret" }, undefined, { onError });
  const after = client.subscribe({ target: "news", topic: "x" }, onPublish);
  const error = await secret.ready.catch((error) => error);
  expect(error).toBeInstanceOf(SubscribeError);
  expect(error).toMatchObject({ code: "room-not-found", room: { target: "secret" } });
  await Promise.all([before.ready, after.ready]);
  expect(secret.state).toBe("refused");
  expect(secret.error).toBe(error);
  expect(onError).toHaveBeenCalledExactlyOnceWith(error);
  expect(told).toHaveBeenCalledExactlyOnceWith(error);
  await world.gateway.publish({ target: "news", topic: "x" }, "hello");
  await eventually(() => onPublish.mock.calls.length === 1);
});

test("answers find their requests among messages of the page's own", async () => {
  const client = world.client();
  await until(client, "open");
  const answers: Message[] = [];
  client.addEventListener("message", ({ detail }) => answers.push(detail));
  client.send({ type: "status" });
  const orders = client.subscribe(ORDERS);
  client.send({ type: "nonsense" });
  const secret = client.subscribe({ target: "secret" });
  await orders.ready;
  await expect(secret.ready).rejects.toThrow("room-not-found");
  expect(answers).toHaveLength(2);
  expect(answers[0]).toMatchObject({ open_connections: expect.any(Number) });
  expect(answers[1]).toMatchObject({ code: "error", message: "message-type-not-allowed" });
});

test("a subscription that ends before its answer hears nothing and disturbs nothing", async () => {
  const client = world.client();
  await until(client, "open");
  const nothing = vi.fn();
  const gone = client.subscribe(ORDERS, nothing);
  gone.unsubscribe();
  await expect(gone.ready).rejects.toMatchObject({ name: "AbortError" });
  const heard = vi.fn();
  await client.subscribe(ORDERS, heard).ready;
  await world.gateway.publish(ORDERS, 1);
  await eventually(() => heard.mock.calls.length === 1);
  expect(nothing).not.toHaveBeenCalled();
});

test("a handler that throws is told as uncaught, and the next publication comes", async () => {
  const client = world.client();
  const uncaught = vi.fn();
  const others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException").on("uncaughtException", uncaught);
  try {
    const heard: unknown[] = [];
    const orders = client.subscribe(ORDERS, (data) => {
      heard.push(data);
      throw new Error(`no more ${data}`);
    });
    await orders.ready;
    await world.gateway.publish(ORDERS, 1);
    await world.gateway.publish(ORDERS, 2);
    await eventually(() => uncaught.mock.calls.length === 2);
    expect(heard).toEqual([1, 2]);
    expect(uncaught.mock.calls[0]?.[0]).toMatchObject({ message: "no more 1" });
    orders.unsubscribe();
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const listener of others) process.on("uncaughtException", listener);
  }
});

test("a loop hears a room, and leaving it unsubscribes", async () => {
  const client = world.client();
  const orders = client.subscribe<number>(ORDERS);
  const heard: number[] = [];
  const loop = (async () => {
    for await (const data of orders) {
      heard.push(data);
      if (data === 3) break;
    }
  })();
  await orders.ready;
  for (const number of [1, 2, 3, 4]) await world.gateway.publish(ORDERS, number);
  await loop;
  expect(heard).toEqual([1, 2, 3]);
  expect(orders.state).toBe("ended");
});

test("a loop ends when the room is unsubscribed or the client closed, after what waits", async () => {
  const client = world.client();
  const [one, other] = [client.subscribe(ORDERS), client.subscribe(ORDERS)];
  const loops = [one, other].map((room) => room[Symbol.asyncIterator]());
  let seen = 0;
  client.addEventListener("publish", () => seen++);
  await Promise.all([one.ready, other.ready]);
  await world.gateway.publish(ORDERS, "last");
  await eventually(() => seen === 2);
  one.unsubscribe();
  client.close();
  for (const loop of loops) {
    expect(await loop.next()).toEqual({ done: false, value: "last" });
    expect(await loop.next()).toEqual({ done: true, value: undefined });
  }
});

test("a loop over a room that is not granted throws", async () => {
  const secret = world.client().subscribe({ target: "secret" });
  const loop = (async () => {
    for await (const data of secret) expect.fail(`heard ${data}`);
  })();
  await expect(loop).rejects.toMatchObject({ code: "room-not-found" });
});

test("a loop that does not keep up loses the oldest, and it shows", async () => {
  const client = world.client();
  const drops: Dropped[] = [];
  client.addEventListener("drop", ({ detail }) => drops.push(detail));
  const orders = client.subscribe<number>(ORDERS, undefined, { bufferMax: 2 });
  const loop = orders[Symbol.asyncIterator]();
  let seen = 0;
  client.addEventListener("publish", () => seen++);
  await orders.ready;
  for (const number of [1, 2, 3, 4]) await world.gateway.publish(ORDERS, number);
  await eventually(() => seen === 4);
  expect([(await loop.next()).value, (await loop.next()).value]).toEqual([3, 4]);
  expect(orders.dropped).toBe(2);
  expect(drops).toEqual([{ subscription: orders }, { subscription: orders }]);
});

test("messages wait for a connection, a bounded number of them", async () => {
  const client = world.client({ autoConnect: false, queueMax: 2 });
  expect(client.state).toBe("closed");
  const [drops, answers]: [Dropped[], Message[]] = [[], []];
  client.addEventListener("drop", ({ detail }) => drops.push(detail));
  client.addEventListener("message", ({ detail }) => answers.push(detail));
  const first = { type: "nonsense" };
  for (const message of [first, { type: "status" }, { type: "status" }]) client.send(message);
  expect(drops).toEqual([{ subscription: null, message: first }]);
  expect(client.dropped).toBe(1);
  client.connect();
  await eventually(() => answers.length === 2);
  for (const answer of answers) expect(answer).toHaveProperty("open_connections");
});
