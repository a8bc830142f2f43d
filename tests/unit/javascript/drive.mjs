// A host for tests: a line of JSON in (the fluxion, its message, its context), a line out (what it sends, the context).

import { createInterface } from "node:readline";

import { Service } from "../../../liquefy/node/liquid.mjs";

const folder = process.argv[2];
const { readFileSync } = await import("node:fs");
const manifest = JSON.parse(readFileSync(`${folder}/liquefy.json`, "utf8"));
const say = console.log;
console.log = console.error;
const service = new Service(folder, manifest, {
  answer: (body, status, headers) => ({ status, headers, body: body.toString("latin1") }),
  emit: (to, body) => ({ to, body }),
});

for await (const line of createInterface({ input: process.stdin })) {
  const { fluxion, message, context } = JSON.parse(line, (_, value) => (value?.type === "Buffer" ? Buffer.from(value.data) : value));
  if (!message.body.variables && typeof (message.body.body ?? "") === "string") message.body.body = Buffer.from(message.body.body ?? "", "latin1");
  if (message.body.forwarded?.part === "body") message.body.forwarded.value = Buffer.from(message.body.forwarded.value, "latin1");
  let sent;
  try {
    sent = await service.run(fluxion, message, context);
  } catch (error) {
    sent = { error: String(error) };
  }
  sent ??= null;
  if (Buffer.isBuffer(sent?.body?.body)) sent.body.body = sent.body.body.toString("latin1");
  if (Buffer.isBuffer(sent?.body?.forwarded?.value)) sent.body.forwarded.value = sent.body.forwarded.value.toString("latin1");
  say(JSON.stringify({ sent, context }));
}
process.exit(0);
