// Subscriptions, against a gateway in memory: what JSON cannot say, sharing, states and promises.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import {
  ConnectionError,
  type HighTemplar,
  type HighTemplarOptions,
  SubscribeError,
} from "../src/index.js";
import type { FakeGateway } from "../src/testing.js";
import { roomKey } from "../src/wire.js";
import { connect, settled } from "./support/fake.js";

const ORDERS = { target: "order", customer: 7 };
const NEWS = { target: "news" };

let client: HighTemplar;
let gateway: FakeGateway;
let warn: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  warn = vi.spyOn(console, "warn").mockImplementation(() => {});
});
afterEach(() => client?.close());

async function open(options: Partial<HighTemplarOptions> = {}, grants?: object[]): Promise<void> {
  ({ client, gateway } = connect(options, grants));
  await client.ready();
}

const sent = (type: string) => gateway.received.filter((message) => message["type"] === type);

/** Cuts the connection and waits for the next one. */
async function again(): Promise<void> {
  gateway.cut();
  await client.ready();
  await settled();
}

describe("what JSON cannot express", () => {
  const circular: Record<string, unknown> = { target: "order" };
  circular["self"] = circular;
  const date = { target: "order", at: new Date(Number.NaN) };

  test.each([
    ["a BigInt", { target: "order", customer: 9007199254740993n }],
    ["undefined", { target: "order", customer: undefined }],
    ["a function", { target: "order", customer: () => 7 }],
    ["a symbol", { target: "order", customer: Symbol("7") }],
    ["NaN", { target: "order", customer: Number.NaN }],
    ["Infinity", { target: "order", customer: Infinity }],
    ["-0", { target: "order", customer: -0 }],
    ["a number beyond 2^53", { target: "order", customer: 2 ** 53 }],
    ["a negative one", { target: "order", customer: -(2 ** 53) }],
    ["one within a list", { target: "order", customers: [1, [2 ** 60]] }],
    ["undefined within an object", { target: "order", by: { id: undefined } }],
    ["a circle", circular],
    ["null", null],
    ["undefined itself", undefined],
    ["false", false],
    ["text", "order"],
    ["a number", 7],
    ["a list", ["order"]],
  ])("%s as a room is an error of that call, and of nothing else", async (_, room) => {
    await open();
    const orders = client.subscribe(ORDERS);
    await orders.ready;
    const call = () => client.subscribe(room as never);
    expect(call).toThrow(TypeError);
    const heard = vi.fn();
    client.subscribe(NEWS, heard);
    await again();
    expect(orders.state).toBe("subscribed");
    expect(gateway.subscriptions).toEqual([ORDERS, NEWS]);
    expect(gateway.publish(NEWS, 1)).toBe(1);
    expect(heard).toHaveBeenCalledOnce();
  });

  test("the error names the member and the value", async () => {
    await open();
    const messages = [2 ** 53, -0, undefined, Number.NaN].map((customer) => {
      try {
        return client.subscribe({ target: "order", customer } as never);
      } catch (error) {
        return (error as Error).message;
      }
    });
    expect(messages).toEqual([
      expect.stringMatching(/"customer": 9007199254740992; use text/),
      expect.stringMatching(/"customer": -0/),
      expect.stringMatching(/"customer": undefined/),
      expect.stringMatching(/"customer": NaN/),
    ]);
  });

  test("the same before there is a connection", async () => {
    ({ client, gateway } = connect({ autoConnect: false }));
    expect(() => client.subscribe({ customer: 1n } as never)).toThrow(TypeError);
    expect(() => client.send({ type: "x", circular })).toThrow(TypeError);
    expect(() => client.send({ type: "x", big: 1n })).toThrow(TypeError);
    client.send({ type: "status" });
    const orders = client.subscribe(ORDERS);
    client.connect();
    await orders.ready;
    expect(gateway.received).toHaveLength(2);
  });

  test("what JSON can express is sent as it is, whatever it is", () => {
    const plain = { b: [1, -7.5, "x", true, null, { d: 2, c: [] }], a: 2 ** 53 - 1, "": {} };
    expect(JSON.parse(roomKey(plain))).toEqual(plain);
    expect(roomKey({ at: new Date(0) })).toBe('{"at":"1970-01-01T00:00:00.000Z"}');
    expect(roomKey(date)).toBe('{"at":null,"target":"order"}');
    expect(roomKey({ b: 1, a: { d: 1, c: 2 } })).toBe(roomKey({ a: { c: 2, d: 1 }, b: 1 }));
    expect(roomKey(JSON.parse('{"__proto__": 1}'))).toBe('{"__proto__":1}');
  });

  test("a room that is changed after the call stays what it was", async () => {
    await open();
    const room = { target: "order", customer: 7 };
    await client.subscribe(room).ready;
    room.customer = 8;
    await again();
    expect(gateway.subscriptions).toEqual([ORDERS]);
  });
});

