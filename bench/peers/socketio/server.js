// Rooms over Socket.IO: a client asks to join one, and what is posted to /publish/?room=NAME is
// emitted to it.
"use strict";

const http = require("node:http");
const { Server } = require("socket.io");

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (request.method !== "POST" || url.pathname !== "/publish/") {
    response.writeHead(404, { "Content-Length": 0 }).end();
    return;
  }
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const message = JSON.parse(Buffer.concat(parts));
    io.to(url.searchParams.get("room")).emit("publish", message);
    response.writeHead(204).end();
  });
});
// The publisher's connection may be silent for long.
server.keepAliveTimeout = 0;

// Compression is off unless asked for.
const io = new Server(server, { serveClient: false, transports: ["websocket"] });

// What its page on memory advises: forget the first request of each connection.
io.engine.on("connection", (socket) => {
  socket.request = null;
});

io.on("connection", (socket) => {
  socket.on("subscribe", (room, answer) => {
    socket.join(room);
    answer();
  });
});

server.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 4096 });
