/* Values as bytes, faithfully: the form of `liquefy/values.py`, which says what it is and numbers the extension types,
 * for JavaScript. What is unpacked here has the types of what was packed here; what Python packed and JavaScript has no
 * type for comes as one of the classes below, and packs to what it was.
 *
 * Numbers: a number that is an integer of up to 53 bits packs as an int, every other as a double, so 5.0 of Python comes
 * back to it as 5. An int beyond 53 bits is a BigInt; a BigInt within them has an extension type of its own.
 *
 * Everything else (functions, symbols, promises, instances of classes) is refused with a ValueError that says where in
 * the value it is. Does not know what the values are for; their size is the caller's to limit.
 */
import { types as kinds } from "node:util";

/** Extension types inside each other. */
export const DEPTH_MAX = 100;

/** Arrays and objects inside each other. */
export const LIST_DEPTH_MAX = 500;

const [TUPLE, SET, FROZENSET, INT, DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID, COMPLEX, BYTEARRAY] = range(1, 12);
const [UNDEFINED, MAP, ORDERED_SET, JS_DATE, REGEXP, ERROR, BIGINT, BUFFER, HOLE, BARE] = range(13, 10);

/** What cannot be stored, or is no packed value. */
export class ValueError extends Error {
  name = "ValueError";
}

/** A tuple of Python: an array that comes back to it as a tuple. What is made of it (map, filter) is an array. */
export class Tuple extends Array {
  static get [Symbol.species]() {
    return Array;
  }
}

/** A set of Python: it has no order that would be kept. */
export class PySet extends Set {}

/** A frozenset of Python. */
export class PyFrozenSet extends Set {}

/** A dict of Python whose keys are not all texts. */
export class PyDict extends Map {}

/** A datetime of Python, as exact as it was for as long as it is not set anew; then it is a Date. */
export class PyDateTime extends Date {
  #text;
  #read;

  constructor(text) {
    super(instant(text));
    this.#text = text;
    this.#read = this.getTime();
  }

  /** As Python wrote it; "" once it has changed. */
  get text() {
    return Object.is(this.getTime(), this.#read) ? this.#text : "";
  }
}

/** A value of Python that JavaScript has no type for: `type` is "Decimal", "UUID", "date", "time", "timedelta" or
 * "complex", `text` as Python prints it or near to that. */
export class PyValue {
  #code;
  #data;

  constructor(code, data) {
    this.#code = code;
    this.#data = data;
    this.type = PYTHON_TYPES[code];
    this.text = textOf(code, data);
    Object.freeze(this);
  }

  static isIt(value) {
    return #code in value;
  }

  static parts(value) {
    return [value.#code, value.#data];
  }

  toString() {
    return this.text;
  }

  toJSON() {
    return this.text;
  }
}

const PYTHON_TYPES = {
  [DATE]: "date",
  [TIME]: "time",
  [TIMEDELTA]: "timedelta",
  [DECIMAL]: "Decimal",
  [UUID]: "UUID",
  [COMPLEX]: "complex",
};

const BUFFER_KINDS = [
  Uint8ClampedArray, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array, Float32Array, Float64Array,
  BigInt64Array, BigUint64Array, DataView, ArrayBuffer, ...[globalThis.Float16Array ?? []].flat(),
]; // prettier-ignore
const BUFFER_BY_NAME = new Map(BUFFER_KINDS.map((kind) => [kind.name, kind]));
const BUFFER_PROTOTYPES = new Map(BUFFER_KINDS.map((kind) => [kind.prototype, kind.name]));

const ERROR_KINDS = [Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError, AggregateError];
const ERROR_BY_NAME = new Map(ERROR_KINDS.map((kind) => [kind.name, kind]));
const ERROR_PROTOTYPES = new Map(ERROR_KINDS.map((kind) => [kind.prototype, kind.name]));

/** The value as bytes. `where` is what the value is called in errors. Throws ValueError, naming type and place. */
export function pack(value, where = "value") {
  try {
    return new Packer(null).all(value);
  } catch (error) {
    if (!(error instanceof Refusal) && !(error instanceof RangeError)) throw error;
    return new Packer([where]).all(value); // once more, keeping book of where it is: throws
  }
}

/** The value that was packed. Throws ValueError on anything that is no packed value. */
export function unpack(data) {
  const reader = new Reader(data);
  const value = reader.value();
  if (reader.at !== data.length) throw new ValueError(`${data.length} bytes that are no packed value: there is more`);
  return value;
}

// -- to bytes ---------------------------------------------------------------------------------------------

class Refusal extends ValueError {}

class Packer {
  #buffer = Buffer.allocUnsafe(256);
  #at = 0;
  #path;
  #lists = 0;
  #depth = 0;

