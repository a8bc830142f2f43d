/* The context of a message, for JavaScript: what `liquefy/context.py` is for Python. A fluxion sees it as a plain object;
 * afterwards it says what changed.
 *
 * Fields are kept packed, and opened when first read. After a call every field that was written, and every object that was
 * read, is packed again and compared. Each call sees it through an object of its own, which ends with the call: what a
 * forgotten promise does later changes nothing.
 *
 * Knows neither where contexts come from nor where changes go. */
import { pack, unpack, ValueError } from "./values.mjs";

/** Length of a field's name, in UTF-8. */
export const FIELD_NAME_BYTES_MAX = 512;

export class Context {
  #stored;
  #values = new Map();
  #dirty = new Set();
  #removed = new Set();

  /** The context as stored: name -> packed value, as an iterable of pairs. */
  constructor(fields) {
    this.#stored = new Map();
    /** Bytes of the packed fields and (in characters) their names, as of the last `changes`. */
    this.size = 0;
    for (const [name, data] of fields) {
      this.#stored.set(name, data);
      this.size += name.length + data.length;
    }
  }

  /** For one call: [what the function is given, a function that ends it]. */
  view() {
    let over = false;
    const live = () => {
      if (over) throw new Error("the context is used after its call has ended: await what uses it before you return");
      return this;
    };
    const target = {};
    const handler = {
      get: (_, name, receiver) => (live().#has(name) ? this.#get(name) : Reflect.get(target, name, receiver)),
      set: (_, name, value) => live().#set(name, value),
      has: (_, name) => live().#has(name) || Reflect.has(target, name),
      deleteProperty: (_, name) => live().#delete(name),
      ownKeys: () => live().#names(),
      getOwnPropertyDescriptor: (_, name) =>
        live().#has(name)
          ? { value: this.#get(name), writable: true, enumerable: true, configurable: true }
          : undefined,
      defineProperty: (_, name, { value, get, set }) => !get && !set && live().#set(name, value),
      preventExtensions: () => false,
      setPrototypeOf: () => false,
    };
    return [new Proxy(target, handler), () => (over = true)];
  }

  #has(name) {
    return this.#values.has(name) || (this.#stored.has(name) && !this.#removed.has(name));
  }

  #names() {
    const names = [...this.#stored.keys()].filter((name) => !this.#removed.has(name));
    for (const name of this.#values.keys()) if (!this.#stored.has(name) || this.#removed.has(name)) names.push(name);
    return names;
  }

  #get(name) {
    if (this.#values.has(name)) return this.#values.get(name);
    const value = unpack(this.#stored.get(name));
    if (typeof value === "object" && value !== null) this.#dirty.add(name);
    this.#values.set(name, value);
    return value;
  }

  #set(name, value) {
    if (typeof name !== "string") throw new TypeError("names of context fields are texts, not symbols");
    this.#dirty.add(name);
    this.#values.set(name, value);
    return true;
  }

  #delete(name) {
    this.#values.delete(name);
    this.#dirty.delete(name);
    if (this.#stored.has(name)) this.#removed.add(name);
    return true;
  }

  // -- for the host --------------------------------------------------------------------------------------

  /** Whether nothing is stored (as of the last `changes`). */
  get empty() {
    return this.#stored.size === 0;
  }

  /** What changed since the last time: [fields set as a Map of packed values, names removed]. From here on this is the
   * stored state. Throws ValueError on a value that cannot be stored; then nothing has happened, and `rollback` is due. */
  changes() {
    const sets = new Map();
    for (const name of this.#dirty) {
      const packed = pack(this.#values.get(name), `context.${name}`);
      const old = this.#stored.get(name);
      if (old && !this.#removed.has(name) && packed.equals(old)) continue;
      if (!old) checkName(name);
      sets.set(name, packed);
    }
    // From here on nothing fails.
    const removes = [...this.#removed].filter((name) => !sets.has(name));
    for (const name of this.#removed) {
      this.size -= name.length + this.#stored.get(name).length;
      this.#stored.delete(name);
    }
    for (const [name, packed] of sets) {
      const old = this.#stored.get(name);
      this.size += packed.length + (old ? -old.length : name.length);
      this.#stored.set(name, packed);
    }
    this.#forget();
    return [sets, removes];
  }

  /** As after the last `changes`. */
  rollback() {
    this.#forget();
  }

  #forget() {
    this.#values.clear();
    this.#dirty.clear();
    this.#removed.clear();
  }
}

function checkName(name) {
  if (!name.isWellFormed())
    throw new ValueError(`the context field name ${JSON.stringify(name)} holds half of a surrogate pair, which is no text`);
  const size = Buffer.byteLength(name);
  if (size > FIELD_NAME_BYTES_MAX)
    throw new ValueError(
      `the context field name ${name.slice(0, 40)}... has ${size} bytes (limit ${FIELD_NAME_BYTES_MAX}); ` +
        "put what varies into a value",
    );
}
