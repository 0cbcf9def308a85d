// Fetch and merge: a state that is loaded, changed by publications, and loaded again.

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { HighTemplar } from "../src/index.js";
import { live as keep, type LiveOptions } from "../src/live.js";
import type { FakeGateway } from "../src/testing.js";
import { connect, settled } from "./support/fake.js";

const ROOM = { target: "order" };

interface Order {
  id: number;
  status: string;
}
type Orders = Record<number, string>;

let gateway: FakeGateway;
let client: HighTemplar;
/** What each load was given, and how to answer it. */
let loads: { signal: AbortSignal; answer(orders: Orders): void; fail(error: Error): void }[];
let seen: Orders[];
beforeEach(() => {
  loads = [];
  seen = [];
});
afterEach(() => {
  vi.useRealTimers();
  client.close();
});

const load = (signal: AbortSignal) =>
  new Promise<Orders>((answer, fail) => loads.push({ signal, answer, fail }));
const apply = (orders: Orders, { id, status }: Order) => ({ ...orders, [id]: status });

function live(options: Partial<LiveOptions<Orders, Order>> = {}) {
  return keep<Orders, Order>(client, ROOM, {
    load,
    apply,
    onChange: (orders) => seen.push(orders),
    ...options,
  });
}

async function answer(index: number, orders: Orders): Promise<void> {
  loads[index]?.answer(orders);
  await settled();
}

const publish = (id: number, status: string) => gateway.publish(ROOM, { id, status });

test("it shows while the gateway is down, and is loaded again when the room is heard", async () => {
  ({ client, gateway } = connect());
  gateway.down();
  const orders = live();
  await settled();
  expect(loads).toHaveLength(1);
  await answer(0, { 1: "new" });
  expect(seen).toEqual([{ 1: "new" }]);
  expect(orders.data).toEqual({ 1: "new" });
  gateway.up();
  client.connect();
  await orders.ready;
  await settled();
  expect(loads).toHaveLength(2);
  await answer(1, { 1: "paid" });
  expect(seen.at(-1)).toEqual({ 1: "paid" });
});

test("what is published during a load is applied to its result", async () => {
  ({ client, gateway } = connect());
  const orders = live();
  await orders.ready;
  await settled();
  publish(1, "paid");
  publish(2, "new");
  expect(seen).toEqual([]);
  await answer(1, { 1: "new" });
  expect(seen.at(-1)).toEqual({ 1: "paid", 2: "new" });
  publish(1, "sent");
  expect(seen.at(-1)).toEqual({ 1: "sent", 2: "new" });
});

test("the load that began before the room was heard is shown until the later one is there", async () => {
  ({ client, gateway } = connect());
  await live().ready;
  await settled();
  expect(loads).toHaveLength(2);
  expect(loads[0]?.signal.aborted).toBe(false);
  await answer(0, { 1: "old" });
  publish(1, "paid");
  await answer(1, { 1: "new", 2: "new" });
  // What came since the later one began is newer than its result may be.
  expect(seen).toEqual([{ 1: "old" }, { 1: "paid" }, { 1: "paid", 2: "new" }]);
});

test("an answer that comes after a later one's is ignored, and no longer wanted", async () => {
  ({ client, gateway } = connect());
  await live().ready;
  await settled();
  await answer(1, { 1: "new" });
  expect(loads[0]?.signal.aborted).toBe(true);
  await answer(0, { 1: "old" });
  expect(seen).toEqual([{ 1: "new" }]);
});

test("losses in a row leave one load under way, and the state as it was", async () => {
  ({ client, gateway } = connect());
  await live().ready;
  await settled();
  await answer(1, { 1: "new" });
  for (let loss = 0; loss < 5; loss++) {
    gateway.close(1012, "gap 0");
    await client.ready();
    await settled();
  }
  const open = loads.slice(2).filter(({ signal }) => !signal.aborted);
  expect(open).toHaveLength(1);
  expect(seen).toEqual([{ 1: "new" }]);
  publish(1, "paid");
  await answer(loads.length - 1, { 1: "new", 3: "new" });
  expect(seen.slice(1)).toEqual([{ 1: "paid" }, { 1: "paid", 3: "new" }]);
});

test("a load that fails is reported, and retried with a back-off", async () => {
  ({ client, gateway } = connect({ autoConnect: false }));
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1 - Number.EPSILON);
  const onLoadError = vi.fn();
  const orders = live({ onLoadError });
  expect(orders.loadError).toBeNull();
  for (const seconds of [1, 2, 4, 8, 16, 30, 30]) {
    await vi.advanceTimersByTimeAsync(0);
    const before = loads.length;
    loads.at(-1)?.fail(new Error("502"));
    await vi.advanceTimersByTimeAsync(seconds * 1_000 - 50);
    expect(loads).toHaveLength(before);
    await vi.advanceTimersByTimeAsync(50);
    expect(loads).toHaveLength(before + 1);
  }
  expect(onLoadError).toHaveBeenCalledTimes(7);
  expect(onLoadError.mock.calls[0]?.[0]).toMatchObject({ message: "502" });
  expect(orders.loadError).toMatchObject({ message: "502" });
  loads.at(-1)?.answer({ 1: "new" });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(seen).toEqual([{ 1: "new" }]);
  expect(orders.loadError).toBeNull();
});

