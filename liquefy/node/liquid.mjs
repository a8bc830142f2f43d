// A compiled service in a host: the program loaded once, its requests run as fluxions, its variables bound to contexts.
// The generated `liquid_service.mjs` has one small function per fluxion that calls `run` of what `service` returns.
// What is to be known of the service is in `liquefy.json`, written by the compiler: see `manifest` in
// compiler/javascript/emit.py. Knows no sockets, and of the frameworks only how a request is found in what they pass.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { Application } from "./application.mjs";
import { Base } from "./base.mjs";
import { PASS } from "./injection.mjs";
import { contextKey, keyIn, requestIn, incoming, withKey } from "./keys.mjs";
import { registry } from "./registry.mjs";
import { Keyed, Whole } from "./state.mjs";
import { current } from "./streaming.mjs";

const STATE = "state"; // the field of a context with all variables of a group
const RESTART_AFTER_MS = 5_000; // a program that could not start is tried again by the first message after so long
const EXIT_NOT_STARTED = 71;
const CHECKED_CHARS_MAX = 100_000; // of a state that is looked at before a request, too, whether it changed on its own

// The service whose generated module has this URL. `tools`: `answer` and `emit` of the host.
export function service(url, tools) {
  const folder = dirname(fileURLToPath(url));
  return new Service(folder, JSON.parse(readFileSync(join(folder, "liquefy.json"), "utf8")), tools);
}

export class Service {
  constructor(folder, manifest, { answer, emit }) {
    this.folder = folder;
    this.fluxions = manifest.fluxions;
    this.groups = manifest.groups;
    this.sources = manifest.sources;
    this.givenUpMs = manifest.given_up_ms;
    this.application = new Application(folder, manifest.entry, manifest.register);
    this.run = this.run.bind(this);
    this.ready = this.ready.bind(this);
    this.answer = answer;
    this.emit = emit;
    this.states = null;
    this.starting = null;
    this.failedMs = 0;
    registry.guards = (name, given, last) => this.guard(name, given, last);
    registry.unanswered = (request) => this.unanswered(request);
  }

  // What the fluxion sends for the message: an answer, or the request to the fluxion that it belongs to.
  async run(name, message, context) {
    const stream = current();
    const end = performance.now() + this.givenUpMs;
    await this.ready();
    const { group, role, start } = this.fluxions[name];
    if (role === "step") return this.step(name, message);
    const pass = { name, group, key: message.key, context, end, reached: false, entered: null, forwarded: Boolean(message.body.forwarded) };
    if (role === "end") Object.assign(pass, { ends: start, variables: message.body.variables });
    const raw = role === "end" ? message.body.request : message.body;
    const request = requestIn(raw);
    const keeping = this.groups[group].keeping;
    registry.checkUndeclared();
    const run = keeping === "whole" ? this.whole : keeping === "keyed" ? this.keyed : this.free;
    const { to, key, error, streamed, unanswered, variables, ...answer } = await run.call(this, pass, request, stream);
    if (error) throw error;
    if (streamed || unanswered) return undefined;
    if (variables) return this.emit(to, { variables, request: raw });
    if (to) return this.emit(to, withKey(message.body, this.keyOf(to), key));
    return this.answer(answer.body, answer.status, answer.headers);
  }

  // Resolves when the program runs. One that could not start is tried again in a new process.
  async ready() {
    if (this.failedMs && Date.now() - this.failedMs > RESTART_AFTER_MS) process.exit(EXIT_NOT_STARTED);
    this.starting ??= this.start();
    try {
      await this.starting;
    } catch (error) {
      this.failedMs ||= Date.now();
      throw error;
    }
  }

  // Where the fluxion's key is in a request; "" if it needs none.
  keyOf(name) {
    const { group, key } = this.fluxions[name];
    return this.groups[group].keeping === "keyed" ? key : "";
  }

  // A part of a handler that needs no framework.
  async step(name, message) {
    const { variables, request } = message.body;
    const early = new Map();
    const emit = (to, sent) => {
      const mark = {};
      early.set(mark, { to, sent });
      return mark;
    };
    const result = await registry.steps.get(name)(variables, emit);
    if (result === undefined) return undefined;
    const { to, sent } = early.get(result) ?? { to: this.fluxions[name].next, sent: result };
    return this.emit(to, { variables: sent, request });
  }

  async start() {
    await this.application.start();
    registry.loading = false;
    const text = this.sources.map((file) => readFileSync(join(this.folder, file), "utf8")).join("\n");
    const base = new Base((f) => isOf(text, f, this.application.register !== ""), registry.hidden, (type) => registry.make(type));
    base.add(registry.values());
    this.states = {};
    for (const [name, { keeping, variables }] of Object.entries(this.groups)) {
      if (keeping === "whole") this.states[name] = new Whole(variables.flatMap((id) => registry.find(id)), base);
      if (keeping === "keyed") {
        this.states[name] = new Keyed(variables.flatMap((id) => registry.find(id).map((found) => [found.name, found])), base);
      }
    }
  }

