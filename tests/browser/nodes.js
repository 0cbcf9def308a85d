// Two gateways on one log, which are killed and started again, behind a balancer that knows which are
// there; and a backend, which serves a page, too.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import net from "node:net";

import { startBinary } from "./binary.js";

const DEADLINE = 20_000; // milliseconds

const listen = async (server) => {
  await once(server.listen(0, "127.0.0.1"), "listening");
  return server.address().port;
};

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function eventually(what, look) {
  for (const until = Date.now() + DEADLINE; ; await sleep(20)) {
    const found = await look();
    if (found) return found;
    if (Date.now() > until) throw new Error(`not in time: ${what}`);
  }
}

/** A Redis of our own. */
async function startRedis() {
  const probe = net.createServer();
  const port = await listen(probe);
  probe.close();
  const options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const child = spawn("redis-server", options.map(String), { stdio: "ignore", cwd: "/tmp" });
  await eventually("Redis", () => new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => resolve(socket.destroy()));
    socket.on("error", () => resolve(null));
  }));
  return { url: `redis://127.0.0.1:${port}`, stop: () => child.kill("SIGKILL") };
}

/** Joins each connection with a node that accepts it. */
async function startBalancer(nodes) {
  let turn = 0;
  const server = net.createServer((client) => {
    client.on("error", () => {});
    const known = nodes.filter(Boolean);
    const order = known.map((_, index) => known[(turn + index) % known.length]);
    turn += 1;
    const attempt = () => {
      const node = order.shift();
      if (!node) return client.destroy();
      const [host, port] = node.public.split(":");
      const upstream = net.connect(Number(port), host);
      upstream.once("connect", () => {
        client.pipe(upstream).pipe(client);
        upstream.on("close", () => client.destroy());
        client.on("close", () => upstream.destroy());
      });
      upstream.on("error", () => (upstream.connecting || !upstream.bytesRead ? attempt() : client.destroy()));
    };
    attempt();
  });
  return { port: await listen(server), stop: () => server.close() };
}

/** Starts everything. `admits` decides by a bootstrap call's headers. */
export async function startNodes({ settings = {}, admits = () => true } = {}) {
  const asked = [];
  const backend = createServer((request, response) => {
    if (request.url !== "/api/bootstrap/") {
      response.setHeader("Content-Type", "text/html").end("<!doctype html><title>A page</title>");
      return;
    }
    asked.push(request.headers);
    response.statusCode = admits(request.headers) ? 200 : 403;
    const answer = { allowed_rooms: [{ n: "*" }], user: { id: "7" } };
    response.setHeader("Content-Type", "application/json").end(JSON.stringify(answer));
  });
  const port = await listen(backend);
  const redis = await startRedis();
  const nodes = [null, null];
  const start = async (index) => {
    let internal;
    const { address, stop, kill } = await startBinary(["serve"], {
      output: "stderr",
      says: {
        [Symbol.match]: (line) => {
          internal = line.match(/triggers, metrics and health are on (\S+)/)?.[1] ?? internal;
          const found = line.match(/browsers connect to (\S+) at/);
          if (found) start.public = found[1];
          return internal && start.public ? [null, `${start.public} ${internal}`] : null;
        },
      },
      env: {
        HT_BACKEND__URL: `http://127.0.0.1:${port}/api/`,
        HT_LISTEN: "127.0.0.1:0",
        HT_INTERNAL__LISTEN: "127.0.0.1:0",
        HT_THREADS: "1",
        HT_REDIS__URL: redis.url,
        HT_SSE__ENABLED: "true",
        HT_POLL__ENABLED: "true",
        HT_LIMITS__HANDSHAKES_PER_SECOND: "0",
        ...settings,
      },
    });
    start.public = undefined;
    const [outside, inside] = address.split(" ");
    await eventually("ready", async () => (await fetch(`http://${inside}/ready`)).ok);
    nodes[index] = { public: outside, internal: inside, stop, kill };
  };
  await start(0);
  await start(1);
  const balancer = await startBalancer(nodes);
  return {
    page: `http://127.0.0.1:${port}/`,
    url: `http://127.0.0.1:${balancer.port}/`,
    asked,
    start,
    async kill(index) {
      const node = nodes[index];
      nodes[index] = null;
      await node.kill();
    },
    async publish(data) {
      const node = nodes.find(Boolean);
      const body = JSON.stringify({ rooms: [{ n: 1 }], data });
      const response = await fetch(`http://${node.internal}/trigger/`, { method: "POST", body });
      if (!response.ok) throw new Error(`a trigger: ${response.status}`);
    },
    async command(command) {
      const node = nodes.find(Boolean);
      const body = JSON.stringify(command);
      const response = await fetch(`http://${node.internal}/trigger/`, { method: "POST", body });
      if (!response.ok) throw new Error(`a command: ${response.status}`);
    },
    async stop() {
      await Promise.all(nodes.filter(Boolean).map((node) => node.kill()));
      balancer.stop();
      redis.stop();
      backend.closeAllConnections();
      backend.close();
    },
  };
}
