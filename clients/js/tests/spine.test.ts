// What pages written for `spine-high-templar` rely on, against the real gateway.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import WebSocket from "ws";

import { Socket, type SocketOptions, Subscription } from "../src/spine.js";
import { FakeGateway } from "../src/testing.js";
import { eventually } from "./support/eventually.js";
import { startScripted } from "./support/scripted.js";
import { ORDERS, World } from "./support/world.js";

let world: World;
const sockets: Socket[] = [];
beforeEach(async () => {
  world = await World.start();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  await world.stop();
});

function open(options: Partial<SocketOptions> = {}): Socket {
  const { url } = world.wire;
  const socket = new Socket({ url, token: "anna", WebSocket, reconnectInterval: 50, ...options });
  sockets.push(socket);
  return socket;
}

function messages(socket: Socket): object[] {
  const heard: object[] = [];
  socket.on("message", (message) => heard.push(message));
  return heard;
}

test("whole messages come to onPublish, and every message to the event", async () => {
  const socket = open();
  const heard = messages(socket);
  const onPublish = vi.fn();
  const subscription = socket.subscribe({ room: ORDERS, onPublish });
  expect(subscription).toBeInstanceOf(Subscription);
  expect(socket.subscriptions).toEqual([subscription]);
  // Sent once, though it waited and the socket opened.
  const { requestId } = subscription;
  expect(socket.pendingSendMessages).toEqual([{ type: "subscribe", requestId, room: ORDERS }]);
  await eventually(() => heard.length === 2);
  expect(socket.pendingSendMessages).toEqual([]);
  expect(heard[0]).toMatchObject({ is_authorized: true });
  expect(heard[1]).toEqual({ code: "success" });
  await world.gateway.publish(ORDERS, { id: 1 });
  await eventually(() => onPublish.mock.calls.length === 1);
  expect(onPublish).toHaveBeenCalledWith({ type: "publish", data: { id: 1 }, requestId });
  expect(heard).toHaveLength(3);
});

test("after unsubscribe nothing more comes, also from within a handler", async () => {
  const socket = open();
  const heard = messages(socket);
  const onPublish = vi.fn(() => {
    socket.unsubscribe(subscription);
  });
  const subscription: Subscription = socket.subscribe({ room: ORDERS, onPublish });
  await eventually(() => heard.length === 2);
  await world.gateway.publish(ORDERS, 1);
  await world.gateway.publish(ORDERS, 2);
  await eventually(() => heard.filter((message) => "code" in message).length === 2);
  expect(onPublish).toHaveBeenCalledOnce();
  expect(socket.subscriptions).toEqual([]);
});

test("a room may have more subscriptions than the gateway allows names", async () => {
  const socket = open();
  const heard = messages(socket);
  const handlers = Array.from({ length: 100 }, () => vi.fn());
  const subscriptions = handlers.map((onPublish, index) => {
    // Equal, whatever the order of the keys.
    const room = index % 2 ? ORDERS : { customer: "anna", target: "order" };
    return socket.subscribe({ room, onPublish });
  });
  expect(new Set(subscriptions.map(({ requestId }) => requestId)).size).toBe(32);
  await eventually(() => heard.length === 101);
  expect(heard.slice(1).every((message) => "code" in message && message.code === "success")).toBe(
    true,
  );
  const called = (count: number) =>
    eventually(() => handlers.every(({ mock }) => mock.calls.length === count));
  await world.gateway.publish(ORDERS, { id: 1 });
  await called(1);
  const received = handlers.map(({ mock }) => mock.calls[0]?.[0]);
  expect(new Set(received).size).toBe(100);

  // A name that others share stays; one that nobody has any more is given back.
  const last = subscriptions.at(-1) as Subscription;
  const sharing = subscriptions.filter(({ requestId }) => requestId === last.requestId);
  for (const subscription of sharing.slice(1)) socket.unsubscribe(subscription);
  await world.gateway.publish(ORDERS, { id: 2 });
  await eventually(
    () => handlers.filter(({ mock }) => mock.calls.length === 2).length === 101 - sharing.length,
  );
  for (const subscription of subscriptions) socket.unsubscribe(subscription);
  const fresh = vi.fn();
  socket.subscribe({ room: ORDERS, onPublish: fresh });
  // An answer to each subscribe, and to the unsubscribe of each name.
  await eventually(() => heard.filter((message) => "code" in message).length === 100 + 32 + 1);
  await world.gateway.publish(ORDERS, { id: 3 });
  await eventually(() => fresh.mock.calls.length === 1);
  expect(heard.filter((message) => "code" in message && message.code === "error")).toEqual([]);
});

test("send says when it is sent, at once or once the socket is open", async () => {
  const socket = open();
  const heard = messages(socket);
  await socket.send({ type: "status" });
  expect(socket.instance?.readyState).toBe(1);
  await socket.send({ type: "status" });
  await eventually(() => heard.filter((message) => "open_connections" in message).length === 2);
});

test("after a restart the rooms are heard again, and onReconnect is called", async () => {
  const socket = open();
  const [onPublish, onReconnect, closed, opened] = [vi.fn(), vi.fn(), vi.fn(), vi.fn()];
  socket.on("open", opened);
  socket.on("close", closed);
  const gone = socket.subscribe({ room: ORDERS, onReconnect: () => expect.fail("unsubscribed") });
  socket.subscribe({ room: ORDERS, onPublish, onReconnect });
  await eventually(() => opened.mock.calls.length === 1);
  socket.unsubscribe(gone);
  await world.gateway.stop("SIGKILL");
  await eventually(() => closed.mock.calls.length >= 1);
  expect(onReconnect).not.toHaveBeenCalled();
  const heard = messages(socket);
  await world.startGateway();
  await eventually(() => onReconnect.mock.calls.length === 1);
  await eventually(() => heard.length === 2);
  await world.gateway.publish(ORDERS, 1);
  await eventually(() => onPublish.mock.calls.length === 1);
  // One subscription came back, not two.
  expect(heard.filter((message) => "code" in message)).toHaveLength(1);
});

