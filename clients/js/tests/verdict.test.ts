import { describe, expect, test } from "vitest";

import { judge, wait } from "../src/verdict.js";

const BACKOFF = { base: 1_000, later: 5_000, max: 30_000 };
/** As near to 1 as a random number comes. */
const MOST = 1 - Number.EPSILON;

describe("what a close code asks for", () => {
  test.each([
    [1000, "", "soon"],
    [1000, "idle", "soon"],
    [1001, "", "soon"],
    [1002, "a reserved bit", "never"],
    [1003, "", "never"],
    [1005, "", "soon"],
    [1006, "", "soon"],
    [1007, "not UTF-8", "never"],
    [1009, "too long", "never"],
    [1011, "", "soon"],
    [1012, "restart 4000", "soon"],
    [1013, "backend 4000", "later"],
    [4000, "slow-consumer", "soon"],
    [4002, "permissions 2000", "soon"],
    [4003, "ended", "soon"],
    [4099, "", "soon"],
    [4100, "connections-per-user", "later"],
    [4103, "ended", "later"],
    [4199, "", "later"],
    [4200, "too-many-messages", "never"],
    [4203, "ended", "never"],
    [4299, "", "never"],
    [4300, "refused", "refused"],
    [4303, "signed-out", "refused"],
    [4399, "", "refused"],
    [4400, "", "later"],
  ])("%i %s: %s", (code, reason, verdict) => {
    expect(judge(code, reason, false)[0]).toBe(verdict);
  });

  test("1000 after a denial is a refusal, as it is without the subprotocol", () => {
    expect(judge(1000, "", true)[0]).toBe("refused");
    expect(judge(1013, "backend 400", true)[0]).toBe("later");
  });

  test.each([
    ["restart 4000", 4_000],
    ["restart 0", 0],
    ["restart 99999999999", 3_600_000],
    ["restart", null],
    ["restart soon", null],
    ["restart -5", null],
    ["a restart 5", null],
    ["4000", null],
  ])("the span in %j", (reason, within) => {
    expect(judge(1012, reason, false)[1]).toBe(within);
  });
});

describe("how long a wait is", () => {
  const soon = ["soon", null] as const;
  const later = ["later", null] as const;

  test("anything up to a span that doubles, to a limit", () => {
    const most = (attempt: number) => wait(soon, attempt, BACKOFF, MOST) + 1;
    expect([0, 1, 2, 3, 4, 5, 6].map(most)).toEqual([
      1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000,
    ]);
    expect(most(10_000)).toBe(30_000);
    expect(wait(soon, 5, BACKOFF, 0)).toBe(0);
    expect(wait(soon, 1, BACKOFF, 0.25)).toBe(500);
  });

  test("later starts with a longer span", () => {
    const most = (attempt: number) => wait(later, attempt, BACKOFF, MOST) + 1;
    expect([0, 2, 3, 9].map(most)).toEqual([5_000, 5_000, 8_000, 30_000]);
  });

  test("within the gateway's span, also a long one", () => {
    const within = (ms: number) => ["later", ms] as const;
    expect(wait(within(100), 0, BACKOFF, 0.5)).toBe(50);
    expect(wait(within(100_000), 0, BACKOFF, 0.5)).toBe(50_000);
    // Sent away again and again: never in a loop.
    expect(wait(within(0), 3, BACKOFF, 0.5)).toBe(4_000);
    expect(wait(within(60_000), 9, BACKOFF, 0.5)).toBe(30_000);
  });
});
