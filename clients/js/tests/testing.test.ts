// The gateway in memory answers as the real one does: each scenario runs against both.

import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import WebSocket from "ws";

import { HighTemplar } from "../src/index.js";
import { type ComeBack, FakeGateway } from "../src/testing.js";
import { startBackend } from "./support/backend.js";
import { eventually } from "./support/eventually.js";
import { settled } from "./support/fake.js";
import { type Gateway, startGateway } from "./support/gateway.js";

const GRANTS = [
  { target: "order", customer: 7 },
  { target: "news", topic: "*" },
  { target: "stock", at: { shelf: [1, "a"] } },
];

/** What a scenario can do with either. */
interface Side {
  connect(): HighTemplar;
  publish(room: object, data: unknown): unknown;
  permit(grants: object[]): unknown;
  unsubscribe(room: object): unknown;
  disconnect(comeBack: ComeBack, reason?: string): unknown;
}

let side: Side;
const clients: HighTemplar[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

const real: Side & { gateway?: Gateway; backend?: Awaited<ReturnType<typeof startBackend>> } = {
  connect: () =>
    new HighTemplar({
      url: `ws://127.0.0.1:${real.gateway?.port}/ws/`,
      token: "anna",
      WebSocket,
    }),
  publish: (room, data) => real.gateway?.publish(room, data),
  permit: (allowed_rooms) =>
    real.gateway?.command({ command: "permit", session: "anna", allowed_rooms }),
  unsubscribe: (room) =>
    real.gateway?.command({ command: "unsubscribe", everyone: true, from: [room] }),
  disconnect: (come_back, reason) =>
    real.gateway?.command({ command: "disconnect", everyone: true, come_back, reason }),
};
beforeAll(async () => {
  real.backend = await startBackend();
  real.backend.allow("anna", GRANTS);
  real.gateway = await startGateway(real.backend.url);
});
afterAll(async () => {
  await real.gateway?.stop("SIGKILL");
  await real.backend?.stop();
});

function inMemory(): Side {
  const gateway = new FakeGateway({ grants: GRANTS });
  const { WebSocket } = gateway;
  return {
    connect: () => new HighTemplar({ url: "ws://gateway/ws/", WebSocket }),
    publish: (room, data) => gateway.publish(room, data),
    permit: (grants) => gateway.permit(grants),
    unsubscribe: (room) => gateway.unsubscribe(room),
    disconnect: (comeBack, reason) => gateway.disconnect(comeBack, reason),
  };
}

describe.each(["the real gateway", "the gateway in memory"])("%s", (name) => {
  const open = async () => {
    side = name === "the real gateway" ? real : inMemory();
    const client = side.connect();
    clients.push(client);
    await client.ready();
    return client;
  };

  test("sends the grants", async () => {
    const client = await open();
    expect(client.status.grants).toEqual(GRANTS);
  });

  test.each([
    [{ target: "order", customer: 7 }, null],
    [{ customer: 7, target: "order" }, null],
    [{ target: "order", customer: "7" }, "room-not-found"],
    [{ target: "order", customer: 8 }, "room-not-found"],
    [{ target: "order", customer: "*" }, "room-not-found"],
    [{ target: "order" }, "room-not-found"],
    [{ target: "order", customer: 7, more: 1 }, "room-not-found"],
    [{ target: "news", topic: "x" }, null],
    [{ target: "news", topic: { any: [1] } }, null],
    [{ target: "news", topic: "*" }, null],
    [{ target: "stock", at: { shelf: [1, "a"] } }, null],
    [{ target: "stock", at: { shelf: ["a", 1] } }, "room-not-found"],
    [{}, "room-not-found"],
  ])("permits %j: %s", async (room, code) => {
    const client = await open();
    const subscription = client.subscribe(room);
    const answer = await subscription.ready.catch((error) => error.code);
    expect(answer ?? null).toBe(code);
  });

  test.each([
    [{ target: "news", topic: "x" }, { target: "news", topic: "x" }, true],
    [{ target: "news", topic: "x" }, { target: "news", topic: "y" }, false],
    [{ target: "news", topic: "*" }, { target: "news", topic: "y" }, true],
    [{ target: "news", topic: "x" }, { target: "news", topic: "*" }, true],
    [{ target: "news", topic: "x" }, { target: "news" }, false],
    [{ target: "order", customer: 7 }, { target: "order", customer: "7" }, false],
    [{ target: "order", customer: 7 }, { customer: 7, target: "order" }, true],
  ])("a subscription to %j hears what is published to %j: %s", async (room, target, hears) => {
    const client = await open();
    const [heard, last] = [vi.fn(), vi.fn()];
    await client.subscribe(room, (data) => heard(data)).ready;
    await client.subscribe({ target: "stock", at: { shelf: [1, "a"] } }, last).ready;
    await side.publish(target, { n: [1, null] });
    await side.publish({ target: "stock", at: { shelf: [1, "a"] } }, null);
    await eventually(() => last.mock.calls.length === 1);
    expect(last.mock.calls[0]?.[0]).toBeNull();
    expect(heard.mock.calls).toEqual(hears ? [[{ n: [1, null] }]] : []);
  });

  test("takes rights and gives them back", async () => {
    const client = await open();
    const told: unknown[] = [];
    const heard = vi.fn();
    client.addEventListener("grants", ({ detail }) => told.push(detail.length));
    client.addEventListener("subscription", ({ detail: { state, error } }) =>
      told.push(error ? `${state}: ${error.code}, ${error.reason}` : state),
    );
    const news = client.subscribe({ target: "news", topic: "*" }, heard, { onError: () => {} });
    const order = client.subscribe({ target: "order", customer: 7 }, heard);
    await Promise.all([news.ready, order.ready]);
    told.length = 0;
    await side.permit([{ target: "news", topic: "x" }, GRANTS[0] as object]);
    await eventually(() => told.length === 2);
    expect(told).toEqual(["refused: unsubscribed, permissions", 2]);
    expect([news.state, order.state]).toEqual(["refused", "subscribed"]);
    await side.publish({ target: "news", topic: "x" }, "lost");
    await side.publish({ target: "order", customer: 7 }, "kept");
    await eventually(() => heard.mock.calls.length === 1);
    await side.permit(GRANTS);
    await news.ready;
    expect(told.slice(2)).toEqual([3, "pending", "subscribed"]);
    await side.publish({ target: "news", topic: "x" }, "again");
    await eventually(() => heard.mock.calls.length === 2);
    expect(heard.mock.calls.map(([data]) => data)).toEqual(["kept", "again"]);
  });

  test("ends subscriptions, which a page may begin again", async () => {
    const client = await open();
    const room = { target: "news", topic: "x" };
    const news = client.subscribe(room, null, { onError: () => {} });
    await news.ready;
    await side.unsubscribe({ target: "news", topic: "*" });
    await eventually(() => news.state === "refused");
    expect(news.error).toMatchObject({ code: "unsubscribed", reason: "command", room });
    await client.subscribe(room).ready;
    expect(news.state).toBe("subscribed");
  });

  test.each([
    ["soon", 4003, "waiting"],
    ["later", 4103, "waiting"],
    ["never", 4203, "failed"],
    ["sign-in", 4303, "refused"],
  ] as const)("disconnects: %s is %i", async (comeBack, code, state) => {
    const client = await open();
    await side.disconnect(comeBack, "moved");
    await eventually(() => client.state === state);
    expect(client.status).toMatchObject({ code, reason: "moved" });
  });

  test("delivers what a page missed", async () => {
    const client = await open();
    const heard: unknown[] = [];
    const calls: unknown[] = [];
    const note = (how: unknown) => void calls.push(how);
    const told = { onSubscribed: note, onRecovered: note };
    for (const room of [
      { target: "news", topic: "x" },
      { target: "news", topic: "*" },
    ]) {
      await client.subscribe(room, (data) => heard.push(data), told).ready;
    }
    client.close();
    await side.publish({ target: "news", topic: "x" }, 1);
    await side.publish({ target: "news", topic: "y" }, 2);
    await side.publish({ target: "order", customer: 7 }, 3);
    client.connect();
    await eventually(() => heard.length === 3);
    expect(heard).toEqual([1, 1, 2]);
    const again = { again: false };
    expect(calls).toEqual([again, again, { replayed: 3 }, { replayed: 3 }]);
  });

  test("answers pings, and cursors that are none or unknown", async () => {
    const client = await open();
    const answers: unknown[] = [];
    // The double gives no resume tickets.
    client.addEventListener("message", ({ detail: { proof: _, ...answer } }) =>
      answers.push(answer),
    );
    const room = { target: "order", customer: 7 };
    const [cursor, subscriptions, nobodys] = ["aaaaaa-1-AAAA", [], { target: "nobody's" }];
    for (const message of [
      { type: "ping", requestId: 1 },
      { type: "ping" },
      { type: "resume", cursor, subscriptions },
      { type: "resume", requestId: 2, subscriptions },
      { type: "resume", requestId: 3, cursor: "?", subscriptions },
      { type: "resume", requestId: 4, cursor, subscriptions: {} },
      { type: "subscribe", requestId: 5, room, since: 5 },
      { type: "subscribe", requestId: 6, room, since: "?" },
      { type: "subscribe", requestId: 7, room, since: cursor },
      {
        type: "resume",
        requestId: 8,
        cursor,
        subscriptions: [
          { requestId: 9, room },
          { requestId: 10, room: nobodys },
          { requestId: 11, room, since: "?" },
        ],
      },
    ]) {
      client.send(message);
    }
    await eventually(() => answers.length === 10);
    const [at, lost] = [
      { code: "success", cursor: expect.stringMatching(/^[a-z0-9]{6}-\d+-/) },
      { recovered: false, reason: "epoch" },
    ];
    const error = (message: string) => ({ code: "error", message });
    expect(answers).toEqual([
      { ...at, requestId: 1 },
      at,
      error("no-request-id"),
      { ...error("invalid-cursor"), requestId: 2 },
      { ...error("invalid-cursor"), requestId: 3 },
      { ...error("invalid-subscriptions"), requestId: 4 },
      { ...error("invalid-since"), requestId: 5 },
      { ...error("invalid-cursor"), requestId: 6 },
      { ...at, ...lost, requestId: 7 },
      {
        ...at,
        ...lost,
        requestId: 8,
        refused: [
          { requestId: 10, message: "room-not-found" },
          { requestId: 11, message: "invalid-cursor" },
        ],
      },
    ]);
  });

  test("answers what is no request, and the status", async () => {
    const client = await open();
    const answers: unknown[] = [];
    client.addEventListener("message", ({ detail }) => answers.push(detail));
    for (const message of [
      { type: "nonsense", requestId: 5 },
      { type: "subscribe", room: { target: "order", customer: 7 } },
      { type: "subscribe", room: "order", requestId: 6 },
      { type: "unsubscribe", requestId: "nobody's" },
      { type: "unsubscribe" },
      { type: "status" },
    ]) {
      client.send(message);
    }
    await eventually(() => answers.length === 6);
    expect(answers).toMatchObject([
      { code: "error", message: "message-type-not-allowed", requestId: 5 },
      { code: "error", message: "no-request-id" },
      { code: "error", message: "invalid-room", requestId: 6 },
      { code: "error", message: "not-subscribed", requestId: "nobody's" },
      { code: "error", message: "no-request-id" },
      { open_connections: 1, num_rooms: 0 },
    ]);
  });
});

test("it can take the place of the global WebSocket, and gives it back", async () => {
  const before = globalThis.WebSocket;
  const gateway = new FakeGateway();
  const restore = gateway.install();
  const client = new HighTemplar({ url: "ws://gateway/ws/", autoConnect: true });
  await client.ready();
  restore();
  expect(globalThis.WebSocket).toBe(before);
  expect(gateway.connections).toBe(1);
  client.close();
  await settled();
  expect(gateway.connections).toBe(0);
});

test.each([false, true])("a client that is refused logs in (legacy: %s)", async (legacy) => {
  const gateway = new FakeGateway();
  gateway.refuse();
  const authenticate = vi.fn(() => gateway.up());
  const { WebSocket } = gateway;
  const client = new HighTemplar({ url: "ws://gateway/ws/", WebSocket, legacy, authenticate });
  await client.ready();
  expect(authenticate).toHaveBeenCalledOnce();
  expect(authenticate).toHaveBeenCalledWith(
    expect.objectContaining(legacy ? { code: 1000 } : { code: 4300, reason: "refused" }),
  );
  client.close();
});
