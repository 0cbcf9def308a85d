// What a page misses between two connections is delivered, each publication once: against a gateway
// in memory.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { HighTemplar, type HighTemplarOptions } from "../src/index.js";
import { live } from "../src/live.js";
import { RESUME, Recovery } from "../src/recovery.js";
import { makeChannel } from "../src/requests.js";
import { FakeGateway, type FakeGatewayOptions } from "../src/testing.js";
import { settled } from "./support/fake.js";

const ORDERS = { target: "order", customer: 7 };
const ALL = { target: "order", customer: "*" };
const NEWS = { target: "news" };

let gateway: FakeGateway;
let client: HighTemplar;
/** How many messages each further connection lets through, before it is cut. */
let quotas: number[];
beforeEach(() => {
  quotas = [];
});
afterEach(() => {
  client?.close();
  vi.unstubAllGlobals();
});

/** Sockets that are cut between two messages. */
function cuttable({ WebSocket }: FakeGateway): typeof WebSocket {
  return class extends WebSocket {
    left = quotas.shift() ?? Number.POSITIVE_INFINITY;

    deliver(message: object): void {
      if (this.left-- > 0) super.deliver(message);
      else this["end"](1006, "");
    }
  } as typeof WebSocket;
}

function make(options: Partial<HighTemplarOptions> = {}, how: FakeGatewayOptions = {}): void {
  gateway = new FakeGateway(how);
  client = new HighTemplar({
    url: "ws://gateway/ws/",
    WebSocket: cuttable(gateway),
    backoff: { base: 60_000, busy: 60_000, max: 60_000 },
    ...options,
  });
}

async function open(
  options: Partial<HighTemplarOptions> = {},
  how: FakeGatewayOptions = {},
): Promise<void> {
  make(options, how);
  await client.ready();
}

/** Loses the connection, acts, and connects again. */
async function away(act: () => void, lose = () => gateway.cut()): Promise<void> {
  lose();
  expect(client.state).toBe("waiting");
  act();
  client.connect();
  await settled();
}

/** A subscription that notes what it hears. */
function note(room: object, since?: string) {
  const heard: unknown[] = [];
  const calls: unknown[] = [];
  const subscription = client.subscribe(room, (data) => heard.push(data), {
    onSubscribed: (how) => calls.push(how),
    onRecovered: (how) => calls.push(how),
    since,
  });
  return { heard, calls, subscription };
}

const types = () => gateway.received.map(({ type }) => type);

