// Starts `high-templar serve` on free ports before a backend of our own, which serves a page, too.

import { once } from "node:events";
import { createServer } from "node:http";

import { startBinary } from "./binary.js";

// `admits` decides by a bootstrap call's headers; `asked` keeps those of every call.
export async function startGateway({ settings, admits }) {
  const asked = [];
  const backend = createServer((request, response) => {
    if (request.url !== "/api/bootstrap/") {
      response.setHeader("Content-Type", "text/html").end("<!doctype html><title>A page</title>");
      return;
    }
    asked.push(request.headers);
    response.statusCode = admits(request.headers) ? 200 : 403;
    response.setHeader("Content-Type", "application/json").end('{"allowed_rooms": [{"room": "*"}]}');
  });
  await once(backend.listen(0, "127.0.0.1"), "listening");
  const page = `http://127.0.0.1:${backend.address().port}/`;
  const { address, stop } = await startBinary(["serve"], {
    output: "stderr",
    says: /browsers connect to (\S+) at/,
    env: {
      HT_BACKEND__URL: `${page}api/`,
      HT_LISTEN: "127.0.0.1:0",
      HT_INTERNAL__LISTEN: "127.0.0.1:0",
      HT_THREADS: "1",
      ...settings,
    },
  });
  return {
    url: `ws://${address}/ws/`,
    page,
    asked,
    stop: async () => {
      await stop();
      backend.closeAllConnections();
      backend.close();
    },
  };
}