  constructor(path) {
    this.#path = path;
  }

  all(value) {
    this.#value(value);
    return Buffer.from(this.#buffer.subarray(0, this.#at));
  }

  #value(value) {
    switch (typeof value) {
      case "string":
        return this.#text(value);
      case "number":
        return this.#number(value);
      case "boolean":
        return this.#byte(value ? 0xc3 : 0xc2);
      case "undefined":
        return this.#extension(UNDEFINED, () => {});
      case "bigint":
        return this.#bigint(value);
      case "object":
        return value === null ? this.#byte(0xc0) : this.#object(value);
      default:
        return this.#refuse(typeof value, "store data, not code");
    }
  }

  #object(value) {
    const prototype = Object.getPrototypeOf(value);
    if (prototype === Object.prototype) return this.#record(value);
    if (prototype === Array.prototype) return this.#array(value);
    if (prototype === null) return this.#extension(BARE, () => this.#record(value));
    const packed = PACKED_BY_PROTOTYPE.get(prototype);
    if (packed) return packed(this, value);
    const buffer = BUFFER_PROTOTYPES.get(prototype);
    if (buffer) return this.#extension(BUFFER, () => this.items([buffer, bytesOf(value)]));
    const error = ERROR_PROTOTYPES.get(prototype);
    if (error && kinds.isNativeError(value)) return this.#error(error, value);
    const name = value.constructor?.name || "an object";
    return this.#refuse(name, REMEDIES[name] ?? "store plain values ({...}, arrays, texts, numbers, ...)");
  }

