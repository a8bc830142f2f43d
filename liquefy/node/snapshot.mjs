// Values as text and back, faithfully: identity, cycles, kinds, order, own classes. What was there at start keeps its
// identity: it is filled again in place. What cannot be stored is refused with the place where it is; nothing is run.
//
// The text is JSON: {"roots": {name: value}, "nodes": [[path or 0, value, private fields], ...]}. A value is null, true, a text, a
// number, a plain object, or an array that begins with what it is:
//
//     ["a", ...elements]                     an array                ["u"]            undefined
//     ["a*", length]                         one with holes, in "x"  ["n", "NaN"]     NaN, -0, Infinity, -Infinity
//     ["M", [key, value]...]  ["S", ...]     Map, Set                ["b", "12"]      a BigInt
//     ["D", ms]  ["R", source, flags, last]  Date, RegExp            ["s", name]      Symbol.for(name)
//     ["Y", type, base64]  ["B", base64]     typed array, buffer     ["@", path]      what was there at start
//     ["V", type, buffer, offset, length]    one of several views of a buffer
//     ["w", value]  ["E"]                    boxed primitive, Error  ["*", n]         node n
//     ["i", prototype, {key: value}]         of a class
//     ["x", value, prototype, [[key, value, flags]...], extensible]  anything with more to it
//
// Knows neither variables nor contexts.

import { types } from "node:util";

import { isObject } from "./base.mjs";
import { Memory } from "./memory.mjs";

const DEPTH_MAX = 100; // of values inside each other; deeper ones become nodes, so that depth has no limit
const NOT_WRITABLE = 1;
const NOT_ENUMERABLE = 2;
const NOT_CONFIGURABLE = 4;

const isIndex = /^(0|[1-9]\d*)$/;

export class Unstorable extends Error {
  constructor(what, name, path) {
    super(`${name}${path} is ${what}: that cannot be stored`);
    this.name = "Unstorable";
  }
}

// -- to text -----------------------------------------------------------------------------------------------------------

// The text of the values. `roots`: pairs of name and value. Raises Unstorable.
export function capture(roots, base) {
  const survey = new Survey(roots, base);
  const writer = new Writer(base, survey.shared, survey.memory.backings(survey.shared));
  const named = roots.map(([name, value]) => [name, writer.value(value, 0)]);
  const nodes = writer.rest();
  return JSON.stringify({ roots: Object.fromEntries(named), nodes });
}

// Looks at everything that would be stored, so that what is reached twice is known, and what cannot be stored is told.
class Survey {
  constructor(roots, base) {
    this.base = base;
    this.shared = new Set();
    this.memory = new Memory();
    this.from = new Map(); // object -> [object that holds it, under what], for errors
    this.stack = [];
    for (const [name, value] of roots) this.meet(value, null, name);
    while (this.stack.length) this.look(this.stack.pop());
  }

  meet(value, holder, key) {
    if (!isObject(value)) {
      if (typeof value === "symbol" && Symbol.keyFor(value) === undefined) this.refuse("a symbol", holder, key);
      return;
    }
    if (this.from.has(value)) {
      this.shared.add(value);
      return;
    }
    this.from.set(value, [holder, key]);
    this.stack.push(value);
  }

  look(object) {
    const { base } = this;
    const named = base.pathOf(object) !== undefined;
    if (!base.isOpen(object) || types.isModuleNamespaceObject(object)) {
      if (!named) this.refuse(describe(object), ...this.from.get(object));
      return;
    }
    if (isClosed(object)) {
      if (!named) this.refuse(describe(object), ...this.from.get(object));
      return;
    }
    if (types.isMap(object)) {
      let number = 0;
      for (const [key, value] of Map.prototype.entries.call(object)) {
        this.meet(key, object, `key ${number}`);
        this.meet(value, object, isObject(key) ? number : String(key));
        number++;
      }
    } else if (types.isSet(object)) {
      let number = 0;
      for (const value of Set.prototype.values.call(object)) this.meet(value, object, number++);
    }
    const fields = base.fieldsOf(object);
    if (fields !== null) this.shared.add(object);
    for (const [key, value] of Object.entries(fields ?? {})) this.meet(value, object, key);
    if (ArrayBuffer.isView(object)) {
      if (types.isSharedArrayBuffer(object.buffer)) this.refuse("memory that threads share", ...this.from.get(object));
      this.memory.view(object);
      return;
    }
    if (types.isArrayBuffer(object)) this.memory.buffer(object);
    this.properties(object, named);
  }

