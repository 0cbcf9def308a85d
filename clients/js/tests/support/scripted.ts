// A gateway that says what a test wants said: for closes that a real one reserves for bad days.

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";

export async function startScripted() {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  const sockets: WebSocket[] = [];
  const heard: string[] = [];
  let answer = (text: string, socket: WebSocket) => {
    if (text === "ping") socket.send("pong");
  };
  server.on("connection", (socket) => {
    sockets.push(socket);
    socket.on("message", (data) => {
      heard.push(String(data));
      answer(String(data), socket);
    });
    socket.send(JSON.stringify({ is_authorized: true, allowed_rooms: [] }));
  });
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws/`,
    /** Every socket that came, in their order. */
    sockets,
    /** Every message that came. */
    heard,
    /** How messages are answered from now on; at first each ping by a pong. */
    answer(how: (text: string, socket: WebSocket) => void) {
      answer = how;
    },
    stop() {
      for (const socket of sockets) socket.terminate();
      server.close();
    },
  };
}

export type Scripted = Awaited<ReturnType<typeof startScripted>>;
