// Serves the test pages, each with its script.

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const FOLDER = fileURLToPath(new URL("../chromium/", import.meta.url));

export async function startSite() {
  const { outputFiles } = await build({
    entryPoints: ["page.ts", "module.ts", "worker.ts", "react.tsx"].map((name) => FOLDER + name),
    outdir: "/",
    bundle: true,
    write: false,
    format: "esm",
    jsx: "automatic",
    // Not by the paths that editors follow: the package as it is published.
    tsconfigRaw: {},
  });
  const scripts = new Map(outputFiles.map(({ path, text }) => [path, text]));
  const server = createServer(({ url = "" }, response) => {
    const script = scripts.get(url);
    if (script) return response.setHeader("Content-Type", "text/javascript").end(script);
    response.setHeader("Content-Type", "text/html");
    // The user's session, as a site's login would set it.
    response.setHeader("Set-Cookie", "session=anna; Path=/; HttpOnly; SameSite=Lax");
    response.end(`<!doctype html><link rel="icon" href="data:,">
      <script type="module" src="${url}.js"></script>`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    /** The address of a page: `page` or `react`. */
    url: (name: string) => `http://127.0.0.1:${(server.address() as AddressInfo).port}/${name}`,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

export type Site = Awaited<ReturnType<typeof startSite>>;
