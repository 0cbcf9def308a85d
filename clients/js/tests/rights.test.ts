// Rights that change while a page is connected: what the client does, against a gateway in memory.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { type HighTemplar, type HighTemplarOptions, SubscribeError } from "../src/index.js";
import { live } from "../src/live.js";
import { Socket } from "../src/spine.js";
import { FakeGateway } from "../src/testing.js";
import { permits } from "../src/wire.js";
import { connect, settled } from "./support/fake.js";

const BOARD = { target: "board", id: 3 };
const NEWS = { target: "news" };
const ORDERS = { target: "order", customer: 7 };
const ALL_ORDERS = { target: "order", customer: "*" };

let client: HighTemplar;
let gateway: FakeGateway;
let warn: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  warn = vi.spyOn(console, "warn").mockImplementation(() => {});
});
afterEach(() => client?.close());

async function open(grants: object[], options: Partial<HighTemplarOptions> = {}): Promise<void> {
  ({ client, gateway } = connect(options, grants));
  await client.ready();
}

describe("a grant permits", () => {
  test.each([
    [{ target: "a" }, { target: "a" }, true],
    [{ target: "a", id: 1 }, { id: 1, target: "a" }, true],
    [{ target: "a", id: "*" }, { target: "a", id: 1 }, true],
    [{ target: "a", id: "*" }, { target: "a", id: "*" }, true],
    [{ target: "a", id: "*" }, { target: "a", id: { b: [null] } }, true],
    [{ target: "a", id: { x: 1, y: 2 } }, { target: "a", id: { y: 2, x: 1 } }, true],
    [{ target: "a", id: 1 }, { target: "a", id: "1" }, false],
    [{ target: "a", id: 1 }, { target: "a", id: "*" }, false],
    [{ target: "a", id: "*" }, { target: "a" }, false],
    [{ target: "a" }, { target: "a", id: 1 }, false],
    [{ target: "a", id: { x: "*" } }, { target: "a", id: { x: 1 } }, false],
    [{ target: "a", toString: "*" }, { target: "a" }, false],
    [JSON.parse('{"__proto__": "*"}'), {}, false],
    [JSON.parse('{"__proto__": "*"}'), JSON.parse('{"__proto__": 1}'), true],
    [{ id: 2 ** 53 }, { id: 1 }, false],
    [{}, {}, true],
  ])("%j: %j is %s", (grant, room, is) => {
    expect(permits(grant, room)).toBe(is);
  });

  test("and a grant that no page can express hides no other", async () => {
    await open([]);
    const board = client.subscribe(BOARD);
    await settled();
    gateway.grants = [BOARD];
    gateway.deliver({ type: "permissions", allowed_rooms: [null, { id: 2 ** 60 }, BOARD] });
    await board.ready;
  });
});

