// The real binary, on free ports.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const BUILT = fileURLToPath(new URL("../../../../target/debug/high-templar", import.meta.url));
const BINARY = process.env["HIGH_TEMPLAR"] ?? BUILT;
const DEADLINE = 20_000; // milliseconds

export interface Gateway {
  /** The port that browsers connect to. */
  port: number;
  /** Publishes, and waits until the trigger has its place. */
  publish(room: object, data: unknown): Promise<void>;
  /** The cursor of everything so far. */
  position(): Promise<string>;
  /** How many clients are connected, as far as it knows. */
  connections(): Promise<number>;
  /** Sends a command, and waits until it is carried out. */
  command(members: object): Promise<void>;
  /** Ends it by a signal, and waits for the end. */
  stop(signal?: "SIGTERM" | "SIGKILL"): Promise<void>;
}

/** Starts it and waits until it listens. `settings` are variables such as `HT_LIMITS__…`. */
export async function startGateway(
  backend: string,
  settings: Record<string, string> = {},
): Promise<Gateway> {
  // It ends with the tests, however those end.
  const child = spawn("setpriv", ["--pdeathsig", "KILL", BINARY, "serve"], {
    stdio: ["ignore", "ignore", "pipe"],
    env: {
      HT_BACKEND__URL: backend,
      HT_LISTEN: "127.0.0.1:0",
      HT_INTERNAL__LISTEN: "127.0.0.1:0",
      PATH: process.env["PATH"],
      ...settings,
    },
  });
  const stop = async (signal: "SIGTERM" | "SIGKILL" = "SIGTERM") => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  };
  try {
    const [port, internal] = await ports(child);
    const post = async (message: object) => {
      const body = JSON.stringify(message);
      const url = `http://127.0.0.1:${internal}/trigger/`;
      const response = await fetch(url, { method: "POST", body });
      if (!response.ok) throw new Error(await response.text());
      return (await response.json()) as { matched?: number };
    };
    const everybody = { command: "invalidate", everyone: true, dry_run: true };
    return {
      port: Number(port),
      stop,
      publish: async (room, data) => void (await post({ rooms: [room], data })),
      position: async () => {
        const response = await fetch(`http://127.0.0.1:${internal}/position`);
        return ((await response.json()) as { cursor: string }).cursor;
      },
      connections: async () => (await post(everybody)).matched ?? Number.NaN,
      command: async (members) => void (await post(members)),
    };
  } catch (error) {
    await stop("SIGKILL");
    throw error;
  }
}

/** Reads from the log where it listens: for browsers, and for triggers. */
function ports(child: ChildProcess): Promise<[string, string]> {
  return new Promise((resolve, reject) => {
    const lines: string[] = [];
    const fail = (why: string) => reject(new Error([why, ...lines].join("\n")));
    setTimeout(() => fail("the gateway did not start in time"), DEADLINE).unref();
    child.on("error", reject);
    child.on("exit", (code) => fail(`the gateway ended with ${code}`));
    createInterface({ input: child.stderr as NodeJS.ReadableStream }).on("line", (line) => {
      lines.push(line);
      const port = /browsers connect to \S+:(\d+)/.exec(lines.join("\n"))?.[1];
      const internal = /health are on \S+:(\d+)/.exec(line)?.[1];
      if (port && internal) resolve([port, internal]);
    });
  });
}
