"use strict";
/* What a fluxion in JavaScript imports, `import { answer, emit } from "liquefy"`, as `liquefy/fluxion.py` is for Python.
 *
 *     export function store(message, context) {
 *       context.visits = (context.visits ?? 0) + 1;
 *       return { id: message.body.params.id, visits: context.visits };
 *     }
 *
 * A fluxion returns nothing (nothing is sent), a body for its only stream, `emit(...)`, `answer(...)`, an array with
 * those, or a promise of any of it. Called in a test with `new Message({...})` and a plain object as its context it needs
 * nothing else. Does not know how messages travel.
 *
 * CommonJS, so that `import` and `require` get the same one in every version of Node.js. */

/** The longest delay of an emission, in seconds. */
const DELAY_MAX_S = 366 * 24 * 3600;

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;
// eslint-disable-next-line no-control-regex
const LATIN_1 = /^[\x00-\xff]*$/;

/** One message. From an input the body is {method, path, params, query, headers, body}. `key` is that of the context, `id`
 * in hexadecimal, `deadline` the Unix time in seconds until which a client waits (0: none does), `trace` the trace id
 * that came with the request. */
class Message {
  constructor(body = null, { key = "", id = "", fluxion = "", deadline = 0, trace = "" } = {}) {
    this.body = body;
    this.key = key;
    this.id = id;
    this.fluxion = fluxion;
    this.deadline = deadline;
    this.trace = trace;
    Object.freeze(this);
  }
}

/** Made by `emit`. */
class Emit {
  constructor(to, body, delayMs) {
    this.to = to;
    this.body = body;
    this.delayMs = delayMs;
  }
}

/** Made by `answer`. */
class Answer {
  constructor(body, status, headers) {
    this.body = body;
    this.status = status;
    this.headers = headers;
  }
}

/** A message to the fluxion `to`, one of the streams of the fluxion that returns it; delivered `delay_s` seconds after it
 * is stored. */
function emit(to, body = null, { delay_s: delayS = 0 } = {}) {
  if (typeof to !== "string") throw new TypeError(`emit(): the first argument is the name of a fluxion, not ${to}`);
  if (typeof delayS !== "number") throw new TypeError(`emit(): delay_s is a number of seconds, not a ${typeof delayS}`);
  if (!(delayS >= 0 && delayS <= DELAY_MAX_S))
    throw new RangeError(`emit(): delay_s ${delayS} is not between 0 and ${DELAY_MAX_S} seconds`);
  return new Emit(to, body, Math.ceil(delayS * 1000));
}

/** Answer the request with which it all began: texts and buffers go out as they are, null and undefined as nothing,
 * everything else as JSON.stringify makes it. `headers`: an object, or pairs; a value that is an array is a header that is there
 * several times. */
function answer(body = null, status = 200, headers = {}) {
  if (!Number.isInteger(status)) throw new TypeError(`answer(): the status ${status} is no whole number`);
  if (status < 200 || status > 599) throw new RangeError(`answer(): the status ${status} is not between 200 and 599`);
  const pairs = [];
  for (const [name, value] of typeof headers[Symbol.iterator] === "function" ? headers : Object.entries(headers))
    for (const each of Array.isArray(value) ? value : [value]) pairs.push(header(name, each));
  return new Answer(body, status, pairs);
}

function header(name, value) {
  if (typeof name !== "string" || !TOKEN.test(name)) throw new TypeError(`answer(): ${name} is no name of a header`);
  if (typeof value !== "string" && typeof value !== "number")
    throw new TypeError(`answer(): the value of header ${name} is a text or a number, not a ${typeof value}`);
  const text = String(value);
  const shown = JSON.stringify(text.slice(0, 80));
  if (CONTROL.test(text)) throw new TypeError(`answer(): the value of header ${name} has control characters: ${shown}`);
  if (!LATIN_1.test(text)) throw new TypeError(`answer(): the value of header ${name} is not Latin-1: ${shown}`);
  return [name, text];
}

exports.Message = Message;
exports.Emit = Emit;
exports.Answer = Answer;
exports.emit = emit;
exports.answer = answer;
exports.DELAY_MAX_S = DELAY_MAX_S;
