/* The context of a fluxion in JavaScript: a plain object that knows what changed. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Context, FIELD_NAME_BYTES_MAX } from "../../../liquefy/node/context.mjs";
import { pack, unpack } from "../../../liquefy/node/values.mjs";

function make(fields = {}) {
  return new Context(Object.entries(fields).map(([name, value]) => [name, pack(value)]));
}

/** What `use` changes: [sets, removes]. */
function changed(context, use) {
  const [given, end] = context.view();
  use(given);
  end();
  const [sets, removes] = context.changes();
  return [Object.fromEntries([...sets].map(([name, data]) => [name, unpack(data)])), removes];
}

test("what is only read is no change", () => {
  const context = make({ n: 1, list: [1, { a: 2 }], text: "x" });
  assert.deepEqual(changed(context, (c) => [c.n, c.list[1].a, c.text, c.nothing, { ...c }, JSON.stringify(c)]), [{}, []]);
});

test("it looks like a plain object", () => {
  const [c] = make({ n: 1, list: [1] }).view();
  assert.deepEqual({ ...c }, { n: 1, list: [1] });
  assert.deepEqual(Object.keys(c), ["n", "list"]);
  assert.equal("n" in c, true);
  assert.equal("m" in c, false);
  assert.equal(c.hasOwnProperty("n"), true);
  assert.equal(Object.hasOwn(c, "toString"), false);
  assert.equal(String(c), "[object Object]");
  assert.equal(JSON.stringify(c), '{"n":1,"list":[1]}');
  const { n, ...rest } = c;
  assert.deepEqual([n, rest], [1, { list: [1] }]);
  assert.deepEqual(structuredClone({ ...c }), { n: 1, list: [1] });
});

test("changes are sets and removes, also inside of values", () => {
  const context = make({ n: 1, list: [1], deep: { map: new Map([["a", [1]]]) }, gone: 1, same: 2 });
  const use = (c) => {
    c.n += 1;
    c.list.push(2);
    c.deep.map.get("a").push(2);
    delete c.gone;
    c.same = 2;
    c.new = undefined;
  };
  const [sets, removes] = changed(context, use);
  assert.deepEqual(sets, { n: 2, list: [1, 2], deep: { map: new Map([["a", [1, 2]]]) }, new: undefined });
  assert.deepEqual(removes, ["gone"]);
  assert.deepEqual(changed(context, (c) => assert.deepEqual(Object.keys(c), ["n", "list", "deep", "same", "new"])), [{}, []]);
});

test("names may be any texts", () => {
  const context = make();
  const [sets] = changed(context, (c) => {
    Object.assign(c, { constructor: 1, toString: 2, ["2"]: 3 });
    Object.defineProperty(c, "__proto__", { value: 4, writable: true, enumerable: true, configurable: true });
  });
  assert.deepEqual(Object.keys(sets).sort(), ["2", "__proto__", "constructor", "toString"]);
  const [c] = context.view();
  assert.deepEqual([c.constructor, c.toString, c[2]], [1, 2, 3]);
  assert.equal(Object.getPrototypeOf(c), Object.prototype);
});

test("what was removed and set again is set", () => {
  const context = make({ n: 1, m: 1 });
  const use = (c) => {
    delete c.n;
    assert.equal(c.n, undefined);
    c.n = 5;
    delete c.m;
    delete c.never;
  };
  assert.deepEqual(changed(context, use), [{ n: 5 }, ["m"]]);
  assert.equal(context.size, 1 + pack(5).length);
  changed(context, (c) => delete c.n);
  assert.deepEqual([context.empty, context.size], [true, 0]);
});

test("a rollback forgets all", () => {
  const context = make({ n: 1, list: [1] });
  const [c, end] = context.view();
  c.n = 2;
  c.list.push(2);
  delete c.list;
  c.other = 1;
  end();
  context.rollback();
  assert.deepEqual(changed(context, (d) => assert.deepEqual({ ...d }, { n: 1, list: [1] })), [{}, []]);
});

test("it ends with its call, and values kept from it are nobody's", () => {
  const context = make({ list: [1] });
  let kept;
  let late;
  changed(context, (c) => ([kept, late] = [c.list, c]));
  kept.push(2);
  for (const use of [() => late.list, () => (late.n = 1), () => delete late.list, () => ({ ...late }), () => "n" in late])
    assert.throws(use, /after its call has ended/);
  assert.deepEqual(changed(context, (c) => assert.deepEqual(c.list, [1])), [{}, []]);
});

test("what cannot be stored is told, and nothing has happened", () => {
  const context = make({ n: 1 });
  const attempt = (use) => () => {
    try {
      changed(context, use);
    } finally {
      context.rollback();
    }
  };
  const set = (name, value) => attempt((c) => ([c.n, c[name]] = [2, value]));
  assert.throws(set("f", { a: [() => 1] }), /function at context\.f\.a\[0\] cannot be stored/);
  assert.throws(set("x".repeat(FIELD_NAME_BYTES_MAX + 1), 1), /has 513 bytes \(limit 512\)/);
  assert.throws(set("\ud800", 1), /surrogate/);
  assert.throws(set(Symbol("s"), 1), /not symbols/);
  assert.throws(attempt((c) => Object.defineProperty(c, "g", { get: () => 1 })), TypeError);
  assert.throws(attempt((c) => Object.freeze(c)), TypeError);
  assert.throws(attempt((c) => Object.setPrototypeOf(c, null)), TypeError);
  assert.deepEqual(changed(context, (c) => assert.deepEqual({ ...c }, { n: 1 })), [{}, []]);
});