  // Nothing is remembered, or it is in this process.
  free(pass, request, stream) {
    return this.application.handle(request, pass, stream);
  }

  async whole(pass, request) {
    const state = this.states[pass.group];
    this.checkUnchanged(state);
    state.bring(pass.context[STATE]);
    try {
      const answer = await this.answered(request, pass);
      if ((answer.to && !answer.variables) || answer.error) return answer;
      await settled();
      const text = state.take();
      // The first time even if nothing changed: what was made at start is from then on what was stored.
      if (text !== pass.context[STATE]) pass.context[STATE] = text;
      return answer;
    } catch (error) {
      state.lost();
      throw error;
    }
  }

  // The answer; of a handler that does not give one for so long that it would be ended, none, and what it changed is kept.
  async answered(request, pass) {
    const timer = setTimeout(() => pass.leave?.({ unanswered: true }), pass.end - performance.now());
    try {
      return await this.application.handle(request, pass);
    } finally {
      clearTimeout(timer);
    }
  }

  // What works on after the answer would be lost without a word.
  checkUnchanged(state) {
    const before = state.live;
    if (before === null || before.length > CHECKED_CHARS_MAX || state.take() === before) return;
    state.lost();
    throw new Error("variables changed after the answer, when no request was handled; they cannot be kept in a context");
  }

  async keyed(pass, request) {
    const state = this.states[pass.group];
    try {
      const answer = await this.answered(request, pass);
      if (pass.entered === null) return answer;
      await settled();
      const { key } = pass.entered;
      pass.entered = null;
      for (const [field, text] of Object.entries(state.take(key, pass.context))) {
        if (text === undefined) delete pass.context[field];
        else pass.context[field] = text;
      }
      return answer;
    } finally {
      if (pass.entered !== null) state.drop(pass.entered.key);
    }
  }

  // -- before a handler ----------------------------------------------------------------------------------------------

  // Called by the framework before the handler of the fluxion. Goes on to the handler if the message that is being
  // handled has what the handler needs; else sends the request on, and nothing has happened. `last`: the handler comes
  // next; before that a body that has not been read yet may still be.
  guard(name, given, last) {
    const next = given.at(-1);
    const pass = incoming(given[0])?.socket?.[PASS];
    if (!last && pass?.entered === null && this.fluxions[name].key.startsWith("body") && given[0].body === undefined) return next();
    if (this.fluxions[name].role === "start") {
      const part = this.partFor(pass, name, given[0]);
      return part === null ? undefined : registry.within(part, next);
    }
    if (pass === undefined || this.enters(pass, name, given[0])) return next();
    return undefined;
  }

  // The request's handler is over, and nobody will answer. Its client waits, as it would; others do not, where they would
  // wait for the context, and what the handler changed is kept.
  unanswered(request) {
    const pass = incoming(request)?.socket?.[PASS];
    if (pass?.group === undefined || this.fluxions[pass.name].role !== undefined) return;
    if (["whole", "keyed"].includes(this.groups[pass.group].keeping)) pass.leave({ unanswered: true });
  }

  // Before a handler that was cut: which of its parts is to run; null if the request is not for it here.
  partFor(pass, name, request) {
    if (pass.ends === name) {
      pass.reached = true;
      return { first: false, message: pass.variables };
    }
    if (pass.name !== name && this.groups[this.fluxions[name].group].keeping === "none") {
      pass.leave(pass.forwarded ? { error: new Error(`a request for '${pass.name}' came to '${name}'`) } : { to: name, key: "" });
      return null;
    }
    if (!this.enters(pass, name, request)) return null;
    if (pass.name !== name) {
      pass.leave({ error: new Error(`a request for '${pass.name}' came to '${name}'`) });
      return null;
    }
    const to = this.fluxions[name].next;
    return { first: true, send: (variables) => pass.leave({ to, variables }) };
  }

  enters(pass, name, request) {
    const { group, key: path, convert } = this.fluxions[name];
    const { keeping } = this.groups[group];
    if (keeping === "none") {
      pass.reached = true;
      return true;
    }
    const real = path === "" ? "" : keyIn(request, path, convert);
    const key = path === "" ? "" : contextKey(real);
    if (group === pass.group && (keeping !== "keyed" || key === pass.key)) {
      if (keeping === "keyed" && pass.entered === null) {
        pass.entered = { key: real };
        this.states[group].bring(real, pass.context);
      }
      pass.reached = true;
      return true;
    }
    if (pass.forwarded || pass.reached) {
      const error = new Error(`a request for '${pass.name}' (key '${pass.key}') came to the handler of '${name}' (key '${key}')`);
      pass.leave({ error });
    } else {
      pass.leave({ to: this.groups[group].to, key });
    }
    return false;
  }
}

// Whether a function is of these sources. One that was built when it was loaded has another text: its name has to do.
function isOf(text, f, built) {
  if (!built) return text.includes(Function.prototype.toString.call(f));
  return f.name !== "" && (text.includes(`class ${f.name}`) || text.includes(`function ${f.name}`));
}

// What the program does at once after its answer is still of the request.
function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}
