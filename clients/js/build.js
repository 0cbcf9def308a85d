// Builds dist/: each entry as one module whole in itself, as ESM and as CommonJS, and the types
// beside them. Without source maps: a comment that names one breaks Django's
// ManifestStaticFilesStorage wherever the file is copied to.

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

/** The entries of the package. */
const ENTRIES = ["index", "live", "react", "testing", "spine", "page"];

/** The hooks belong to the client's side of React Server Components: its first statement says so. */
const BANNERS = { react: '"use client";' };

process.chdir(fileURLToPath(new URL(".", import.meta.url)));
rmSync("dist", { recursive: true, force: true });
mkdirSync("dist");

for (const [format, ending] of [
  ["esm", "js"],
  ["cjs", "cjs"],
]) {
  const { outputFiles } = await build({
    entryPoints: ENTRIES.map((name) => `src/${name}.ts`),
    outdir: "dist",
    bundle: true,
    minify: true,
    write: false,
    format,
    target: "es2022",
    external: ["react"],
    logLevel: "warning",
  });
  for (const { path, text } of outputFiles) {
    const name = basename(path, ".js");
    const { code } = await minify(text, {
      module: format === "esm",
      ecma: 2022,
      compress: {
        passes: 3,
        unsafe_arrows: true,
        keep_fargs: false,
        directives: false,
        // These two make the text longer and what is compressed shorter.
        hoist_funs: true,
        sequences: false,
      },
    });
    writeFileSync(`dist/${name}.${ending}`, `${BANNERS[name] ?? ""}${code}\n`);
  }
}

execFileSync("node_modules/.bin/tsc", ["-p", "tsconfig.types.json"], { stdio: "inherit" });
// The same types for CommonJS: what they import are the files beside them.
for (const name of readdirSync("dist").filter((name) => name.endsWith(".d.ts"))) {
  const types = readFileSync(`dist/${name}`, "utf8");
  const renamed = types.replaceAll(/(from "\.\/[^"]+)\.js"/g, '$1.cjs"');
  writeFileSync(`dist/${name.replace(/\.d\.ts$/, ".d.cts")}`, renamed);
}