describe("after a reconnect", () => {
  test("one message asks for all rooms, and brings what was missed, in order", async () => {
    await open();
    const [all, orders, news] = [note(ALL), note(ORDERS), note(NEWS)];
    await settled();
    gateway.publish(ORDERS, 1);
    await away(() => {
      gateway.publish(ORDERS, 2);
      gateway.publish(NEWS, 3);
    });
    gateway.publish(ORDERS, 4);
    expect([all.heard, orders.heard, news.heard]).toEqual([[1, 2, 4], [1, 2, 4], [3]]);
    for (const { calls, subscription } of [all, orders, news]) {
      expect(calls).toEqual([{ again: false }, { replayed: 3 }]);
      expect(subscription.state).toBe("subscribed");
    }
    expect(types()).toEqual(["subscribe", "subscribe", "subscribe", "resume"]);
  });

  test("it works before anything was published", async () => {
    await open();
    const orders = note(ORDERS);
    await settled();
    await away(() => gateway.publish(ORDERS, 1));
    await away(() => {});
    expect(orders.heard).toEqual([1]);
    expect(orders.calls).toEqual([{ again: false }, { replayed: 1 }, { replayed: 0 }]);
  });

  test("a page that is told so does not fetch", async () => {
    await open();
    const load = vi.fn(() => [] as number[]);
    const orders = live<number[], number>(client, ORDERS, {
      load,
      apply: (all, one) => [...all, one],
    });
    await settled();
    expect(load).toHaveBeenCalledTimes(2);
    await away(() => gateway.publish(ORDERS, 1));
    expect(orders.data).toEqual([1]);
    expect(load).toHaveBeenCalledTimes(2);
    await away(() => gateway.restart());
    expect(load).toHaveBeenCalledTimes(3);
  });

  test("rooms that are new meanwhile begin there", async () => {
    await open();
    const orders = note(ORDERS);
    await settled();
    let news = orders;
    let second = orders;
    await away(() => {
      gateway.publish(NEWS, 0);
      gateway.publish(ORDERS, 1);
      news = note(NEWS);
      second = note(ORDERS);
    });
    gateway.publish(NEWS, 2);
    expect([orders.heard, news.heard]).toEqual([[1], [2]]);
    expect(news.calls).toEqual([{ again: false }]);
    // It shares the room, and has nothing from before.
    expect(second.calls).toEqual([{ again: false }]);
    expect(types()).toEqual(["subscribe", "resume", "subscribe"]);
  });

  test("rooms that were refused or lost are asked for by themselves", async () => {
    await open({}, { grants: [NEWS] });
    const onError = vi.fn();
    const news = note(NEWS);
    const orders = client.subscribe(ORDERS, null, { onError });
    await settled();
    await away(() => {
      gateway.grants = [ORDERS];
      gateway.publish(NEWS, 1);
    });
    expect(orders.state).toBe("subscribed");
    expect(news.subscription).toMatchObject({
      state: "refused",
      error: { code: "room-not-found" },
    });
    expect(news.heard).toEqual([]);
    gateway.permit([NEWS, ORDERS]);
    await settled();
    // Not what was published while the right was missing.
    expect(news.heard).toEqual([]);
    expect(news.calls).toEqual([{ again: false }, { again: true }]);
  });

  test("a room that the page leaves in the middle is left", async () => {
    await open();
    const orders = note(ORDERS);
    const news = note(NEWS);
    await settled();
    gateway.cut();
    gateway.publish(NEWS, 1);
    client.connect();
    client.addEventListener(
      "state",
      () => client.state === "open" && news.subscription.unsubscribe(),
    );
    await settled();
    expect(news.heard).toEqual([]);
    expect(news.subscription.state).toBe("ended");
    expect(orders.calls).toHaveLength(2);
    expect(gateway.subscriptions).toEqual([ORDERS]);
  });

  test.each([
    ["a restart", () => gateway.restart(), "epoch"],
    ["more than it keeps", () => [1, 2, 3, 4].map((n) => gateway.publish(NEWS, n)), "age"],
    ["a gap", () => gateway.gap(), "age"],
  ])("%s: the page has to fetch, and is told why", async (_, act, reason) => {
    await open({}, { window: 3 });
    const orders = note(ORDERS);
    const onReconnect = vi.fn();
    client.subscribe(ORDERS, null, { onReconnect });
    await settled();
    await away(() => {
      gateway.publish(ORDERS, 1);
      act();
    });
    gateway.publish(ORDERS, 2);
    expect(orders.heard).toEqual([2]);
    expect(orders.calls).toEqual([{ again: false }, { again: true, reason }]);
    expect(onReconnect).toHaveBeenCalledExactlyOnceWith({ again: true, reason });
    await away(() => gateway.publish(ORDERS, 3));
    expect(orders.heard).toEqual([2, 3]);
  });

  test("a gateway that does not accept the cursor is asked for each room", async () => {
    await open();
    const orders = note(ORDERS);
    await settled();
    await away(
      () => gateway.publish(ORDERS, 1),
      () => {
        gateway.deliver({ type: "later", cursor: "of a later version" });
        gateway.cut();
      },
    );
    expect(types()).toEqual(["subscribe", "resume", "subscribe"]);
    expect(orders.calls).toEqual([{ again: false }, { again: true }]);
    gateway.publish(ORDERS, 2);
    expect(orders.heard).toEqual([2]);
  });

  test("many rooms are several messages, and one variable is not enough for them", async () => {
    await open();
    const rooms = Array.from({ length: 120 }, (_, id) => note({ id, text: "x".repeat(200) }));
    await settled();
    const publish = (data: number) => {
      for (const { subscription } of rooms) gateway.publish(subscription.room, data);
    };
    publish(1);
    quotas = [20, 130, 60, 240];
    for (const data of [2, 3, 4, 5, 6])
      await away(
        () => publish(data),
        () => gateway.cut(),
      );
    for (const { heard, calls } of rooms) {
      expect(heard).toEqual([1, 2, 3, 4, 5, 6]);
      expect(calls.slice(1).every((how) => "replayed" in (how as object))).toBe(true);
    }
    const resumes = gateway.received.filter(({ type }) => type === "resume");
    expect(resumes.length).toBeGreaterThan(5);
    for (const resume of resumes) expect(JSON.stringify(resume).length).toBeLessThan(16_384);
  });
});

