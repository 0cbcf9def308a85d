// Which request an answer is to.

import { expect, test } from "vitest";

import { type Channel, type Request, take } from "../src/requests.js";

const channel = { key: "{}", room: {}, subscribers: new Set(), state: "requested" } as const;
const subscribe = (requestId: string): Request => ({
  requestId,
  channel: { ...channel, requestId } as Channel,
});
const unsubscribe: Request = { requestId: "1", channel: null };
const status: Request = { requestId: undefined };
const own: Request = { requestId: "own" };

test.each([
  ["its name, in any order", [subscribe("1"), subscribe("2")], { requestId: "2" }, 1],
  ["the first of a name", [subscribe("1"), unsubscribe, subscribe("1")], { requestId: "1" }, 0],
  ["the page's, by its name", [status, own], { requestId: "own" }, 1],
  ["a name that nobody has", [subscribe("1"), unsubscribe, status], { requestId: "77" }, -1],
  ["a number is no text", [subscribe("1"), status], { requestId: 1 }, -1],
  ["no name: the page's", [subscribe("1"), unsubscribe, status, own], {}, 2],
  ["no name, and nothing of the page's", [subscribe("1"), unsubscribe], {}, -1],
  ["nothing is open", [], { requestId: "1" }, -1],
])("%s", (_, requests, answer, index) => {
  const open: Request[] = [...requests];
  const taken = take(open, { code: "success", ...answer }, false);
  expect(taken).toBe(requests[index]);
  expect(open).toEqual(requests.filter((request) => request !== taken));
});

// Gateways before 4.0 name their own connection.
test.each([
  ["the oldest", [subscribe("1"), status, unsubscribe], { code: "success" }, 0],
  ["the oldest, whatever the name", [status, subscribe("1")], { code: "error" }, 0],
  ["to `status`, without a code", [subscribe("1"), unsubscribe, status], { num_rooms: 0 }, 2],
  ["nothing is open", [], { code: "success" }, -1],
])("without names of requests: %s", (_, requests, answer, index) => {
  const open: Request[] = [...requests];
  const taken = take(open, { requestId: "1", ...answer }, true);
  expect(taken).toBe(requests[index]);
  expect(open).toEqual(requests.filter((request) => request !== taken));
});