  properties(object, named) {
    for (const key of Reflect.ownKeys(object)) {
      if (typeof key === "symbol") {
        if (!named) this.refuse(`under the symbol ${String(key)}`, object, "");
        continue;
      }
      const property = Object.getOwnPropertyDescriptor(object, key);
      if ("value" in property) this.meet(property.value, object, key);
      else if (!named && !isStack(object, key)) this.refuse("a getter", object, key);
    }
  }

  refuse(what, holder, key) {
    let path = "";
    let at = [holder, key];
    for (; at[0] !== null; at = this.from.get(at[0])) path = step(at[1]) + path;
    throw new Unstorable(what, at[1], path);
  }
}

// Things that hold more than can be seen, whatever their prototype.
function isClosed(object) {
  return (
    types.isPromise(object) || types.isWeakMap(object) || types.isWeakSet(object) || types.isGeneratorObject(object) ||
    types.isSharedArrayBuffer(object) || types.isArgumentsObject(object) || types.isMapIterator(object) ||
    types.isSetIterator(object) || types.isProxy(object) || types.isExternal(object) || object instanceof WeakRef
  );
}

function describe(object) {
  if (types.isProxy(object)) return "a Proxy";
  if (typeof object === "function") return `a function made while requests were handled (${object.name || "anonymous"})`;
  if (types.isPromise(object)) return "a Promise";
  const name = Object.getPrototypeOf(object)?.constructor?.name || "object";
  return `${/^[AEIOU]/.test(name) ? "an" : "a"} ${name}`;
}

function step(key) {
  if (key === "") return "";
  if (isIndex.test(key)) return `[${key}]`;
  if (typeof key === "string") return /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
  return String(key);
}

// An error's stack is a getter in some Nodes and a value in others.
function isStack(object, key) {
  return key === "stack" && types.isNativeError(object);
}

class Writer {
  // `backings`: view -> [the buffer to store for it, where in that it begins], of those that share one.
  constructor(base, shared, backings) {
    this.base = base;
    this.shared = shared;
    this.backings = backings;
    this.numbers = new Map();
    this.objects = [];
  }

  // The definitions of all nodes; writing one may find more.
  rest() {
    const nodes = [];
    for (let i = 0; i < this.objects.length; i++) {
      const object = this.objects[i];
      const fields = Object.entries(this.base.fieldsOf(object) ?? {}).map(([key, value]) => [key, this.value(value, 0)]);
      const node = [this.base.pathOf(object) ?? 0, this.definition(object, 0)];
      nodes.push(fields.length ? [...node, Object.fromEntries(fields)] : node);
    }
    return nodes;
  }

  value(value, depth) {
    switch (typeof value) {
      case "number":
        return Number.isFinite(value) && !Object.is(value, -0) ? value : ["n", Object.is(value, -0) ? "-0" : String(value)];
      case "undefined":
        return ["u"];
      case "bigint":
        return ["b", String(value)];
      case "symbol":
        return ["s", Symbol.keyFor(value)];
      case "object":
      case "function":
        return value === null ? null : this.reference(value, depth);
      default:
        return value;
    }
  }

  reference(object, depth) {
    const path = this.base.pathOf(object);
    if (path !== undefined && (!this.base.isOpen(object) || isClosed(object) || types.isModuleNamespaceObject(object))) {
      return ["@", path];
    }
    if (path === undefined && depth < DEPTH_MAX && !this.shared.has(object)) return this.definition(object, depth + 1);
    let number = this.numbers.get(object);
    if (number === undefined) {
      number = this.objects.push(object) - 1;
      this.numbers.set(object, number);
    }
    return ["*", number];
  }

