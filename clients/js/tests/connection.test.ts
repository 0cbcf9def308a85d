import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { eventually } from "./support/eventually.js";
import { LEGACY, ORDERS, statuses, until, World } from "./support/world.js";

let world: World;
beforeEach(async () => {
  world = await World.start({ HT_LIMITS__MESSAGE_BYTES: "10000" });
});
afterEach(() => world.stop());

test.each(["SIGTERM", "SIGKILL"] as const)(
  "a gateway that ends by %s and starts again: rooms are heard again, and the page knows",
  async (signal) => {
    const client = world.client();
    const [heard, onReconnect] = [vi.fn(), vi.fn()];
    const orders = client.subscribe(ORDERS, (data) => heard(data), { onReconnect });
    await orders.ready;
    const seen = statuses(client);
    await world.gateway.stop(signal);
    await eventually(() => seen.length > 0);
    const code = signal === "SIGTERM" ? 1012 : 1006;
    expect(seen[0]).toMatchObject({ state: "waiting", code, retryAt: expect.any(Number) });
    expect(orders.state).toBe("pending");
    expect(onReconnect).not.toHaveBeenCalled();
    await world.startGateway();
    await eventually(() => onReconnect.mock.calls.length === 1);
    expect(orders.state).toBe("subscribed");
    await world.gateway.publish(ORDERS, "after");
    await eventually(() => heard.mock.calls.length === 1);
    expect(heard).toHaveBeenCalledWith("after");
    expect(onReconnect).toHaveBeenCalledOnce();
    expect(seen.at(-1)).toMatchObject({ state: "open", code: null, retryAt: null });
  },
);

test("a connection that is cut comes back, and what was sent meanwhile arrives", async () => {
  const client = world.client();
  await until(client, "open");
  world.wire.lead(null);
  world.wire.cut();
  await until(client, "waiting");
  const answered = vi.fn();
  client.addEventListener("message", ({ detail }) => answered(detail));
  client.send({ type: "status" });
  const orders = client.subscribe(ORDERS);
  await eventually(() => world.wire.accepted >= 4);
  expect(client.state).not.toBe("open");
  world.wire.lead(world.gateway.port);
  await orders.ready;
  await eventually(() => answered.mock.calls.length === 1);
});

test("a connection that has gone silent is found dead, and replaced", async () => {
  // An attempt that falls into the silence is given up as well.
  const client = world.client({ pongTimeout: 300, connectTimeout: 1_000 });
  const again = vi.fn();
  const told = { onReconnect: again, onRecovered: again };
  await client.subscribe(ORDERS, undefined, told).ready;
  const seen = statuses(client);
  world.wire.silence(true);
  await eventually(() => seen.length > 0);
  expect(seen[0]).toMatchObject({ state: "waiting", code: 1006, reason: "no-pong" });
  world.wire.silence(false);
  await eventually(() => again.mock.calls.length >= 1);
});

test("an attempt that gets no answer is given up", async () => {
  world.wire.silence(true);
  const client = world.client({ connectTimeout: 200 });
  expect(await until(client, "waiting")).toMatchObject({ reason: "connect-timeout" });
  world.wire.silence(false);
  await until(client, "open");
});

test("a refused client does not reconnect until connect() is called", async () => {
  const client = world.client({ token: "stranger" });
  const orders = client.subscribe(ORDERS);
  const refused = await until(client, "refused");
  const said = LEGACY ? { code: 1000, reason: "" } : { code: 4300, reason: "refused" };
  expect(refused).toMatchObject({ ...said, retryAt: null });
  expect(orders.state).toBe("pending");
  // Another client's connection takes longer than any back-off of the refused one.
  const again = vi.fn();
  const told = { onReconnect: again, onRecovered: again };
  await world.client().subscribe(ORDERS, undefined, told).ready;
  world.wire.cut();
  await eventually(() => again.mock.calls.length === 1);
  expect(world.backend.calls.filter((key) => key === "stranger")).toHaveLength(1);
  world.backend.allow("stranger", [ORDERS]);
  client.connect();
  await orders.ready;
});

test("a refused client logs in and reconnects with a fresh token", async () => {
  let token = "expired";
  const authenticate = vi.fn(async () => {
    token = "anna";
  });
  const client = world.client({ token: async () => token, authenticate });
  await client.subscribe(ORDERS).ready;
  expect(authenticate).toHaveBeenCalledOnce();
  expect(authenticate).toHaveBeenCalledWith(expect.objectContaining({ state: "refused" }));
  expect(world.backend.calls).toEqual(["expired", "anna"]);
});

test("who is refused again after signing in waits longer and longer", async () => {
  const client = world.client({ token: "stranger", authenticate: () => true });
  const seen = statuses(client);
  await eventually(() => world.backend.calls.length >= 4);
  const waits = seen.filter(({ state }) => state === "waiting");
  // The first return is at once, the others are not.
  expect(waits.length).toBeGreaterThanOrEqual(2);
  world.backend.allow("stranger", []);
  await until(client, "open");
});

test("who does not sign in stays refused, and so does who fails at it", async () => {
  const client = world.client({ token: "stranger", authenticate: async () => false });
  const failing = world.client({
    token: "stranger",
    authenticate: () => Promise.reject(new Error("the sign-in page is down")),
  });
  const told = vi.fn();
  failing.addEventListener("error", ({ detail }) => told(detail.message));
  await eventually(() => told.mock.calls.length === 1);
  expect(told).toHaveBeenCalledWith("the sign-in page is down");
  await until(client, "refused");
  expect(failing.state).toBe("refused");
  expect(world.backend.calls).toEqual(["stranger", "stranger"]);
});

