// The package in projects that are new: npm installs it from its file, as from a registry, with the tools
// that the project has.
//
//   HT_NPM_PACKAGE=FILE node --test tests/packaging/projects.js   after `npm ci` in this folder

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const VERSIONS = JSON.parse(await readFile(join(HERE, "package.json"), "utf8")).devDependencies;
const TARBALL = resolve(process.env.HT_NPM_PACKAGE ?? "");
const PAGE_OF_INSTALL = join(HERE, "../../../../docs/install-npm.md");

let folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "projects-"));
});
after(() => rm(folder, { recursive: true, force: true }));

/** A new project with these files and tools. Gives back what runs a program in it. */
async function project(name, { files, tools = [], typed, ...settings }) {
  const at = join(folder, name);
  const run = async (program, ...args) => {
    try {
      const how = { cwd: at, maxBuffer: 16 * 1024 * 1024 };
      return (await promisify(execFile)(program, args, how)).stdout;
    } catch (error) {
      throw new Error(`${program} ${args.join(" ")}\n${error.stdout}\n${error.stderr}`);
    }
  };
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(at, path)), { recursive: true });
    await writeFile(join(at, path), text);
  }
  await writeFile(
    join(at, "package.json"),
    JSON.stringify({ name, private: true, version: "0.0.0", ...settings }),
  );
  if (typed) {
    await copyFile(TARBALL, join(at, basename(TARBALL)));
    await run("sh", "-euc", typed);
    return { at, run };
  }
  const install = ["install", "--no-audit", "--no-fund", "--prefer-offline", "--silent"];
  await run("npm", ...install, TARBALL, ...tools.map((tool) => `${tool}@${VERSIONS[tool]}`));
  return { at, run };
}

const installed = ({ at }) => readdir(join(at, "node_modules"));

/** Subscribes over a gateway in memory, and prints what it heard. */
const PROGRAM = `
const gateway = new FakeGateway();
const socket = new HighTemplar({ url: "ws://gateway/ws/", WebSocket: gateway.WebSocket });
const subscription = socket.subscribe({ target: "order" }, (order) => {
  console.log("order", order.id);
  socket.close();
});
subscription.ready.then(() => gateway.publish({ target: "order" }, { id: 7 }));
`;

test("Node, ECMAScript modules, as the page says: nothing else is installed", async () => {
  const [, typed] = /^```sh\n(.*?)^```/ms.exec(await readFile(PAGE_OF_INSTALL, "utf8"));
  assert(typed.includes(basename(TARBALL)), "the page names another file");
  const site = await project("esm", {
    type: "module",
    typed,
    files: {
      "main.js": `import { HighTemplar } from "@high-templar/client";
        import { FakeGateway } from "@high-templar/client/testing";
        ${PROGRAM}`,
    },
  });
  assert.equal((await site.run("node", "main.js")).trim(), "order 7");
  const others = (await installed(site)).filter((name) => !name.startsWith("."));
  assert.deepEqual(others, ["@high-templar"]);
});

test("Node, CommonJS", async () => {
  const site = await project("cjs", {
    files: {
      "main.js": `const { HighTemplar } = require("@high-templar/client");
        const { FakeGateway } = require("@high-templar/client/testing");
        ${PROGRAM}`,
    },
  });
  assert.equal((await site.run("node", "main.js")).trim(), "order 7");
});

const PAGE = `
import { HighTemplar } from "@high-templar/client";
import { HighTemplarProvider, useRoom } from "@high-templar/client/react";
import { createElement } from "react";
import { createRoot } from "react-dom/client";
function Orders() {
  useRoom({ target: "order" }, console.log);
  return null;
}
const socket = new HighTemplar({ url: "/ws/" });
createRoot(document.body).render(
  createElement(HighTemplarProvider, { client: socket }, createElement(Orders)),
);
`;
const REACT = ["react", "react-dom"];

test("Vite and React: the page is built, with one React", async () => {
  const site = await project("vite", {
    type: "module",
    tools: ["vite", ...REACT],
    files: {
      "index.html": '<script type="module" src="/src/main.js"></script>',
      "src/main.js": PAGE,
    },
  });
  await site.run("npx", "--no-install", "vite", "build", "--logLevel", "error");
  const [script] = await readdir(join(site.at, "dist/assets"));
  assert.match(await readFile(join(site.at, "dist/assets", script), "utf8"), /high-templar\.v1/);
  const tree = JSON.parse(await site.run("npm", "ls", "react", "--json", "--all"));
  assert.deepEqual(tree.problems ?? [], []);
});

test("webpack: the page is built without a warning", async () => {
  const site = await project("webpack", {
    tools: ["webpack", ...REACT],
    files: {
      "src/index.js": PAGE,
      "build.js": `require("webpack")({ mode: "production" }, (error, stats) => {
        if (error || stats.hasErrors() || stats.hasWarnings()) {
          console.error(error ?? stats.toString());
          process.exit(1);
        }
      });`,
    },
  });
  await site.run("node", "build.js");
  assert.match(await readFile(join(site.at, "dist/main.js"), "utf8"), /high-templar\.v1/);
});

test("Jest", async () => {
  const site = await project("jest", {
    tools: ["jest"],
    files: {
      "orders.test.js": `const { HighTemplar } = require("@high-templar/client");
        const { FakeGateway } = require("@high-templar/client/testing");
        test("an order is heard", async () => {
          const gateway = new FakeGateway();
          const socket = new HighTemplar({ url: "ws://gateway/ws/", WebSocket: gateway.WebSocket });
          const heard = new Promise((resolve) => {
            socket
              .subscribe({ target: "order" }, resolve)
              .ready.then(() => gateway.publish({ target: "order" }, { id: 7 }));
          });
          expect(await heard).toEqual({ id: 7 });
          socket.close();
        });`,
    },
  });
  await site.run("npx", "--no-install", "jest");
});
