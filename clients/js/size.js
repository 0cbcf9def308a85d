// Fails if the main module is longer than it may be, as it travels: minified and compressed.

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const MAX = 6 * 1024; // bytes

const bytes = gzipSync(readFileSync(new URL("dist/index.js", import.meta.url)), {
  level: 9,
}).length;
console.log(`dist/index.js: ${bytes} of ${MAX} bytes, compressed`);
if (bytes > MAX) process.exit(1);
