// The program's variables, as its instrumented sources tell them while they load: for each a way to read it and, unless
// it is constant, to assign it. Found by the sources at `globalThis[Symbol.for("liquefy")]`. Knows no values' meaning.

import { AsyncLocalStorage } from "node:async_hooks";

const PARAMETERS_MAX = 16; // of a constructor, that are given something when an object is made of what is stored
const PROPERTIES = ".properties";

export class Registry {
  constructor() {
    this.loading = true;
    this.variables = new Map(); // id -> [{name, get, set}], one for each time that its function ran
    this.undeclared = []; // of those that are state, what had not been declared when the service began
    this.steps = new Map(); // name of a fluxion that is a function of its message -> the function
    this.parts = new AsyncLocalStorage(); // what a handler that was cut is to run, for the request that it is called for
    this.hidden = new Map(); // class -> {read, assign} of its private fields
    this.making = null; // arguments for constructors of objects that are made without what constructors do
    this.guards = null; // name of a fluxion -> what is put before its handler
    this.unanswered = null; // what is done about a request that nobody will answer
    this.fluxions = new WeakMap(); // guard -> the fluxion that it stands before
    this.overs = new WeakSet(); // handlers that have answered when they are over, or never will
  }

  // Of a module or a function that runs: {id: [get, set]}.
  add(table) {
    if (!this.loading) return;
    for (const [id, [get, set]] of Object.entries(table)) {
      const known = this.variables.get(id) ?? [];
      const name = known.length ? `${id}#${known.length + 1}` : id;
      known.push({ name, get, set });
      this.variables.set(id, known);
    }
  }

  step(name, run) {
    this.steps.set(name, run);
  }

  // Calls `next`; a handler that was cut and comes to be called by it, at once or later, runs this part.
  within(part, next) {
    return this.parts.run(part, next);
  }

  // Called first thing by a handler that was cut: which of its parts it is to run.
  part() {
    const part = this.parts.getStore();
    if (part === undefined) throw new Error("a handler that was cut was called by something else than its route");
    return part;
  }

  // Of a class with private fields: how to read those of an object, and how to assign them. `type`: the class, or
  // something that stands for its own, the static ones.
  hide(type, read, assign) {
    this.hidden.set(type, { read, assign });
  }

  // An object of a class of the program that has its private fields, none of which is given anything yet.
  make(type) {
    this.making = isOfLanguage(type) ? [] : Array(PARAMETERS_MAX).fill(anything());
    try {
      return Reflect.construct(type, this.making);
    } finally {
      this.making = null;
    }
  }

  // A handler that has answered when it is over, or never will. `name`: what it is called.
  over(name, handler) {
    this.overs.add(handler);
    if (name !== "" && handler.name === "") Object.defineProperty(handler, "name", { value: name, configurable: true });
    return handler;
  }

  // The last handler of a route: if it is over and has not answered, that is told.
  finishing(handler) {
    const registry = this;
    if (handler.length !== 2 || Object.keys(handler).length > 0) return handler;
    return function (request, response, ...rest) {
      const result = handler.call(this, request, response, ...rest);
      if (!registry.overs.has(handler)) return result;
      const check = () => {
        if (response?.writableEnded === false && !response.headersSent) registry.unanswered(request);
      };
      if (typeof result?.then === "function") result.then(check, () => {});
      else check();
      return result;
    };
  }

  // What a route is registered with, guards before its handlers: before each of them, since one may first have to read
  // the body that the key is in.
  guarded(name, given) {
    const last = given.flat(Infinity).findLast((each) => typeof each === "function");
    const before = (each) => {
      if (typeof each !== "function") return [each];
      const guard = (request, response, next) => this.guards(name, [request, response, next], each === last);
      this.fluxions.set(guard, name);
      return [guard, each === last ? this.finishing(each) : each];
    };
    return given.flatMap((each) => (Array.isArray(each) ? [each.flat(Infinity).flatMap(before)] : before(each)));
  }

  // What runs before the handlers of the routes that have a parameter, `router.param(name, handler)`: after the guard of the
  // route that is about to run, since it may need what the route's handler needs.
  before(handler) {
    if (typeof handler !== "function" || handler.length < 3 || handler.length > 5) return handler;
    const registry = this;
    return function (request, response, next, ...rest) {
      const go = () => handler.call(this, request, response, next, ...rest);
      const name = registry.fluxionOf(request);
      return name === undefined ? go() : registry.guards(name, [request, response, go], false);
    };
  }