  definition(object, depth) {
    const prototype = Object.getPrototypeOf(object);
    const keys = Reflect.ownKeys(object).filter((key) => typeof key === "string");
    const plain = Object.isExtensible(object);
    if (Array.isArray(object)) {
      const dense = keys.length === object.length + 1 && plain && prototype === Array.prototype;
      if (dense && isDense(object, keys)) return ["a", ...object.map((element) => this.value(element, depth))];
      return this.extended(object, ["a*", object.length], prototype, Array.prototype, keys, depth);
    }
    const simple = plain && keys.every((key) => key !== "__proto__" && isSimple(object, key));
    const core = this.core(object, depth);
    if (core !== null) {
      const usual = usualPrototype(core, object);
      const bare = keys.length === 0 || (core[0] === "R" && keys.length === 1);
      if (core[0] === "Y" || core[0] === "V" || (bare && plain && prototype === usual)) return core;
      return this.extended(object, core, prototype, usual, keys, depth);
    }
    if (!simple || prototype === null) return this.extended(object, {}, prototype, Object.prototype, keys, depth);
    const held = {};
    for (const key of keys) held[key] = this.value(object[key], depth);
    return prototype === Object.prototype ? held : ["i", this.base.pathOf(prototype), held];
  }

  // Of what is no plain object, what is not in its properties.
  core(object, depth) {
    if (types.isMap(object)) {
      const entries = [...Map.prototype.entries.call(object)];
      return ["M", ...entries.map(([key, value]) => [this.value(key, depth), this.value(value, depth)])];
    }
    if (types.isSet(object)) {
      return ["S", ...[...Set.prototype.values.call(object)].map((value) => this.value(value, depth))];
    }
    if (types.isDate(object)) return ["D", Number.isNaN(object.getTime()) ? null : object.getTime()];
    if (types.isRegExp(object)) return ["R", object.source, object.flags, object.lastIndex];
    if (ArrayBuffer.isView(object)) {
      const type = Buffer.isBuffer(object) ? "Buffer" : types.isDataView(object) ? "DataView" : typedArrayName(object);
      const shown = this.backings.get(object);
      if (shown) return ["V", type, this.reference(shown[0], depth), shown[1], object.length ?? object.byteLength];
      return ["Y", type, Buffer.from(object.buffer, object.byteOffset, object.byteLength).toString("base64")];
    }
    if (types.isArrayBuffer(object)) return ["B", Buffer.from(object).toString("base64")];
    if (types.isNativeError(object)) return ["E"];
    if (types.isBoxedPrimitive(object)) return ["w", this.value(object.valueOf(), depth)];
    return null;
  }

  extended(object, core, prototype, usual, keys, depth) {
    const properties = [];
    const skipped = core[0] === "R" ? "lastIndex" : Array.isArray(object) ? "length" : null;
    for (const key of keys) {
      if (key === skipped || (core[0] === "w" && typeof core[1] === "string" && (isIndex.test(key) || key === "length"))) continue;
      const property = Object.getOwnPropertyDescriptor(object, key);
      if (!("value" in property) && !isStack(object, key)) continue; // a getter that was there at start stays
      const flags =
        (property.writable === false ? NOT_WRITABLE : 0) |
        (property.enumerable ? 0 : NOT_ENUMERABLE) |
        (property.configurable ? 0 : NOT_CONFIGURABLE);
      const value = this.value("value" in property ? property.value : object.stack, depth);
      properties.push(flags ? [key, value, flags] : [key, value]);
    }
    const of = prototype === usual ? 0 : prototype === null ? null : this.base.pathOf(prototype);
    return ["x", core, of, properties, Object.isExtensible(object)];
  }
}

function isDense(array, keys) {
  for (let i = 0; i < array.length; i++) if (keys[i] !== String(i) || !isSimple(array, keys[i])) return false;
  return Object.getOwnPropertyDescriptor(array, "length").writable;
}

function isSimple(object, key) {
  const property = Object.getOwnPropertyDescriptor(object, key);
  return "value" in property && property.writable && property.enumerable && property.configurable;
}

function typedArrayName(object) {
  return Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag).get.call(object);
}

const CORES = { M: Map, S: Set, D: Date, R: RegExp, B: ArrayBuffer, E: Error };

function usualPrototype(core, object) {
  if (core[0] === "w") return Object.getPrototypeOf(Object(object.valueOf()));
  return CORES[core[0]]?.prototype;
}

// -- and back ------------------------------------------------------------------------------------------------------------

// The values by name. Objects that were there at start are made to hold what they held; the others are new.
export function restore(text, base) {
  const { roots, nodes } = JSON.parse(text);
  const reader = new Reader(base, nodes);
  return new Map(Object.entries(roots).map(([name, value]) => [name, reader.value(value)]));
}

