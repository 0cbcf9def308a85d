// The names of 4.0, which are kept through 4.x: pages that have them compile, and mean the same.

import {
  type ConnectionState,
  type ConnectionStatus,
  type GatewayMessage,
  HighTemplar,
  type HighTemplarOptions,
  type Message,
  type Options,
  type State,
  type Status,
} from "@high-templar/client";
import { HighTemplarProvider, useRoom } from "@high-templar/client/react";
import type { ReactElement } from "react";

/** `true` if each type is the other. */
type Same<A, B> = [A, B] extends [B, A] ? true : false;
export const same: {
  options: Same<Options, HighTemplarOptions>;
  state: Same<State, ConnectionState>;
  status: Same<Status, ConnectionStatus>;
  message: Same<Message, GatewayMessage>;
} = { options: true, state: true, status: true, message: true };

const options: Options = { url: "/ws/", queueMax: 1, backoff: { base: 1, later: 1, max: 1 } };
const socket = new HighTemplar(options);
socket.addEventListener("publish", ({ detail }) => detail.subscription.room);
socket.addEventListener("rooms", ({ detail }) => detail[0]?.["target"]);
socket.subscribe({ target: "order" }, undefined, { bufferMax: 1, onReconnect: () => {} });
export const rooms: Status["grants"] = socket.status.rooms;

function Board(): string {
  return useRoom({ target: "order" }, () => {}, { onReconnect: () => {} }).state;
}

export const page: ReactElement = (
  <HighTemplarProvider socket={socket}>
    <Board />
  </HighTemplarProvider>
);
