/* What a function returned, as the messages that it stands for; as the end of `liquefy/handling.py`. Pure. */
import api from "./api.cjs";
import { pack } from "./values.mjs";

const { Answer, Emit } = api;

const OUTPUT = "output";

/** Length of a message's key, in UTF-8. */
export const KEY_BYTES_MAX = 512;

/** What a function returned cannot be sent. Its text is shown without the name of this class. */
export class ResultError extends Error {}

/** The messages that a returned value stands for, each as Emitted of `liquefy/hosting.py`. Throws ResultError,
 * ValueError. */
export function emissions(spec, result) {
  if (result === undefined || result === null) return [];
  if (isOurs(result)) return [emission(spec, result)];
  if (Array.isArray(result) && result.some(isOurs)) return result.map((each) => emission(spec, each));
  if (!spec.sole) throw new ResultError(noSoleStream(spec, result));
  return [message(spec.sole, result, 0)];
}

function isOurs(value) {
  return value instanceof Emit || value instanceof Answer;
}

function emission(spec, each) {
  if (each instanceof Answer) return answered(each.body, each.status, each.headers);
  if (!(each instanceof Emit))
    throw new ResultError(
      `'${spec.name}' returned an array with emit() or answer() and ${brief(each)} in it; make that one emit(name, ...) too`,
    );
  const target = spec.targets.get(each.to);
  if (!target) {
    const streams = [...spec.targets.keys()].map((name) => `'${name}'`).join(", ") || "none";
    throw new ResultError(`'${spec.name}' has no stream to '${each.to}'; its streams: ${streams}`);
  }
  return message(target, each.body, each.delayMs);
}

function message(target, body, delayMs) {
  if (target.name === OUTPUT) return answered(body, 0, [], delayMs);
  return [target.name, target.key.length ? keyIn(body, target) : "", pack(body, "body"), delayMs, 0, []];
}

/** JSON is made here, as JavaScript makes it: with toJSON, and without what is undefined. */
function answered(body, status, headers, delayMs = 0) {
  if (body === undefined || body === null) return [OUTPUT, "", pack(null), delayMs, status, headers];
  if (typeof body === "string") return [OUTPUT, "", pack(body.toWellFormed()), delayMs, status, headers];
  if (body instanceof Uint8Array) return [OUTPUT, "", pack(Buffer.from(body)), delayMs, status, headers];
  const text = JSON.stringify(body);
  if (text === undefined) throw new ResultError(`the answer's body is ${brief(body)}, which has no form in JSON`);
  const typed = headers.some(([name]) => name.toLowerCase() === "content-type");
  const all = typed ? headers : [...headers, ["content-type", "application/json"]];
  return [OUTPUT, "", pack(Buffer.from(text)), delayMs, status, all];
}

function noSoleStream(spec, result) {
  if (!spec.targets.size)
    return `'${spec.name}' returned ${brief(result)}, but has no stream to send it to; return nothing, or answer(...)`;
  const names = [...spec.targets.keys()];
  return (
    `'${spec.name}' returned a body, but has several streams: ${names.map((name) => `'${name}'`).join(", ")}; ` +
    `say which: return emit("${names[0]}", body)`
  );
}

/** The key of a message for the target. Throws ResultError if the body carries none that can be used. */
export function keyIn(body, target) {
  let value = body;
  for (const part of target.key) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) {
      const path = target.key.join(".");
      throw new ResultError(
        `the message to '${target.name}' carries no key: '${path}' not found in ${outline(body)}; ` +
          `put it there, or correct \`key: ${path}\` of '${target.name}' in graph.yaml`,
      );
    }
    value = value[part];
  }
  const text = Number.isSafeInteger(value) || typeof value === "bigint" ? String(value) : value;
  if (typeof text === "string" && text.isWellFormed()) {
    const size = Buffer.byteLength(text);
    if (size > 0 && size <= KEY_BYTES_MAX) return text;
  }
  throw new ResultError(
    `the message to '${target.name}' has no usable key: '${target.key.join(".")}' is ${brief(value)}; ` +
      `a key is a whole number, or a text of 1 to ${KEY_BYTES_MAX} bytes`,
  );
}

function outline(body) {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return brief(body);
  const names = Object.keys(body);
  return `{${names.slice(0, 12).join(", ")}${names.length > 12 ? ", ..." : ""}}`;
}

function brief(value) {
  if (value === null || value === undefined || typeof value === "boolean" || typeof value === "number") return String(value);
  if (typeof value === "object") return `a value of ${value.constructor?.name ?? "no class"}`;
  const text = typeof value === "string" ? JSON.stringify(value) : `a ${typeof value}`;
  return text.length <= 60 ? text : `${text.slice(0, 50)}... (${text.length} characters)`;
}