describe("new grants", () => {
  test("are the status from then on, with both events, in the order of the messages", async () => {
    await open([BOARD, NEWS]);
    const events: unknown[] = [];
    client.addEventListener("state", ({ detail }) => events.push(["state", detail.grants]));
    client.addEventListener("grants", ({ detail }) => events.push(["grants", detail]));
    client.addEventListener("rooms", ({ detail }) => events.push(["rooms", detail]));
    const board = client.subscribe(BOARD);
    await board.ready;
    const before = client.status;
    client.addEventListener("subscription", () => events.push(board.state));
    gateway.permit([NEWS]);
    expect(events).toEqual(["refused", ["state", [NEWS]], ["grants", [NEWS]], ["rooms", [NEWS]]]);
    expect(client.status).toMatchObject({ state: "open", code: null, display: "live" });
    expect(client.status.rooms).toEqual([NEWS]);
    expect(before.grants).toEqual([BOARD, NEWS]);
  });

  test("that are the same in another order are no news", async () => {
    await open([BOARD, NEWS]);
    const changed = vi.fn();
    client.addEventListener("state", changed);
    gateway.permit([NEWS, BOARD]);
    expect(changed).not.toHaveBeenCalled();
  });

  test("take a room as a refusal does, and give it back by themselves", async () => {
    await open([BOARD]);
    const [onPublish, onError, onSubscribed] = [vi.fn(), vi.fn(), vi.fn()];
    const board = client.subscribe(BOARD, onPublish, { onError, onSubscribed });
    await board.ready;
    gateway.permit([]);
    expect(board.state).toBe("refused");
    expect(onError).toHaveBeenCalledExactlyOnceWith(board.error);
    expect(board.error).toBeInstanceOf(SubscribeError);
    expect(board.error).toMatchObject({ code: "unsubscribed", reason: "permissions", room: BOARD });
    await expect(board.ready).rejects.toBe(board.error);
    expect(gateway.publish(BOARD, 1)).toBe(0);

    gateway.permit([BOARD]);
    expect(board).toMatchObject({ state: "pending", error: null });
    await board.ready;
    expect(gateway.publish(BOARD, 2)).toBe(1);
    expect(onPublish.mock.calls.map(([data]) => data)).toEqual([2]);
    expect(onSubscribed.mock.calls).toEqual([[{ again: false }], [{ again: true }]]);
    expect(onError).toHaveBeenCalledOnce();
  });

  test("end the loops over a room", async () => {
    await open([BOARD]);
    const heard: unknown[] = [];
    const loop = (async () => {
      for await (const data of client.subscribe(BOARD)) heard.push(data);
    })();
    await settled();
    gateway.publish(BOARD, 1);
    gateway.permit([]);
    await expect(loop).rejects.toMatchObject({ code: "unsubscribed", reason: "permissions" });
    expect(heard).toEqual([1]);
  });

  test("give a room that was refused at first", async () => {
    await open([NEWS]);
    const onError = vi.fn();
    const board = client.subscribe(BOARD, null, { onError });
    await settled();
    expect(onError.mock.calls).toMatchObject([[{ code: "room-not-found" }]]);
    gateway.permit([NEWS, ORDERS]);
    await settled();
    expect(board.state).toBe("refused");
    gateway.permit([{ target: "board", id: "*" }]);
    await board.ready;
    expect(onError).toHaveBeenCalledOnce();
  });

  test("that shrink to single values take a wildcard subscription whole", async () => {
    await open([ALL_ORDERS]);
    const all = client.subscribe(ALL_ORDERS);
    const one = client.subscribe(ORDERS);
    await Promise.all([all.ready, one.ready]);
    gateway.permit([ORDERS]);
    expect([all.state, one.state]).toEqual(["refused", "subscribed"]);
    expect(gateway.subscriptions).toEqual([ORDERS]);
  });

  test("do nothing about refusals for other reasons", async () => {
    await open([BOARD]);
    const board = client.subscribe(BOARD);
    gateway.deliver({ code: "error", message: "too-many-subscriptions", requestId: "1" });
    expect(board.state).toBe("refused");
    await settled();
    const asked = gateway.received.length;
    gateway.permit([BOARD, NEWS]);
    await settled();
    expect(board.state).toBe("refused");
    expect(gateway.received).toHaveLength(asked);
  });

  test("reach subscribers that do not know of the loss: one subscription on the wire", async () => {
    await open([BOARD]);
    const first = client.subscribe(BOARD);
    await first.ready;
    gateway.permit([]);
    const second = client.subscribe(BOARD, null, { onError: () => {} });
    gateway.permit([BOARD]);
    await second.ready;
    await first.ready; // Another promise than that of the refusal.
    await settled();
    expect(gateway.subscriptions).toEqual([BOARD]);
  });

  test.each(["unsubscribes", "closes", "reconnects", "subscribes anew"])(
    "a listener that %s in the midst of it leaves nothing behind",
    async (what) => {
      await open([BOARD, NEWS]);
      const news = client.subscribe(NEWS);
      let board = client.subscribe(BOARD);
      await Promise.all([board.ready, news.ready]);
      gateway.permit([NEWS]);
      const act = () => {
        client.removeEventListener("subscription", act);
        if (what === "closes") client.close();
        else if (what === "reconnects") client.reconnect();
        else board.unsubscribe();
        if (what === "subscribes anew") board = client.subscribe(BOARD);
      };
      client.addEventListener("subscription", act);
      gateway.permit([NEWS, BOARD]);
      await settled();
      if (what === "closes") client.connect();
      await client.ready();
      await settled();
      expect(gateway.subscriptions).toEqual(what === "unsubscribes" ? [NEWS] : [NEWS, BOARD]);
      expect(board.state).toBe(what === "unsubscribes" ? "ended" : "subscribed");
    },
  );

  test("a page without a handler is warned on the console", async () => {
    await open([BOARD]);
    client.subscribe(BOARD);
    await settled();
    gateway.permit([]);
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/unsubscribed: .*: permissions/)]]);
  });
});