test("without onLoadError it is an error of the client", async () => {
  ({ client, gateway } = connect({ autoConnect: false }));
  const told = vi.fn();
  client.addEventListener("error", ({ detail }) => told(detail.message));
  const orders = live({
    load: () => {
      throw new Error("no session");
    },
  });
  await settled();
  expect(told).toHaveBeenCalledExactlyOnceWith("no session");
  orders.unsubscribe();
});

test("it may change its state in place, and be loaded at any time", async () => {
  ({ client, gateway } = connect());
  const onChange = vi.fn();
  let next = 1;
  const orders = keep(client, ROOM, {
    load: async () => new Map([[next++, "new"]]),
    apply: (all: Map<number, string>, { id, status }: Order) => {
      all.set(id, status);
    },
    onChange: (all) => onChange([...all]),
  });
  await orders.ready;
  await settled();
  publish(7, "new");
  expect(onChange).toHaveBeenLastCalledWith([
    [2, "new"],
    [7, "new"],
  ]);
  orders.reload();
  await settled();
  expect(onChange).toHaveBeenLastCalledWith([[3, "new"]]);
});

test("a room that JSON cannot express throws at the call, and nothing is loaded", async () => {
  ({ client, gateway } = connect());
  expect(() => keep(client, { n: 1n } as never, { load, apply })).toThrow(TypeError);
  const abort = new AbortController();
  abort.abort();
  expect(live({ signal: abort.signal }).state).toBe("ended");
  await settled();
  expect(loads).toEqual([]);
});

test.each([
  ["unsubscribe()", (orders: { unsubscribe(): void }) => orders.unsubscribe()],
  ["close()", () => client.close()],
])("%s ends what is under way", async (_, end) => {
  ({ client, gateway } = connect());
  const orders = live();
  await orders.ready;
  await settled();
  end(orders);
  expect(loads.every(({ signal }) => signal.aborted)).toBe(true);
  await answer(1, { 1: "new" });
  expect(seen).toEqual([]);
});

test("after close() and connect() it goes on", async () => {
  ({ client, gateway } = connect());
  const orders = live();
  await orders.ready;
  await settled();
  client.close();
  client.connect();
  await orders.ready;
  await settled();
  await answer(loads.length - 1, { 1: "new" });
  expect(seen).toEqual([{ 1: "new" }]);
});

test("a load that takes too long for its memory is shown, and then done again", async () => {
  ({ client, gateway } = connect());
  vi.useFakeTimers();
  const orders = live({ maxBuffered: 2 });
  await orders.ready;
  await vi.advanceTimersByTimeAsync(0);
  for (const id of [1, 2, 3]) publish(id, "new");
  loads[1]?.answer({});
  await vi.advanceTimersByTimeAsync(0);
  expect(seen).toEqual([{ 2: "new", 3: "new" }]);
  expect(loads).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(loads).toHaveLength(3);
});

test("a function that throws is reported as uncaught, and the next publication comes", async () => {
  ({ client, gateway } = connect());
  const uncaught = vi.fn();
  const others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException").on("uncaughtException", uncaught);
  try {
    const orders = live({
      apply: (all, order) => {
        if (order.id === 1) throw new Error("no such order");
        return apply(all, order);
      },
    });
    await orders.ready;
    await settled();
    await answer(1, {});
    publish(1, "new");
    publish(2, "new");
    await settled();
    expect(uncaught).toHaveBeenCalledOnce();
    expect(seen.at(-1)).toEqual({ 2: "new" });
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const listener of others) process.on("uncaughtException", listener);
  }
});

test("a page that hears everything in whatever order ends as the backend has it", async () => {
  // The backend changes, publishes and answers; the page loads and loses its connection, at random.
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  for (let round = 0; round < 50; round++) {
    ({ client, gateway } = connect());
    loads = [];
    let backend: Orders = {};
    const snapshots = new Map<number, Orders>();
    const orders = live();
    for (let step = 0; step < 30; step++) {
      const id = random(3);
      backend = { ...backend, [id]: `${round}.${step}` };
      publish(id, `${round}.${step}`);
      if (random(3) === 0) await settled();
      // A load reads the backend at some moment after it began.
      for (const [index] of loads.entries()) {
        if (!snapshots.has(index) && random(2)) snapshots.set(index, backend);
        else if (snapshots.has(index) && random(2))
          loads[index]?.answer(snapshots.get(index) ?? {});
      }
      if (random(8) === 0) gateway.close(1012, "gap 0");
    }
    await client.ready();
    await settled();
    for (const [index, { answer }] of loads.entries()) answer(snapshots.get(index) ?? backend);
    await settled();
    expect(orders.data).toEqual(backend);
    client.close();
  }
});
