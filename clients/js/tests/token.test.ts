import { afterEach, expect, test } from "vitest";

import { offer, socketUrl } from "../src/wire.js";
import { eventually } from "./support/eventually.js";
import { ORDERS, statuses, until, World } from "./support/world.js";

let world: World;
afterEach(() => world?.stop());

/** Whatever a backend may call a token. */
const TOKEN = "tök.en/+ &=?~😀";

test.each(["subprotocol", "query", "message"] as const)("a token comes by %s", async (tokenIn) => {
  world = await World.start({ HT_AUTH__FIRST_FRAME: "true" });
  world.backend.allow(TOKEN, [ORDERS]);
  const client = world.client({ token: async () => TOKEN, tokenIn, legacy: false });
  await client.subscribe(ORDERS).ready;
  expect(world.backend.calls).toEqual([TOKEN]);
});

test("who brings no first frame in time is asked to sign in", async () => {
  world = await World.start({
    HT_AUTH__FIRST_FRAME: "true",
    HT_AUTH__FIRST_FRAME_TIMEOUT: "200ms",
  });
  let token: string | null = null;
  const authenticate = () => {
    token = "anna";
  };
  const client = world.client({
    token: () => token,
    tokenIn: "message",
    legacy: false,
    authenticate,
  });
  const seen = statuses(client);
  await until(client, "open");
  const refused = seen.find(({ state }) => state === "refused");
  expect(refused).toMatchObject({ code: 4301, reason: "authenticate" });
});

test.each(["subprotocol", "query", "message"] as const)(
  "a token that came by %s is renewed on the open connection",
  async (tokenIn) => {
    world = await World.start({ HT_AUTH__FIRST_FRAME: "true" });
    const { backend, gateway } = world;
    for (const token of ["first", "second"]) backend.allow(token, [ORDERS]);
    backend.add({ user: { id: "anna" }, expires_in: 3 });
    let calls = 0;
    const token = () => (calls++ ? "second" : "first");
    const client = world.client({ token, tokenIn, legacy: false });
    const heard: unknown[] = [];
    await client.subscribe(ORDERS, (data) => heard.push(data)).ready;
    const seen = statuses(client);
    const replies: unknown[] = [];
    client.addEventListener("message", ({ detail }) => replies.push(detail));
    backend.add({ user: { id: "anna" }, expires_in: 900 });
    await eventually(() => replies.length);
    expect(replies).toEqual([{ code: "success", requestId: "token", expires_in: 900 }]);
    expect(backend.calls).toEqual(["first", "second"]);
    await gateway.publish(ORDERS, 1);
    await eventually(() => heard.length);
    expect(seen).toEqual([]);
  },
);

test("without a new token in time a connection ends, and another one has it", async () => {
  world = await World.start();
  const { backend } = world;
  for (const token of ["first", "second"]) backend.allow(token, [ORDERS]);
  backend.add({ user: { id: "anna" }, expires_in: 1 });
  let calls = 0;
  const token = () => {
    if (++calls === 2) throw new Error("no network");
    return calls === 1 ? "first" : "second";
  };
  const client = world.client({ token, legacy: false });
  client.addEventListener("error", () => {});
  await client.subscribe(ORDERS).ready;
  const seen = statuses(client);
  backend.add({ user: { id: "anna" } });
  // It waits for a moment only.
  await eventually(() => seen.some(({ state }) => state === "waiting"));
  await until(client, "open");
  expect(seen.find(({ state }) => state === "waiting")).toMatchObject({ code: 4301 });
  expect(backend.calls).toEqual(["first", "second"]);
});

test("without a token nothing is sent of it", async () => {
  world = await World.start();
  world.backend.allow("", []);
  for (const token of [undefined, null, "", () => null]) {
    await until(world.client({ token }), "open");
  }
  await eventually(() => world.backend.calls.length === 4);
  expect(world.backend.calls).toEqual(["", "", "", ""]);
});

test("a token offered as a subprotocol is a name that a subprotocol may have", () => {
  for (let length = 1; length < 100; length++) {
    const token = "÷ÿ>?".repeat(length).slice(0, length);
    const [chosen, flag, name] = offer("ws://host/", token, "subprotocol", false).protocols;
    expect([chosen, flag]).toEqual(["high-templar.v1", "high-templar.events"]);
    expect(name).toMatch(/^high-templar\.token\.[A-Za-z0-9_-]+$/);
    const encoded = name?.split(".").at(-1) ?? "";
    expect(Buffer.from(encoded, "base64url").toString()).toBe(token);
  }
});

test.each([
  ["ws://host/ws/", "ws://host/ws/?token=a%26b"],
  ["ws://host/ws/?x=1", "ws://host/ws/?x=1&token=a%26b"],
])("in the address: %s", (url, expected) => {
  expect(offer(url, "a&b", "query", false)).toEqual({
    url: expected,
    protocols: ["high-templar.v1", "high-templar.events"],
  });
  expect(offer(url, "a&b", "message", true)).toEqual({ url: expected, protocols: [] });
});

test("an address of a page becomes that of a socket", () => {
  expect(socketUrl("https://host:8/ws/?a=1#b")).toBe("wss://host:8/ws/?a=1");
  expect(socketUrl("http://host/ws/")).toBe("ws://host/ws/");
  expect(socketUrl(new URL("wss://host/"))).toBe("wss://host/");
  expect(() => socketUrl("/ws/")).toThrow(TypeError);
});
