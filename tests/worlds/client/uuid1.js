// Version 1 UUIDs, as older clients use them for request ids: a clock, a counter, a node.

import { randomBytes } from "node:crypto";

// 100-nanosecond steps between 1582-10-15 and 1970-01-01.
const GREGORIAN = 0x01b21dd213814000n;
const node = randomBytes(6);
node[0] |= 1; // Not a hardware address.
const sequence = randomBytes(2).readUInt16BE() & 0x3fff;
let last = 0n;

export function uuid1() {
  const now = BigInt(Date.now()) * 10_000n + GREGORIAN;
  last = now > last ? now : last + 1n;
  const time = last.toString(16).padStart(15, "0");
  const variant = (sequence | 0x8000).toString(16);
  const [low, middle, high] = [time.slice(7), time.slice(3, 7), time.slice(0, 3)];
  return `${low}-${middle}-1${high}-${variant}-${node.toString("hex")}`;
}
