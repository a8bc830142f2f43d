/* Reads packed values in hexadecimal, one a line, and prints them as this language packs what it has read. */
import { readFileSync } from "node:fs";

import { pack, unpack } from "../../liquefy/node/values.mjs";

for (const line of readFileSync(0, "utf8").split("\n"))
  if (line) console.log(pack(unpack(Buffer.from(line, "hex"))).toString("hex"));
