// Starts `high-templar demo` on free ports and waits until it says where its page is.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const BUILT = fileURLToPath(new URL("../../target/debug/high-templar", import.meta.url));
const DEADLINE = 20_000; // milliseconds

export async function startDemo() {
  const ports = ["page", "backend", "internal", "gateway"].flatMap((name) => [`--${name}-port`, "0"]);
  const child = spawn(process.env.HIGH_TEMPLAR ?? BUILT, ["demo", ...ports], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const stop = async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), DEADLINE);
    await once(child, "exit");
    clearTimeout(late);
  };
  const address = new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const found = line.match(/^\s+(http:\/\/\S+:\d+\/)$/);
      if (found) resolve(found[1]);
    });
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`the demo ended with ${code}`)));
    setTimeout(() => reject(new Error("the demo did not start in time")), DEADLINE).unref();
  });
  try {
    return { url: await address, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
