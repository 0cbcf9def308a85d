import { afterEach, beforeEach, expect, test, vi } from "vitest";
import WebSocket from "ws";

import { HighTemplar, type Options } from "../src/index.js";
import { eventually } from "./support/eventually.js";
import { type Scripted, startScripted } from "./support/scripted.js";
import { statuses, until } from "./support/world.js";

let gateway: Scripted;
let client: HighTemplar;
/** A page's global scope is an event target; Node's is not. */
let page: EventTarget;
beforeEach(async () => {
  gateway = await startScripted();
  page = new EventTarget();
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
});
afterEach(() => {
  client.close();
  gateway.stop();
  vi.unstubAllGlobals();
});

async function admitted(options: Partial<Options> = {}): Promise<void> {
  client = new HighTemplar({
    url: gateway.url,
    WebSocket,
    backoff: { base: 20, later: 40, max: 40 },
    ...options,
  });
  await until(client, "open");
}

const close = (code: number, reason = "") => gateway.sockets.at(-1)?.close(code, reason);

test.each([
  [1000, "idle"],
  [1001, ""],
  [1012, "restart 20"],
  [1013, "backend 20"],
  [1013, "overloaded"],
  [1012, "gap 20"],
  [4002, "a word of a later version"],
  [4000, "slow-consumer"],
  [4001, "no-pong"],
  [4003, "ended"],
  [4100, "connections-per-user"],
  [4103, "ended"],
])("after %i %j it comes back by itself", async (code, reason) => {
  await admitted();
  const seen = statuses(client);
  close(code, reason);
  await eventually(() => gateway.sockets.length === 2);
  await until(client, "open");
  expect(seen.map(({ state }) => state)).toEqual(["waiting", "connecting", "open"]);
  expect(seen[0]).toMatchObject({ code, reason, retryAt: expect.any(Number) });
});

test.each([
  [1002, "a reserved bit is set"],
  [1003, ""],
  [1007, "not UTF-8"],
  [1009, "too long"],
  [4200, "too-many-messages"],
  [4203, "ended"],
])("after %i it stays away", async (code, reason) => {
  await admitted();
  const seen = statuses(client);
  close(code, reason);
  expect(await until(client, "failed")).toMatchObject({ code, reason, retryAt: null });
  // Not even when somebody looks at the page again.
  page.dispatchEvent(new Event("online"));
  expect(seen.map(({ state }) => state)).toEqual(["failed"]);
});

test.each([
  [4300, "refused"],
  [4303, "signed-out"],
])("after %i it signs in and comes back", async (code, reason) => {
  const authenticate = vi.fn();
  await admitted({ authenticate });
  close(code, reason);
  await eventually(() => gateway.sockets.length === 2);
  await until(client, "open");
  const why = { state: "refused", code, reason, retryAt: null, rooms: [] };
  expect(authenticate).toHaveBeenCalledExactlyOnceWith(why);
});

test.each([
  [1012, "gap 20"],
  [1012, "restart 20"],
  [1013, "backend 20"],
])("after %i %j the page fetches again", async (code, reason) => {
  gateway.answer((text, socket) => {
    const { requestId } = JSON.parse(text);
    socket.send(JSON.stringify({ code: "success", requestId }));
  });
  await admitted();
  const onSubscribed = vi.fn();
  await client.subscribe({ target: "order" }, { onSubscribed }).ready;
  close(code, reason);
  await eventually(() => onSubscribed.mock.calls.length === 2);
  expect(onSubscribed.mock.calls).toEqual([[{ again: false }], [{ again: true }]]);
});

