/* `python -m liquefy.nodejs --test` in this folder. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Message } from "liquefy";

import { callExternalDB, localProcess, send, store } from "./visits.mjs";

const request = new Message({ params: { id: "alice" } }, { deadline: 1_700_000_010 });

test("a visit is counted and remembered", () => {
  const context = { visits: 4, last: new Date(0) };
  assert.deepEqual(store(request, context), { user: "alice", visits: 5, last: new Date(0) });
  assert.deepEqual(context, { visits: 5, last: new Date(1_700_000_000_000) });
});

test("the chain greets", async () => {
  const known = localProcess(new Message(store(request, { visits: 9 })));
  const { body } = send(new Message(await callExternalDB(new Message(known))));
  assert.equal(body.visits, 10);
  assert.match(body.greeting, /^Good to see you, alice: visit 10 from \w+, the last on Tue, 14 Nov 2023/);
});
