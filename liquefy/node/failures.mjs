/* What users' code threw, as text for people: one line, and the stack without our own frames; as `liquefy/failures.py`. */
import { inspect } from "node:util";
import { fileURLToPath } from "node:url";

export const ERROR_CHARS_MAX = 2_000;

/** Longer ones lose their middle. */
export const TRACEBACK_CHARS_MAX = 16_000;

const OURS = [fileURLToPath(new URL(".", import.meta.url)), "node:internal", "node:async_hooks"];
const CAUSES_MAX = 10;

/** [line, stack] of something thrown by code in `folder`, whose path is left out. */
export function describe(error, folder) {
  const without = (text) => text.replaceAll(`file://${folder}/`, "").replaceAll(`${folder}/`, "");
  const line = cut(without(lineOf(error)), ERROR_CHARS_MAX);
  const parts = [];
  for (let each = error, n = 0; n < CAUSES_MAX && each !== undefined; n++) {
    parts.push(stackOf(each));
    each = isError(each) ? each.cause : undefined;
  }
  return [line, cut(without(parts.join("\ncaused by: ")), TRACEBACK_CHARS_MAX)];
}

function isError(value) {
  return value instanceof Error || Object.prototype.toString.call(value) === "[object Error]";
}

function lineOf(error) {
  if (!isError(error)) return `${inspect(error, { depth: 1, breakLength: Infinity })} was thrown, which is no Error`;
  try {
    return String(error);
  } catch {
    return "an Error that cannot be printed";
  }
}

function stackOf(error) {
  if (!isError(error) || typeof error.stack !== "string") return lineOf(error);
  const lines = error.stack.split("\n");
  return lines.filter((line) => !/^\s+at /.test(line) || !OURS.some((mark) => line.includes(mark))).join("\n");
}

/** At most about `limit` characters of the text, from both ends. */
export function cut(text, limit) {
  const short = text.length > limit ? `${text.slice(0, limit / 2)} ... ${text.slice(-limit / 2)}` : text;
  return short.toWellFormed();
}
