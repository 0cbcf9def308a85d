// How long each module is as it travels: minified and compressed.
//
//   node size.js            fails if the main module is longer than it may be, or docs/install-npm.md is old
//   node size.js --write    renews the table in docs/install-npm.md

import { readFileSync, writeFileSync } from "node:fs";
import { brotliCompressSync, gzipSync } from "node:zlib";

// 6 KiB, and 1.5 KiB for recovery (cursors, replays, tickets), which every page needs: whoever leaves it
// out would miss publications without being told.
const MAX = 7.5 * 1024; // bytes
const ENTRIES = {
  "": "the client",
  "/live": "fetched state that is kept up to date",
  "/react": "hooks for React",
  "/page": "what the Django app serves: the client and `live`",
  "/spine": "the replacement for `spine-high-templar`",
  "/testing": "an in-memory gateway for tests",
};
// What other versions of zlib and brotli may make of the same text.
const TOLERANCE = 0.02;
const PAGE = new URL("../../docs/install-npm.md", import.meta.url);
const TABLE = /(?<=<!-- sizes -->\n)[\s\S]*?(?=\n<!-- end of sizes -->)/;

const name = (entry) => `@high-templar/client${entry}`;

/** Bytes of a module: as it is, with gzip, with brotli. */
function sizes(entry) {
  const text = readFileSync(new URL(`dist/${entry.slice(1) || "index"}.js`, import.meta.url));
  return [text, gzipSync(text, { level: 9 }), brotliCompressSync(text)].map(({ length }) => length);
}

function table() {
  const rows = Object.entries(ENTRIES).map(([entry, about]) => {
    const numbers = sizes(entry).map((bytes) => bytes.toLocaleString("en"));
    return `| \`${name(entry)}\` | ${about} | ${numbers.join(" | ")} |`;
  });
  return [
    "| import | what it is | minified | gzip | brotli |",
    "|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}

/** Whether a table of the page says of each module what is true now. */
function isCurrent(published) {
  return Object.keys(ENTRIES).every((entry) => {
    const row = published.split("\n").find((line) => line.startsWith(`| \`${name(entry)}\` `));
    const said = row
      ?.split(" | ")
      .slice(2)
      .map((text) => Number(text.replace(/[^\d]/g, "")));
    return sizes(entry).every(
      (bytes, at) => Math.abs((said?.[at] ?? 0) - bytes) <= TOLERANCE * bytes,
    );
  });
}

const [, bytes] = sizes("");
console.log(`dist/index.js: ${bytes} of ${MAX} bytes, compressed`);
if (bytes > MAX) process.exit(1);

const page = readFileSync(PAGE, "utf8");
const [published] = TABLE.exec(page) ?? [""];
if (process.argv[2] === "--write") {
  writeFileSync(PAGE, page.replace(TABLE, table()));
} else if (!isCurrent(published)) {
  console.error(`the sizes in docs/install-npm.md are old: node size.js --write\n${table()}`);
  process.exit(1);
}
