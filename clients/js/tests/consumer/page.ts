// How others use the package, with all of TypeScript's checks upon its published types.

import { HighTemplar, type Status, SubscribeError } from "@high-templar/client";
import { useRoom } from "@high-templar/client/react";
import { Socket, type Subscription } from "@high-templar/client/spine";
import NodeWebSocket from "ws";

interface Order {
  id: number;
}

export async function orders(socket: HighTemplar): Promise<number[]> {
  const ids: number[] = [];
  const board = socket.subscribe<Order>({ target: "order", customers: ["7"] }, ({ id }) => {
    ids.push(id);
  });
  await board.ready;
  for await (const { id } of board) ids.push(id);
  return ids;
}

export const socket: HighTemplar = new HighTemplar({
  url: "/ws/",
  token: async () => "fresh",
  authenticate: ({ code }: Status) => code === 4300,
  WebSocket: NodeWebSocket,
});
new HighTemplar({ url: new URL("wss://host/ws/"), WebSocket: globalThis.WebSocket });

socket.addEventListener("state", ({ detail }) => detail.retryAt?.toFixed());
socket.addEventListener("error", ({ detail }) => detail instanceof SubscribeError && detail.code);
socket.addEventListener("publish", ({ detail }) => detail.subscription.room);
// @ts-expect-error: a room is an object
socket.subscribe("orders");
// @ts-expect-error: no such way
new HighTemplar({ url: "/ws/", tokenIn: "header" });

export function Board(): string {
  return useRoom<Order>({ target: "order" }, ({ id }) => id.toFixed()).state;
}

const old = new Socket({ url: "wss://host/ws/", token: "secret", pingInterval: 1_000 });
export const subscription: Subscription = old.subscribe({
  room: { target: "order" },
  onPublish: ({ data }) => data.id,
  onReconnect: () => {},
});