test("rights that change between two connections change what is heard", async () => {
  const client = world.client();
  const onError = vi.fn();
  const [orders, secret] = [
    client.subscribe(ORDERS, undefined, { onError }),
    client.subscribe({ target: "secret" }),
  ];
  await orders.ready;
  await eventually(() => secret.state === "refused");
  world.backend.allow("anna", [{ target: "secret" }]);
  client.reconnect();
  await eventually(() => secret.state === "subscribed");
  expect(secret.error).toBeNull();
  expect(orders.state).toBe("refused");
  expect(onError).toHaveBeenCalledExactlyOnceWith(orders.error);
});

test.skipIf(LEGACY)(
  "a cut client comes back without a call, unless a command is meant",
  async () => {
    const client = world.client();
    const orders = client.subscribe(ORDERS);
    await orders.ready;
    const again = async () => {
      const before = client.status;
      world.wire.cut();
      await eventually(() => client.status !== before && client.state === "open");
      await eventually(() => orders.state === "subscribed");
    };
    await again();
    await again();
    expect(world.backend.calls).toEqual(["anna"]);
    // A client that is away is meant as well.
    const before = client.status;
    world.wire.lead(null);
    world.wire.cut();
    // The gateway has to know that it is away, or it asks about that connection as well.
    await eventually(async () => (await world.gateway.connections()) === 0);
    await world.gateway.command({ command: "invalidate", everyone: true });
    world.wire.lead(world.gateway.port);
    await eventually(() => client.status !== before && orders.state === "subscribed");
    expect(world.backend.calls).toEqual(["anna", "anna"]);
    await again();
    expect(world.backend.calls).toEqual(["anna", "anna"]);
  },
);

test("a backend that is down is no refusal: the client comes back later", async () => {
  await world.backend.stop();
  const client = world.client();
  const { code } = await until(client, "waiting");
  expect(code).toBe(1013);
  const seen = statuses(client);
  await eventually(() => seen.some(({ state }) => state === "connecting"));
  expect(seen.some(({ state }) => state === "refused")).toBe(false);
});

test("what would come again is not tried again", async () => {
  const client = world.client();
  await until(client, "open");
  const loop = client.subscribe(ORDERS)[Symbol.asyncIterator]();
  client.send({ type: "x".repeat(20_000) });
  expect(await until(client, "failed")).toMatchObject({ code: 1009, retryAt: null });
  await expect(loop.next()).rejects.toThrow("1009");
  expect(await loop.next()).toMatchObject({ done: true });
  expect(world.wire.accepted).toBe(1);
  client.connect();
  await until(client, "open");
});

test("a client that talks without end is sent away, and stays away", async () => {
  const strict = await World.start({ HT_LIMITS__MESSAGES_PER_SECOND: "1" });
  try {
    const client = strict.client();
    await until(client, "open");
    for (let number = 0; number < 100; number++) client.send({ type: "nonsense" });
    expect(await until(client, "failed")).toMatchObject({
      code: 4200,
      reason: "too-many-messages",
    });
    expect(strict.wire.accepted).toBe(1);
  } finally {
    await strict.stop();
  }
});

test("closing is for good, until somebody connects again", async () => {
  const client = world.client();
  const heard = vi.fn();
  const orders = client.subscribe(ORDERS, (data) => heard(data));
  await orders.ready;
  client.close();
  expect(client.state).toBe("closed");
  const seen = statuses(client);
  client.close();
  expect(seen).toEqual([]);
  const other = world.client();
  await until(other, "open");
  expect(world.wire.accepted).toBe(2);
  client.connect();
  client.connect();
  await eventually(() => orders.state === "subscribed");
  expect(world.wire.accepted).toBe(3);
  await world.gateway.publish(ORDERS, 1);
  await eventually(() => heard.mock.calls.length === 1);
});

test("closing while the token is fetched leaves nothing behind", async () => {
  let give: (token: string) => void = () => {};
  const client = world.client({ token: () => new Promise((resolve) => (give = resolve)) });
  await eventually(() => String(give) !== "() => {}");
  client.close();
  give("anna");
  const other = world.client();
  await until(other, "open");
  expect(client.state).toBe("closed");
  expect(world.wire.accepted).toBe(1);
});

test("a token that cannot be fetched is told, and fetched again later", async () => {
  const told = vi.fn();
  let failures = 0;
  const token = () => {
    if (failures++ < 2) throw new Error("no network");
    return "anna";
  };
  const client = world.client({ token });
  client.addEventListener("error", ({ detail }) => told(detail.message));
  const seen = statuses(client);
  await until(client, "open");
  const waits = seen.filter(({ state }) => state === "waiting");
  expect(waits.map(({ reason }) => reason)).toEqual(["token", "token"]);
  expect(told.mock.calls).toEqual([["no network"], ["no network"]]);
});

test("a handler that closes the client is obeyed at once", async () => {
  const client = world.client();
  client.addEventListener("state", ({ detail }) => detail.state === "connecting" && client.close());
  await until(client, "open");
  world.wire.cut();
  await until(client, "closed");
  const other = world.client();
  await until(other, "open");
  expect(client.state).toBe("closed");
  expect(world.wire.accepted).toBe(2);
});

test("a closed client has nothing left to do", async () => {
  const quick = { pingInterval: 50, pongTimeout: 200 };
  const client = world.client(quick);
  await until(client, "open");
  const other = world.client(quick);
  await until(other, "open");
  const [seen, others] = [statuses(client), statuses(other)];
  client.close();
  // Whatever it had planned would come before the other finds its connection dead.
  world.wire.silence(true);
  await eventually(() => others.length > 0);
  expect(seen.map(({ state }) => state)).toEqual(["closed"]);
});