test.each([
  [1012, "gap 60000"],
  [1013, "backend 60000"],
])(
  "%i %j: the wait is a random part of the span, and only a person ends it",
  async (code, reason) => {
    const waits: number[] = [];
    for (const part of [0.1, 0.5, 0.9]) {
      vi.spyOn(Math, "random").mockReturnValue(part);
      await admitted();
      const before = Date.now();
      close(code, reason);
      const { retryAt } = await until(client, "waiting");
      waits.push(Math.round(((retryAt ?? 0) - before) / 6_000));
      page.dispatchEvent(new Event("online"));
      expect(client.state).toBe("waiting");
      client.close();
    }
    expect(waits).toEqual([1, 5, 9]);
  },
);

test("a network that is back is news for a hidden page as well; its being hidden is not", async () => {
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  vi.stubGlobal("document", Object.assign(new EventTarget(), { visibilityState: "hidden" }));
  await admitted({ backoff: { base: 600_000, max: 600_000 } });
  document.dispatchEvent(new Event("visibilitychange"));
  page.dispatchEvent(new Event("pageshow"));
  page.dispatchEvent(new Event("offline"));
  await eventually(() => gateway.heard.length === 1);
  close(1001);
  await until(client, "waiting");
  document.dispatchEvent(new Event("visibilitychange"));
  expect(client.state).toBe("waiting");
  page.dispatchEvent(new Event("online"));
  await until(client, "open");
});

test("a span of the gateway's is kept, whatever the client's own would be", async () => {
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  await admitted();
  const before = Date.now();
  close(1012, "restart 600000");
  const { retryAt } = await until(client, "waiting");
  expect(retryAt).toBeGreaterThanOrEqual(before + 300_000);
  expect(retryAt).toBeLessThanOrEqual(Date.now() + 300_000);
  // The network's return does not shorten it; the user may.
  page.dispatchEvent(new Event("online"));
  expect(client.state).toBe("waiting");
  client.connect();
  await until(client, "open");
});

test("a wait of the client's own ends when the network is back", async () => {
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  await admitted({ backoff: { base: 600_000, max: 600_000 } });
  close(1001);
  await until(client, "waiting");
  page.dispatchEvent(new Event("online"));
  await until(client, "open");
  expect(gateway.sockets).toHaveLength(2);
});

test("an open connection is asked for life at once when the network changes", async () => {
  await admitted();
  expect(gateway.heard).toEqual([]);
  page.dispatchEvent(new Event("offline"));
  await eventually(() => gateway.heard.length === 1);
  expect(gateway.heard).toEqual(["ping"]);
});

test("any answer to a ping proves life, and none does not", async () => {
  await admitted({ pingInterval: 1_000, pongTimeout: 1_000 });
  gateway.answer((_, socket) => socket.send(JSON.stringify({ type: "publish" })));
  await eventually(() => gateway.heard.length === 2);
  gateway.answer(() => {});
  await eventually(() => gateway.sockets.length === 2);
});

test("what is not JSON is told, what is no object is passed on, and the connection goes on", async () => {
  await admitted();
  const passed = vi.fn();
  client.addEventListener("message", passed);
  for (const text of ["null", "7", "[]", '"x"']) gateway.sockets[0]?.send(text);
  const told = vi.fn();
  client.addEventListener("error", ({ detail }) => told(detail));
  gateway.sockets[0]?.send("<html>");
  await eventually(() => told.mock.calls.length === 1);
  expect(told.mock.calls[0]?.[0]).toBeInstanceOf(SyntaxError);
  expect(passed).toHaveBeenCalledTimes(4);
  expect(client.state).toBe("open");
});

test("answers that name their requests are told apart in any order", async () => {
  await admitted();
  const one = client.subscribe({ room: 1 });
  const other = client.subscribe({ room: 2 });
  await eventually(() => gateway.heard.length === 2);
  const reply = (answer: object) => gateway.sockets[0]?.send(JSON.stringify(answer));
  reply({ code: "error", message: "room-not-found", requestId: other.requestId });
  reply({ code: "success", requestId: one.requestId });
  await one.ready;
  await expect(other.ready).rejects.toMatchObject({ code: "room-not-found" });
});
