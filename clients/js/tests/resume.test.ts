// Recovery with the real gateway: the line is cut at any byte, and each publication is heard once.

import { afterEach, beforeEach, expect, test } from "vitest";
import WebSocket from "ws";

import type { HighTemplar } from "../src/index.js";
import { eventually } from "./support/eventually.js";
import { NEWS, ORDERS, World } from "./support/world.js";

const SPORT = { target: "news", topic: "sport" };

let world: World;
beforeEach(async () => {
  world = await World.start();
});
afterEach(() => world.stop());

const NEVER = { base: 3_600_000, busy: 3_600_000, max: 3_600_000 };
/** Tests connect when they want, and nothing else does. */
const QUIET = { backoff: NEVER, pingInterval: 0 };

/** A subscription that notes what it hears, and what it is told. */
function note(client: HighTemplar, room: object, since?: string) {
  const heard: unknown[] = [];
  const calls: object[] = [];
  const subscription = client.subscribe(room, (data) => heard.push(data), {
    onSubscribed: (how) => calls.push(how),
    onRecovered: (how) => calls.push(how),
    since,
  });
  return { heard, calls, subscription };
}

async function lose(client: HighTemplar): Promise<void> {
  world.wire.cut();
  await eventually(() => client.state === "waiting", "the loss");
}

test.each([{}, { perMessageDeflate: false }])(
  "the line is cut at every byte of the replay: with %j",
  { timeout: 300_000 },
  async (compression) => {
    class Socket extends WebSocket {
      constructor(url: string, protocols?: string[]) {
        super(url, protocols, compression);
      }
    }
    const client = world.client({ ...QUIET, WebSocket: Socket });
    // One publication meets two of them.
    const rooms = [note(client, NEWS), note(client, ORDERS), note(client, SPORT)];
    await Promise.all(rooms.map(({ subscription }) => subscription.ready));
    let last = 0;
    /** Publishes to them in turn, and returns what each is to hear of it. */
    const publish = async (room: object) => {
      await world.gateway.publish(room, ++last);
    };
    const due: number[][] = [[], [], []];
    const burst = async () => {
      for (const [room, hears] of [
        [SPORT, [0, 2]],
        [ORDERS, [1]],
        [SPORT, [0, 2]],
      ] as const) {
        await publish(room);
        for (const index of hears) due[index]?.push(last);
      }
    };
    // Without a cut: how long all of it is.
    await lose(client);
    await burst();
    const before = world.wire.passed;
    client.connect();
    await client.ready();
    const begin = world.wire.passed - before;
    await eventually(() => rooms[2]?.heard.length === due[2]?.length, "the replay");
    const length = world.wire.passed - before;
    for (let bytes = length; bytes >= begin; bytes--) {
      await lose(client);
      await burst();
      world.wire.limit(bytes);
      client.connect();
      await eventually(() => client.state === "waiting", "the cut");
      client.connect();
      await client.ready();
      await eventually(
        () => rooms.every(({ heard }, index) => heard.length >= (due[index]?.length ?? 0)),
        `what was published, after ${bytes} of ${length} bytes`,
      );
      expect(rooms.map(({ heard }) => heard)).toEqual(due);
    }
    for (const { calls } of rooms) {
      expect(calls.filter((how) => "again" in how)).toEqual([{ again: false }]);
    }
  },
);

test("a page with a position hears what came after it, and does not fetch", async () => {
  const first = note(world.client(QUIET), ORDERS);
  await first.subscription.ready;
  const since = await world.gateway.position();
  for (const data of [1, 2, 3]) await world.gateway.publish(ORDERS, data);
  const client = world.client(QUIET);
  const [news, orders] = [note(client, NEWS), note(client, ORDERS, since)];
  await eventually(() => orders.heard.length === 3, "the replay");
  await world.gateway.publish(ORDERS, 4);
  await eventually(() => orders.heard.length === 4, "what follows");
  expect(orders.heard).toEqual([1, 2, 3, 4]);
  expect(orders.calls).toEqual([{ replayed: 3 }]);
  expect(news.calls).toEqual([{ again: false }]);
});