describe("subscribers of one room", () => {
  test("share a subscription on the wire; each hears, with data of its own", async () => {
    await open();
    const heard: { list: number[] }[] = [];
    const handler = (data: { list: number[] }) => {
      heard.push(data);
      data.list.push(0);
    };
    const all = [1, 2, 3].map(() => client.subscribe({ customer: 7, target: "order" }, handler));
    all.push(client.subscribe(ORDERS, handler));
    await Promise.all(all.map(({ ready }) => ready));
    expect(sent("subscribe")).toHaveLength(1);
    expect(gateway.publish(ORDERS, { list: [1] })).toBe(1);
    expect(heard).toEqual([1, 2, 3, 4].map(() => ({ list: [1, 0] })));
    for (const subscription of all.slice(0, 3)) subscription.unsubscribe();
    await settled();
    expect(sent("unsubscribe")).toEqual([]);
    gateway.publish(ORDERS, { list: [] });
    expect(heard).toHaveLength(5);
    await again();
    expect(gateway.subscriptions).toEqual([ORDERS]);
    all[3]?.unsubscribe();
    await settled();
    expect(sent("unsubscribe")).toHaveLength(1);
    expect(gateway.subscriptions).toEqual([]);
  });

  test("one that comes later is told as well, after the call", async () => {
    await open();
    await client.subscribe(ORDERS).ready;
    const onSubscribed = vi.fn();
    const later = client.subscribe(ORDERS, { onSubscribed });
    expect([later.state, onSubscribed.mock.calls.length]).toEqual(["pending", 0]);
    await later.ready;
    expect(onSubscribed).toHaveBeenCalledExactlyOnceWith({ again: false });
    await again();
    expect(onSubscribed.mock.calls.slice(1)).toEqual([[{ again: true }]]);
  });

  test("one that leaves and comes back in the same moment hears once", async () => {
    await open();
    const heard = vi.fn();
    const first = client.subscribe(ORDERS, heard);
    first.unsubscribe();
    const second = client.subscribe(ORDERS, heard);
    second.unsubscribe();
    await client.subscribe(ORDERS, heard).ready;
    await settled();
    expect(gateway.subscriptions).toEqual([ORDERS]);
    gateway.publish(ORDERS, 1);
    expect(heard).toHaveBeenCalledOnce();
  });

  test("a refused room is asked for again by a new subscriber, and nobody is told twice", async () => {
    await open({}, [NEWS]);
    const [one, other] = [vi.fn(), vi.fn()];
    client.subscribe(ORDERS, { onError: one });
    await settled();
    const second = client.subscribe(ORDERS, { onError: other });
    await expect(second.ready).rejects.toBeInstanceOf(SubscribeError);
    expect([one.mock.calls.length, other.mock.calls.length]).toEqual([1, 1]);
    expect(sent("subscribe")).toHaveLength(2);
  });
});

