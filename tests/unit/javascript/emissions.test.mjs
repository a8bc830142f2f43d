/* What a fluxion in JavaScript returns, as messages. */
import assert from "node:assert/strict";
import { test } from "node:test";

import api from "../../../liquefy/node/api.cjs";
import { emissions } from "../../../liquefy/node/emissions.mjs";
import { unpack } from "../../../liquefy/node/values.mjs";

const { answer, emit, Message } = api;

function spec(...targets) {
  const all = new Map(targets.map((target) => [target.name, target]));
  return { name: "f", targets: all, sole: all.size === 1 ? targets[0] : null };
}

const OUTPUT = { name: "output", key: [] };
const KEYED = { name: "store", key: ["params", "id"] };
const PLAIN = { name: "tell", key: [] };

/** [to, key, body, delay, status, headers] of each message. */
function sent(result, ...targets) {
  return emissions(spec(...targets), result).map(([to, key, body, ...rest]) => [to, key, unpack(body), ...rest]);
}

test("a body goes to the only stream, nothing goes nowhere", () => {
  assert.deepEqual(sent(undefined, PLAIN), []);
  assert.deepEqual(sent(null, PLAIN, OUTPUT), []);
  assert.deepEqual(sent([1, new Date(0)], PLAIN), [["tell", "", [1, new Date(0)], 0, 0, []]]);
  assert.throws(() => sent({}, PLAIN, KEYED), /has several streams: 'tell', 'store'; say which: return emit\("tell", body\)/);
  assert.throws(() => sent("x"), /returned "x", but has no stream/);
});

test("an answer has the form that JavaScript gives it", () => {
  const json = [["content-type", "application/json"]];
  assert.deepEqual(sent({ a: undefined, d: new Date(0) }, OUTPUT), [
    ["output", "", Buffer.from('{"d":"1970-01-01T00:00:00.000Z"}'), 0, 0, json],
  ]);
  assert.deepEqual(sent(answer("text", 404)), [["output", "", "text", 0, 404, []]]);
  assert.deepEqual(sent(answer()), [["output", "", null, 0, 200, []]]);
  assert.deepEqual(sent(answer(new Uint8Array([1]))), [["output", "", Buffer.from([1]), 0, 200, []]]);
  const headers = { "Content-Type": "text/x", "set-cookie": ["a", "b"], "x-n": 5 };
  assert.deepEqual(sent(answer([1], 201, headers)), [
    ["output", "", Buffer.from("[1]"), 0, 201, [["Content-Type", "text/x"], ["set-cookie", "a"], ["set-cookie", "b"], ["x-n", "5"]]],
  ]); // prettier-ignore
  assert.throws(() => sent(answer(() => 1)), /has no form in JSON/);
  assert.throws(() => sent(answer(5n)), /BigInt/);
});

test("keys are found in the body", () => {
  const keyOf = (id) => sent(emit("store", { params: { id } }), KEYED)[0][1];
  assert.deepEqual(["a", 5, -0, 5n, "ż"].map(keyOf), ["a", "5", "0", "5", "ż"]);
  for (const id of ["", 1.5, true, null, "x".repeat(513), "\ud800", 2 ** 60])
    assert.throws(() => keyOf(id), /has no usable key: 'params.id' is/);
  assert.throws(() => sent({ param: 1 }, KEYED), /carries no key: 'params.id' not found in \{param\}/);
  assert.throws(() => sent({ params: "x" }, KEYED), /carries no key/);
  assert.equal(emissions(spec({ name: "s", key: ["1", "k"] }), [0, { k: "v" }])[0][1], "v");
});

test("arrays of emit and answer are several messages", () => {
  const both = [emit("tell", 1, { delay_s: 0.0015 }), answer("x")];
  assert.deepEqual(sent(both, PLAIN, OUTPUT), [
    ["tell", "", 1, 2, 0, []],
    ["output", "", "x", 0, 200, []],
  ]);
  assert.throws(() => sent([emit("tell"), 5], PLAIN), /and 5 in it; make that one emit/);
  assert.throws(() => sent(emit("nowhere"), PLAIN), /no stream to 'nowhere'; its streams: 'tell'/);
});

test("what emit and answer are given is checked", () => {
  for (const wrong of [
    () => emit(5),
    () => emit("a", 1, { delay_s: "1" }),
    () => emit("a", 1, { delay_s: -1 }),
    () => emit("a", 1, { delay_s: NaN }),
    () => answer("", 199),
    () => answer("", "200"),
    () => answer("", 200, { "a b": "x" }),
    () => answer("", 200, { a: "x\r\ny" }),
    () => answer("", 200, { a: "€" }),
    () => answer("", 200, { a: undefined }),
  ])
    assert.throws(wrong, /^(TypeError|RangeError): (emit|answer)\(\): /);
});

test("a message cannot be changed", () => {
  const message = new Message({ a: 1 }, { key: "k" });
  assert.throws(() => (message.key = "x"), TypeError);
  assert.deepEqual({ ...message }, { body: { a: 1 }, key: "k", id: "", fluxion: "", deadline: 0, trace: "" });
});