  static {
    const sorted = (code) => (packer, value) => packer.#extension(code, () => packer.#unordered(value));
    const pairs = (value) => [...value].flat(1);
    this.byPrototype = new Map([
      [Buffer.prototype, (packer, value) => packer.#binary(value)],
      [Uint8Array.prototype, (packer, value) => packer.#extension(BYTEARRAY, () => packer.#raw(value))],
      [Map.prototype, (packer, value) => packer.#extension(MAP, () => packer.items(pairs(value)))],
      [Set.prototype, (packer, value) => packer.#extension(ORDERED_SET, () => packer.items([...value]))],
      [Date.prototype, (packer, value) => packer.#date(value)],
      [RegExp.prototype, (packer, value) => packer.#regexp(value)],
      [Tuple.prototype, (packer, value) => packer.#extension(TUPLE, () => packer.items(value))],
      [PySet.prototype, sorted(SET)],
      [PyFrozenSet.prototype, sorted(FROZENSET)],
      [PyDict.prototype, (packer, value) => packer.#entries([...value])],
      [PyDateTime.prototype, (packer, value) => packer.#datetime(value)],
      [PyValue.prototype, (packer, value) => packer.#python(value)],
    ]);
  }

  // -- what has parts ------------------------------------------------------------------------------------

  #record(value) {
    if (Object.getOwnPropertySymbols(value).length) this.#refuse("an object with symbols as keys", "use texts");
    const names = Object.keys(value);
    this.#head(names.length, 0x80, 16, 0xde);
    this.#enter();
    for (const name of names) {
      this.#step(`.${name}`);
      this.#text(name);
      this.#value(value[name]);
      this.#back();
    }
    this.#lists--;
  }

  #array(value, deeper = 1) {
    let extra = Object.keys(value).length;
    this.#head(value.length, 0x90, 16, 0xdc);
    this.#enter(deeper);
    for (let i = 0; i < value.length; i++) {
      this.#step(`[${i}]`);
      if (i in value) {
        extra--;
        this.#value(value[i]);
      } else {
        this.#extension(HOLE, () => {});
      }
      this.#back();
    }
    this.#lists -= deeper;
    if (extra) this.#refuse("an array with names", "store [...array], or an object");
  }

  #entries(pairs) {
    this.#head(pairs.length, 0x80, 16, 0xde);
    this.#enter();
    for (const [key, value] of pairs) {
      this.#step(`[${String(key)}]`);
      this.#value(key);
      this.#value(value);
      this.#back();
    }
    this.#lists--;
  }

  items(values) {
    this.#array(values, 0);
  }

  #unordered(value) {
    const parts = [];
    for (const element of value) {
      const start = this.#at;
      this.#step("[...]");
      this.#value(element);
      this.#back();
      parts.push(Buffer.from(this.#buffer.subarray(start, this.#at)));
      this.#at = start;
    }
    this.#head(parts.length, 0x90, 16, 0xdc);
    for (const part of parts.sort(Buffer.compare)) this.#raw(part);
  }

  #enter(deeper = 1) {
    this.#lists += deeper;
    if (this.#lists > LIST_DEPTH_MAX) this.#tooDeep();
  }

  #step(step) {
    this.#path?.push(step);
  }

  #back() {
    this.#path?.pop();
  }

  // -- what has none -------------------------------------------------------------------------------------

  #number(value) {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) return this.#integer(value);
    this.#need(9);
    this.#buffer[this.#at] = 0xcb;
    this.#buffer.writeDoubleBE(value, this.#at + 1);
    this.#at += 9;
  }

  #integer(value) {
    this.#need(9);
    const buffer = this.#buffer;
    const at = this.#at;
    if (value >= 0) {
      if (value < 0x80) buffer[this.#at++] = value;
      else if (value < 0x100) this.#at = buffer.writeUInt8(value, buffer.writeUInt8(0xcc, at));
      else if (value < 0x10000) this.#at = buffer.writeUInt16BE(value, buffer.writeUInt8(0xcd, at));
      else if (value < 0x100000000) this.#at = buffer.writeUInt32BE(value, buffer.writeUInt8(0xce, at));
      else this.#at = buffer.writeBigUInt64BE(BigInt(value), buffer.writeUInt8(0xcf, at));
    } else if (value >= -0x20) buffer[this.#at++] = value & 0xff;
    else if (value >= -0x80) this.#at = buffer.writeInt8(value, buffer.writeUInt8(0xd0, at));
    else if (value >= -0x8000) this.#at = buffer.writeInt16BE(value, buffer.writeUInt8(0xd1, at));
    else if (value >= -0x80000000) this.#at = buffer.writeInt32BE(value, buffer.writeUInt8(0xd2, at));
    else this.#at = buffer.writeBigInt64BE(BigInt(value), buffer.writeUInt8(0xd3, at));
  }

  #bigint(value) {
    if (value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER)
      return this.#extension(BIGINT, () => this.#raw(bigintBytes(value)));
    if (value < -(2n ** 63n) || value >= 2n ** 64n) return this.#extension(INT, () => this.#raw(bigintBytes(value)));
    this.#need(9);
    const at = this.#at;
    if (value > 0n) this.#at = this.#buffer.writeBigUInt64BE(value, this.#buffer.writeUInt8(0xcf, at));
    else this.#at = this.#buffer.writeBigInt64BE(value, this.#buffer.writeUInt8(0xd3, at));
  }

  #text(value) {
    if (!value.isWellFormed()) this.#refuse("half of a surrogate pair", "it is no text: value.toWellFormed() is");
    const size = Buffer.byteLength(value);
    if (size < 32) this.#byte(0xa0 | size);
    else if (size < 0x100) this.#sized(0xd9, 1, size);
    else if (size < 0x10000) this.#sized(0xda, 2, size);
    else this.#sized(0xdb, 4, size);
    this.#need(size);
    this.#at += this.#buffer.write(value, this.#at);
  }

  #binary(value) {
    if (value.length < 0x100) this.#sized(0xc4, 1, value.length);
    else if (value.length < 0x10000) this.#sized(0xc5, 2, value.length);
    else this.#sized(0xc6, 4, value.length);
    this.#raw(value);
  }

  #date(value) {
    this.#extension(JS_DATE, () => {
      this.#need(8);
      this.#at = this.#buffer.writeDoubleBE(value.getTime(), this.#at);
    });
  }