class Reader {
  constructor(base, nodes) {
    this.base = base;
    this.nodes = [];
    const views = nodes.map(([, definition]) => definition[0] === "V");
    for (const later of [false, true]) {
      nodes.forEach(([path, definition], i) => {
        if (views[i] === later) this.nodes[i] = this.place(path, definition);
      });
    }
    nodes.forEach(([path, definition, fields], i) => {
      this.fill(this.nodes[i], definition);
      if (fields) this.fields(path, this.nodes[i], Object.entries(fields));
    });
  }

  fields(path, object, entries) {
    if (this.base.fieldsOf(object) === null) throw new Error(`${path || "an object"} has no private fields any more`);
    this.base.assignFields(object, Object.fromEntries(entries.map(([key, value]) => [key, this.value(value)])));
  }

  // The object for a node, still without what it holds.
  place(path, definition) {
    const there = path === 0 ? undefined : this.base.at(path);
    if (there === undefined) return this.made(definition);
    if (definition[0] === "V") {
      const { buffer } = this.made(definition);
      return ArrayBuffer.isView(there) && there.buffer === buffer ? there : this.made(definition);
    }
    return fits(there, definition) ? there : this.made(definition);
  }

  value(value) {
    if (value === null || typeof value !== "object") return value;
    if (!Array.isArray(value)) return this.filled(value);
    switch (value[0]) {
      case "u":
        return undefined;
      case "n":
        return Number(value[1]);
      case "b":
        return BigInt(value[1]);
      case "s":
        return Symbol.for(value[1]);
      case "*":
        return this.nodes[value[1]];
      case "@":
        return this.named(value[1]);
      default:
        return this.filled(value);
    }
  }

  named(path) {
    const object = this.base.at(path);
    if (object !== undefined) return object;
    throw new Error(`${path} is referred to by what is stored, but the program did not make it when it started on this node`);
  }

  instance(path) {
    return this.base.instance(this.named(path));
  }

  filled(definition) {
    const object = this.made(definition);
    this.fill(object, definition);
    return object;
  }

  made(definition) {
    if (!Array.isArray(definition)) return {};
    const [kind, first, second] = definition;
    switch (kind) {
      case "a":
      case "a*":
        return [];
      case "M":
        return new Map();
      case "S":
        return new Set();
      case "D":
        return new Date(0);
      case "R":
        return new RegExp(first, second);
      case "Y":
        return bytesAs(first, Buffer.from(second, "base64"));
      case "V":
        if (first === "Buffer") return Buffer.from(this.value(second), definition[3], definition[4]);
        return new globalThis[first](this.value(second), definition[3], definition[4]);
      case "B":
        return new Uint8Array(Buffer.from(first, "base64")).buffer;
      case "E":
        return new Error();
      case "w":
        return Object(this.value(first));
      case "i":
        return this.instance(first) ?? Object.create(this.named(first));
      case "x": {
        if (second === 0) return this.made(first);
        const object = (second === null ? null : this.instance(second)) ?? this.made(first);
        return Object.setPrototypeOf(object, second === null ? null : this.named(second));
      }
      default:
        throw new Error(`a stored value of the unknown kind ${JSON.stringify(kind)}`);
    }
  }

  fill(object, definition) {
    if (!Array.isArray(definition)) {
      this.properties(object, Object.entries(definition));
      return;
    }
    const [kind, first, second] = definition;
    if (kind === "a") {
      this.elements(object, definition);
    } else if (kind === "a*") {
      clear(object);
      object.length = first;
    } else if (kind === "M") {
      Map.prototype.clear.call(object);
      for (let i = 1; i < definition.length; i++) {
        Map.prototype.set.call(object, this.value(definition[i][0]), this.value(definition[i][1]));
      }
    } else if (kind === "S") {
      Set.prototype.clear.call(object);
      for (let i = 1; i < definition.length; i++) Set.prototype.add.call(object, this.value(definition[i]));
    } else if (kind === "D") {
      object.setTime(first ?? NaN);
    } else if (kind === "R") {
      if (object.lastIndex !== definition[3]) object.lastIndex = definition[3];
    } else if (kind === "Y" || kind === "B") {
      const bytes = kind === "Y" ? second : first;
      const view = kind === "Y" ? new Uint8Array(object.buffer, object.byteOffset, object.byteLength) : new Uint8Array(object);
      view.set(Buffer.from(bytes, "base64"));
    } else if (kind === "i") {
      this.properties(object, Object.entries(second));
    } else if (kind === "x") {
      this.extended(object, definition);
    }
  }