test("nothing is called after unsubscribe, not even for what is being delivered", async () => {
  await open();
  const heard = vi.fn();
  const events = vi.fn();
  const orders = client.subscribe(ORDERS, heard);
  const second = client.subscribe(ORDERS, heard);
  await orders.ready;
  client.addEventListener("publication", () => {
    events();
    orders.unsubscribe();
    second.unsubscribe();
  });
  gateway.publish(ORDERS, 1);
  expect(heard).not.toHaveBeenCalled();
  expect(events).toHaveBeenCalledOnce();
});

test("answers to unsubscribes are no messages, and a refused room needs none", async () => {
  await open({}, [ORDERS]);
  const messages = vi.fn();
  client.addEventListener("message", ({ detail }) => messages(detail));
  const orders = client.subscribe(ORDERS);
  const news = client.subscribe(NEWS, { onError: () => {} });
  await settled();
  news.unsubscribe();
  orders.unsubscribe();
  client.subscribe(ORDERS).unsubscribe(); // Before its answer.
  client.send({ type: "status" });
  await settled();
  expect(sent("unsubscribe")).toHaveLength(2);
  expect(messages).toHaveBeenCalledExactlyOnceWith({ open_connections: 1, num_rooms: 0 });
});

describe("promises", () => {
  test("ready rejects in every state in which the client has stopped", async () => {
    for (const [stop, message] of [
      [() => client.close(), "closed"],
      [() => gateway.close(4200, "too-many-messages"), "4200 too-many-messages"],
      [() => gateway.refuse(), "refused"],
    ] as const) {
      ({ client, gateway } = connect());
      await client.ready();
      const orders = client.subscribe(ORDERS);
      const before = orders.ready;
      stop();
      await expect(before).rejects.toBeInstanceOf(ConnectionError);
      await expect(before).rejects.toThrow(message);
      await expect(client.ready()).rejects.toThrow(message);
      await expect(client.ready()).rejects.toMatchObject({
        code: client.status.code,
        reason: client.status.reason,
      });
      // And may be awaited anew once it goes on.
      gateway.up();
      client.connect();
      await Promise.all([orders.ready, client.ready()]);
      client.close();
    }
  });

  test("ready waits while a user logs in, and rejects if that fails", async () => {
    let finish: (done: unknown) => void = () => {};
    const authenticate = () => new Promise((resolve) => (finish = resolve));
    await open({ authenticate });
    const orders = client.subscribe(ORDERS);
    gateway.refuse();
    await settled();
    expect(client.status).toMatchObject({ state: "refused", display: "live" });
    const ready = client.ready();
    finish(false);
    await expect(ready).rejects.toThrow("refused");
    await expect(orders.ready).rejects.toThrow("refused");
    expect(client.status).toMatchObject({ state: "refused", display: "signed-out" });
  });

  test("loops go on after a client was refused and the user logged in", async () => {
    await open();
    const loop = client.subscribe<number>(ORDERS)[Symbol.asyncIterator]();
    const next = loop.next();
    gateway.refuse();
    gateway.up();
    client.connect();
    await client.ready();
    await settled();
    gateway.publish(ORDERS, 1);
    expect((await next).value).toBe(1);
  });

  test("ready of a client can be given up", async () => {
    ({ client, gateway } = connect());
    gateway.down();
    const abort = new AbortController();
    const ready = client.ready({ signal: abort.signal });
    abort.abort(new Error("no longer"));
    await expect(ready).rejects.toThrow("no longer");
    await expect(client.ready({ signal: abort.signal })).rejects.toThrow("no longer");
  });

  test("a signal ends a subscription, and one that is aborted already begins none", async () => {
    await open();
    const abort = new AbortController();
    const orders = client.subscribe(ORDERS, { signal: abort.signal });
    await orders.ready;
    abort.abort();
    expect(orders.state).toBe("ended");
    expect(client.subscribe(NEWS, { signal: abort.signal }).state).toBe("ended");
    await settled();
    expect(gateway.subscriptions).toEqual([]);
    expect(sent("subscribe")).toHaveLength(1);
  });
});

