// Requests as messages carry them and as frameworks pass them; the keys in them. Knows no state.

import { createHash } from "node:crypto";
import { IncomingMessage } from "node:http";

const KEY_BYTES_MAX = 512;
// What the code makes of what the request brings.
const CONVERT = {
  "": (value) => value,
  int: (value) => parseInt(value, 10),
  parseInt: (value) => parseInt(value),
  number: Number,
  text: String,
};

// The request in the body of a message; one that was sent on carries its key where the key is looked for.
export function requestIn(body) {
  const { forwarded } = body;
  const { method, target, headers, client, scheme } = body;
  const request = { method, target, headers, body: body.body, client, scheme };
  if (forwarded && forwarded.part in request) request[forwarded.part] = forwarded.value;
  return request;
}

// The body of a message with the request for the fluxion whose key is at the dotted path.
export function withKey(body, path, key) {
  if (path === "") return { ...body, forwarded: { part: "", value: null } };
  const [part, ...rest] = path.split(".");
  const held = rest.reduceRight((value, name) => ({ [name]: value }), key);
  return { ...body, [part]: held, forwarded: { part, value: body[part] } };
}

// The request of Node's http in the first argument of a framework's handler.
export function incoming(given) {
  if (given instanceof IncomingMessage) return given;
  const inner = given?.req ?? given?.raw;
  return inner instanceof IncomingMessage ? inner : (inner?.raw ?? inner);
}

// The value of the key as the handler itself would find it.
export function keyIn(given, path, convert) {
  const [kind, ...rest] = path.split(".");
  const ctx = given?.req !== undefined && given?.request !== undefined && given?.app !== undefined ? given : null;
  let value;
  if (kind === "params" || kind === "query" || kind === "headers") value = (ctx ?? given)[kind];
  else if (kind === "body") value = ctx ? ctx.request.body : given.body;
  else if (kind === "cookies") value = ctx ? { [rest[0]]: ctx.cookies.get(rest[0]) } : given.cookies;
  for (const name of rest) value = value?.[name];
  return CONVERT[convert ?? ""](value);
}

// The key of the context in which the entries under this value are. Two values that are one property have one key.
export function contextKey(value) {
  const text = String(value);
  if (text !== "" && text.isWellFormed?.() !== false && Buffer.byteLength(text) <= KEY_BYTES_MAX) return text;
  return `sha256:${createHash("sha256").update(text, "utf16le").digest("hex")}`;
}
