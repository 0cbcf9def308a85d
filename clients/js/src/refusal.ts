/**
 * The in-memory gateway's `reason` for a refused room, as from the real one.
 *
 * @module
 */

import type { Json, JsonObject } from "./wire.js";

/** Why no grant permits a room: the closest one, and where it differs. */
export function explain(grants: readonly JsonObject[], room: JsonObject): string {
  const differences = grants.map((grant) =>
    Object.keys({ ...grant, ...room })
      .filter(
        (key) =>
          (grant[key] !== "*" || room[key] === undefined) &&
          JSON.stringify(grant[key]) !== JSON.stringify(room[key]),
      )
      .map((key) => `\`${key}\`: granted ${shown(grant[key])}, asked ${shown(room[key])}`),
  );
  const [closest] = differences.sort((one, other) => one.length - other.length);
  const why = closest
    ? `the closest grant differs in ${closest.join("; ")}`
    : "there are no grants";
  return `not granted; ${why}`;
}

/** A value and its type. */
function shown(value: Json | undefined): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  const type = Array.isArray(value) ? "array" : typeof value;
  return `${JSON.stringify(value)} (${type === "string" ? "text" : type})`;
}
