/* How `import` finds `liquefy` in versions of Node.js whose hooks run in a thread of their own; see `loading.mjs`. */
import { pathToFileURL } from "node:url";

import { own } from "./own.mjs";

export function resolve(specifier, context, next) {
  const file = own(specifier);
  return file ? { url: pathToFileURL(file).href, shortCircuit: true } : next(specifier, context);
}
