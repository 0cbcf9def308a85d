// A backend, a gateway that may go and come back, the wire to it, and clients.

import WebSocket from "ws";

import { HighTemplar, type Options, type Status } from "../../src/index.js";
import { type Backend, startBackend } from "./backend.js";
import { eventually } from "./eventually.js";
import { type Gateway, startGateway } from "./gateway.js";
import { startWire, type Wire } from "./wire.js";

/** What the user with the key `anna` may subscribe to. */
export const ORDERS = { target: "order", customer: "anna" };
export const NEWS = { target: "news", topic: "*" };

/** Whether clients are to speak as to a gateway before 4.0: the variable `LEGACY` is set. */
export const LEGACY = !!process.env["LEGACY"];

/** Quick, so that tests are; never so quick that a busy machine looks like a dead connection. */
const QUICK = {
  pingInterval: 200,
  pongTimeout: 2_000,
  backoff: { base: 40, later: 40, max: 200 },
};

export class World {
  readonly backend: Backend;
  readonly wire: Wire;
  gateway: Gateway;
  readonly #clients: HighTemplar[] = [];
  readonly #settings: Record<string, string>;

  static async start(settings: Record<string, string> = {}): Promise<World> {
    const [backend, wire] = await Promise.all([startBackend(), startWire()]);
    backend.allow("anna", [ORDERS, NEWS]);
    const world = new World(backend, wire, await startGateway(backend.url, settings), settings);
    wire.lead(world.gateway.port);
    return world;
  }

  private constructor(
    backend: Backend,
    wire: Wire,
    gateway: Gateway,
    settings: Record<string, string>,
  ) {
    this.backend = backend;
    this.wire = wire;
    this.gateway = gateway;
    this.#settings = settings;
  }

  /** A client with short times, of the user `anna` by default. */
  client(options: Partial<Options> = {}): HighTemplar {
    const client = new HighTemplar({
      url: this.wire.url,
      token: "anna",
      WebSocket,
      legacy: LEGACY,
      ...QUICK,
      ...options,
    });
    this.#clients.push(client);
    return client;
  }

  /** A gateway in the place of one that was stopped. */
  async startGateway(): Promise<void> {
    this.gateway = await startGateway(this.backend.url, this.#settings);
    this.wire.lead(this.gateway.port);
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.gateway.stop("SIGKILL");
    await Promise.all([this.wire.stop(), this.backend.stop()]);
  }
}

/** Every status of a client, from now on. */
export function statuses(client: HighTemplar): Status[] {
  const seen: Status[] = [];
  client.addEventListener("state", ({ detail }) => seen.push(detail));
  return seen;
}

/** Waits until a client is in a state; gives back the status. */
export async function until(client: HighTemplar, state: Status["state"]): Promise<Status> {
  await eventually(() => client.state === state, `${state}, not ${client.state}`);
  return client.status;
}
