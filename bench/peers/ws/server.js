// Rooms over ws, as small as they can be: a client subscribes to a room by name, and what is
// posted to /publish/?room=NAME goes to everybody in it as it came.
"use strict";

const http = require("node:http");
const { WebSocket, WebSocketServer } = require("ws");

const rooms = new Map();

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (request.method !== "POST" || url.pathname !== "/publish/") {
    response.writeHead(404, { "Content-Length": 0 }).end();
    return;
  }
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const message = Buffer.concat(parts);
    for (const socket of rooms.get(url.searchParams.get("room")) ?? []) {
      if (socket.readyState === WebSocket.OPEN) {
        socket.send(message, { binary: false });
      }
    }
    response.writeHead(204).end();
  });
});
// The publisher's connection may be silent for long.
server.keepAliveTimeout = 0;

// Compression is off unless asked for.
const sockets = new WebSocketServer({ server, path: "/ws/" });

sockets.on("connection", (socket) => {
  let subscribed;
  socket.on("error", console.error);
  socket.on("message", (data) => {
    const { type, room } = JSON.parse(data);
    if (type !== "subscribe" || subscribed !== undefined) {
      socket.send('{"code":"error"}');
      return;
    }
    subscribed = room;
    if (!rooms.has(room)) {
      rooms.set(room, new Set());
    }
    rooms.get(room).add(socket);
    socket.send('{"code":"success"}');
  });
  socket.on("close", () => {
    const members = rooms.get(subscribed);
    members?.delete(socket);
    if (members?.size === 0) {
      rooms.delete(subscribed);
    }
  });
});

server.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 4096 });
