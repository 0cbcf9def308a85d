// Durations and bounds: what zero and Infinity mean, and what is no duration at all.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { HighTemplar, type HighTemplarOptions } from "../src/index.js";
import { Socket } from "../src/spine.js";
import { FakeGateway } from "../src/testing.js";
import { wait } from "../src/verdict.js";
import { connect } from "./support/fake.js";

const DURATIONS = ["pingInterval", "pongTimeout", "connectTimeout", "outageGrace"] as const;
const HOUR = 3_600_000;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A client that is connected, and how many pings it has sent. */
async function pinging(options: Partial<HighTemplarOptions>) {
  const { gateway, client } = connect(options);
  await client.ready();
  return { gateway, client, pings: () => gateway.pings };
}

describe.each([...DURATIONS, "maxQueued", "queueMax"] as const)("%s", (name) => {
  test.each([Number.NaN, -1, -Infinity, "30000", "", {}, true, 5n])("%p is none", (value) => {
    const { WebSocket, urls } = new FakeGateway();
    const make = () => new HighTemplar({ url: "ws://host/", WebSocket, [name]: value });
    expect(make).toThrow(RangeError);
    expect(make).toThrow(name === "queueMax" ? "maxQueued" : name);
    expect(urls).toEqual([]);
  });

  test.each([0, 0.5, 1e12, Infinity, undefined])("%p is one", (value) => {
    const { client } = connect({ [name]: value });
    client.close();
  });
});

test.each(["base", "busy", "later", "max"])("backoff.%s is checked as well", (name) => {
  for (const value of [Number.NaN, -1, "1"]) {
    expect(() => connect({ backoff: { [name]: value } })).toThrow(RangeError);
  }
});

test("so are the options of the drop-in, and of a subscription", () => {
  const { WebSocket } = new FakeGateway();
  const url = "ws://host/";
  for (const name of ["pingInterval", "reconnectInterval"]) {
    expect(() => new Socket({ url, WebSocket, [name]: Number.NaN })).toThrow(RangeError);
    new Socket({ url, WebSocket, [name]: 0 }).close();
  }
  const { client } = connect();
  expect(() => client.subscribe({ a: 1 }, { maxBuffered: -1 })).toThrow(RangeError);
  client.close();
});

test.each([0, Infinity])("pingInterval: %p sends no ping", async (pingInterval) => {
  const { client, pings } = await pinging({ pingInterval });
  await vi.advanceTimersByTimeAsync(2 * HOUR);
  expect(pings()).toBe(0);
  expect(client.state).toBe("open");
  client.close();
});

test("an interval of more than 2^31 ms is long, not short", async () => {
  const { client, pings } = await pinging({ pingInterval: 2 ** 31 + 5 });
  await vi.advanceTimersByTimeAsync(24 * HOUR);
  expect(pings()).toBe(0);
  client.close();
});

test("an interval is kept, and any value between is too", async () => {
  const { client, pings } = await pinging({ pingInterval: 30_000 });
  await vi.advanceTimersByTimeAsync(300_000);
  expect(pings()).toBe(10);
  client.close();
});

test.each([0, Infinity])(
  "pongTimeout: %p never takes a connection for dead",
  async (pongTimeout) => {
    const { gateway, client, pings } = await pinging({ pongTimeout });
    gateway.silence();
    await vi.advanceTimersByTimeAsync(HOUR);
    expect(client.state).toBe("open");
    expect(pings()).toBe(120);
    client.close();
  },
);

test.each([0, Infinity])("connectTimeout: %p waits for ever", async (connectTimeout) => {
  const { gateway, client } = connect({ connectTimeout });
  gateway.silence();
  await vi.advanceTimersByTimeAsync(HOUR);
  expect(client.state).toBe("connecting");
  client.close();
});

test("a back-off of zero is at once, then not a loop without a pause", () => {
  const soon = ["soon", null] as const;
  const none = { base: 0, later: 0, max: 0 };
  expect(wait(soon, 0, none, 0.999)).toBe(0);
  expect(wait(soon, 1, none, 0.999)).toBe(999);
  expect(wait(soon, 30, none, 0.999)).toBe(999);
});

test("a back-off without a bound ends in none at all", async () => {
  const soon = ["soon", null] as const;
  const endless = { base: Infinity, later: Infinity, max: Infinity };
  expect(wait(soon, 0, endless, 0)).toBe(Infinity);
  const { gateway, client } = connect({ backoff: endless });
  await client.ready();
  gateway.cut();
  expect(client.status).toMatchObject({ state: "waiting", retryAt: Infinity });
  await vi.advanceTimersByTimeAsync(HOUR);
  expect(gateway.urls).toHaveLength(1);
  client.connect();
  await client.ready();
  client.close();
});

test("a page that is hidden finds its connection dead though its timers are throttled", async () => {
  const { gateway, client } = await pinging({});
  const lost = vi.fn();
  client.addEventListener(
    "state",
    ({ detail }) => detail.state === "waiting" && lost(detail.reason),
  );
  gateway.silence();
  // One wake a minute: each timer fires up to a minute late.
  let now = Date.now();
  for (let minute = 0; minute < 5 && !lost.mock.calls.length; minute++) {
    now += 60_000;
    vi.setSystemTime(now);
    await vi.advanceTimersToNextTimerAsync();
  }
  expect(lost).toHaveBeenCalledExactlyOnceWith("no-pong");
  client.close();
});

test("a machine that slept asks again before it takes the connection for dead", async () => {
  const { client, gateway, pings } = await pinging({});
  gateway.silence();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(pings()).toBe(1);
  vi.setSystemTime(Date.now() + 8 * HOUR);
  gateway.up();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(client.state).toBe("open");
  expect(pings()).toBe(2);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(client.state).toBe("open");
  client.close();
});
