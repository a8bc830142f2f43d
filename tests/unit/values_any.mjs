/* Reads any bytes in hexadecimal, one a line; prints what it makes of them, packed again, or - where they are no value. */
import { readFileSync } from "node:fs";

import { pack, unpack } from "../../liquefy/node/values.mjs";

for (const line of readFileSync(0, "utf8").split("\n").slice(0, -1)) {
  let value;
  try {
    value = unpack(Buffer.from(line, "hex"));
  } catch {
    console.log("-");
    continue;
  }
  console.log(pack(value).toString("hex"));
}
