// Where there is no page: server-side rendering, Node, and pages without an address of their own.

import { afterEach, describe, expect, test, vi } from "vitest";
import WebSocket from "ws";

import { HighTemplar } from "../src/index.js";
import { Socket } from "../src/spine.js";
import { FakeGateway } from "../src/testing.js";
import { settled } from "./support/fake.js";

afterEach(() => vi.unstubAllGlobals());

/** A class of sockets that counts those that are made. */
function counting() {
  const { WebSocket, urls } = new FakeGateway();
  return { WebSocket, urls };
}

describe.each([
  ["without a global WebSocket", undefined],
  ["with a global WebSocket", WebSocket],
])("on a server %s", (_, global) => {
  test.each(["/ws/", "ws/", "wss://live.example/ws/", "//live.example/ws/", "not an address"])(
    "a client of %j is made, stays closed and opens no socket",
    async (url) => {
      const { WebSocket, urls } = counting();
      vi.stubGlobal("WebSocket", global && WebSocket);
      for (const autoConnect of [undefined, false]) {
        const client = new HighTemplar({ url, autoConnect });
        expect(client.status).toEqual({
          state: "closed",
          code: null,
          reason: "",
          retryAt: null,
          rooms: [],
        });
        expect(client.status.display).toBe("closed");
        client.subscribe({ target: "order" }).ready.catch(() => {});
        client.send({ type: "status" });
        client.close();
      }
      new Socket({ url });
      await settled();
      expect(urls).toEqual([]);
    },
  );
});

test("a socket is opened on a server for whoever asks for it", async () => {
  const { WebSocket, urls } = counting();
  vi.stubGlobal("WebSocket", WebSocket);
  const url = "ws://gateway/ws/";
  const clients = [
    new HighTemplar({ url, autoConnect: true }),
    new HighTemplar({ url, WebSocket }),
    new HighTemplar({ url }),
  ];
  clients[2]?.connect();
  await Promise.all(clients.map((client) => client.ready()));
  expect(urls).toHaveLength(3);
  for (const client of clients) client.close();
});

test.each([
  ["no WebSocket", { url: "ws://gateway/ws/" }, undefined, /WebSocket/],
  ["a relative address", { url: "/ws/" }, undefined, /\/ws\/.*wss:\/\/host\/ws\//],
  ["srcdoc", { url: "/ws/" }, "about:srcdoc", /about:srcdoc/],
  ["a blob: worker", { url: "/ws/" }, "blob:http://site/4d2c", /blob:http/],
  ["a data: worker", { url: "ws/" }, "data:text/javascript,0", /data:/],
  ["a file", { url: "/ws/" }, "file:///srv/site/page.html", /file:/],
  ["another scheme", { url: "ftp://host/ws/" }, "https://site/", /ftp:/],
])("%s: the reason is in the status, and the event comes after the constructor", async (...row) => {
  const [what, options, href, reason] = row;
  if (what !== "no WebSocket") vi.stubGlobal("WebSocket", new FakeGateway().WebSocket);
  if (href) vi.stubGlobal("location", { href });
  const client = new HighTemplar({ ...options, autoConnect: true });
  const [failed, states] = [vi.fn(), vi.fn()];
  client.addEventListener("error", ({ detail }) => failed(detail));
  client.addEventListener("state", ({ detail }) => states(detail.state));
  const room = client.subscribe({ target: "order" });
  expect(client.status).toMatchObject({ state: "failed", code: null });
  expect(client.status.reason).toMatch(reason);
  expect(failed).not.toHaveBeenCalled();
  await settled();
  expect(failed).toHaveBeenCalledExactlyOnceWith(client.status.cause);
  expect(states.mock.calls).toEqual([["failed"]]);
  await expect(client.ready()).rejects.toMatchObject({
    name: "ConnectionError",
    message: client.status.reason,
    cause: client.status.cause,
  });
  room.unsubscribe();
});

test("the failure of a later attempt is the reason as well, not that of the loss before", async () => {
  const gateway = new FakeGateway();
  let works = true;
  const make = class {
    constructor(url: string) {
      if (!works) throw new DOMException("insecure", "SecurityError");
      // biome-ignore lint/correctness/noConstructorReturn: in place of a subclass
      return new gateway.WebSocket(url);
    }
  };
  const url = "ws://gateway/ws/";
  const client = new HighTemplar({ url, WebSocket: make as never, backoff: { base: 0 } });
  await client.ready();
  client.addEventListener("error", () => {});
  works = false;
  gateway.close(1012, "restart 0");
  await vi.waitUntil(() => client.state === "failed");
  expect(client.status).toMatchObject({ code: null, reason: "insecure" });
  works = true;
  client.connect();
  expect(client.status).toMatchObject({ state: "connecting", reason: "" });
  expect(client.status.cause).toBeNull();
  await client.ready();
  client.close();
});
