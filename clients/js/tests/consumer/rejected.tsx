// What must not compile: each mistake is an error, and TypeScript says where one is none any more.

import { HighTemplar, type Room, SubscribeError, type Subscription } from "@high-templar/client";
import { live } from "@high-templar/client/live";
import { HighTemplarProvider, useHighTemplar, useLive, useRoom } from "@high-templar/client/react";
import { Socket } from "@high-templar/client/spine";
import { FakeGateway } from "@high-templar/client/testing";
import type { ReactElement } from "react";

interface Order {
  id: number;
}
interface Note {
  text: string;
}
interface OrderRoom {
  target: "order";
  customer: number;
}
interface Clicked {
  target: "order";
  onClick(): void;
}
declare const clicked: Clicked;
declare const socket: HighTemplar;
declare const typed: Room<Order>;
const load = async (): Promise<Order[]> => [];
const reduce = (all: Order[], order: Order) => [...all, order];

export function rooms(): void {
  // @ts-expect-error: a room is an object
  socket.subscribe("order");
  // @ts-expect-error: and not nothing, outside of the hooks
  socket.subscribe(undefined as OrderRoom | undefined);
  // @ts-expect-error: JSON has no undefined
  socket.subscribe({ target: "order", customer: undefined });
  // @ts-expect-error: JSON has no BigInt
  socket.subscribe({ target: "order", customer: 7n });
  // @ts-expect-error: JSON has no symbols
  socket.subscribe({ target: "order", customer: Symbol("7") });
  // @ts-expect-error: JSON has no functions, nor has an interface that is a room
  socket.subscribe(clicked);
  // @ts-expect-error: nor within objects
  socket.subscribe({ target: "order", by: { customer: () => 7 } });
  // @ts-expect-error: nor in lists
  socket.subscribe({ target: "order", customers: [7n] });
  // @ts-expect-error: another room than the one that is declared
  const wrong: OrderRoom = { target: "order", customer: "7" };
  // @ts-expect-error: JSON has no functions
  live(socket, clicked, { load, apply: reduce });
  console.log(wrong);
}

export function publications(): void {
  // @ts-expect-error: of a room of orders come no notes
  socket.subscribe(typed, (note: Note) => note.text);
  // @ts-expect-error: an order has no text
  socket.subscribe(typed, ({ text }) => text);
  // @ts-expect-error: of another room nothing is known
  socket.subscribe({ target: "order" }, (order) => order.id);
  // @ts-expect-error: what comes is of the room, not of what it is assigned to
  const numbers: Subscription<number> = socket.subscribe({ target: "order" });
  // @ts-expect-error: orders are no notes
  const notes: Subscription<Note> = socket.subscribe(typed);
  // @ts-expect-error: no such option
  socket.subscribe(typed, { onSubscribe: () => {} });
  // @ts-expect-error: a list is neither a function nor options
  socket.subscribe(typed, [1]);
  console.log(numbers, notes);
}

export function lives(): void {
  // @ts-expect-error: of a room of orders come no notes
  live(socket, typed, { load, apply: (all: Order[], note: Note) => [...all, { id: note.text }] });
  // @ts-expect-error: the state is what is loaded
  live(socket, typed, { load, apply: (all: Note[]) => all });
  // @ts-expect-error: and stays of that type
  live(socket, typed, { load, apply: () => "all" });
  // @ts-expect-error: without `load` there is no state
  live(socket, typed, { apply: reduce });
}

export function Board(): string {
  // @ts-expect-error: of a room of orders come no notes
  useRoom(typed, (note: Note) => note.text);
  // @ts-expect-error: any falsy value is no room; other text and numbers are none
  useRoom("order");
  // @ts-expect-error: JSON has no undefined
  useRoom({ target: "order", customer: undefined });
  // @ts-expect-error: no such option
  useRoom(typed, null, { onSubscribe: () => {} });
  // @ts-expect-error: a reducer of another room
  useLive(typed, {
    load,
    reduce: (all: Order[], note: Note) => [...all, { id: note.text.length }],
  });
  // @ts-expect-error: a reducer of another state
  useLive(typed, { load, reduce: (all: Note[]) => all });
  // @ts-expect-error: a reducer returns a state: to change one in place is not to change it in React
  useLive(typed, { load, reduce: (all: Order[], order: Order) => void all.push(order) });
  // @ts-expect-error: `apply` is of `live`
  useLive(typed, { load, apply: reduce });
  // @ts-expect-error: not before it is loaded
  useLive(typed, { load, reduce }).data.length;
  const { status } = useHighTemplar();
  // @ts-expect-error: that is a state of the connection
  return useRoom(typed).state === "open" ? status.reason : "";
}

export function clients(): void {
  // @ts-expect-error: without an address there is no gateway
  new HighTemplar({});
  // @ts-expect-error: no such way
  new HighTemplar({ url: "/ws/", tokenIn: "header" });
  // @ts-expect-error: no such option
  new HighTemplar({ url: "/ws/", reconnectInterval: 7 });
  // @ts-expect-error: no such event
  socket.addEventListener("stat", () => {});
  // @ts-expect-error: nor is a state an event
  socket.addEventListener("open", () => {});
  // @ts-expect-error: a status is no text
  socket.addEventListener("state", ({ detail }) => detail.trim());
  // @ts-expect-error: a message has a type
  socket.send({ typ: "status" });
  socket.addEventListener("error", ({ detail }) => {
    // @ts-expect-error: a code is text
    return detail instanceof SubscribeError && detail.code === 7;
  });
  // @ts-expect-error: the status is read, not set
  socket.status.state = "open";
  // @ts-expect-error: a grant is an object
  new FakeGateway({ grants: ["*"] });
  // @ts-expect-error: the drop-in has options of its own
  new Socket({ url: "/ws/", pongTimeout: 7 });
}

export const page: ReactElement = (
  // @ts-expect-error: a client, not its options
  <HighTemplarProvider client={{ url: "/ws/" }}>
    <Board />
  </HighTemplarProvider>
);