describe("the command `unsubscribe`", () => {
  test("ends what it covers, and no grant gives it back: a new connection does", async () => {
    await open([BOARD, ALL_ORDERS]);
    const onError = vi.fn();
    const [one, all, board] = [ORDERS, ALL_ORDERS, BOARD].map((room) =>
      client.subscribe(room, null, { onError }),
    );
    await Promise.all([one, all, board].map((each) => each?.ready));
    gateway.unsubscribe(ORDERS);
    expect([one, all, board].map((each) => each?.state)).toEqual([
      "refused",
      "subscribed",
      "subscribed",
    ]);
    expect(onError.mock.calls).toMatchObject([[{ code: "unsubscribed", reason: "command" }]]);
    gateway.permit([ALL_ORDERS]);
    gateway.permit([ALL_ORDERS, BOARD]);
    await board?.ready;
    expect(one?.state).toBe("refused");
    gateway.unsubscribe(ALL_ORDERS);
    expect(all?.state).toBe("refused");
    gateway.cut();
    await client.ready();
    await Promise.all([one?.ready, all?.ready]);
    expect(gateway.subscriptions).toHaveLength(3);
  });

  test("a page may subscribe again", async () => {
    await open([BOARD]);
    const board = client.subscribe(BOARD, null, { onError: () => {} });
    await board.ready;
    gateway.unsubscribe([BOARD]);
    board.unsubscribe();
    const again = client.subscribe(BOARD);
    await again.ready;
    expect(gateway.subscriptions).toEqual([BOARD]);
    expect(gateway.received.map(({ type }) => type)).toEqual(["subscribe", "subscribe"]);
  });
});

test.each([
  { type: "unsubscribed", requestId: "77", room: BOARD, reason: "permissions" },
  { type: "unsubscribed", room: BOARD, reason: "command" },
  { type: "unsubscribed", requestId: { no: "name" } },
])("%j is about none of the page's subscriptions", async (message) => {
  await open([BOARD]);
  const board = client.subscribe(BOARD);
  await board.ready;
  gateway.deliver(message);
  expect(board.state).toBe("subscribed");
});

test("fetch and merge: the state remains, and is loaded again with the room", async () => {
  await open([BOARD]);
  const load = vi.fn(() => [] as number[]);
  const onError = vi.fn();
  const board = live<number[], number>(client, BOARD, {
    load,
    apply: (all, one) => [...all, one],
    onError,
  });
  await board.ready;
  await settled();
  gateway.publish(BOARD, 1);
  const loads = load.mock.calls.length;
  gateway.permit([]);
  expect(onError).toHaveBeenCalledOnce();
  expect(board).toMatchObject({ state: "refused", data: [1] });
  gateway.permit([BOARD]);
  await board.ready;
  await settled();
  expect(load).toHaveBeenCalledTimes(loads + 1);
  expect(board).toMatchObject({ state: "subscribed", data: [], error: null });
  board.unsubscribe();
});

describe("clients that offer no events", () => {
  test("receive no event and no further publication", async () => {
    await open([BOARD], { legacy: true });
    const message = vi.fn();
    for (const type of ["message", "grants", "error"] as const) {
      client.addEventListener(type, message);
    }
    const heard = vi.fn();
    await client.subscribe(BOARD, heard).ready;
    gateway.permit([]);
    gateway.unsubscribe(BOARD);
    expect(gateway.publish(BOARD, 1)).toBe(0);
    expect(message).not.toHaveBeenCalled();
    expect(client.status.grants).toEqual([BOARD]);
  });

  test("such as pages of spine-high-templar", async () => {
    gateway = new FakeGateway({ grants: [BOARD] });
    const socket = new Socket({ url: "ws://gateway/ws/", WebSocket: gateway.WebSocket });
    const messages: object[] = [];
    socket.on("message", (message) => messages.push(message));
    const onPublish = vi.fn();
    socket.subscribe({ room: BOARD, onPublish });
    await settled();
    gateway.permit([]);
    expect(gateway.publish(BOARD, 1)).toBe(0);
    expect(messages).toEqual([
      { is_authorized: true, allowed_rooms: [BOARD] },
      { code: "success" },
    ]);
    socket.close();
  });
});