describe("a cut between any two messages of the replay", () => {
  // An entry meets two subscriptions of the page, and rooms differ in how they have it.
  const BURST = [ORDERS, NEWS, ORDERS, { target: "order", customer: 8 }, NEWS, ORDERS];
  const due = (room: object) =>
    BURST.flatMap((target, data) =>
      target === room || (room === ALL && target !== NEWS) ? [data] : [],
    );

  test.each(Array.from({ length: 13 }, (_, quota) => quota))("after %i", async (quota) => {
    for (let second = 0; second < 13; second++) {
      await open();
      const rooms = [note(NEWS), note(ALL), note(ORDERS)];
      await settled();
      quotas = [quota, second];
      await away(() => BURST.forEach((room, data) => void gateway.publish(room, data)));
      while (client.state !== "open" || quotas.length)
        await away(
          () => {},
          () => gateway.cut(),
        );
      for (const { heard, subscription, calls } of rooms) {
        const room = [NEWS, ALL, ORDERS].find(({ target, ...rest }) => {
          const own = subscription.room as typeof ORDERS;
          return own.target === target && own.customer === (rest as typeof ORDERS).customer;
        });
        expect(heard).toEqual(due(room as object));
        expect(calls[0]).toEqual({ again: false });
      }
      client.close();
    }
  });
});