test("more rooms than one message takes", async () => {
  const client = world.client(QUIET);
  const rooms = Array.from({ length: 300 }, (_, index) =>
    note(client, { target: "news", topic: `${index} ${"x".repeat(60)}` }),
  );
  await Promise.all(rooms.map(({ subscription }) => subscription.ready));
  let length = 0;
  for (let round = 0; round < 12; round++) {
    await lose(client);
    const before = world.wire.passed;
    for (const index of [0, 299, 150, round]) {
      await world.gateway.publish(rooms[index]?.subscription.room as object, round);
    }
    if (round) {
      // In the replay: of the first message, or of another one.
      world.wire.limit(Math.floor(length * (0.4 + 0.05 * round)));
      client.connect();
      await eventually(() => client.state === "waiting", "the cut");
    }
    client.connect();
    await eventually(() => rooms[299]?.heard.at(-1) === round, "the replay");
    await eventually(() => rooms[round]?.heard.at(-1) === round, "the replay");
    await eventually(() => rooms[150]?.heard.at(-1) === round, "the replay");
    await client.ready();
    length ||= world.wire.passed - before;
  }
  const all = Array.from({ length: 12 }, (_, round) => round);
  expect(rooms[299]?.heard).toEqual(all);
  expect(rooms[150]?.heard).toEqual(all);
  expect(rooms[5]?.heard).toEqual([5]);
  for (const { calls } of rooms) {
    expect(calls.filter((how) => "again" in how)).toEqual([{ again: false }]);
  }
});

test("pings move the cursor of a page that hears nothing", async () => {
  await world.stop();
  world = await World.start({ HT_WINDOW__ENTRIES: "100" });
  const pongs: string[] = [];
  const client = world.client({
    backoff: NEVER,
    pingInterval: 50,
    debug: (line) => /< .*"ping"/.test(line) && pongs.push(line),
  });
  const orders = note(client, ORDERS);
  await orders.subscription.ready;
  for (let data = 0; data < 300; data++) await world.gateway.publish(SPORT, data);
  const before = pongs.length;
  // The first may have been on its way.
  await eventually(() => pongs.length > before + 1, "a pong");
  await lose(client);
  await world.gateway.publish(ORDERS, 1);
  client.connect();
  await eventually(() => orders.heard.length, "the replay");
  expect(orders.calls).toEqual([{ again: false }, { replayed: 1 }]);
});

test("a gateway that was killed knows nothing: the page fetches, and is told why", async () => {
  const client = world.client(QUIET);
  const orders = note(client, ORDERS);
  await orders.subscription.ready;
  await world.gateway.publish(ORDERS, 1);
  await eventually(() => orders.heard.length, "a publication");
  await world.gateway.stop("SIGKILL");
  await eventually(() => client.state === "waiting", "the loss");
  await world.startGateway();
  client.connect();
  await eventually(() => orders.calls.length === 2, "the answer");
  expect(orders.calls).toEqual([{ again: false }, { again: true, reason: "epoch" }]);
  await world.gateway.publish(ORDERS, 2);
  await eventually(() => orders.heard.length === 2, "what follows");
});

test("who was invalidated meanwhile has to fetch", async () => {
  world.backend.add({ user: { id: 7 } });
  const client = world.client(QUIET);
  const orders = note(client, ORDERS);
  await orders.subscription.ready;
  await lose(client);
  await world.gateway.publish(ORDERS, 1);
  await world.gateway.command({ command: "invalidate", session: "anna" });
  client.connect();
  await eventually(() => orders.calls.length === 2, "the answer");
  expect(orders.calls).toEqual([{ again: false }, { again: true, reason: "permissions" }]);
  expect(orders.heard).toEqual([]);
});