describe("the command `disconnect`", () => {
  test.each([
    ["soon", 4003, "waiting"],
    ["later", 4103, "waiting"],
    ["never", 4203, "failed"],
    ["sign-in", 4303, "refused"],
  ] as const)("%s: %i", async (comeBack, code, state) => {
    await open([BOARD], { backoff: { base: 60_000, busy: 120_000, max: 120_000 } });
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    const board = client.subscribe(BOARD);
    await board.ready;
    const before = Date.now();
    gateway.disconnect(comeBack, "signed-out");
    expect(client.status).toMatchObject({ state, code, reason: "signed-out", grants: [] });
    if (state === "waiting") {
      const minutes = Math.round(((client.status.retryAt ?? 0) - before) / 30_000) / 2;
      expect(minutes).toBe(comeBack === "soon" ? 0.5 : 1);
    }
    client.connect();
    await board.ready;
    vi.restoreAllMocks();
  });

  test("signs in, and the page goes on with the rights of then", async () => {
    const authenticate = vi.fn(() => {
      gateway.grants = [BOARD];
    });
    await open([NEWS], { authenticate });
    const board = client.subscribe(BOARD, null, { onError: () => {} });
    gateway.disconnect();
    await board.ready;
    expect(authenticate).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ state: "refused", code: 4303, reason: "ended" }),
    );
  });

  test.each([
    ["soon", 2],
    ["later", 2],
    ["never", 1],
    ["sign-in", 2],
  ] as const)("%s, of a page of spine-high-templar: %i connections", async (comeBack, count) => {
    vi.useFakeTimers();
    gateway = new FakeGateway({ grants: [BOARD] });
    const socket = new Socket({ url: "ws://gateway/ws/", WebSocket: gateway.WebSocket });
    await vi.advanceTimersByTimeAsync(1);
    gateway.disconnect(comeBack);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(gateway.urls).toHaveLength(count);
    socket.close();
    vi.useRealTimers();
  });
});

/** Whole numbers below a bound, the same for the same seed. */
function numbers(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

describe("any sequence of rights, commands, subscriptions and losses", () => {
  const ROOMS = [BOARD, NEWS, ORDERS, ALL_ORDERS, { target: "order", customer: 8 }];
  const isGranted = (grants: readonly object[], room: object) =>
    grants.some((grant) => permits(grant as never, room as never));

  test.each([...Array(150).keys()])("%i leaves what the last rights permit", async (seed) => {
    const below = numbers(seed);
    const some = () => ROOMS.filter(() => below(2));
    const one = () => ROOMS[below(ROOMS.length)] as object;
    await open(some());
    let mine: ReturnType<typeof client.subscribe>[] = [];
    /** What each subscriber heard, and was to hear. */
    const counts = new Map<object, { heard: number; due: number; refused: number; told: number }>();
    const count = (of: object) => counts.get(of) as { due: number; refused: number };
    client.addEventListener("subscription", ({ detail }) => {
      if (detail.state === "refused") count(detail).refused++;
    });
    const steps: (() => unknown)[] = [
      () => gateway.permit(some()),
      () => gateway.permit(ROOMS),
      () => gateway.unsubscribe(one()),
      () => {
        const own = { heard: 0, due: 0, refused: 0, told: 0 };
        const options = { onError: () => own.told++ };
        const subscription = client.subscribe(one(), () => own.heard++, options);
        counts.set(subscription, own);
        mine.push(subscription);
      },
      () => {
        const ended = mine[below(mine.length)];
        ended?.unsubscribe();
        mine = mine.filter((other) => other !== ended);
      },
      () => {
        const room = one();
        const heard = new Set(
          gateway.subscriptions.filter((own) => publishes(own, room)).map(text),
        );
        for (const own of mine) if (heard.has(text(own.room))) count(own).due++;
        gateway.publish(room, null);
      },
      () => below(4) || gateway.cut(),
      () => below(2) && settled(),
      () => Promise.resolve(),
    ];
    for (let step = 0; step < 60; step++) await steps[below(steps.length)]?.();
    await client.ready();
    await settled();

    const subscribed = mine.filter(({ state }) => state === "subscribed");
    const onWire = gateway.subscriptions.map(text);
    expect(new Set(onWire).size).toBe(onWire.length);
    expect(new Set(onWire)).toEqual(new Set(subscribed.map(({ room }) => text(room))));
    expect(client.status.grants).toEqual(gateway.grants);
    for (const subscription of mine) {
      const isPermitted = isGranted(client.status.grants, subscription.room);
      const { state, error } = subscription;
      if (state !== "subscribed") expect(state).toBe("refused");
      if (error?.reason !== "command") expect(state === "subscribed").toBe(isPermitted);
      const settles = await subscription.ready.catch((why) => why);
      expect(settles ?? null).toBe(error);
    }
    for (const { heard, due, refused, told } of counts.values()) {
      expect([heard, told]).toEqual([due, refused]);
    }
  });
});

const text = (room: object) => JSON.stringify(Object.entries(room).sort());

/** Whether a subscription hears what is published to a room, of those of the test. */
function publishes(own: Record<string, unknown>, room: object): boolean {
  const { target, customer } = room as Record<string, unknown>;
  const values = [own["customer"], customer];
  return own["target"] === target && (values[0] === values[1] || values.includes("*"));
}
