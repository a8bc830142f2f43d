// A web program as it is, inside this process: it is started as `node entry` would start it, its listening is captured,
// and requests are injected into the server that it would have been. Knows neither fluxions nor state.

import { existsSync, readFileSync, realpathSync } from "node:fs";
import http from "node:http";
import Module from "node:module";
import { dirname, extname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

import { captureListening, isHttp, servers, whenListening } from "./capture.mjs";
import { inject } from "./injection.mjs";

export const START_MS_MAX = 15_000; // how long a program may take from its start until it listens
const EXPORT_MS = 200; // an application that was exported, and does not listen for so long, is what to use

export class Application {
  // `folder`: of the service, its working folder. `entry`: the file to start, relative to it. `register`: a package to be
  // loaded before it, by which its sources are built while they are loaded.
  constructor(folder, entry, register = "") {
    this.folder = realpathSync(folder);
    this.entry = entry;
    this.register = register;
    this.server = null;
    this.started = null;
  }

  // Starts the program if that has not been done; resolves when it can take requests.
  start() {
    this.started ??= this.run();
    return this.started;
  }

  async handle(request, pass, stream) {
    if (this.server === null) await this.start();
    return inject(this.server, request, pass, stream);
  }

  async run() {
    captureListening();
    const path = realpathSync(resolve(this.folder, this.entry));
    process.chdir(this.folder);
    process.argv[1] = path;
    const exit = process.exit;
    process.exit = (code) => {
      throw new Error(`${this.entry}: the program ended itself while it started, by process.exit(${code ?? ""})`);
    };
    try {
      const others = new Set(servers);
      const require = Module.createRequire(path);
      if (this.register) await this.build(require(this.register));
      const exported = await load(path, this.register !== "");
      this.server = await this.find(exported, others);
    } finally {
      process.exit = exit;
    }
  }

  // Without its cache on disk: sources are those of this bundle.
  build(register) {
    process.env.BABEL_DISABLE_CACHE ??= "1";
    const start = register.default ?? register;
    if (typeof start === "function") start({ cache: false });
  }

  // The server that listens; of several the one on $PORT, else the first.
  async find(exported, others) {
    const app = applicationIn(exported);
    const listening = await firstListening(others, app ? EXPORT_MS : START_MS_MAX);
    if (!listening && !app) {
      const seconds = START_MS_MAX / 1000;
      throw new Error(`${this.entry}: it did not listen on a port within ${seconds} s, and exports no application`);
    }
    if (!listening) return serve(app);
    const port = Number(process.env.PORT);
    return servers.find((server) => isHttp(server) && !others.has(server) && server.address()?.port === port) ?? listening;
  }
}

function firstListening(others, limitMs) {
  return new Promise((resolve) => {
    const end = (server) => {
      clearTimeout(timer);
      stop();
      resolve(server);
    };
    const timer = setTimeout(() => end(null), limitMs);
    let stop = () => {};
    stop = whenListening((server) => isHttp(server) && !others.has(server) && setImmediate(() => end(server)));
  });
}

// The module's exports. The program is the main module, as it may ask whether it is.
async function load(path, built) {
  if (!built && isModule(path)) return import(pathToFileURL(path).href);
  try {
    return Module._load(path, null, true);
  } catch (error) {
    // Found to be a module by its syntax, by those Nodes that look.
    if (error?.code !== "ERR_REQUIRE_ASYNC_MODULE" && error?.code !== "ERR_REQUIRE_ESM") throw error;
    return import(pathToFileURL(path).href);
  }
}

// As Node tells: by the suffix, else by `type` in the nearest package.json.
export function isModule(path) {
  const suffix = extname(path);
  if (suffix === ".mjs" || suffix === ".cjs") return suffix === ".mjs";
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const file = join(folder, "package.json");
    if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")).type === "module";
    if (folder === dirname(folder)) return false;
  }
}

// What the entry exports, if that is an application: a server, a function of (request, response), or an object of a
// framework.
function applicationIn(exported) {
  for (const value of [exported, exported?.default, exported?.app, exported?.server]) {
    if (value === null || value === undefined) continue;
    if (isHttp(value) || isApplication(value)) return value;
  }
  return null;
}

function isApplication(value) {
  if (typeof value === "function") return value.length >= 2 && !/^class\b/.test(String(value));
  if (typeof value !== "object") return false;
  return typeof value.callback === "function" || (typeof value.ready === "function" && typeof value.routing === "function");
}

async function serve(app) {
  if (isHttp(app)) return app;
  if (typeof app === "function") return http.createServer(app);
  if (typeof app.callback === "function") return http.createServer(app.callback()); // Koa
  await app.ready(); // Fastify
  return app.server;
}

