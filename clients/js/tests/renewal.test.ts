// Permissions that expire while a page is connected: the client's part, against a gateway in memory.

import { afterEach, expect, test, vi } from "vitest";

import type { HighTemplar, HighTemplarOptions } from "../src/index.js";
import type { FakeGateway } from "../src/testing.js";
import { connect, settled } from "./support/fake.js";

const NEWS = { target: "news" };

let client: HighTemplar;
let gateway: FakeGateway;
afterEach(() => client?.close());

async function open(options: Partial<HighTemplarOptions>): Promise<void> {
  ({ client, gateway } = connect(options, [NEWS]));
  await client.subscribe(NEWS, () => {}).ready;
  gateway.received.splice(0);
}

test.each(["subprotocol", "message", "query"] as const)(
  "a new token is sent on the same connection, whatever way the first went: %s",
  async (tokenIn) => {
    let asked = 0;
    await open({ token: async () => `token-${++asked}`, tokenIn });
    const message = vi.fn();
    client.addEventListener("message", message);
    gateway.expire(180_000);
    await settled();
    const sent = { type: "authenticate", token: "token-2", requestId: "token" };
    expect(gateway.received).toEqual([sent]);
    expect(gateway.urls).toHaveLength(1);
    expect(client.state).toBe("open");
    const reply = { code: "success", requestId: "token" };
    expect(message.mock.calls).toMatchObject([[{ detail: reply }]]);
    gateway.expire();
    await settled();
    expect(gateway.received).toMatchObject([sent, { token: "token-3" }]);
  },
);

test("a token that is no function is sent again: the API may let it go on", async () => {
  await open({ token: "forever" });
  gateway.expire();
  await settled();
  expect(gateway.received).toMatchObject([{ type: "authenticate", token: "forever" }]);
});

test("the token is never logged", async () => {
  const debug = vi.fn();
  await open({ token: () => "geheim", debug });
  gateway.expire();
  await settled();
  expect(debug).toHaveBeenCalledWith("high-templar > (token)");
  expect(JSON.stringify(debug.mock.calls)).not.toContain("geheim");
});

test.each([
  ["no token", {}],
  ["a function that has none any more", { token: () => null }],
])("%s: the client reconnects with the cookies and the address of now", async (_, options) => {
  let address = 0;
  await open({ ...options, url: () => `ws://gateway/ws/?n=${++address}` });
  const onSubscribed = vi.fn();
  client.subscribe(NEWS, null, { onSubscribed });
  await settled();
  gateway.expire();
  await settled();
  await client.ready();
  await settled();
  expect(gateway.urls).toEqual(["ws://gateway/ws/?n=1", "ws://gateway/ws/?n=2"]);
  expect(gateway.received).toMatchObject([{ type: "subscribe" }]);
  expect(onSubscribed.mock.calls).toEqual([[{ again: false }], [{ again: true }]]);
  expect(gateway.connections).toBe(1);
});

test.each(["other-user", "token-refused", "backend-unavailable"] as const)(
  "after the reply %s nothing changes, and the page may see it",
  async (code) => {
    await open({ token: () => "new" });
    const message = vi.fn();
    client.addEventListener("message", message);
    gateway.expire(60_000, code);
    await settled();
    const reply = { code: "error", message: code, requestId: "token" };
    expect(message.mock.calls).toMatchObject([[{ detail: reply }]]);
    expect(client.status).toMatchObject({ state: "open", grants: [NEWS] });
    expect(gateway.publish(NEWS, 1)).toBe(1);
  },
);

test("a reply is not taken for that to a message of the page", async () => {
  await open({ token: () => "new" });
  const message = vi.fn();
  client.addEventListener("message", ({ detail }) => message(detail));
  gateway.expire();
  client.send({ type: "status" });
  await settled();
  expect(message.mock.calls).toEqual([
    [expect.objectContaining({ open_connections: 1 })],
    [{ code: "success", requestId: "token" }],
  ]);
  await client.subscribe({ ...NEWS }).ready;
});

test("a function that fails is an error event; the connection goes on", async () => {
  let isBroken = false;
  await open({
    token: () => {
      if (isBroken) throw new Error("no network");
      return "new";
    },
  });
  isBroken = true;
  const error = vi.fn();
  client.addEventListener("error", ({ detail }) => error(detail.message));
  gateway.expire();
  await settled();
  expect(error.mock.calls).toEqual([["no network"]]);
  expect(client.state).toBe("open");
  expect(gateway.received).toEqual([]);
});

test.each(["closes", "reconnects", "loses the connection"])(
  "a page that %s meanwhile sends no token on another connection",
  async (what) => {
    const tokens: ((token: string) => void)[] = [];
    const { gateway, client } = connect(
      { token: () => new Promise<string>((resolve) => tokens.push(resolve)) },
      [NEWS],
    );
    await settled();
    tokens[0]?.("first");
    await client.ready();
    gateway.expire();
    if (what === "closes") client.close();
    else if (what === "reconnects") client.reconnect();
    else gateway.cut();
    await vi.waitFor(() => expect(tokens).toHaveLength(what === "closes" ? 2 : 3));
    tokens[2]?.("third");
    await settled();
    tokens[1]?.("second");
    await settled();
    expect(gateway.received).toEqual([]);
    expect(client.state).toBe(what === "closes" ? "closed" : "open");
    client.close();
  },
);

test("without a new token in time the client reconnects with one", async () => {
  let token = "old";
  const authenticate = vi.fn();
  await open({ token: () => token, authenticate });
  token = "new";
  gateway.close(4301, "authenticate");
  expect(client.status).toMatchObject({ state: "waiting", code: 4301 });
  await client.ready();
  expect(authenticate).not.toHaveBeenCalled();
});

test("where that is refused, too, the user signs in", async () => {
  const authenticate = vi.fn(() => false);
  await open({ token: () => "old", authenticate });
  const [socket] = gateway.urls;
  // From now on everybody is refused; the connection is closed for the term's end alone.
  vi.spyOn(gateway, "close").mockImplementationOnce(() => {});
  gateway.refuse();
  gateway.close(4301, "authenticate");
  await vi.waitFor(() => expect(authenticate).toHaveBeenCalledOnce());
  expect(client.status).toMatchObject({ state: "refused", code: 4300 });
  expect(gateway.urls).toEqual([socket, socket]);
});

test("clients that offer no events are never asked", async () => {
  await open({ token: "old", legacy: true });
  gateway.expire();
  await settled();
  expect(gateway.received).toEqual([]);
});