describe("reconnect()", () => {
  test("asks for address and token anew; subscriptions and loops go on", async () => {
    let user = "anna";
    const url = vi.fn(async () => `ws://gateway/${user}/`);
    const token = vi.fn(() => user);
    await open({ url, token, tokenIn: "query" });
    const onSubscribed = vi.fn();
    const orders = client.subscribe<number>(ORDERS, { onSubscribed });
    const loop = orders[Symbol.asyncIterator]();
    await orders.ready;
    const states = vi.fn();
    client.addEventListener("state", ({ detail }) => states(detail.state));
    user = "ben";
    client.reconnect();
    expect(client.status).toMatchObject({ state: "connecting", code: null, reason: "" });
    await client.ready();
    await settled();
    expect(gateway.urls).toEqual(["ws://gateway/anna/?token=anna", "ws://gateway/ben/?token=ben"]);
    expect(gateway.connections).toBe(1);
    expect(states.mock.calls.flat()).toEqual(["connecting", "open"]);
    expect(onSubscribed.mock.calls).toEqual([[{ again: false }], [{ again: true }]]);
    gateway.publish(ORDERS, 5);
    expect((await loop.next()).value).toBe(5);
  });

  test.each([
    ["closed", () => client.close()],
    ["failed", () => gateway.close(4200, "too-many-messages")],
    ["refused", () => gateway.refuse()],
    ["waiting", () => gateway.close(1012, "restart 3600000")],
    ["connecting", () => client.reconnect()],
  ])("works where the client is %s", async (state, make) => {
    vi.spyOn(Math, "random").mockReturnValue(0.9);
    await open();
    const orders = client.subscribe(ORDERS);
    await orders.ready;
    make();
    expect(client.state).toBe(state);
    gateway.up();
    client.reconnect();
    await client.ready();
    await settled();
    expect(orders.state).toBe("subscribed");
    expect(gateway.connections).toBe(1);
  });

  test("a listener that closes the client meanwhile is obeyed", async () => {
    await open();
    const orders = client.subscribe(ORDERS);
    await orders.ready;
    client.addEventListener("subscription", () => client.close());
    client.reconnect();
    await settled();
    expect(client.state).toBe("closed");
    expect(gateway.connections).toBe(0);
    expect(gateway.urls).toHaveLength(1);
  });
});

test("an address that cannot be had is asked for again, as a token is", async () => {
  let failures = 0;
  const url = () => {
    if (failures++ < 2) throw new Error("no directory");
    return failures < 4 ? "nonsense:" : "ws://gateway/ws/";
  };
  ({ client, gateway } = connect({ url }));
  const [reasons, errors] = [vi.fn(), vi.fn()];
  client.addEventListener("state", ({ detail: { state, reason, cause } }) => {
    if (state === "waiting") reasons(reason, cause?.message.slice(0, 15));
  });
  client.addEventListener("error", ({ detail }) => errors(detail.message.slice(0, 15)));
  await vi.waitUntil(() => {
    if (client.state === "waiting") client.connect();
    return client.state === "open";
  });
  expect(reasons.mock.calls).toEqual([
    ["url", "no directory"],
    ["url", "no directory"],
    ["url", "url: nonsense: "],
  ]);
  expect(errors.mock.calls.flat()).toEqual(["no directory", "no directory", "url: nonsense: "]);
});

test("a message that is sent while the socket closes waits for the next one", async () => {
  await open();
  const answered = vi.fn();
  client.addEventListener("message", answered);
  const send = vi.spyOn(Object.getPrototypeOf(gateway.WebSocket.prototype), "send");
  client.send({ type: "status" });
  await vi.waitUntil(() => answered.mock.calls.length === 1);
  // The close frame has come, and the connection has not ended yet.
  const socket = send.mock.contexts[0] as { readyState: number };
  socket.readyState = 2;
  client.send({ type: "status" });
  expect([client.state, client.dropped]).toEqual(["open", 0]);
  await again();
  expect(answered).toHaveBeenCalledTimes(2);
});

