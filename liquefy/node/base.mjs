// What was there when the program had started: functions, classes, libraries' objects, and the objects that its
// variables held. Each has a path, the same on every node, and is referred to by it instead of being stored. Knows
// neither snapshots nor requests.

import { types } from "node:util";

const OBJECTS_MAX = 1_000_000; // more are not named: a program that has them at start is stored as if they were new

const BUILT_IN = [
  Object, Array, Map, Set, Date, RegExp, Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError,
  URIError, AggregateError, ArrayBuffer, DataView, Buffer, Int8Array, Uint8Array, Uint8ClampedArray, Int16Array,
  Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array, BigInt64Array, BigUint64Array, Number, String,
  Boolean, BigInt,
];

// Prototypes of which the contents of an object are known.
const OPEN = new Set([null, ...BUILT_IN.map((type) => type.prototype)]);

export class Base {
  // `own`: whether a function is of the program's own code, rather than a library's.
  // `hidden`: of classes with private fields, how to read and to assign those; `make`: makes an object of such a class.
  constructor(own, hidden = new Map(), make = null) {
    this.own = own;
    this.hidden = hidden;
    this.make = make;
    this.paths = new WeakMap();
    this.objects = new Map();
    this.closed = new WeakSet(); // of those, what belongs to libraries
    this.later = [];
    nameBuiltIns(this);
  }

  pathOf(object) {
    return this.paths.get(object);
  }

  at(path) {
    return this.objects.get(path);
  }

  // Names what the variables hold, and what that holds. `roots`: pairs of name and value.
  add(roots) {
    this.walk(roots.map(([name, value]) => [name, value, 0]));
    // Whether an object is of an own class is known when all classes have their names.
    while (this.later.length) {
      const waiting = this.later;
      this.later = [];
      this.walk(waiting.flatMap(([object, path]) => parts(object, path, this.isOpen(object) ? 0 : 1)));
    }
  }

  // Whether all there is of the object can be seen from outside: plain, a collection, or of a class of the program.
  isOpen(object) {
    if (typeof object === "function" || types.isProxy(object)) return false;
    for (let prototype = Object.getPrototypeOf(object); ; prototype = Object.getPrototypeOf(prototype)) {
      if (OPEN.has(prototype)) return true;
      if (!this.isOwnPrototype(prototype)) return false;
    }
  }

  // Of a class or constructor of the program, or an object that was there at start and served as a prototype.
  isOwnPrototype(prototype) {
    if (!this.paths.has(prototype) || this.closed.has(prototype)) return false;
    const maker = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
    if (typeof maker === "function" && maker.prototype === prototype) return this.own(maker);
    return OPEN.has(Object.getPrototypeOf(prototype));
  }

  // The private fields of the object by name, null if it has none.
  fieldsOf(object) {
    if (!this.hidden.size) return null;
    let found = null;
    for (const { read } of this.hidden.values()) {
      const fields = read(object);
      if (fields === null) continue;
      found ??= {};
      for (const [name, value] of Object.entries(fields)) found[unused(name, found)] = value;
    }
    return found;
  }

  assignFields(object, fields) {
    const taken = {};
    for (const { read, assign } of this.hidden.values()) {
      const names = Object.keys(read(object) ?? {});
      if (!names.length) continue;
      const given = names.map((name) => [name, unused(name, taken)]);
      for (const [, name] of given) taken[name] = true;
      assign(object, Object.fromEntries(given.map(([name, as]) => [name, fields[as]])));
    }
  }

  // A new object with this prototype, with the private fields that its classes give.
  instance(prototype) {
    for (let at = prototype; at !== null; at = Object.getPrototypeOf(at)) {
      const type = Object.getOwnPropertyDescriptor(at, "constructor")?.value;
      if (!this.hidden.has(type)) continue;
      const own = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
      if (!this.make || own?.prototype !== prototype) throw new Error(`an object with the private fields of ${type.name} cannot be made`);
      return this.make(own);
    }
    return null;
  }

  // Breadth first, so that the shortest path is the name.
  walk(queue) {
    for (let i = 0; i < queue.length && this.objects.size < OBJECTS_MAX; i++) {
      const [path, value, depth] = queue[i];
      if (!isObject(value) || this.paths.has(value)) continue;
      this.name(path, value);
      if (depth > 0) this.closed.add(value);
      if (types.isProxy(value) || depth > 1) continue;
      const open = typeof value === "function" ? this.own(value) : OPEN.has(Object.getPrototypeOf(value));
      const fields = this.fieldsOf(value) ?? {};
      for (const [name, held] of Object.entries(fields)) queue.push([`${path}.${name}`, held, depth]);
      // A class of the program may extend one that no variable leads to.
      if (open && typeof value === "function") queue.push([`${path}.__proto__`, Object.getPrototypeOf(value), depth]);
      if (open) queue.push(...parts(value, path, depth));
      else if (typeof value === "function") queue.push(...parts(value, path, depth + 1));
      else this.later.push([value, path]);
    }
  }

  name(path, value) {
    this.paths.set(value, path);
    this.objects.set(path, value);
  }
}

// Two classes of one object may call their private fields the same.
function unused(name, taken) {
  let found = name;
  while (Object.hasOwn(taken, found)) found += "'";
  return found;
}

export function isObject(value) {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

// What an object holds, each with its path. Getters are not called.
function parts(object, path, depth) {
  const found = [];
  if (ArrayBuffer.isView(object)) return [[`${path}.buffer`, object.buffer, depth]];
  for (const key of Reflect.ownKeys(object)) {
    if (typeof key === "symbol") continue;
    const property = Object.getOwnPropertyDescriptor(object, key);
    if (isObject(property.value)) found.push([`${path}.${key}`, property.value, depth]);
    if (property.get) found.push([`${path}.get ${key}`, property.get, depth]);
    if (property.set) found.push([`${path}.set ${key}`, property.set, depth]);
  }
  let number = 0;
  if (types.isMap(object)) {
    for (const [key, value] of Map.prototype.entries.call(object)) {
      found.push([`${path}{${number}}`, key, depth], [`${path}[${number++}]`, value, depth]);
    }
  } else if (types.isSet(object)) {
    for (const value of Set.prototype.values.call(object)) found.push([`${path}[${number++}]`, value, depth]);
  }
  return found;
}

function nameBuiltIns(base) {
  for (const name of Object.getOwnPropertyNames(globalThis)) {
    const property = Object.getOwnPropertyDescriptor(globalThis, name);
    const value = property.value;
    if (!isObject(value) || value === globalThis || base.paths.has(value)) continue;
    base.name(`%${name}`, value);
    for (const key of Reflect.ownKeys(value)) {
      const inner = Object.getOwnPropertyDescriptor(value, key)?.value;
      if (!isObject(inner) || base.paths.has(inner) || types.isProxy(value)) continue;
      base.name(`%${name}.${String(key)}`, inner);
      if (key !== "prototype") continue;
      for (const method of Reflect.ownKeys(inner)) {
        const f = Object.getOwnPropertyDescriptor(inner, method)?.value;
        if (isObject(f) && !base.paths.has(f)) base.name(`%${name}.prototype.${String(method)}`, f);
      }
    }
  }
}