describe("since", () => {
  test("a page that has a state needs only what came after it", async () => {
    await open();
    gateway.publish(ORDERS, 1);
    const since = gateway.position;
    gateway.publish(ORDERS, 2);
    const orders = note(ORDERS, since);
    await settled();
    gateway.publish(ORDERS, 3);
    expect(orders.heard).toEqual([2, 3]);
    expect(orders.calls).toEqual([{ replayed: 1 }]);
    expect(gateway.received).toEqual([{ type: "subscribe", room: ORDERS, requestId: "1", since }]);
  });

  test.each([
    ["of another life", (since: string) => `aaaaaa${since.slice(6)}`, { reason: "epoch" }],
    [
      "of the future",
      (since: string) => since.replace(/-\d+-/, "-9007199254740991-"),
      { reason: "ahead" },
    ],
    ["of another entry", (since: string) => `${since.slice(0, -4)}zzzz`, { reason: "epoch" }],
    ["of another version", () => "?", {}],
  ])("%s: the page has to fetch", async (_, change, why) => {
    await open();
    gateway.publish(ORDERS, 1);
    const orders = note(ORDERS, change(gateway.position));
    await settled();
    gateway.publish(ORDERS, 2);
    expect(orders.calls).toEqual([{ again: false, ...why }]);
    expect(orders.heard).toEqual([2]);
  });

  test("another subscriber of the room, without it, has to fetch", async () => {
    await open();
    const since = gateway.position;
    gateway.publish(ORDERS, 1);
    const [first, second, third] = [note(ORDERS, since), note(ORDERS), note(ORDERS, "another")];
    await settled();
    expect(first.calls).toEqual([{ replayed: 1 }]);
    expect([second.calls, third.calls]).toEqual([[{ again: false }], [{ again: false }]]);
    await away(() => {});
    for (const { calls } of [first, second, third]) expect(calls.at(-1)).toEqual({ replayed: 0 });
  });

  test("fetch and merge loads nothing that the page has", async () => {
    await open();
    const since = gateway.position;
    gateway.publish(ORDERS, 1);
    const load = vi.fn(() => [] as number[]);
    const apply = (all: number[], one: number) => [...all, one];
    const orders = live<number[], number>(client, ORDERS, { initial: [0], since, load, apply });
    expect(orders.data).toEqual([0]);
    await settled();
    expect(orders.data).toEqual([0, 1]);
    expect(load).not.toHaveBeenCalled();
    await away(() => gateway.restart());
    expect(load).toHaveBeenCalledOnce();
    expect(orders.data).toEqual([]);
  });

  test.each([0, 1, 2, 3, 4, 5, 6, 7])(
    "a page that is cut after %i messages of it hears each once",
    async (quota) => {
      for (let second = 1; second < 9; second++) {
        quotas = [quota, second];
        make();
        const since = gateway.position;
        for (const data of [1, 2]) gateway.publish(ORDERS, data);
        for (const data of [1, 2, 3]) gateway.publish(NEWS, data);
        const rooms = [note(ALL), note(ORDERS, since), note(NEWS, since)];
        await settled();
        const meanwhile = client.state === "waiting";
        gateway.publish(ORDERS, 3);
        while (client.state !== "open" || quotas.length)
          await away(
            () => {},
            () => gateway.cut(),
          );
        gateway.publish(NEWS, 4);
        if (client.state !== "open")
          await away(
            () => {},
            () => {},
          );
        const [all, orders, news] = rooms.map(({ heard }) => heard);
        expect([orders, news]).toEqual([
          [1, 2, 3],
          [1, 2, 3, 4],
        ]);
        // Whoever has no position begins when it is first confirmed.
        expect(meanwhile ? [3, undefined] : [3]).toContain(all?.[0]);
        client.close();
      }
    },
  );
});

describe("pings", () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  test("move the cursor of a page that hears nothing", async () => {
    make({ pingInterval: 1_000 }, { window: 3 });
    await vi.advanceTimersByTimeAsync(1);
    const orders = note(ORDERS);
    const message = vi.fn();
    client.addEventListener("message", message);
    await vi.advanceTimersByTimeAsync(1);
    for (const data of [1, 2, 3, 4, 5]) gateway.publish(NEWS, data);
    await vi.advanceTimersByTimeAsync(1_500);
    expect(gateway.pings).toBe(1);
    gateway.cut();
    gateway.publish(ORDERS, 6);
    client.connect();
    await vi.advanceTimersByTimeAsync(1);
    expect(orders.heard).toEqual([6]);
    expect(orders.calls).toEqual([{ again: false }, { replayed: 1 }]);
    expect(message).not.toHaveBeenCalled();
  });

  test("prove that the connection is alive", async () => {
    make({ pingInterval: 1_000, pongTimeout: 500 });
    await vi.advanceTimersByTimeAsync(10_100);
    expect(client.state).toBe("open");
    expect(gateway.pings).toBe(10);
    gateway.silence();
    await vi.advanceTimersByTimeAsync(1_600);
    expect(client.status).toMatchObject({ state: "waiting", reason: "no-pong" });
  });
});

describe("a gap on an open connection", () => {
  test("has the page fetch, and the connection stays", async () => {
    await open();
    const orders = note(ORDERS);
    const load = vi.fn(() => 0);
    live(client, ORDERS, { load, apply: () => {} });
    await settled();
    const loads = load.mock.calls.length;
    gateway.gap("window");
    await settled();
    expect(orders.calls).toEqual([{ again: false }, { again: true, reason: "window" }]);
    expect(load).toHaveBeenCalledTimes(loads + 1);
    expect(client.state).toBe("open");
    await away(() => gateway.publish(ORDERS, 1));
    expect(orders.heard).toEqual([1]);
    expect(orders.calls.at(-1)).toEqual({ replayed: 1 });
  });

  test("closes a page that takes no such message", async () => {
    await open({ legacy: true });
    gateway.gap();
    expect(client.status).toMatchObject({ code: 1012, reason: "gap 0" });
  });
});

