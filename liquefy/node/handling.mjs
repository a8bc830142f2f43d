/* Runs messages through users' functions, for JavaScript: what `liquefy/handling.py` is for Python. Items go in, results
 * come out through a callback.
 *
 * Every function may return a promise, so all of them count as ones that wait: the worker has one message of a key under way
 * at a time. What is late cannot be ended here, only given up: its context is taken from it, and its result counts no
 * more. Knows neither sockets nor processes. */
import api from "./api.cjs";
import { Context } from "./context.mjs";
import { emissions, ResultError } from "./emissions.mjs";
import { describe } from "./failures.mjs";
import { calls, Stream } from "./streaming.mjs";
import { unpack } from "./values.mjs";

/** Results of a batch that takes longer are sent as far as they are there. */
export const FLUSH_AFTER_MS = 20;

/** A host that has something under way says so often that it is alive: what waits, and a quiet stream, do not hang. */
const ALIVE_MS = 500;

/** The worker asked for what cannot be. */
export class BadFrame extends Error {}

class CallTimeout extends Error {}

export class Runner {
  #send;
  #folder;
  #specs = new Map();
  #contexts = new Map();
  #latest = new Map();
  #rows = [];
  #flushed = 0;
  #cpuMark = cpuUs();
  #streams = new Map();
  #sendPiece;
  #showingLife = false;
  #underWay = 0;

  /** `send` gets arrays of results, as Done of `liquefy/hosting.py`, `sendPiece` single Pieces. */
  constructor(send, sendPiece, folder) {
    this.#send = send;
    this.#sendPiece = sendPiece;
    this.#folder = folder;
  }

