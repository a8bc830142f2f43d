/* Which of our files `liquefy` and `liquefy/NAME` stand for in users' code. */
import { existsSync, realpathSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const HERE = realpathSync(path.dirname(fileURLToPath(import.meta.url)));

/** The file that `liquefy` or `liquefy/NAME` stands for, undefined if it is something else. */
export function own(specifier) {
  if (specifier === "liquefy") return path.join(HERE, "api.cjs");
  if (!specifier.startsWith("liquefy/")) return undefined;
  const file = path.join(HERE, `${path.basename(specifier)}.mjs`);
  return existsSync(file) ? file : undefined;
}