test("a socket that the page closes itself comes back", async () => {
  const socket = open();
  const heard = messages(socket);
  await eventually(() => heard.length === 1);
  socket.instance?.close();
  await eventually(() => heard.length === 2);
});

test("a stranger asks again until the backend knows the token", async () => {
  const socket = open({ token: "new" });
  const heard = messages(socket);
  const onPublish = vi.fn();
  socket.subscribe({ room: ORDERS, onPublish });
  await eventually(() => world.backend.calls.length >= 2);
  expect(heard[0]).toEqual({ is_authorized: false });
  world.backend.allow("new", [ORDERS]);
  await eventually(() => heard.some((message) => "code" in message));
  await world.gateway.publish(ORDERS, 1);
  await eventually(() => onPublish.mock.calls.length === 1);
});

test("pings go out every pingInterval, and pongs are no messages", async () => {
  const gateway = await startScripted();
  try {
    const socket = open({ url: gateway.url, pingInterval: 50 });
    const heard = messages(socket);
    await eventually(() => gateway.heard.length >= 3);
    expect(new Set(gateway.heard)).toEqual(new Set(["ping"]));
    expect(heard.every((message) => "is_authorized" in message)).toBe(true);
  } finally {
    gateway.stop();
  }
});

test("messages of later versions are events as every message, and no publications", async () => {
  const later = [
    { type: "gap", reason: "rabbitmq" },
    { type: "session", is_authorized: false },
    { type: "unsubscribed", requestId: "1", code: "permissions" },
    { type: "command", id: "1", data: { id: 1 } },
  ];
  const gateway = new FakeGateway();
  const socket = open({ WebSocket: gateway.WebSocket });
  const heard = messages(socket);
  const [onPublish, closed] = [vi.fn(), vi.fn()];
  socket.on("close", closed);
  const { requestId } = socket.subscribe({ room: ORDERS, onPublish });
  await eventually(() => gateway.subscriptions.length === 1);
  heard.length = 0;
  for (const message of later) gateway.deliver(message);
  gateway.deliver({ type: "command", requestId, data: { id: 1 } });
  gateway.publish(ORDERS, { id: 2 });
  expect(heard.slice(0, later.length)).toEqual(later);
  expect(onPublish).toHaveBeenCalledExactlyOnceWith({
    type: "publish",
    data: { id: 2 },
    requestId,
  });
  expect(closed).not.toHaveBeenCalled();
});

test("a handler taken off is called no more", async () => {
  const socket = open();
  const [off, on] = [vi.fn(), vi.fn()];
  socket.on("message", off);
  socket.on("message", on);
  socket.off("message", off);
  await eventually(() => on.mock.calls.length === 1);
  expect(off).not.toHaveBeenCalled();
});

test("more messages than may wait cost no subscription, and a dropped one says so", async () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  const gateway = new FakeGateway();
  gateway.down();
  const socket = open({ url: "ws://gateway/ws/", WebSocket: gateway.WebSocket });
  const onPublish = vi.fn();
  const first = socket.subscribe({ room: ORDERS, onPublish });
  const sent = Array.from({ length: 1_005 }, () => socket.send({ type: "status" }));
  expect(socket.pendingSendMessages).toHaveLength(1_001);
  for (const dropped of sent.slice(0, 5)) await expect(dropped).rejects.toThrow("dropped");
  expect(warn).toHaveBeenCalledTimes(5);
  gateway.up();
  await Promise.all(sent.slice(5));
  await eventually(() => gateway.subscriptions.length === 1);
  gateway.publish(ORDERS, 1);
  expect(onPublish).toHaveBeenCalledOnce();
  // And again after a loss, as any other.
  gateway.close(1012, "restart 0");
  await eventually(() => gateway.subscriptions.length === 1);
  expect(first.messageCached).toBe(false);
});

test("what JSON cannot express is an error of the call, and nothing else is lost", async () => {
  const gateway = new FakeGateway();
  const socket = open({ url: "ws://gateway/ws/", WebSocket: gateway.WebSocket });
  expect(() => socket.subscribe({ room: { n: 1n } as never })).toThrow(TypeError);
  await expect(socket.send({ type: "x", data: 1n })).rejects.toThrow(TypeError);
  socket.subscribe({ room: ORDERS });
  await eventually(() => gateway.subscriptions.length === 1);
  gateway.close(1012, "restart 0");
  await eventually(() => gateway.subscriptions.length === 1);
  expect(socket.subscriptions).toHaveLength(1);
});

test("unsubscribing while there is no connection sends nothing", async () => {
  const gateway = new FakeGateway();
  gateway.down();
  const socket = open({ url: "ws://gateway/ws/", WebSocket: gateway.WebSocket });
  const subscription = socket.subscribe({ room: ORDERS });
  await socket.unsubscribe(subscription);
  expect(socket.pendingSendMessages).toEqual([]);
  gateway.up();
  const opened = vi.fn();
  socket.on("message", opened);
  await eventually(() => opened.mock.calls.length === 1);
  expect(gateway.received).toEqual([]);
});
