// Starts the binary and waits until it says where it is.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const BUILT = fileURLToPath(new URL("../../target/debug/high-templar", import.meta.url));
const DEADLINE = 20_000; // milliseconds

// `says` finds the address in a line of "stdout" or "stderr", whichever `output` is.
export async function startBinary(args, { output, says, env = process.env }) {
  const child = spawn(process.env.HIGH_TEMPLAR ?? BUILT, args, {
    stdio: ["ignore", ...["stdout", "stderr"].map((name) => (name === output ? "pipe" : "inherit"))],
    env,
  });
  const stop = async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), DEADLINE);
    await once(child, "exit");
    clearTimeout(late);
  };
  const kill = async () => {
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  const address = new Promise((resolve, reject) => {
    createInterface({ input: child[output] }).on("line", (line) => {
      const found = line.match(says);
      if (found) resolve(found[1]);
    });
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`${args[0]} ended with ${code}`)));
    setTimeout(() => reject(new Error(`${args[0]} did not start in time`)), DEADLINE).unref();
  });
  try {
    return { address: await address, stop, kill };
  } catch (error) {
    await stop();
    throw error;
  }
}