  #datetime(value) {
    if (value.text) this.#extension(DATETIME, () => this.#raw(Buffer.from(value.text)));
    else this.#date(value);
  }

  #regexp(value) {
    this.#extension(REGEXP, () => this.items([value.source, value.flags, value.lastIndex]));
  }

  #error(name, value) {
    const hidden = {};
    const shown = {};
    for (const own of Object.getOwnPropertyNames(value))
      define(Object.prototype.propertyIsEnumerable.call(value, own) ? shown : hidden, own, value[own]);
    this.#extension(ERROR, () => this.items([name, hidden, shown]));
  }

  #python(value) {
    const [code, data] = PyValue.parts(value);
    this.#extension(code, () => this.#raw(data));
  }

  // -- bytes ---------------------------------------------------------------------------------------------

  #extension(code, body) {
    if (++this.#depth > DEPTH_MAX) this.#tooDeep();
    this.#need(6);
    const start = this.#at;
    this.#at += 6;
    body();
    const end = this.#at;
    const size = end - start - 6;
    this.#at = start;
    const fixed = FIXED_EXTENSIONS[size];
    if (fixed) this.#byte(fixed);
    else if (size < 0x100) this.#sized(0xc7, 1, size);
    else if (size < 0x10000) this.#sized(0xc8, 2, size);
    else this.#sized(0xc9, 4, size);
    this.#byte(code);
    this.#buffer.copyWithin(this.#at, start + 6, end);
    this.#at += size;
    this.#depth--;
  }

  #head(size, fixed, below, wide) {
    if (size < below) this.#byte(fixed | size);
    else if (size < 0x10000) this.#sized(wide, 2, size);
    else this.#sized(wide + 1, 4, size);
  }

  #sized(mark, width, size) {
    this.#byte(mark);
    this.#need(4);
    this.#at = this.#buffer.writeUIntBE(size, this.#at, width);
  }

  #byte(value) {
    this.#need(1);
    this.#buffer[this.#at++] = value;
  }

  #raw(data) {
    this.#need(data.length);
    this.#buffer.set(data, this.#at);
    this.#at += data.length;
  }

  #need(size) {
    if (this.#at + size <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(2 * (this.#at + size));
    this.#buffer.copy(grown, 0, 0, this.#at);
    this.#buffer = grown;
  }

  // -- errors --------------------------------------------------------------------------------------------

  #refuse(what, remedy) {
    throw new Refusal(`${what} at ${this.#path?.join("")} cannot be stored; ${remedy}`);
  }

  #tooDeep() {
    const where = this.#path?.join("").slice(0, 100);
    throw new Refusal(`${where}... cannot be stored: nested too deep (or it contains itself); store it flatter`);
  }
}

const PACKED_BY_PROTOTYPE = Packer.byPrototype;
const FIXED_EXTENSIONS = { 1: 0xd4, 2: 0xd5, 4: 0xd6, 8: 0xd7, 16: 0xd8 };

const REMEDIES = {
  Promise: "await it first",
  URL: "store String(...) of it",
  URLSearchParams: "store String(...) of it",
  WeakMap: "nobody can say what is in it; store a Map",
  WeakSet: "nobody can say what is in it; store a Set",
};