test.each([
  [[{ target: "order", customer: 7 }], '`customer`: granted 7 (number), asked "7" (text)'],
  [[{ target: "order" }], '`customer`: granted nothing, asked "7" (text)'],
  [[{ target: "order", customer: "7", shop: "*" }], '`shop`: granted "*" (text), asked nothing'],
  [
    [{ target: "news" }, { target: "order", customer: "8" }, { target: "*", customer: 1, a: 1 }],
    '`customer`: granted "8" (text), asked "7" (text)',
  ],
  [[{ target: "order", customer: null }], '`customer`: granted null, asked "7" (text)'],
  [[{ target: "order", customer: [7] }], '`customer`: granted [7] (array), asked "7" (text)'],
  [[], "there are no grants"],
])("a refusal names the closest of the grants %j", async (grants, reason) => {
  await open({}, grants);
  const error = await client.subscribe({ target: "order", customer: "7" }).ready.catch((e) => e);
  expect(error).toMatchObject({ code: "room-not-found" });
  const why = grants.length ? `the closest grant differs in ${reason}` : reason;
  expect(error.reason).toBe(`not granted; ${why}`);
  expect(error.message).toContain(reason);
});

test("a subscription to any value needs a grant of any", async () => {
  await open({}, [{ target: "order", customer: 7 }]);
  const error = await client.subscribe({ target: "order", customer: "*" }).ready.catch((e) => e);
  expect(error.reason).toMatch('`customer`: granted 7 (number), asked "*" (text)');
});

describe("what nobody listens to", () => {
  test("a refused room is a warning, once", async () => {
    await open({}, [NEWS]);
    for (let time = 0; time < 3; time++) {
      client.subscribe(ORDERS);
      await settled();
    }
    expect(warn).toHaveBeenCalledOnce();
    expect(warn.mock.calls[0]?.[0]).toMatch(/room-not-found: .*"customer":7/);
  });

  test.each([
    ["onError", () => client.subscribe(ORDERS, { onError: () => {} })],
    ["ready", () => client.subscribe(ORDERS).ready.catch(() => {})],
    [
      "a loop",
      () =>
        client
          .subscribe(ORDERS)
          [Symbol.asyncIterator]()
          .next()
          .catch(() => {}),
    ],
    [
      "a listener",
      () => {
        client.addEventListener("error", () => {});
        client.subscribe(ORDERS);
      },
    ],
  ])("but not with %s", async (_, subscribe) => {
    await open({}, [NEWS]);
    subscribe();
    await settled();
    expect(warn).not.toHaveBeenCalled();
  });

  test("nor is a gateway that cannot be reached passed over in silence", async () => {
    ({ client, gateway } = connect());
    gateway.down();
    await vi.waitUntil(() => {
      client.connect();
      return warn.mock.calls.length;
    });
    expect(warn.mock.calls[0]?.[0]).toMatch(/cannot connect to ws:\/\/gateway\/ws\/: .*404.*403/);
    expect(client.status).toMatchObject({ code: 1006, reason: "unreachable" });
  });
});

test("debug shows frames and states, and no token", async () => {
  const lines: string[] = [];
  const debug = (line: string) => lines.push(line);
  await open({ debug, token: "secret", tokenIn: "message" });
  await client.subscribe(ORDERS).ready;
  client.close();
  expect(lines).toEqual([
    "high-templar = connecting",
    "high-templar > (token)",
    'high-templar < {"is_authorized":true,"allowed_rooms":[]}',
    "high-templar = open",
    'high-templar > {"type":"subscribe","room":{"customer":7,"target":"order"},"requestId":"1"}',
    'high-templar < {"code":"success","requestId":"1"}',
    "high-templar = closed 1000",
  ]);
});

