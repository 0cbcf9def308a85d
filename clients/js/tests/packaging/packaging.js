// The package as others install it: packed by npm, found and typed in every way of resolving modules.
//
//   node --test tests/packaging/packaging.js   after `npm run build`, and `npm ci` in this folder
//
//   HT_NPM_PACKAGE   a file that npm has packed already, in place of one of this checkout

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const PACKAGE = fileURLToPath(new URL("../..", import.meta.url));
const TOOLS = fileURLToPath(new URL("node_modules", import.meta.url));
const ENTRIES = ["", "/live", "/react", "/testing", "/spine", "/page"];

let folder;
let tarball;

/** Runs a program in the project; gives back what it prints. */
async function run(program, ...args) {
  try {
    const { stdout } = await promisify(execFile)(program, args, {
      cwd: folder,
      maxBuffer: 16 * 1024 * 1024,
    });
    return stdout;
  } catch (error) {
    throw new Error(`${program} ${args.join(" ")}\n${error.stdout}\n${error.stderr}`);
  }
}

const tool = (name, ...args) => run(join(TOOLS, ".bin", name), ...args);
const write = (name, text) => writeFile(join(folder, name), text);

/** Packs what this checkout has built. */
async function pack() {
  const options = ["--ignore-scripts", "--json", "--pack-destination", folder];
  const [{ filename }] = JSON.parse(await run("npm", "pack", ...options, PACKAGE));
  return join(folder, filename.replace("@", "").replace("/", "-"));
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "packaging-"));
  const packed = process.env.HT_NPM_PACKAGE;
  tarball = packed ? resolve(packed) : await pack();
  await run("tar", "-xzf", tarball);
  // Beside the tools, as npm would install it.
  await mkdir(join(folder, "node_modules/@high-templar"), { recursive: true });
  await cp(join(folder, "package"), join(folder, "node_modules/@high-templar/client"), {
    recursive: true,
  });
  for (const name of ["react", "react-dom", "scheduler", "@types", "csstype", "undici-types"]) {
    const from = join(TOOLS, name);
    await symlink(from, join(folder, "node_modules", name)).catch(() => {});
  }
});
after(() => rm(folder, { recursive: true, force: true }));

