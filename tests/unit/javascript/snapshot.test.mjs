// Values to text and back: every kind, identity, what was there at start; and random graphs, from a seed.

import assert from "node:assert";
import test from "node:test";
import { types } from "node:util";

import { Base } from "../../../liquefy/node/base.mjs";
import { capture, restore } from "../../../liquefy/node/snapshot.mjs";

class Todo {
  constructor(title) {
    this.title = title;
  }
  get loud() {
    return this.title.toUpperCase();
  }
}
class Urgent extends Todo {}
function Old(name) {
  this.name = name;
}
Old.prototype.greet = function () {
  return `hello ${this.name}`;
};
const own = new Set([Todo, Urgent, Old, Old.prototype.greet]);

function baseOf(values = {}) {
  const base = new Base((f) => own.has(f));
  base.add(Object.entries({ Todo, Urgent, Old, ...values }));
  return base;
}

function through(value, base = baseOf()) {
  return restore(capture([["it", value]], base), base).get("it");
}

const plain = {
  texts: ["", "a", "\ud800 alone", "\u2028 \0", "é"],
  numbers: [0, -0, 1.5, NaN, Infinity, -Infinity, 2 ** 60],
  others: [undefined, null, true, 10n, -(2n ** 70n), Symbol.for("known")],
  dates: [new Date(5)],
  expressions: [/a\/b/giu],
  collections: [new Map([["a", 1], [NaN, new Set([1, { x: 1 }])]]), new Map()],
  bytes: [Buffer.from("ab"), new Uint16Array([1, 2]), new Float64Array([NaN, -0]), new Uint8Array(3).buffer, new DataView(new ArrayBuffer(2))],
  boxed: [Object(1), Object("ab"), Object(false)],
  nothing: Object.assign(Object.create(null), { a: 1 }),
  "": 1,
  10: "before the others",
};

test("every kind comes back as it was", () => {
  assert.deepStrictEqual(through(plain), plain);
  assert.ok(Number.isNaN(through(new Date(NaN)).getTime()));
});

test("own keys keep their order, and odd ones are properties like others", () => {
  const odd = { b: 1, a: 2 };
  Object.defineProperty(odd, "__proto__", { value: [1], writable: true, enumerable: true, configurable: true });
  const back = through(odd);
  assert.deepEqual(Object.keys(back), ["b", "a", "__proto__"]);
  assert.equal(Object.getPrototypeOf(back), Object.prototype);
});

test("holes are no undefined, and arrays keep properties and length", () => {
  const array = [1, , undefined]; // eslint-disable-line no-sparse-arrays
  array.length = 5;
  array.extra = "x";
  const back = through(array);
  assert.deepStrictEqual(back, array);
  assert.equal(1 in back, false);
  assert.equal(2 in back, true);
});

test("identity and cycles", () => {
  const shared = { n: 1 };
  const a = { left: shared, right: [shared], set: new Set([shared]), map: new Map([[shared, shared]]) };
  a.self = a;
  const back = through(a);
  assert.equal(back.self, back);
  assert.equal(back.left, back.right[0]);
  assert.ok(back.set.has(back.left));
  assert.equal(back.map.get(back.left), back.left);
});

test("own classes, constructor functions, errors, frozen things", () => {
  const back = through([new Todo("x"), new Urgent("y"), new Old("z"), new TypeError("t"), Object.freeze({ a: [1] })]);
  assert.ok(back[0] instanceof Todo && back[0].loud === "X");
  assert.ok(back[1] instanceof Urgent && back[1] instanceof Todo);
  assert.equal(back[2].greet(), "hello z");
  assert.ok(back[3] instanceof TypeError && types.isNativeError(back[3]) && back[3].message === "t");
  assert.ok(Object.isFrozen(back[4]) && !Object.isFrozen(back[4].a));
  const hidden = Object.defineProperty({}, "h", { value: 1 });
  assert.deepEqual(Object.getOwnPropertyDescriptors(through(hidden)), Object.getOwnPropertyDescriptors(hidden));
});

test("nesting has no limit", () => {
  let deep = {};
  for (let i = 0; i < 20_000; i++) deep = { deep };
  let back = through(deep);
  let depth = 0;
  for (; back.deep; back = back.deep) depth++;
  assert.equal(depth, 20_000);
});

test("what was there at start is filled in place, functions and libraries' objects are meant by name", () => {
  const emitter = new (class Foreign {})();
  const config = { list: [1], get getter() { return 7; } };
  const roots = { config, helper: plainHelper, emitter };
  const base = baseOf(roots);
  const text = capture([["it", { config, run: plainHelper, emitter, floor: Math.floor }]], base);
  config.list.push(2);
  config.more = true;
  const list = config.list;
  const back = restore(text, base).get("it");
  assert.equal(back.config, config);
  assert.equal(config.list, list);
  assert.deepEqual(list, [1]);
  assert.deepEqual(Object.keys(config), ["list", "getter"]);
  assert.equal(config.getter, 7);
  assert.equal(back.run, plainHelper);
  assert.equal(back.emitter, emitter);
  assert.equal(back.floor, Math.floor);
});

function plainHelper() {}

