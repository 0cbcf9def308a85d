// Other versions: what later gateways may send, and names of earlier clients.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { HighTemplar, type HighTemplarOptions, type SubscribeError } from "../src/index.js";
import { spansOf } from "../src/options.js";
import type { FakeGateway } from "../src/testing.js";
import { connect, settled } from "./support/fake.js";

const ORDERS = { target: "order", customer: 7 };

let client: HighTemplar;
let gateway: FakeGateway;
beforeEach(() => {
  vi.spyOn(console, "warn").mockImplementation(() => {});
});
afterEach(() => client.close());

async function open(options: Partial<HighTemplarOptions> = {}, grants?: object[]): Promise<void> {
  ({ client, gateway } = connect(options, grants));
  await client.ready();
}

describe("messages of later versions", () => {
  test.each([
    { type: "gap", reason: "rabbitmq" },
    { type: "presence", requestId: "1", count: 3 },
    { type: "notice", code: "success", requestId: "1" },
    { type: "session", is_authorized: true, allowed_rooms: [{ target: "none" }] },
    { type: "session", is_authorized: false },
    { type: "", code: "error", message: "x" },
    { type: null, code: "success" },
    { type: 7 },
  ])("%j is no answer", async (message) => {
    for (const legacy of [false, true]) {
      await open({ legacy });
      const messages = vi.fn();
      client.addEventListener("message", messages);
      client.addEventListener("grants", messages);
      const orders = client.subscribe(ORDERS);
      gateway.deliver(message);
      expect(orders.state).toBe("pending");
      await orders.ready;
      gateway.deliver(message);
      await settled();
      expect(orders.state).toBe("subscribed");
      expect(messages).not.toHaveBeenCalled();
      expect(client.status).toMatchObject({ state: "open", grants: [] });
      // Nor does it change how the end of the connection is understood.
      gateway.close(1000, "");
      expect(client.state).toBe("waiting");
      client.close();
    }
  });

  test("before the first message they admit nobody, and refuse nobody", () => {
    const socket = {
      readyState: 1,
      onmessage: (_: { data: string }) => {},
      onclose: (_: { code: number; reason: string }) => {},
      send: vi.fn(),
      close: vi.fn(),
    };
    const deliver = (message: object) => socket.onmessage({ data: JSON.stringify(message) });
    // A constructor that returns an object has made that object.
    const WebSocket = vi.fn(() => socket) as never;
    client = new HighTemplar({ url: "ws://gateway/ws/", WebSocket });
    client.subscribe(ORDERS);
    deliver({ type: "session", is_authorized: true, allowed_rooms: [] });
    deliver({ type: "session", is_authorized: false });
    deliver({ type: "permissions", allowed_rooms: [ORDERS] });
    deliver({ type: "unsubscribed", requestId: "1", room: ORDERS, reason: "permissions" });
    expect(client.status).toMatchObject({ state: "connecting", grants: [] });
    expect(socket.send).not.toHaveBeenCalled();
    deliver({ is_authorized: true, allowed_rooms: [ORDERS] });
    expect(client.status).toMatchObject({ state: "open", grants: [ORDERS] });
    expect(socket.send).toHaveBeenCalledOnce();
    socket.onclose({ code: 1000, reason: "" });
    expect(client.state).toBe("waiting");
  });

  test("requests of the page are answered among them", async () => {
    await open();
    const messages = vi.fn();
    client.addEventListener("message", ({ detail }) => messages(detail));
    client.send({ type: "status" });
    client.send({ type: "nonsense", requestId: "own" });
    const orders = client.subscribe(ORDERS);
    gateway.deliver({ type: "command", id: "1" });
    gateway.deliver({ type: "command", code: "success", requestId: orders.requestId });
    gateway.deliver({ type: "command", code: "error", requestId: "own" });
    expect(orders.state).toBe("pending");
    await orders.ready;
    await settled();
    expect(messages.mock.calls).toEqual([
      [{ open_connections: 1, num_rooms: 0 }],
      [{ code: "error", message: "message-type-not-allowed", requestId: "own" }],
    ]);
  });

  test("an answer to a name that nobody has is not another's", async () => {
    await open();
    const orders = client.subscribe(ORDERS);
    gateway.deliver({ code: "error", message: "not-subscribed", requestId: "77" });
    await orders.ready;
    expect(orders.state).toBe("subscribed");
  });

  test("further members of an answer are kept: the reason of a refusal", async () => {
    await open({}, []);
    gateway.deliver({ code: "success" }); // Of nobody's.
    const told = new Promise<SubscribeError>((onError) => client.subscribe(ORDERS, { onError }));
    gateway.deliver({
      code: "error",
      message: "room-not-found",
      requestId: "1",
      reason: "the why",
    });
    expect(await told).toMatchObject({ code: "room-not-found", reason: "the why" });
    expect((await told).message).toMatch(/the why/);
  });
});

/** Deprecated, and kept through 4.x. Their types: tests/consumer/deprecated.tsx. */
describe("old names", () => {
  test("the events `publish` and `rooms`, and `status.rooms`", async () => {
    ({ client, gateway } = connect({}, [ORDERS]));
    const events: unknown[] = [];
    client.addEventListener("publish", ({ detail }) => events.push(detail));
    client.addEventListener("rooms", ({ detail }) => events.push(detail));
    const subscription = client.subscribe(ORDERS, () => {});
    await subscription.ready;
    gateway.publish(ORDERS, 1);
    expect(events).toEqual([[ORDERS], { data: 1, subscription }]);
    expect(client.status.rooms).toEqual([ORDERS]);
    expect(client.status.rooms).toBe(client.status.grants);
  });

  test("onReconnect: after a loss only", async () => {
    await open();
    const onReconnect = vi.fn();
    await client.subscribe(ORDERS, undefined, { onReconnect }).ready;
    expect(onReconnect).not.toHaveBeenCalled();
    gateway.cut();
    await client.ready();
    await settled();
    expect(onReconnect).toHaveBeenCalledOnce();
  });

  test.each([
    [{ queueMax: 2 }, 2],
    [{ maxQueued: 2 }, 2],
    [{ queueMax: 9, maxQueued: 2 }, 2],
  ])("%j", (options, kept) => {
    ({ client, gateway } = connect({ autoConnect: false, ...options }));
    for (let count = 0; count < 5; count++) client.send({ type: "status" });
    expect(client.dropped).toBe(5 - kept);
  });

  test.each([
    [{ bufferMax: 2 }, 2],
    [{ maxBuffered: 2 }, 2],
    [{ bufferMax: 9, maxBuffered: 2 }, 2],
  ])("%j", async (options, kept) => {
    await open();
    const loop = client.subscribe(ORDERS, undefined, options);
    loop[Symbol.asyncIterator]();
    await loop.ready;
    for (let count = 0; count < 5; count++) gateway.publish(ORDERS, count);
    expect(loop.dropped).toBe(5 - kept);
  });

  test.each([
    [{ later: 7 }, 7],
    [{ busy: 7 }, 7],
    [{ busy: 7, later: 9 }, 7],
    [{}, 5_000],
  ])("backoff: %j", (backoff, later) => {
    expect(spansOf({ url: "/ws/", backoff }).later).toBe(later);
  });
});