  /** These fluxions can be run from now on; those of the same name as before are replaced. */
  add(graph, specs) {
    if (!this.#specs.has(graph)) this.#specs.set(graph, new Map());
    for (const spec of specs) this.#specs.get(graph).set(spec.name, spec);
  }

  /** Drop contexts; all of the partition if no keys are given. */
  forget(partition, keys) {
    const contexts = this.#contexts.get(partition);
    for (const key of keys) contexts?.delete(key);
    if (!keys.length || !contexts?.size) this.#contexts.delete(partition);
  }

  /** Begin the items in order. Throws BadFrame when an item cannot be: that is the worker's fault, or ours. */
  run(items) {
    if (!this.#rows.length) this.#flushed = performance.now();
    for (const item of items) this.#begin(item);
  }

  /** Something was thrown where nobody catches it: a call that it comes from fails by it. Returns whether there is one. */
  blame(error) {
    return calls.getStore()?.fail(error) ?? false;
  }

  /** For as long as something is under way. */
  #showLife() {
    this.#showingLife = this.#underWay > 0;
    if (!this.#showingLife) return;
    this.#send([]);
    setTimeout(() => this.#showLife(), ALIVE_MS);
  }

  /** The client who waits for the answer of this one is gone. */
  gone(ticket) {
    this.#streams.get(ticket)?.hungUp();
  }

  #begin([ticket, graph, fluxion, partition, key, id, body, fields, deadlineMs = 0, trace = ""]) {
    const spec = this.#specs.get(graph)?.get(fluxion);
    if (!spec) throw new BadFrame(`an item for ${graph}/${fluxion}, which is not loaded`);
    const item = { ticket, partition, key, id, fluxion, body, deadlineMs, trace };
    const context = spec.stateful ? this.#context(item, fields) : null;
    const slot = context && `${partition} ${key}`;
    this.#underWay += 1;
    if (!this.#showingLife) setTimeout(() => this.#showLife(), ALIVE_MS);
    this.#showingLife = true;
    // A run of the same context that the worker has given up: its result counts no more, but what it does to the
    // memory of the process must not meet what this one does.
    const before = slot && this.#latest.get(slot);
    const run = before ? before.then(() => this.#handle(spec, item, context)) : this.#handle(spec, item, context);
    if (!slot) return;
    this.#latest.set(slot, run);
    run.then(() => this.#latest.get(slot) === run && this.#latest.delete(slot));
  }

  #context(item, fields) {
    let contexts = this.#contexts.get(item.partition);
    if (!contexts) this.#contexts.set(item.partition, (contexts = new Map()));
    if (fields) contexts.set(item.key, new Context(Object.entries(fields)));
    const context = contexts.get(item.key);
    if (!context) throw new BadFrame(`an item of ${item.partition} without its context, which is not here`);
    return context;
  }

  // -- one message ---------------------------------------------------------------------------------------

  /** Never rejects. */
  async #handle(spec, item, context) {
    const start = performance.now();
    const stream = context ? null : new Stream(item.ticket, this.#sendPiece);
    if (stream) this.#streams.set(item.ticket, stream);
    let outcome;
    let failure;
    for (let tries = 0; tries < 2 && !outcome && !(failure instanceof CallTimeout) && !stream?.number; tries++) {
      const [given, end] = context ? context.view() : [null, null];
      try {
        const began = performance.now();
        const result = this.#call(spec, item, given, stream);
        // One that did not wait is done here and now, and the next begins after it.
        const value = isThenable(result) ? await result : result;
        if (performance.now() - began > spec.limitMs && !stream?.number) throw new CallTimeout();
        const emitted = emissions(spec, value);
        if (stream?.number) emitted.push(stream.end());
        end?.();
        const [sets, removes] = context ? context.changes() : [new Map(), []];
        outcome = { emitted, sets, removes };
      } catch (error) {
        end?.();
        context?.rollback();
        failure = error;
        if (performance.now() - start > ALIVE_MS) this.#send([]); // the second try has its time, too
      }
    }
    this.#streams.delete(item.ticket);
    this.#underWay -= 1;
    const [line, stack] = outcome ? ["", ""] : this.#explain(failure, spec);
    const { emitted, sets, removes } = outcome ?? { emitted: [], sets: new Map(), removes: [] };
    const elapsedUs = Math.round(1000 * (performance.now() - start));
    const size = context?.size ?? 0;
    this.#done([item.ticket, emitted, sets, removes, line, stack, 0, elapsedUs, size, context?.empty ?? false]);
  }

  /** What the function returned; a promise of it that ends by the time limit at the latest. */
  #call(spec, item, given, stream) {
    const message = messageOf(item);
    const none = () => false;
    const call = { fail: none, stream };
    const { func } = spec; // so that it is called as a function, not as a method
    const result = calls.run(call, () => (given ? func(message, given) : func(message)));
    if (!isThenable(result)) return result;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new CallTimeout()), spec.limitMs);
      const settle = (end) => (value) => {
        const first = call.fail !== none;
        call.fail = none;
        clearTimeout(timer);
        end(value);
        return first;
      };
      call.fail = settle(reject);
      if (stream) stream.unlimit = () => clearTimeout(timer);
      if (stream?.number) clearTimeout(timer);
      Promise.resolve(result).then(settle(resolve), settle(reject));
    });
  }

  #explain(error, spec) {
    if (error instanceof ResultError) return [error.message, error.message];
    const late = `timed out after ${spec.limitMs / 1000} s`;
    return error instanceof CallTimeout ? [late, late] : describe(error, this.#folder);
  }

  // -- results -------------------------------------------------------------------------------------------

  #done(row) {
    if (!this.#rows.length) setImmediate(() => this.#flush());
    this.#rows.push(row);
    if (performance.now() - this.#flushed > FLUSH_AFTER_MS) this.#flush();
  }

  #flush() {
    const rows = this.#rows;
    this.#flushed = performance.now();
    if (!rows.length) return;
    this.#rows = [];
    const now = cpuUs();
    // How long a call took says nothing of its processor time, as most of it may have been waiting: in equal parts.
    for (const row of rows) row[CPU_US] = Math.floor((now - this.#cpuMark) / rows.length);
    this.#cpuMark = now;
    this.#send(rows);
  }
}

/** Its place in a result. */
const CPU_US = 6;

function isThenable(value) {
  return value !== null && (typeof value === "object" || typeof value === "function") && typeof value.then === "function";
}

/** What the function is given. New at each try, as the first may have changed the body. */
function messageOf({ body, key, id, fluxion, deadlineMs, trace }) {
  return new api.Message(unpack(body), { key, id: id.toString("hex"), fluxion, deadline: deadlineMs / 1000, trace });
}

function cpuUs() {
  const { user, system } = process.threadCpuUsage ? process.threadCpuUsage() : process.cpuUsage();
  return user + system;
}
