// Starts `high-templar demo` on free ports and waits until it says where its page is.

import { startBinary } from "./binary.js";

export async function startDemo() {
  const ports = ["page", "backend", "internal", "gateway"].flatMap((name) => [`--${name}-port`, "0"]);
  const { address, stop } = await startBinary(["demo", ...ports], {
    output: "stdout",
    says: /^\s+(http:\/\/\S+:\d+\/)$/,
  });
  return { url: address, stop };
}
