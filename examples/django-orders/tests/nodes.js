// Starts the site with a PostgreSQL, two gateways that read its log, and nginx in front of them with
// the configuration of docs/proxies.md.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { Process, django, freePorts } from "./process.js";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const POSTGRES = join(ROOT, "tests/support/postgres");

export async function startNodes() {
  const [site, balanced, ...ports] = await freePorts(6);
  const folder = await mkdtemp(join(tmpdir(), "django-orders-"));
  const database = join(folder, "postgres");
  const postgres = async (...args) => new Process(POSTGRES, args).end();
  const processes = new Set();
  const keep = (process) => {
    processes.add(process);
    return process;
  };
  const stop = async () => {
    await Promise.all([...processes].map((process) => process.stop()));
    await postgres("end", database);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await postgres("start", database);
    const { HIGH_TEMPLAR_BINARY: _, ...inherited } = process.env;
    const env = {
      ...inherited,
      DATABASE_URL: await postgres("database", database, "orders"),
      SITE_PORT: site,
      // Pages connect to nginx; the site asks the first node for its position.
      GATEWAY_PORT: balanced,
      TRIGGER_PORT: ports[0],
      PUBLISH_TIMEOUT: "10",
      PYTHONUNBUFFERED: "1",
      PYTHONDONTWRITEBYTECODE: "1",
      HT_THREADS: "1",
      HT_DRAIN__PERIOD: "1s",
    };
    for (const command of ["migrate", "seed"]) await keep(django([command], env)).end();
    const url = `http://127.0.0.1:${site}/`;
    const server = keep(django(["runserver", "--noreload", `127.0.0.1:${site}`], env));
    await server.until(() => fetch(`${url}sign-in/`).then(({ ok }) => ok));
    const nodes = [0, 1].map((index) => new Node(ports[index], ports[2 + index], env, keep));
    for (const node of nodes) await node.start();
    const file = join(folder, "nginx.conf");
    await writeFile(file, await configuration(folder, balanced, nodes));
    const nginx = keep(new Process("/usr/sbin/nginx", ["-e", "stderr", "-c", file]));
    await nginx.until(() => fetch(`http://127.0.0.1:${balanced}/ws/`).then(() => true));
    return { url, nodes, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A gateway of the site. */
class Node {
  #env;
  #internal;
  #keep;
  #running;

  constructor(internal, port, env, keep) {
    this.port = port;
    this.#internal = `http://127.0.0.1:${internal}`;
    this.#keep = keep;
    this.#env = {
      ...env,
      HT_LISTEN: `127.0.0.1:${port}`,
      HT_INTERNAL__LISTEN: `127.0.0.1:${internal}`,
    };
  }

  /** Starts it and waits until it is ready. */
  async start() {
    this.#running = this.#keep(django(["high_templar"], this.#env));
    await this.#running.until(() => fetch(`${this.#internal}/ready`).then(({ ok }) => ok));
  }

  /** As a crash of the machine: nothing is said to anybody. */
  kill() {
    return this.#running.kill();
  }

  /** A graceful shutdown. */
  stop() {
    return this.#running.stop();
  }

  /** A counter or gauge without labels, or the sum over its labels. */
  async metric(name) {
    const text = await (await fetch(`${this.#internal}/metrics`)).text();
    const lines = text.matchAll(new RegExp(`^high_templar_${name}(?:\\{.*\\})? (\\S+)$`, "gm"));
    return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
  }
}

/** The block of the page, with what the page leaves to the installation around it. */
async function configuration(folder, port, nodes) {
  const page = await readFile(join(ROOT, "docs/proxies.md"), "utf8");
  let [, block] = page.match(/```nginx\n(.*?)```/s);
  const places = { "listen 80;": `listen 127.0.0.1:${port};` };
  nodes.forEach((node, index) => {
    places[`10.0.0.1${index + 1}:5000`] = `127.0.0.1:${node.port}`;
  });
  for (const [from, to] of Object.entries(places)) {
    if (block.split(from).length !== 2) throw new Error(`${from} is not once in ${block}`);
    block = block.replace(from, to);
  }
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return `daemon off; pid ${folder}/pid; error_log stderr warn;
events {}
http { access_log off;
${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join("\n")}
${block}
}
`;
}
