/* From a graph and a folder with its code to functions that can be called, for JavaScript: what `liquefy/loading.py` is for
 * Python. Imports the users' modules, ES modules and CommonJS; lets them find `liquefy`, which is no package of theirs.
 *
 * Does not run fluxions, and knows no socket. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import module from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { types } from "node:util";

import { describe } from "./failures.mjs";
import { own } from "./own.mjs";

const OUTPUT = "output";
const SUFFIXES = [".mjs", ".js", ".cjs"];

/** Files beside the one that is imported in which a syntax error is looked for. */
const CHECKED_FILES_MAX = 20;

/** One fluxion, ready to be called. `sole` is its only stream, if it has but one. */
class Spec {
  constructor(graph, fluxion, stateful, func) {
    this.name = fluxion.name;
    this.func = func;
    this.stateful = stateful;
    this.limitMs = fluxion.timeout_ms;
    this.targets = new Map(fluxion.streams.map((to) => [to, { name: to, key: keyPath(graph, to) }]));
    this.sole = this.targets.size === 1 ? this.targets.values().next().value : null;
  }
}

/** Why the code cannot be used: `message` for people, `trace` the user's stack, if there is one. */
export class LoadError extends Error {
  constructor(message, trace = "") {
    super(message);
    this.trace = trace;
  }
}

/** Import what the graph's fluxions `only` name, from the folder. Throws LoadError for the first that cannot be used. */
export async function load(graph, folder, only) {
  const specs = [];
  for (const name of only) {
    const fluxion = graph.fluxions.find((each) => each.name === name);
    specs.push(await loadOne(graph, fluxion, folder));
  }
  return specs;
}

async function loadOne(graph, fluxion, folder) {
  const [moduleName, functionName] = split(fluxion.code);
  const what = `fluxion '${fluxion.name}' (${fluxion.code})`;
  const file = find(folder, moduleName);
  if (!file) throw new LoadError(`${what}: there is no ${candidates(moduleName).join(", ")} in the bundle`);
  let found;
  try {
    found = await import(pathToFileURL(path.join(folder, file)));
  } catch (error) {
    const [line, trace] = describe(error, folder);
    const place = error instanceof SyntaxError ? misspelt(folder, file) : "";
    throw new LoadError(`${what}: importing '${file}' failed: ${place}${line}`, trace);
  }
  const func = found[functionName] ?? found.default?.[functionName];
  const stateful = graph.groups.find((group) => group.name === fluxion.group).stateful;
  const problem = misfit(func, stateful, found, functionName);
  if (problem) throw new LoadError(`${what}: ${file} ${problem}`);
  return new Spec(graph, fluxion, stateful, func);
}

/** Where the syntax error is, "file:line: ", which an error of `import` does not say; "" if it is not found. */
function misspelt(folder, file) {
  const others = readdirSync(folder).filter((name) => name !== file && SUFFIXES.includes(path.extname(name)));
  for (const each of [file, ...others.slice(0, CHECKED_FILES_MAX)]) {
    const { status, stderr } = spawnSync(process.execPath, ["--check", path.join(folder, each)], { encoding: "utf8" });
    const line = status ? /:(\d+)\n/.exec(stderr)?.[1] : undefined;
    if (line) return `${each}:${line}: `;
  }
  return "";
}

function split(code) {
  const at = code.lastIndexOf(":");
  return [code.slice(0, at), code.slice(at + 1)];
}

/** The files that a module's name in graph.yaml may stand for, in order. */
function candidates(name) {
  const bare = name.replace(/^\.\//, "");
  if (SUFFIXES.includes(path.extname(bare))) return [bare];
  const folders = bare.includes(".") && !bare.includes("/") ? [bare.replaceAll(".", "/")] : [];
  return [bare, ...folders].flatMap((each) => SUFFIXES.map((suffix) => each + suffix));
}

function find(folder, name) {
  return candidates(name).find((file) => existsSync(path.join(folder, file)));
}

/** Why the function cannot be this fluxion; "" if it can. */
function misfit(func, stateful, found, name) {
  if (func === undefined) {
    const all = Object.entries({ ...found.default, ...found });
    const there = all.filter(([, value]) => typeof value === "function").map(([each]) => each);
    return `exports no function '${name}'${there.length ? `; there are ${there.sort().slice(0, 10).join(", ")}` : ""}`;
  }
  if (typeof func !== "function") return `exports '${name}', but as ${typeof func}, not as a function`;
  if (/^class\b/.test(Function.prototype.toString.call(func))) return `exports '${name}', but as a class; write a function`;
  if (types.isGeneratorFunction(func)) return `exports '${name}', but as a generator; return an array of emit(...) instead`;
  if (!stateful && func.length > 1)
    return `exports '${name}' with ${func.length} parameters, but it has no context; write (message), or give it a group`;
  if (func.length > 2) return `exports '${name}' with ${func.length} parameters; write (message, context)`;
  return "";
}

function keyPath(graph, to) {
  const fluxion = to === OUTPUT ? undefined : graph.fluxions.find((each) => each.name === to);
  return fluxion?.key ? fluxion.key.split(".") : [];
}

// -- finding `liquefy` ------------------------------------------------------------------------------------

/** Let all that is imported from now on find `liquefy`. */
export function provide() {
  if (module.registerHooks) {
    module.registerHooks({
      resolve: (specifier, context, next) => {
        const file = own(specifier);
        return file ? { url: pathToFileURL(file).href, shortCircuit: true } : next(specifier, context);
      },
    });
    return;
  }
  const resolve = module._resolveFilename;
  module._resolveFilename = (request, ...rest) => own(request) ?? resolve.call(module, request, ...rest);
  module.register("./resolving.mjs", import.meta.url);
}
