// The processes of the tests, and ports for them.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The example. */
export const FOLDER = fileURLToPath(new URL("..", import.meta.url));
const DEADLINE = 30_000; // milliseconds

/** A process; what it says is shown if it goes wrong. */
export class Process {
  #child;
  #lines = [];
  #heard = new Set();

  constructor(command, args, env = process.env) {
    const options = { cwd: FOLDER, env, stdio: ["ignore", "pipe", "pipe"] };
    this.#child = spawn(command, args, options);
    for (const output of [this.#child.stdout, this.#child.stderr]) {
      createInterface({ input: output }).on("line", (line) => {
        this.#lines.push(line);
        if (process.env.VERBOSE) console.log(line);
        for (const hear of this.#heard) hear(line);
      });
    }
  }

  get #isOver() {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #failure(what) {
    const command = this.#child.spawnargs.slice(1, 3).join(" ");
    return new Error([`${command} ${what}:`, ...this.#lines].join("\n"));
  }

  /** Waits for a line. */
  async line(says) {
    await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(this.#failure("is late")), DEADLINE);
      const hear = (line) => says.test(line) && done(resolve);
      const over = () => done(() => reject(this.#failure("ended")));
      const done = (settle) => {
        clearTimeout(late);
        this.#heard.delete(hear);
        this.#child.off("exit", over);
        settle();
      };
      this.#heard.add(hear);
      this.#child.on("exit", over);
      if (this.#isOver) over();
      else this.#lines.forEach(hear);
    });
  }

  /** Waits until something holds while this runs. */
  async until(holds) {
    const deadline = Date.now() + DEADLINE;
    while (!(await holds().catch(() => false))) {
      if (this.#isOver || Date.now() > deadline) throw this.#failure("does not answer");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Waits for its good end; what it said. */
  async end() {
    if (!this.#isOver) await once(this.#child, "close");
    if (this.#child.exitCode !== 0) throw this.#failure("failed");
    return this.#lines.join("\n");
  }

  /** Ends it without a chance to do anything more. */
  async kill() {
    if (this.#isOver) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }

  async stop() {
    if (this.#isOver) return;
    this.#child.kill("SIGTERM");
    const late = setTimeout(() => this.#child.kill("SIGKILL"), DEADLINE);
    await once(this.#child, "exit");
    clearTimeout(late);
  }
}

/** A command of Django's. */
export const django = (args, env) =>
  new Process(join(FOLDER, ".venv/bin/python"), [join(FOLDER, "manage.py"), ...args], env);

/** Ports that nobody has now; all at once, so that they differ. */
export async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => String(server.address().port));
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}
