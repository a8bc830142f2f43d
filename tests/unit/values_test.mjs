/* What values.json says, in JavaScript: `node values_test.mjs` prints what is wrong. */
import { readFileSync } from "node:fs";
import { inspect, isDeepStrictEqual } from "node:util";

import { LIST_DEPTH_MAX, PyDateTime, Tuple, pack, unpack } from "../../liquefy/node/values.mjs";

const wrong = [];

function check(what, holds) {
  if (!holds) wrong.push(what);
}

function same(a, b) {
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  return isDeepStrictEqual(a, b);
}

for (const { bytes, python, javascript } of JSON.parse(readFileSync(new URL("values.json", import.meta.url)))) {
  const data = Buffer.from(bytes, "hex");
  const read = unpack(data);
  check(`${javascript ?? python} is read and written again as ${pack(read).toString("hex")}`, pack(read).equals(data));
  if (!javascript) continue;
  const value = (0, eval)(`(${javascript})`);
  check(`${javascript} is packed as ${pack(value).toString("hex")}`, pack(value).equals(data));
  check(`${javascript} is read as ${inspect(read)}`, same(read, value));
}

class Own {}

for (const [value, ...words] of [
  [() => 1, "function at value cannot be stored"],
  [{ a: { b: [1, Promise.resolve()] } }, "Promise at value.a.b[1]", "await it first"],
  [{ s: Symbol("x") }, "symbol at value.s"],
  [{ [Symbol("x")]: 1 }, "symbols as keys at value "],
  [[new Own()], "Own at value[0]", "store plain values"],
  [new (class extends Map {})(), "at value cannot be stored"],
  [{ url: new URL("http://x/") }, "URL at value.url", "String(...)"],
  [Object.assign([1], { index: 0 }), "an array with names"],
  ["\ud800", "surrogate"],
  [{ "\udc00": 1 }, "surrogate"],
  [nested(LIST_DEPTH_MAX + 1), "nested too deep"],
]) {
  let said = "nothing";
  try {
    pack(value);
  } catch (error) {
    said = error.message;
  }
  for (const word of words) check(`${inspect(value, { depth: 1 })}: ${said}`, said.includes(word));
}

for (const hex of ["", "c1", "a5", "dd7fffffff", "d4ff00", "c001", "dfffffffff"]) {
  let said = "nothing";
  try {
    unpack(Buffer.from(hex, "hex"));
  } catch (error) {
    said = error.message;
  }
  check(`${hex}: ${said}`, said.includes("no packed value"));
}

function nested(depth) {
  return depth ? [nested(depth - 1)] : [];
}

check("lists may be nested", unpack(pack(nested(LIST_DEPTH_MAX - 1))).length === 1);

const tuple = Tuple.from([1, 2]);
check("what is made of a tuple is an array", tuple.map((x) => x).constructor === Array && Array.isArray(tuple));

for (const [text, ms] of [
  ["2024-10-27T02:30:00[Europe/Paris]", Date.UTC(2024, 9, 27, 0, 30)],
  ["2024-10-27T02:30:00*[Europe/Paris]", Date.UTC(2024, 9, 27, 1, 30)],
  ["2024-07-01T12:00:00.123456[America/New_York]", Date.UTC(2024, 6, 1, 16, 0, 0, 123)],
  ["2024-01-01T05:00:00+05:30", Date.UTC(2023, 11, 31, 23, 30)],
])
  check(`${text} is ${new PyDateTime(text).toISOString()}`, new PyDateTime(text).getTime() === ms);

const changed = new PyDateTime("2024-01-01T05:00:00+05:30");
changed.setTime(0);
check("a datetime that was set is a Date", same(unpack(pack(changed)), new Date(0)));

if (wrong.length) {
  console.log(wrong.join("\n"));
  process.exitCode = 1;
}