  elements(array, definition) {
    if (Object.isFrozen(array)) return; // it is as it was at start
    if (Reflect.ownKeys(array).length > array.length + 1) clear(array);
    array.length = definition.length - 1;
    for (let i = 1; i < definition.length; i++) array[i - 1] = this.value(definition[i]);
  }

  // In their order, and no others.
  properties(object, entries) {
    if (Object.isFrozen(object)) return;
    order(object, entries);
    for (const [key, value] of entries) {
      const property = Object.getOwnPropertyDescriptor(object, key);
      if (property !== undefined && !("value" in property)) continue;
      const wanted = this.value(value);
      if (property !== undefined && property.writable && property.enumerable) object[key] = wanted;
      else Object.defineProperty(object, key, { value: wanted, writable: true, enumerable: true, configurable: true });
    }
  }

  extended(object, [, core, , properties, extensible]) {
    if (Object.isFrozen(object) && !ArrayBuffer.isView(object)) return;
    const fixed = !Object.isExtensible(object);
    if (!fixed && !(Array.isArray(core) && core[0] === "a*")) order(object, properties);
    if (Array.isArray(core) && !(fixed && core[0] === "a*")) this.fill(object, core);
    for (const [key, value, flags = 0] of properties) {
      const wanted = this.value(value);
      if (fixed) {
        if (!(flags & NOT_WRITABLE)) object[key] = wanted;
        continue;
      }
      Object.defineProperty(object, key, {
        value: wanted,
        writable: !(flags & NOT_WRITABLE),
        enumerable: !(flags & NOT_ENUMERABLE),
        configurable: !(flags & NOT_CONFIGURABLE),
      });
    }
    if (!extensible) Object.preventExtensions(object);
  }
}

// Takes away what is not among the entries; everything, if they are not in their order.
function order(object, entries) {
  const wanted = new Set(entries.map(([key]) => key));
  const keys = [];
  for (const key of Reflect.ownKeys(object)) {
    if (typeof key === "symbol") continue;
    const property = Object.getOwnPropertyDescriptor(object, key);
    if (!("value" in property)) continue;
    if (wanted.has(key)) keys.push(key);
    else if (property.configurable) delete object[key];
  }
  const known = new Set(keys);
  const there = entries.filter(([key]) => known.has(key));
  const first = entries.slice(0, keys.length);
  if (keys.some((key, i) => key !== there[i][0] || key !== first[i][0])) clear(object);
}

// Takes all properties away that can be; getters stay.
function clear(object) {
  if (Array.isArray(object)) object.length = 0;
  for (const key of Reflect.ownKeys(object)) {
    if (typeof key === "symbol") continue;
    const property = Object.getOwnPropertyDescriptor(object, key);
    if (property.configurable && "value" in property) delete object[key];
  }
}

// Whether an object that is there can be made to hold what is defined.
function fits(object, definition) {
  const kind = Array.isArray(definition) ? definition[0] : "o";
  switch (kind) {
    case "a":
    case "a*":
      return Array.isArray(object);
    case "M":
      return types.isMap(object);
    case "S":
      return types.isSet(object);
    case "D":
      return types.isDate(object);
    case "R":
      return types.isRegExp(object) && object.source === definition[1] && object.flags === definition[2];
    case "Y":
      return ArrayBuffer.isView(object) && object.byteLength === Buffer.byteLength(definition[2], "base64");
    case "B":
      return types.isArrayBuffer(object) && object.byteLength === Buffer.byteLength(definition[1], "base64");
    case "x":
      return fits(object, definition[1]);
    default:
      return typeof object === "object" && !Array.isArray(object) && !types.isMap(object) && !types.isSet(object);
  }
}

function bytesAs(type, bytes) {
  if (type === "Buffer") return bytes;
  const { buffer } = new Uint8Array(bytes);
  return type === "DataView" ? new DataView(buffer) : new globalThis[type](buffer);
}

