// What has to compile: rooms and data of every shape that pages have.

import { HighTemplar, type Room, SubscribeError, type Subscription } from "@high-templar/client";
import { type Live, live } from "@high-templar/client/live";
import {
  HighTemplarProvider,
  type NoRoom,
  type RoomStatus,
  useConnection,
  useHighTemplar,
  useLive,
  useRoom,
} from "@high-templar/client/react";
import { FakeGateway } from "@high-templar/client/testing";
import type { ReactElement } from "react";

interface Order {
  id: number;
  paid?: boolean;
}
interface OrderRoom {
  readonly target: "order";
  customer: number | string | null;
  tags?: readonly string[];
  place: { shelf: number[] };
}
class Shelf {
  target = "stock";
  constructor(readonly shelf: number) {}
}
type Part = { target: "news" } | { target: "stock"; shelf: number };
declare const room: OrderRoom;
declare const part: Part;
declare const maybe: OrderRoom | undefined;
declare const customer: number;
declare const parsed: { [key: string]: string | number };
const orders = (customer: number): Room<Order> => ({ target: "order", customer });
const reduce = (all: Order[], order: Order) => [...all, order];
const load = async (signal: AbortSignal): Promise<Order[]> =>
  (await fetch("/orders", { signal })).json();

/** Interfaces, classes, unions and what was parsed are rooms; `T` is that of the room, or given. */
export function subscribes(socket: HighTemplar): void {
  socket.subscribe(room);
  socket.subscribe(part, (data) => String(data));
  socket.subscribe(new Shelf(1), (order: Order) => order.paid);
  socket.subscribe(parsed, null, { signal: AbortSignal.timeout(1) });
  socket.subscribe<Order>(room, { onPublish: ({ id }, { requestId }) => [id, requestId] });
  socket.subscribe({ target: "order", customer: "*" } as const, async (order: Order) => order.id);
  const typed: Subscription<Order> = socket.subscribe(orders(7));
  const any: Subscription = typed;
  for (const { room, state } of [any]) console.log(room["target"], state === "subscribed");
  socket.addEventListener("error", ({ detail }) => {
    if (detail instanceof SubscribeError && detail.code === "room-not-found") detail.room["x"];
  });
  socket.addEventListener("state", { handleEvent: ({ detail }) => detail.retryAt?.toFixed() });
  socket.send({ type: "status" });
  socket.send({ type: "ours", data: { any: [1] }, requestId: 7 });
}

export function lives(socket: HighTemplar): Live<Map<number, Order>, Order> {
  // In place, and as a new state.
  live(socket, orders(7), { load, apply: reduce, onChange: (all) => all[0]?.id });
  return live(socket, room, {
    load: () => new Map<number, Order>(),
    apply: (all, order: Order) => void all.set(order.id, order),
  });
}

export function Board({ initial }: { initial: Order[] | undefined }): ReactElement {
  const status: RoomStatus = useRoom(maybe, (order: Order) => order.id);
  useRoom(customer && room, null, { onError: ({ code }) => code });
  useRoom(customer !== 7 && orders(7), ({ paid }) => paid);
  useRoom<Order>({ target: "order", customer }, ({ id }) => id);
  const none: NoRoom[] = [null, undefined, false, "", 0];
  useRoom(none[customer]);
  const { data = [], loadError, reload } = useLive(orders(7), { load, reduce, initial });
  const count: number | undefined = useLive(maybe, {
    load: () => 0,
    reduce: (sum, order: Order) => sum + order.id,
  }).data;
  const { dropped } = useHighTemplar();
  return (
    <button type="button" onClick={reload}>
      {[
        useConnection().display,
        status.error?.reason,
        loadError?.message,
        data[0]?.id,
        count,
        dropped,
      ]}
    </button>
  );
}

const { WebSocket } = new FakeGateway({ grants: [room] });
export const page: ReactElement = (
  <HighTemplarProvider client={new HighTemplar({ url: "/ws/", WebSocket, token: undefined })}>
    <Board initial={undefined} />
  </HighTemplarProvider>
);