test("licence and README are in it; sources and tests are not", async () => {
  const names = (await run("tar", "-tzf", tarball)).split("\n");
  for (const name of [
    "LICENSE",
    "README.md",
    "package.json",
    "dist/index.cjs",
    "react/package.json",
  ]) {
    assert(names.includes(`package/${name}`), name);
  }
  assert(!names.some((name) => /\/(src|tests)\//.test(name)), names.join("\n"));
});

test('"use client" is the first statement of the hooks', async () => {
  for (const name of ["react.js", "react.cjs"]) {
    const text = await readFile(join(folder, "package/dist", name), "utf8");
    assert.match(text, /^"use client";/, name);
  }
  for (const name of ["index.js", "live.js", "testing.js", "spine.js", "page.js"]) {
    const text = await readFile(join(folder, "package/dist", name), "utf8");
    assert(!text.includes("use client") && !text.includes("sourceMappingURL"), name);
  }
});

test("types agree with modules: node10, node16 from CommonJS and from ESM, bundler", async () => {
  const { analysis, problems } = JSON.parse(await tool("attw", tarball, "--format", "json"));
  assert.deepEqual(problems, {});
  const entries = ENTRIES.map((name) => `.${name}`);
  assert.deepEqual(Object.keys(analysis.entrypoints), [...entries, "./package.json"]);
});

test("publint has nothing to say", async () => {
  await tool("publint", "run", tarball, "--strict");
});

// --- TypeScript --------------------------------------------------------------------------------

const TYPED = `
import { HighTemplar, SubscribeError, type ConnectionStatus, type HighTemplarOptions, type Room } from "@high-templar/client";
import { live } from "@high-templar/client/live";
import { useLive, useRoom } from "@high-templar/client/react";
import { FakeGateway } from "@high-templar/client/testing";
import { Socket } from "@high-templar/client/spine";

interface OrderRoom { target: "order"; customer: number }
interface Order { id: number }
declare const room: OrderRoom;
declare const maybe: string | undefined;
const orders = (customer: number): Room<Order> => ({ target: "order", customer });

const { WebSocket } = new FakeGateway();
const options: HighTemplarOptions = { url: "ws://host/ws/", token: maybe, WebSocket };
const socket = new HighTemplar(options);
new Socket({ url: "ws://host/ws/" });

socket.subscribe(room, (order: Order) => order.id.toFixed());
socket.subscribe<Order>({ target: "order", customer: 7 }, ({ id }) => id.toFixed());
socket.subscribe(orders(7), ({ id }) => id.toFixed(), { onSubscribed: ({ again }) => !again });
socket.subscribe({ target: "order", customers: [1, "2", null] }, { onError: ({ code }) => code });
socket.addEventListener("error", ({ detail }) => detail instanceof SubscribeError && detail.code);
socket.addEventListener("state", (event: { detail: ConnectionStatus }) => event.detail.display);
const kept = live(socket, orders(7), {
  load: async (signal) => (signal.aborted ? [] : [{ id: 1 }]),
  apply: (all, order) => [...all, order],
  onChange: (all) => all[0]?.id.toFixed(),
});
kept.data?.[0]?.id.toFixed();
export function Page(of: OrderRoom | undefined | false) {
  const { heard } = useRoom(of, (order: Order) => order.id);
  const { data } = useLive(of && orders(of.customer), { load: () => [{ id: 1 }], reduce: (all, order) => [...all, order] });
  return heard + (data?.[0]?.id ?? 0);
}
// @ts-expect-error: not JSON
socket.subscribe({ target: "order", customer: undefined });
// @ts-expect-error: not JSON
socket.subscribe({ target: "order", customer: 7n });
// @ts-expect-error: not JSON
socket.subscribe({ target: "order", customer: () => 7 });
// @ts-expect-error: a room is an object
socket.subscribe("order");
// @ts-expect-error: no such event
socket.addEventListener("stat", () => {});
// @ts-expect-error: a message has a type
socket.send({ typ: "status" });
`;

const CASES = {
  "node16 from ESM": { file: "page.mts", module: "Node16", moduleResolution: "Node16" },
  "node16 from CommonJS": { file: "page.cts", module: "Node16", moduleResolution: "Node16" },
  nodenext: { file: "page.mts", module: "NodeNext", moduleResolution: "NodeNext" },
  bundler: { file: "page.ts", module: "ESNext", moduleResolution: "Bundler" },
  "node10, the old default": { file: "page.ts", module: "CommonJS", moduleResolution: "Node" },
};

/** React's own types need the DOM. */
const TYPED_WITHOUT_REACT = TYPED.replace(/^import .*client\/react";$/m, "").replace(
  /^export function Page[\s\S]*?^}$/m,
  "",
);

for (const [name, { file, ...options }] of Object.entries(CASES)) {
  for (const [platform, lib] of [
    ["a page", { lib: ["ES2022", "DOM"], types: [] }],
    ["Node without the DOM", { lib: ["ES2022"], types: ["node"] }],
  ]) {
    test(`TypeScript ${name}, ${platform}`, async () => {
      await write(file, platform === "a page" ? TYPED : TYPED_WITHOUT_REACT);
      await write(
        "tsconfig.json",
        JSON.stringify({
          compilerOptions: {
            ...options,
            ...lib,
            target: "ES2022",
            strict: true,
            exactOptionalPropertyTypes: true,
            noUncheckedIndexedAccess: true,
            noEmit: true,
            skipLibCheck: false,
          },
          files: [file],
        }),
      );
      await tool("tsc", "-p", ".");
    });
  }
}

// --- Programs ----------------------------------------------------------------------------------

/** Subscribes over a gateway in memory, and prints what it heard. */
const PROGRAM = `
async function main({ HighTemplar }, { live }, { FakeGateway }, { Socket }) {
  const gateway = new FakeGateway();
  const { WebSocket } = gateway;
  const socket = new HighTemplar({ url: "ws://gateway/ws/", WebSocket });
  const orders = live(socket, { target: "order" }, {
    load: async () => [1],
    apply: (all, order) => [...all, order],
  });
  await orders.ready;
  await new Promise((resolve) => setTimeout(resolve));
  gateway.publish({ target: "order" }, 2);
  socket.close();
  return JSON.stringify([orders.data, typeof Socket]);
}
`;
const HEARD = '[[1,2],"function"]';
const MODULES = ["", "/live", "/testing", "/spine"].map((name) => `@high-templar/client${name}`);

test("Node imports it, and requires it", async () => {
  const imports = MODULES.map((name) => `await import("${name}")`).join(", ");
  await write("program.mjs", `${PROGRAM}\nconsole.log(await main(${imports}));`);
  const requires = MODULES.map((name) => `require("${name}")`).join(", ");
  await write("program.cjs", `${PROGRAM}\nmain(${requires}).then(console.log);`);
  for (const name of ["program.mjs", "program.cjs"]) {
    assert.equal((await run("node", name)).trim(), HEARD, name);
  }
});

test("every entry has the same names in both formats", async () => {
  const list = (how) => `JSON.stringify(Object.keys(${how}).filter((key) => key !== "default"
    && key !== "module.exports" && key !== "__esModule").sort())`;
  for (const entry of ENTRIES) {
    const name = `@high-templar/client${entry}`;
    await write("names.mjs", `console.log(${list(`await import("${name}")`)});`);
    await write("names.cjs", `console.log(${list(`require("${name}")`)});`);
    const [esm, cjs] = [await run("node", "names.mjs"), await run("node", "names.cjs")];
    assert.equal(cjs, esm, name);
    assert(JSON.parse(esm).length > 0, name);
  }
});

test("Jest 29 with its defaults", async () => {
  const names = ["client", "live", "testing", "spine"];
  await write("package.json", JSON.stringify({ name: "site", private: true }));
  await write(
    "page.test.js",
    `${names.map((name, index) => `const ${name} = require("${MODULES[index]}");`).join("\n")}
     require("@high-templar/client/react");
     ${PROGRAM}
     test("hears", async () => {
       expect(await main(${names.join(", ")})).toBe('${HEARD}');
     });`,
  );
  await tool("jest", "--rootDir", folder, "--runInBand");
});

const PAGE = `
import { HighTemplar } from "@high-templar/client";
import { useLive } from "@high-templar/client/react";
globalThis.page = [HighTemplar, useLive];
`;

test("Vite builds a page of it", async () => {
  await write("index.html", '<script type="module" src="/main.js"></script>');
  await write("main.js", PAGE);
  await tool("vite", "build", "--logLevel", "error", "--outDir", "vite");
  const html = await readFile(join(folder, "vite/index.html"), "utf8");
  const [, script] = /src="(\/assets\/[^"]+)"/.exec(html);
  assert.match(await readFile(join(folder, "vite", script), "utf8"), /high-templar\.v1/);
});

test("webpack builds a page of it", async () => {
  await write("main.js", PAGE);
  await write(
    "pack.cjs",
    `require(${JSON.stringify(join(TOOLS, "webpack"))})(
       { mode: "production", entry: "./main.js", output: { path: __dirname + "/webpack" } },
       (error, stats) => {
         if (error || stats.hasErrors() || stats.hasWarnings()) {
           console.error(error ?? stats.toString());
           process.exit(1);
         }
       },
     );`,
  );
  await run("node", "pack.cjs");
  assert.match(await readFile(join(folder, "webpack/main.js"), "utf8"), /high-templar\.v1/);
});

test("a bundler leaves out what a page does not use", async () => {
  await write(
    "main.js",
    'import { SubscribeError } from "@high-templar/client";\nconsole.log(SubscribeError);',
  );
  await write("index.html", '<script type="module" src="/main.js"></script>');
  await tool("vite", "build", "--logLevel", "error", "--outDir", "shaken");
  const html = await readFile(join(folder, "shaken/index.html"), "utf8");
  const [, script] = /src="(\/assets\/[^"]+)"/.exec(html);
  assert.doesNotMatch(await readFile(join(folder, "shaken", script), "utf8"), /high-templar\.v1/);
});
