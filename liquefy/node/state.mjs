// What a group's fluxions remember, between the program's variables and the fields of a context: brought in before a
// request, taken out after it. Knows no requests and no framework.

import { capture, restore } from "./snapshot.mjs";

const ROOT = "entry";
const GONE = "-"; // the field of an entry that was there at start and is not any more

// All variables of a group in one text.
export class Whole {
  constructor(variables, base) {
    this.variables = variables;
    this.base = base;
    this.initial = this.take();
    this.live = this.initial;
  }

  // Makes the variables hold what the text says; without one, what they held at start.
  bring(text = this.initial) {
    if (text === this.live) return;
    this.live = null;
    const values = restore(text, this.base);
    for (const { name, get, set } of this.variables) {
      const value = values.get(name);
      if (Object.is(get(), value)) continue;
      if (!set) throw new Error(`${name} is constant and cannot be given what is stored; compile the service again`);
      set(value);
    }
    this.live = text;
  }

  // What they hold now. Raises Unstorable.
  take() {
    this.live = null;
    this.live = capture(this.variables.map(({ name, get }) => [name, get()]), this.base);
    return this.live;
  }

  // What is live is not known any more.
  lost() {
    this.live = null;
  }
}

// One entry of each collection, found by the key. Between requests the collections are empty: whatever is in them
// without having been brought in was put there under another key.
export class Keyed {
  constructor(variables, base) {
    this.base = base;
    this.here = new Map(); // key as text -> requests that have its entries here
    this.missed = null; // an entry that was looked for, and is not here: what was found was wrong
    this.collections = variables.map(([id, { get }]) => ({ id, get, initial: new Map() }));
    for (const collection of this.collections) {
      this.clear(collection);
      collection.prototype = watch(collection, (key) => this.look(collection.id, key));
    }
  }

  clear({ id, get, initial }) {
    const held = get();
    for (const key of keysOf(held, id)) {
      initial.set(key, this.text(id, held, key));
      remove(held, key);
    }
  }

  look(id, key) {
    if (this.here.size && !this.here.has(String(key))) this.missed ??= [id, String(key)];
  }

  text(id, held, key) {
    return capture([[ROOT, read(held, key)]], this.base);
  }

  bring(key, fields) {
    this.here.set(String(key), (this.here.get(String(key)) ?? 0) + 1);
    for (const { id, get, initial } of this.collections) {
      const held = get();
      const at = place(held, key);
      if (isOnce(at)) continue;
      const text = fields[fieldOf(id, at)] ?? initial.get(at);
      if (text !== undefined && text !== GONE) put(held, at, restore(text, this.base).get(ROOT));
    }
  }

  // The fields that are others now: their texts, undefined for one to be removed. The entries are taken away.
  take(key, fields) {
    const changed = {};
    for (const { id, get, initial } of this.collections) {
      const held = get();
      const at = place(held, key);
      if (isOnce(at)) continue;
      const field = fieldOf(id, at);
      const text = has(held, at) ? this.text(id, held, at) : initial.has(at) ? GONE : undefined;
      if (text !== (fields[field] ?? initial.get(at))) changed[field] = text;
    }
    this.drop(key);
    return changed;
  }

  drop(key) {
    for (const { get } of this.collections) remove(get(), place(get(), key));
    const left = this.here.get(String(key)) - 1;
    if (left) this.here.set(String(key), left);
    else this.here.delete(String(key));
    const { missed } = this;
    this.missed = null;
    const spoilt = this.putBack();
    for (const { id, get } of this.collections) {
      const others = keysOf(get(), id).filter((other) => !this.here.has(String(other)));
      if (!others.length) continue;
      for (const other of others) remove(get(), other);
      const told = others.slice(0, 3).map(String).join(", ");
      throw new Error(`${id}: the entry of ${told} was written while a request for ${String(key)} was handled`);
    }
    if (spoilt.length) throw new Error(`${spoilt[0]}: ${INHERITED}`);
    if (missed !== null) {
      throw new Error(`${missed[0]}: the entry of ${missed[1]} was read while a request for ${String(key)} was handled`);
    }
  }

  // `users["__proto__"] = user` is no entry: it changes what is found under all keys. The request fails; those after it
  // find what they would. The variables that were changed so.
  putBack() {
    const spoilt = this.collections.filter(({ get, prototype }) => prototype !== null && Object.getPrototypeOf(get()) !== prototype);
    for (const { get, prototype } of spoilt) Object.setPrototypeOf(get(), prototype);
    return spoilt.map(({ id }) => id);
  }
}

const INHERITED = "what is found under all keys was changed (__proto__), which is no entry of one of them";

// What prototypes of plain objects are asked for by who looks at any object.
const ASKED = new Set(["then", "toJSON", "inspect", "constructor", "nodeType", "$$typeof", "asymmetricMatch", "length"]);

// Calls `look` with each key that is looked for in the collection and is not there. Gives the prototype that it has from
// now on; null if that cannot be changed.
function watch({ id, get }, look) {
  const held = get();
  if (held instanceof Map || held instanceof Set) {
    for (const name of held instanceof Map ? ["get", "has"] : ["has"]) {
      const method = held[name];
      const value = function (key) {
        if (!has(held, key)) look(key);
        return method.call(this, key);
      };
      Object.defineProperty(held, name, { value, writable: true, configurable: true });
    }
    return null;
  }
  const found = (target, key) => typeof key === "symbol" || key in target || ASKED.has(key) || look(key);
  const prototype = new Proxy(Object.getPrototypeOf(held) ?? Object.create(null), {
    get: (target, key, receiver) => (found(target, key), Reflect.get(target, key, receiver)),
    has: (target, key) => (found(target, key), Reflect.has(target, key)),
    // What is put into the collection itself comes by here, too.
    set(target, key, value, receiver) {
      if (receiver === prototype) throw new Error(`${id}: ${INHERITED}`);
      return Reflect.set(target, key, value, receiver);
    },
  });
  watching.add(prototype);
  if (!Object.isExtensible(held)) return null;
  Object.setPrototypeOf(held, prototype);
  return prototype;
}

const watching = new WeakSet();

// The key as the collection has it: names of properties are texts.
function place(held, key) {
  return held instanceof Map || held instanceof Set ? key : String(key);
}

// An object that a request brought finds nothing in a Map, and nobody finds what is put there under it.
function isOnce(at) {
  return typeof at === "object" && at !== null;
}

// 1 and "1" are two keys of a Map, in one context.
function fieldOf(id, key) {
  return typeof key === "string" ? `entry:${id}` : `entry:${id}:${typeof key}`;
}

function keysOf(held, id) {
  if (held instanceof Map || held instanceof Set) return [...held.keys()];
  const prototype = typeof held === "object" && held !== null ? Object.getPrototypeOf(held) : undefined;
  if (prototype === null || prototype === Object.prototype || watching.has(prototype)) return Object.keys(held);
  throw new Error(`${id} is no plain object, Map or Set: its entries cannot be kept apart`);
}

function has(held, key) {
  if (held instanceof Map) return Map.prototype.has.call(held, key);
  return held instanceof Set ? Set.prototype.has.call(held, key) : Object.hasOwn(held, key);
}

function read(held, key) {
  return held instanceof Map ? Map.prototype.get.call(held, key) : held instanceof Set ? true : held[key];
}

function put(held, key, value) {
  if (held instanceof Map) held.set(key, value);
  else if (held instanceof Set) held.add(key);
  else Object.defineProperty(held, key, { value, writable: true, enumerable: true, configurable: true });
}

function remove(held, key) {
  if (held instanceof Map || held instanceof Set) held.delete(key);
  else delete held[key];
}