describe("a gateway that cannot", () => {
  test.each([
    ["4.0", {}],
    ["before 4.0", { legacy: true }],
  ])("version %s: byte for byte as ever", async (_, options) => {
    const sent: string[] = [];
    await open(
      {
        ...options,
        debug: (line) => line.includes(" > ") && sent.push(line.split(" > ")[1] ?? ""),
      },
      { features: [] },
    );
    const orders = note(ORDERS, "a-1-b");
    await settled();
    const heard = (id: number) =>
      `{"type":"subscribe","room":{"customer":7,"target":"order"},"requestId":"${id}"}`;
    await away(() => gateway.publish(ORDERS, 1));
    expect(sent).toEqual([heard(1), heard(1)]);
    expect(orders.calls).toEqual([{ again: false }, { again: true }]);
    expect(orders.heard).toEqual([]);
  });

  test("in the place of one that can, and the other way round", async () => {
    await open();
    const orders = note(ORDERS);
    await settled();
    const old = new FakeGateway({ features: [] });
    const url = vi.fn(() => "ws://gateway/ws/");
    client.close();
    let current = gateway.WebSocket;
    client = new HighTemplar({
      url,
      WebSocket: function connect(address: string, protocols?: string[]) {
        return new current(address, protocols);
      } as unknown as typeof current,
      backoff: { base: 60_000 },
    });
    await client.ready();
    const again = note(ORDERS);
    await settled();
    for (const next of [old, gateway, gateway]) {
      current = next.WebSocket;
      gateway.cut();
      old.cut();
      client.connect();
      await settled();
    }
    expect(orders.heard).toEqual([]);
    expect(again.calls).toEqual([
      { again: false },
      { again: true },
      { again: true },
      { replayed: 0 },
    ]);
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

describe("any sequence of publications, subscriptions and losses", () => {
  const ROOMS = [ORDERS, ALL, NEWS, { target: "order", customer: 8 }];

  test.each(Array.from({ length: 60 }, (_, seed) => seed))("%i is heard once", async (seed) => {
    const below = numbers(seed);
    await open();
    interface Known extends ReturnType<typeof note> {
      /** What came since it was first confirmed, or since its position. */
      due: number[];
    }
    const known: Known[] = [];
    let last = 0;
    for (let step = 0; step < 80; step++) {
      const what = below(10);
      const room = ROOMS[below(ROOMS.length)] as object;
      if (what < 4) {
        last++;
        gateway.publish(room, last);
        for (const { due, calls, subscription } of known) {
          if (calls.length && meets(subscription.room, room)) due.push(last);
        }
      } else if (what < 6 && client.state === "open") {
        const isNew = !known.some(({ subscription }) => isSame(subscription.room, room));
        if (isNew) known.push({ ...note(room), due: [] });
        await settled();
      } else if (what < 7) {
        gateway.cut();
      } else if (what < 8) {
        quotas = [1 + below(8)];
        gateway.cut();
        client.connect();
        await settled();
        quotas = [];
      } else {
        client.connect();
        await settled();
      }
    }
    client.connect();
    await settled();
    for (const { heard, due, calls } of known) {
      expect(heard).toEqual(due);
      expect(calls.filter((how) => "again" in (how as object)).length).toBeLessThan(2);
    }
  });
});

const isSame = (one: object, other: object) => meets(one, other, false);

/** Whether a subscription hears what is published to a room, of those of the test. */
function meets(own: object, room: object, wild = true): boolean {
  const [one, other] = [own, room] as (typeof ORDERS)[];
  const isAny =
    wild && ((one?.customer as unknown) === "*" || (other?.customer as unknown) === "*");
  return one?.target === other?.target && (one?.customer === other?.customer || isAny);
}

describe("across a reload", () => {
  /** A page's storage and navigation, and how it ends. */
  function page(type: string, storage = new Map<string, string>()) {
    const events = new EventTarget();
    vi.stubGlobal("sessionStorage", {
      getItem: (name: string) => storage.get(name) ?? null,
      setItem: (name: string, value: string) => void storage.set(name, value),
      removeItem: (name: string) => void storage.delete(name),
    });
    vi.stubGlobal("performance", { getEntriesByType: () => [{ type }] });
    vi.stubGlobal("addEventListener", events.addEventListener.bind(events));
    return {
      storage,
      hide: () => {
        events.dispatchEvent(new Event("pagehide"));
        client.close();
      },
    };
  }

  /** The same page again, of the same gateway. */
  async function load(options: Partial<HighTemplarOptions>) {
    const { WebSocket } = gateway;
    client = new HighTemplar({ url: "ws://gateway/ws/", WebSocket, ...options });
    await client.ready();
  }

  test.each([
    ["reload", { persist: "session" }, [1, 2], { replayed: 1 }],
    ["reload", {}, [1], { again: false }],
    ["navigate", { persist: "session" }, [1], { again: false }],
    ["back_forward", { persist: "session" }, [1], { again: false }],
  ] as const)("%s with %j hears %j", async (type, options, due, how) => {
    const first = page("navigate");
    await open(options);
    const [before] = [note(ORDERS), note(ALL)];
    await settled();
    gateway.publish(ORDERS, 1);
    first.hide();
    gateway.publish(ORDERS, 2);
    const second = page(type, first.storage);
    await load(options);
    expect(second.storage.size).toBe(0);
    const after = note(ORDERS);
    const news = note(NEWS);
    await settled();
    expect([...before.heard, ...after.heard]).toEqual(due);
    expect(after.calls).toEqual([how]);
    expect(news.calls).toEqual([{ again: false }]);
  });

  test("the position that the page gives counts before that", async () => {
    const first = page("navigate");
    await open({ persist: "session" });
    note(ORDERS);
    await settled();
    first.hide();
    gateway.publish(ORDERS, 1);
    const since = gateway.position;
    gateway.publish(ORDERS, 2);
    page("reload", first.storage);
    await load({ persist: "session" });
    const after = note(ORDERS, since);
    await settled();
    expect(after.heard).toEqual([2]);
  });

  test("what is no longer known is told", async () => {
    const first = page("navigate");
    await open({ persist: "session" });
    note(ORDERS);
    await settled();
    first.hide();
    gateway.restart();
    page("reload", first.storage);
    await load({ persist: "session" });
    const after = note(ORDERS);
    await settled();
    expect(after.calls).toEqual([{ again: false, reason: "epoch" }]);
  });

  test.each([
    ["no storage", () => vi.stubGlobal("sessionStorage", undefined)],
    ["no navigation", () => vi.stubGlobal("performance", undefined)],
    ["something else there", () => sessionStorage.setItem("high-templar ws://gateway/ws/", "{")],
    ["a full storage", () => vi.stubGlobal("sessionStorage", { getItem: () => null })],
  ])("%s is no reason to fail", async (_, harm) => {
    const only = page("reload");
    harm();
    await open({ persist: "session" });
    const orders = note(ORDERS);
    await settled();
    expect(orders.calls).toEqual([{ again: false }]);
    only.hide();
  });
});

describe("the resume ticket", () => {
  const offered = () => protocols.map((each) => each.filter((name) => /resume/.test(name)));
  let protocols: string[][];

  /** A client of a gateway that gives tickets, and proofs with its pongs. */
  async function ticketed(options: Partial<HighTemplarOptions> = {}) {
    vi.useFakeTimers();
    gateway = new FakeGateway();
    protocols = [];
    const Base = gateway.WebSocket;
    const WebSocket = class extends Base {
      constructor(address: string, names: string[]) {
        super(address, names);
        protocols.push(names);
      }

      deliver(message: { is_authorized?: boolean; requestId?: unknown }): void {
        if (message.is_authorized) super.deliver({ ...message, ticket: "v1.a.b" });
        else super.deliver(message.requestId === "ping" ? { ...message, proof: "9.z" } : message);
      }
    } as typeof Base;
    const backoff = { base: 1, busy: 1, max: 1 };
    const url = "ws://gateway/ws/";
    client = new HighTemplar({ url, WebSocket, backoff, pingInterval: 1_000, ...options });
    await vi.advanceTimersByTimeAsync(1_010);
  }
  afterEach(() => vi.useRealTimers());

  test("is offered with the last proof after a loss, and not after a login", async () => {
    await ticketed();
    const cursor = gateway.position;
    gateway.publish(ORDERS, 1);
    gateway.cut();
    await vi.advanceTimersByTimeAsync(10);
    expect(client.state).toBe("open");
    const [first, second] = offered();
    expect(first).toEqual([]);
    const [, text] = /^high-templar\.resume\.([\w-]+)$/.exec(second?.[0] ?? "") ?? [];
    expect(atob(String(text).replace(/-/g, "+").replace(/_/g, "/"))).toBe(`v1.a.b.${cursor}.9.z`);
    await vi.advanceTimersByTimeAsync(1_010);
    client.reconnect();
    await vi.advanceTimersByTimeAsync(10);
    expect(client.state).toBe("open");
    expect(offered().at(-1)).toEqual([]);
  });

  test("of an older set of grants is not offered", async () => {
    await ticketed();
    gateway.permit([NEWS]);
    gateway.cut();
    await vi.advanceTimersByTimeAsync(10);
    expect(offered()).toEqual([[], []]);
  });

  test("is not offered by a client that was refused, or that sends a token later", async () => {
    await ticketed({ authenticate: () => gateway.up() });
    gateway.refuse();
    await vi.advanceTimersByTimeAsync(10);
    expect(client.state).toBe("open");
    expect(offered()).toEqual([[], []]);
    client.close();
    await ticketed({ token: "anna", tokenIn: "message" });
    gateway.cut();
    await vi.advanceTimersByTimeAsync(10);
    expect(offered()).toEqual([[], []]);
  });
});

describe("a page that has asked where its rooms are", () => {
  const FEATURES = ["since", "resume", "ping"];
  const room = (id: number) => ({
    ...makeChannel(`{"id":${id},"text":"${"x".repeat(100)}"}`, String(id), undefined),
    since: null,
  });

  test("keeps its cursor until the answer", () => {
    const recovery = new Recovery();
    recovery.received({ is_authorized: true, cursor: "a-1", features: FEATURES });
    expect(recovery.resume([])).toEqual([]);
    recovery.received({ type: "publish", requestId: "1", cursor: "a-2" });
    recovery.received({ is_authorized: true, cursor: "a-9", features: FEATURES });
    expect(recovery.resume([room(1)])[0]?.text).toContain('"cursor":"a-2"');
    for (const type of ["permissions", "gap"]) recovery.received({ type, cursor: "a-9" });
    expect(recovery.cursor).toBe("a-2");
    recovery.received({ code: "success", requestId: RESUME, cursor: "a-9" });
    expect(recovery.cursor).toBe("a-9");
  });

  test("sends no more at once than the gateway accepts", () => {
    for (const bytes of [2_000, 5_000, 65_536]) {
      const recovery = new Recovery();
      const first = { is_authorized: true, cursor: "a-1", features: FEATURES };
      recovery.received({ ...first, message_bytes: bytes });
      recovery.resume([]);
      const rooms = Array.from({ length: 200 }, (_, id) => room(id));
      const resumes = recovery.resume(rooms);
      expect(resumes.flatMap(({ channels }) => channels)).toEqual(rooms);
      for (const { text } of resumes) expect(text.length).toBeLessThanOrEqual(bytes);
      // All but the first have the cursor in each room: the first moves that of the connection.
      for (const { text } of resumes.slice(1)) expect(text).toContain('"since":"a-1"');
    }
  });
});
