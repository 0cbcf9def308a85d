// Starts the site and the gateway as ./run does, on free ports and with a database of their own.

import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { django, freePorts } from "./process.js";

export async function startSite() {
  const [site, gateway, trigger] = await freePorts(3);
  const wire = await startWire(gateway);
  const folder = await mkdtemp(join(tmpdir(), "django-orders-"));
  const { HIGH_TEMPLAR_BINARY: _, ...inherited } = process.env;
  const env = {
    ...inherited,
    DATABASE_URL: process.env.DATABASE_URL ?? `sqlite://${folder}/db.sqlite3`,
    SITE_PORT: site,
    // Pages connect to the wire, and that to the gateway.
    GATEWAY_PORT: wire.port,
    HT_LISTEN: `127.0.0.1:${gateway}`,
    TRIGGER_PORT: trigger,
    // On a busy machine nothing is given up that the tests wait for.
    PUBLISH_TIMEOUT: "10",
    PYTHONUNBUFFERED: "1",
    PYTHONDONTWRITEBYTECODE: "1",
    HT_THREADS: "1",
    // Few pages need no time to leave, and nothing here waits for a supervisor.
    HT_DRAIN__PERIOD: "0s",
  };
  const processes = new Set();
  const start = async (args, says, more = {}) => {
    const process = django(args, { ...env, ...more });
    processes.add(process);
    if (says) await process.line(says);
    return process;
  };
  const stop = async () => {
    await Promise.all([...processes].map((process) => process.stop()));
    await wire.stop();
    await rm(folder, { recursive: true, force: true });
  };
  let running;
  const startGateway = async (settings) => {
    running = await start(["high_templar"], /browsers connect to/, settings);
  };
  try {
    for (const command of ["migrate", "seed"]) await (await start([command])).end();
    const url = `http://127.0.0.1:${site}/`;
    const server = await start(["runserver", "--noreload", `127.0.0.1:${site}`], /server at/);
    await server.until(() => fetch(`${url}sign-in/`).then(({ ok }) => ok));
    await startGateway();
    const manage = async (...args) => (await start(args)).end();
    const stopGateway = () => running.stop();
    return { url, manage, wire, folder, startGateway, stopGateway, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A wire to a port, that can be cut. */
async function startWire(port) {
  const sockets = new Set();
  let isCut = false;
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    for (const [one, other] of [[near, far], [far, near]]) {
      sockets.add(one);
      one.on("error", () => {});
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
    if (isCut) near.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: String(server.address().port),
    /** Cuts every connection, and every further one. */
    cut,
    /** Lets new connections through. */
    mend: () => {
      isCut = false;
    },
    stop: async () => {
      cut();
      await once(server.close(), "close");
    },
  };
}
