// Fails if the main module is longer than it may be, as it travels: minified and compressed.

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

// 6 KiB, and 1.5 KiB for recovery (cursors, replays, tickets), which every page needs: whoever leaves it
// out would miss publications without being told.
const MAX = 7.5 * 1024; // bytes

const bytes = gzipSync(readFileSync(new URL("dist/index.js", import.meta.url)), {
  level: 9,
}).length;
console.log(`dist/index.js: ${bytes} of ${MAX} bytes, compressed`);
if (bytes > MAX) process.exit(1);