  // The fluxion of the route that the request is about to run, undefined for one without a guard.
  fluxionOf(request) {
    const method = request?.method === "HEAD" ? "get" : request?.method?.toLowerCase();
    const layers = request?.route?.stack?.filter((layer) => !layer.method || layer.method === method);
    return layers?.map(({ handle }) => this.fluxions.get(handle)).find((name) => name !== undefined);
  }

  // The same as `guarded` where a framework takes one handler alone.
  around(name, handler) {
    const { guards } = this;
    return function (...given) {
      return guards(name, [...given, () => handler.apply(this, given)], true);
    };
  }

  // The variables that an id means; a property, where what is before the last dot is one. Raises Error.
  find(id) {
    const found = this.variables.get(id) ?? this.ofFunction(id) ?? this.property(id);
    const there = found.filter(isDeclared);
    this.undeclared.push(...found.filter((each) => !there.includes(each)));
    if (there.length) return there;
    throw new Error(`there is no variable ${id} in what the program loaded; compile it again`);
  }

  // All that is kept in properties of a function or a class, as one object.
  ofFunction(id) {
    const holder = id.endsWith(PROPERTIES) ? this.variables.get(id.slice(0, -PROPERTIES.length)) : undefined;
    if (holder?.length !== 1 || typeof holder[0].get() !== "function") return undefined;
    const [{ get }] = holder;
    const own = () => [...this.hidden.values()].filter(({ read }) => read(get()) !== null);
    return [
      {
        name: id,
        get: () => Object.assign({ ...get() }, ...own().map(({ read }) => read(get()))),
        set: (value) => {
          const type = get();
          for (const key of Object.keys(type)) if (!Object.hasOwn(value, key)) delete type[key];
          for (const { read, assign } of own()) if (read(type) !== null) assign(type, value);
          for (const [key, held] of Object.entries(value)) if (!key.startsWith("#")) type[key] = held;
        },
      },
    ];
  }

  // Raises Error if something is declared by now that was not when the service began, so that it is in no context. What
  // a function declares that has returned before never will be.
  checkUndeclared() {
    const late = this.undeclared.find(isDeclared);
    if (late) throw new Error(`${late.name} was declared when the service had begun; declare it before it listens`);
  }

  property(id) {
    const dot = id.lastIndexOf(".");
    if (dot < 0) return [];
    const key = id.slice(dot + 1);
    const module = `${id.slice(0, dot)}.exports`;
    const holders = this.variables.get(id.slice(0, dot)) ?? this.variables.get(module) ?? [];
    return holders.map(({ name, get }) => ({
      name: `${name}.${key}`,
      get: () => get()?.[key],
      set: (value) => {
        get()[key] = value;
      },
    }));
  }

  // Names and values of all, those left out that have none yet.
  values() {
    const found = [];
    for (const { name, get } of [...this.variables.values()].flat()) {
      const value = read(get);
      if (value !== undefined) found.push([name, value]);
    }
    return found;
  }
}

// Whether the class extends one that the language has.
function isOfLanguage(type) {
  let base = type;
  while (/^class\b/.test(Function.prototype.toString.call(base)) && Object.getPrototypeOf(base) !== Function.prototype) {
    base = Object.getPrototypeOf(base);
  }
  return /\[native code\]/.test(Function.prototype.toString.call(base));
}

// Something that a constructor's parameters can be made of, whatever their patterns.
function anything() {
  const it = new Proxy(function () {}, {
    get: (_, key) => {
      if (key === Symbol.iterator) return () => Array(PARAMETERS_MAX).fill(it).values();
      return key === Symbol.toPrimitive ? () => 0 : it;
    },
    apply: () => it,
  });
  return it;
}

function read(get) {
  try {
    return get();
  } catch (error) {
    if (error instanceof ReferenceError) return undefined; // its declaration has not been reached
    throw error;
  }
}

function isDeclared({ get }) {
  try {
    get();
    return true;
  } catch (error) {
    return !(error instanceof ReferenceError);
  }
}

export const registry = new Registry();
Object.defineProperty(globalThis, Symbol.for("liquefy"), { value: registry });