describe("a loop", () => {
  test("loses nothing between ready and its start", async () => {
    await open();
    const orders = client.subscribe<number>(ORDERS);
    await orders.ready;
    gateway.publish(ORDERS, 1);
    gateway.publish(ORDERS, 2);
    const loop = orders[Symbol.asyncIterator]();
    expect([(await loop.next()).value, (await loop.next()).value]).toEqual([1, 2]);
  });

  test("that is left does not end another, nor a callback", async () => {
    await open();
    const heard = vi.fn();
    const orders = client.subscribe<number>(ORDERS, heard);
    const [one, other] = [orders[Symbol.asyncIterator](), orders[Symbol.asyncIterator]()];
    await orders.ready;
    await one.return?.();
    gateway.publish(ORDERS, 1);
    expect((await other.next()).value).toBe(1);
    await other.return?.();
    gateway.publish(ORDERS, 2);
    expect(heard).toHaveBeenCalledTimes(2);
    expect(orders.state).toBe("subscribed");
  });

  test("that is never begun keeps no more than it may", async () => {
    await open();
    const drops = vi.fn();
    client.addEventListener("drop", drops);
    const orders = client.subscribe<number>(ORDERS, { maxBuffered: 2 });
    await orders.ready;
    for (const number of [1, 2, 3]) gateway.publish(ORDERS, number);
    expect([orders.dropped, drops.mock.calls.length]).toEqual([1, 0]);
    const loop = orders[Symbol.asyncIterator]();
    expect((await loop.next()).value).toBe(2);
  });
});

describe("the state for user interfaces", () => {
  const shown = () => {
    const seen: string[] = [client.status.display];
    client.addEventListener("state", ({ detail }) => {
      if (detail.display !== seen.at(-1)) seen.push(detail.display);
    });
    return seen;
  };
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("does not flicker during an outage of seconds", async () => {
    ({ client, gateway } = connect({ backoff: { base: 1_000, max: 1_000 } }));
    const seen = shown();
    await client.ready();
    gateway.down();
    await vi.advanceTimersByTimeAsync(4_000);
    expect(client.state).not.toBe("open");
    gateway.up();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(client.state).toBe("open");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(seen).toEqual(["connecting", "live"]);
  });

  test("shows an outage that lasts, once, and its end", async () => {
    ({ client, gateway } = connect({ backoff: { base: 1_000, max: 1_000 } }));
    await client.ready();
    const seen = shown();
    gateway.down();
    await vi.advanceTimersByTimeAsync(60_000);
    gateway.up();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(seen).toEqual(["live", "reconnecting", "live"]);
  });

  test("shows a gateway that was never there", async () => {
    ({ client, gateway } = connect({ backoff: { base: 1_000, max: 1_000 } }));
    gateway.down();
    const seen = shown();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(seen).toEqual(["connecting", "reconnecting"]);
  });

  test.each([
    ["signed-out", () => gateway.refuse()],
    ["failed", () => gateway.close(1009, "")],
    ["closed", () => client.close()],
  ])("shows %s at once", async (wanted, make) => {
    ({ client, gateway } = connect());
    await client.ready();
    make();
    expect(client.status.display).toBe(wanted);
    gateway.up();
    client.connect();
    expect(client.status.display).toBe("connecting");
  });
});

describe("explicit resource management", () => {
  const { dispose } = Symbol as { readonly dispose?: symbol };

  test.runIf(dispose)("`using` unsubscribes and closes", async () => {
    await open();
    const end = (it: object) => (it as Record<symbol, () => void>)[dispose as symbol]?.();
    const orders = client.subscribe(ORDERS);
    await orders.ready;
    end(orders);
    expect(orders.state).toBe("ended");
    await settled();
    expect(gateway.subscriptions).toEqual([]);
    end(client);
    expect(client.state).toBe("closed");
  });
});
