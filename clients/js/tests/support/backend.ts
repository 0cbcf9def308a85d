// The HTTP API of a site: says who may hear what.

import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

export async function startBackend() {
  /** Their grants, by what `Authorization: Token …` or the cookie `session` must hold. */
  const users = new Map<string, object[]>();
  /** The keys of all bootstrap calls, in their order. */
  const calls: string[] = [];
  let status: number | null = null;
  let more: object = {};

  const server = createServer((request, response) => {
    request.resume();
    if (!request.url?.endsWith("/bootstrap/")) return response.writeHead(204).end();
    const key = keyOf(request);
    calls.push(key);
    const rooms = users.get(key);
    response.writeHead(status ?? (rooms ? 200 : 403), { "Content-Type": "application/json" });
    response.end(JSON.stringify({ allowed_rooms: rooms, session: key || null, ...more }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/`,
    calls,
    /** Admits a user from now on; without rooms, refuses. */
    allow(key: string, rooms: object[] | null) {
      if (rooms) users.set(key, rooms);
      else users.delete(key);
    },
    /** Has more members in every answer. */
    add(members: object) {
      more = members;
    },
    /** Answers everybody with this status; `null` as ever. */
    answer(always: number | null) {
      status = always;
    },
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function keyOf({ headers }: IncomingMessage): string {
  const token = headers.authorization?.replace(/^Token /, "");
  // The gateway passes bytes on; Node reads each as a character.
  if (token) return Buffer.from(token, "latin1").toString();
  return /session=([^;]*)/.exec(headers.cookie ?? "")?.[1] ?? "";
}

export type Backend = Awaited<ReturnType<typeof startBackend>>;