test("collections, dates and bytes that were there at start are filled in place", () => {
  const there = { map: new Map([["a", 1]]), set: new Set([1]), date: new Date(1), bytes: Buffer.from("abc"), todo: new Todo("a") };
  const base = baseOf({ there });
  const text = capture([["there", there]], base);
  const { map, set, date, bytes, todo } = there;
  map.set("b", 2);
  set.clear();
  date.setTime(9);
  bytes[0] = 0;
  todo.title = "other";
  there.map = null;
  restore(text, base);
  assert.equal(there.map, map);
  assert.deepStrictEqual(there, { map, set, date, bytes, todo });
  assert.deepEqual([[...map], [...set], date.getTime(), String(bytes), todo.title], [[["a", 1]], [1], 1, "abc", "a"]);
});

test("what cannot be stored is refused with its place", () => {
  const refused = (value, expected) => assert.throws(() => capture([["app.users", value]], baseOf()), expected);
  refused({ bob: [{ socket: new Foreign() }] }, /^Unstorable: app\.users\.bob\[0\]\.socket is a Foreign: that cannot be stored$/);
  refused(new Map([["a b", () => 1]]), /app\.users\["a b"\] is a function made while requests were handled/);
  refused([Promise.resolve()], /app\.users\[0\] is a Promise/);
  refused(new WeakMap(), /app\.users is a WeakMap/);
  refused({ [Symbol("s")]: 1 }, /under the symbol Symbol\(s\)/);
  refused(Symbol("s"), /app\.users is a symbol/);
  refused({ get x() { return 1; } }, /app\.users\.x is a getter/);
  refused(new Proxy({}, {}), /a Proxy/);
  refused(setTimeout(() => {}, 0), /a Timeout/);
});

class Foreign {}

// -- random graphs -------------------------------------------------------------------------------------------------------

test("views of one buffer are views of one buffer again", () => {
  const memory = new ArrayBuffer(16);
  const back = through({ memory, view: new DataView(memory, 4), bytes: new Uint8Array(memory), part: new Uint16Array(memory, 2, 3) });
  back.view.setUint8(0, 7);
  assert.deepEqual([back.bytes[4], back.part[1], back.part.length, back.view.byteLength], [7, 7, 3, 12]);
  assert.equal(back.part.buffer, back.memory);

  const alone = through(new Float64Array(new ArrayBuffer(32), 8, 1));
  assert.deepEqual([alone.length, alone.byteOffset, alone.buffer.byteLength], [1, 8, 32]);
  const text = Buffer.from("some text in the pool");
  const pieces = through({ text, word: text.subarray(5, 9), other: Buffer.from("else") });
  pieces.word.write("word");
  assert.deepEqual([String(pieces.text), String(pieces.other)], ["some word in the pool", "else"]);
  assert.ok(pieces.text.buffer.byteLength < 40);
  assert.throws(() => through(new Uint8Array(new SharedArrayBuffer(1))), /it is memory that threads share/);
});

test("views that were there at start stay what they are", () => {
  const memory = new ArrayBuffer(4);
  const values = { view: new DataView(memory), bytes: new Uint8Array(memory) };
  const { view, bytes } = values;
  const base = baseOf({ values });
  const before = capture([["it", values]], base);
  view.setUint8(1, 9);
  const after = capture([["it", values]], base);
  for (const [text, held] of [[before, 0], [after, 9]]) {
    assert.equal(restore(text, base).get("it"), values);
    assert.deepEqual([values.view, values.bytes, bytes[1]], [view, bytes, held]);
  }
});

function random(seed) {
  let state = seed;
  return (below) => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function graph(next, made, depth) {
  if (made.length && next(6) === 0) return made[next(made.length)];
  const leaves = [null, undefined, -0, NaN, 3, "t", 7n, true, Math.floor, Symbol.for("k")];
  if (depth > 5 || next(4) === 0) return leaves[next(leaves.length)];
  const more = (value, fill) => {
    made.push(value);
    for (let i = next(4); i > 0; i--) fill(value, i);
    return value;
  };
  const inner = () => graph(next, made, depth + 1);
  switch (next(8)) {
    case 0:
      return more({}, (o, i) => (o[`k${i}`] = inner()));
    case 1:
      return more([], (a) => a.push(inner()));
    case 2:
      return more([], (a, i) => (a[i * 2] = inner()));
    case 3:
      return more(new Map(), (m) => m.set(inner(), inner()));
    case 4:
      return more(new Set(), (s) => s.add(inner()));
    case 5:
      return more(new Todo("t"), (t, i) => (t[`f${i}`] = inner()));
    case 6:
      return more(new Date(next(1000)), () => {});
    default:
      return more(Buffer.from([next(256)]), () => {});
  }
}

test("random graphs come back the same, and their text too", () => {
  for (let seed = 0; seed < 400; seed++) {
    const next = random(seed);
    const value = graph(next, [], 0);
    const base = baseOf();
    const text = capture([["it", value]], base);
    const back = restore(text, base).get("it");
    assert.deepStrictEqual(back, value, `seed ${seed}`);
    assert.equal(capture([["it", back]], base), text, `seed ${seed}`);
  }
});

test("random graphs that were there at start come back in place after changes", () => {
  for (let seed = 0; seed < 400; seed++) {
    const next = random(seed);
    const value = { it: graph(next, [], 0) };
    const base = baseOf({ value });
    const text = capture([["it", value]], base);
    value.more = graph(next, [value], 0);
    value.it = null;
    assert.equal(restore(text, base).get("it"), value, `seed ${seed}`);
    assert.equal(capture([["it", value]], base), text, `seed ${seed}`);
  }
});
