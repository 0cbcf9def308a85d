// Topics of uWebSockets.js: a client subscribes to a room by name, and what is posted to
// /publish/?room=NAME is published to the topic of that name, in one shared frame.
"use strict";

const uws = require("@trufflesuite/uws-js-unofficial");

// The package has a slow stand-in for machines without its binary: that would be measured as
// something that it is not.
if (!Object.keys(require.cache).some((path) => path.endsWith(".node"))) {
  console.error("no binary of uWebSockets.js for this Node");
  process.exit(1);
}
if (process.argv[2] === "--check") {
  process.exit(0);
}

const app = uws.App();

app.ws("/ws/", {
  message: (socket, message) => {
    const { type, room } = JSON.parse(Buffer.from(message));
    if (type === "subscribe") {
      socket.subscribe(room);
    }
    socket.send(type === "subscribe" ? '{"code":"success"}' : '{"code":"error"}');
  },
});

app.post("/publish/", (response, request) => {
  const room = request.getQuery("room");
  let body = Buffer.alloc(0);
  response.onAborted(() => {});
  response.onData((part, isLast) => {
    // The memory of a part is gone afterwards.
    body = Buffer.concat([body, Buffer.from(part)]);
    if (isLast) {
      app.publish(room, body);
      response.writeStatus("200 OK").end();
    }
  });
});

app.listen("127.0.0.1", Number(process.env.PORT), (listening) => {
  if (!listening) {
    console.error("cannot listen");
    process.exit(1);
  }
});
