// A worker that tells its page what it hears.

import { HighTemplar, type Options, type Room } from "@high-templar/client";

addEventListener("message", ({ data }: MessageEvent<{ options: Options; room: Room }>) => {
  const socket = new HighTemplar(data.options);
  const room = socket.subscribe(data.room, (heard) => postMessage({ heard }));
  room.ready.then(() => postMessage("ready"));
});