function bytesOf(buffer) {
  if (buffer instanceof ArrayBuffer) return Buffer.from(buffer);
  return Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/** Big-endian, signed: as many bytes as Python's bit_length() // 8 + 1. */
function bigintBytes(value) {
  const bits = (value < 0n ? -value : value).toString(2).length;
  const size = value === 0n ? 1 : (bits >> 3) + 1;
  const hex = BigInt.asUintN(8 * size, value).toString(16).padStart(2 * size, "0");
  return Buffer.from(hex, "hex");
}

// -- from bytes -------------------------------------------------------------------------------------------

class Reader {
  constructor(data) {
    this.data = data;
    this.at = 0;
  }

  value() {
    const mark = this.#take(1)[0];
    if (mark < 0x80) return mark;
    if (mark >= 0xe0) return mark - 0x100;
    if (mark < 0x90) return this.#record(mark & 0x0f);
    if (mark < 0xa0) return this.#array(mark & 0x0f);
    if (mark < 0xc0) return this.#text(mark & 0x1f);
    const read = READERS[mark - 0xc0];
    if (!read) this.#bad(`the mark ${mark.toString(16)}`);
    return read(this);
  }

  static {
    const integer = (value) => (Number.isSafeInteger(Number(value)) ? Number(value) : value);
    const fixed = (size) => (r) => r.#extension(size);
    this.readers = [
      () => null,
      undefined,
      () => false,
      () => true,
      ...[1, 2, 4].map((width) => (r) => Buffer.from(r.#take(r.#uint(width)))),
      ...[1, 2, 4].map((width) => (r) => r.#extension(r.#uint(width))),
      (r) => r.#take(4).readFloatBE(),
      (r) => r.#take(8).readDoubleBE(),
      ...[1, 2, 4].map((width) => (r) => r.#uint(width)),
      (r) => integer(r.#take(8).readBigUInt64BE()),
      ...[1, 2, 4].map((width) => (r) => r.#take(width).readIntBE(0, width)),
      (r) => integer(r.#take(8).readBigInt64BE()),
      ...[1, 2, 4, 8, 16].map(fixed),
      ...[1, 2, 4].map((width) => (r) => r.#text(r.#uint(width))),
      ...[2, 4].map((width) => (r) => r.#array(r.#uint(width))),
      ...[2, 4].map((width) => (r) => r.#record(r.#uint(width))),
    ];
  }

  #take(size) {
    const start = this.at;
    if (start + size > this.data.length) this.#bad("it ends too early");
    this.at = start + size;
    return this.data.subarray(start, start + size);
  }

  #uint(width) {
    return this.#take(width).readUIntBE(0, width);
  }

  #text(size) {
    return this.#take(size).toString();
  }

  #array(size) {
    if (size > this.data.length - this.at) this.#bad("it ends too early");
    const array = new Array(size);
    for (let i = 0; i < size; i++) {
      const value = this.value();
      if (value === A_HOLE) delete array[i];
      else array[i] = value;
    }
    return array;
  }

  #record(size) {
    const start = this.at;
    const record = {};
    for (let i = 0; i < size; i++) {
      const name = this.value();
      if (typeof name !== "string") {
        this.at = start;
        return this.#entries(size);
      }
      define(record, name, this.value());
    }
    return record;
  }

  #entries(size) {
    const entries = new PyDict();
    for (let i = 0; i < size; i++) {
      const key = this.value();
      entries.set(key, this.value());
    }
    return entries;
  }

  #extension(size) {
    const code = this.#take(1)[0];
    const data = this.#take(size);
    const read = EXTENSIONS.get(code);
    if (!read) this.#bad(`unknown extension type ${code}`);
    return read(data, code);
  }

  #bad(why) {
    throw new ValueError(`${this.data.length} bytes that are no packed value: ${why}`);
  }
}

const READERS = Reader.readers;
const A_HOLE = Symbol("hole");

function readMap(data) {
  const parts = unpack(data);
  const map = new Map();
  for (let i = 0; i < parts.length; i += 2) map.set(parts[i], parts[i + 1]);
  return map;
}

function readRegexp(data) {
  const [source, flags, lastIndex] = unpack(data);
  const regexp = new RegExp(source, flags);
  regexp.lastIndex = lastIndex;
  return regexp;
}

function readError(data) {
  const [name, hidden, shown] = unpack(data);
  const kind = ERROR_BY_NAME.get(name);
  if (!kind) throw new ValueError(`an error of the unknown kind ${name}`);
  const error = kind === AggregateError ? new kind([]) : new kind();
  for (const own of Object.getOwnPropertyNames(error)) delete error[own];
  for (const [parts, enumerable] of [[hidden, false], [shown, true]])
    for (const [own, value] of Object.entries(parts))
      Object.defineProperty(error, own, { value, enumerable, writable: true, configurable: true });
  return error;
}

function readBuffer(data) {
  const [name, bytes] = unpack(data);
  const kind = BUFFER_BY_NAME.get(name);
  if (!kind) throw new ValueError(`a buffer of the unknown kind ${name}`);
  const memory = new Uint8Array(bytes).buffer;
  return kind === ArrayBuffer ? memory : new kind(memory);
}

function readBigint(data) {
  const value = BigInt(`0x${data.toString("hex") || "0"}`);
  return BigInt.asIntN(8 * data.length, value);
}

const EXTENSIONS = new Map([
  [TUPLE, (data) => Tuple.from(unpack(data))],
  [SET, (data) => new PySet(unpack(data))],
  [FROZENSET, (data) => new PyFrozenSet(unpack(data))],
  [INT, readBigint],
  [DATETIME, (data) => new PyDateTime(data.toString())],
  ...Object.keys(PYTHON_TYPES).map((code) => [Number(code), (data) => new PyValue(Number(code), Buffer.from(data))]),
  [BYTEARRAY, (data) => new Uint8Array(data)],
  [UNDEFINED, () => undefined],
  [MAP, readMap],
  [ORDERED_SET, (data) => new Set(unpack(data))],
  [JS_DATE, (data) => new Date(data.readDoubleBE())],
  [REGEXP, readRegexp],
  [ERROR, readError],
  [BIGINT, readBigint],
  [BUFFER, readBuffer],
  [HOLE, () => A_HOLE],
  [BARE, (data) => Object.setPrototypeOf(unpack(data), null)],
]);

/** Not by assignment: `__proto__` is a name like any other here. */
function define(record, name, value) {
  if (name === "__proto__")
    Object.defineProperty(record, name, { value, enumerable: true, writable: true, configurable: true });
  else record[name] = value;
}

// -- values of Python -------------------------------------------------------------------------------------

function textOf(code, data) {
  if (code === UUID) return data.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  if (code === COMPLEX) return `(${data.readDoubleBE(0)}, ${data.readDoubleBE(8)})`;
  if (code !== TIMEDELTA) return data.toString();
  const [days, seconds, microseconds] = unpack(data);
  return `${days} days, ${seconds + microseconds / 1e6} s`;
}

/** Milliseconds of a datetime as Python writes it; see `liquefy/values.py`. Without a zone it is in local time. */
function instant(text) {
  const [, moment, fold, zone] = /^([^[*]*)(\*?)(?:\[(.*)\])?$/.exec(text);
  const iso = moment.replace(/(\.\d{3})\d+/, "$1");
  if (!zone) return Date.parse(iso);
  const wall = Date.parse(`${iso}Z`);
  const candidates = [wall - offset(wall - 86_400_000, zone), wall - offset(wall + 86_400_000, zone)];
  const fitting = candidates.filter((at) => at + offset(at, zone) === wall);
  const found = fitting.length ? fitting : candidates; // none fits in the hour that a zone leaves out
  return fold ? Math.max(...found) : Math.min(...found);
}

/** How far the zone is ahead of UTC at that time, in milliseconds. */
function offset(at, zone) {
  const format = new Intl.DateTimeFormat("en-US", { timeZone: zone, timeZoneName: "longOffset" });
  const name = format.formatToParts(at).find((part) => part.type === "timeZoneName").value;
  const [, sign, hours, minutes, seconds] = /^GMT(?:([+-])(\d+):(\d+)(?::(\d+))?)?$/.exec(name) ?? [];
  if (!sign) return 0;
  return (sign === "-" ? -1 : 1) * (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds ?? 0)) * 1000;
}

function range(first, count) {
  return Array.from({ length: count }, (_, i) => first + i);
}
