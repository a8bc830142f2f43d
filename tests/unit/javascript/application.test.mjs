// Programs of a few lines, started as they are; requests in, answers out.

import assert from "node:assert";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";

import { Application } from "../../../liquefy/node/application.mjs";

function program(text, name = "app.js") {
  const folder = mkdtempSync(join(tmpdir(), "liquefy-app-"));
  writeFileSync(join(folder, name), text);
  return new Application(folder, name);
}

const request = (method, target, { headers = [["Host", "here"]], body = "", client = "10.0.0.7:4711" } = {}) => ({
  method,
  target,
  headers,
  body: Buffer.from(body),
  client,
  scheme: "http",
});

const said = (answer) => answer.body.toString();

test("a program that listens when it is the main module is told that it does, and answers", async () => {
  const app = program(`
    const http = require("http");
    const server = http.createServer((req, res) => res.end(req.method + " " + req.url + " " + port + " " + req.socket.remoteAddress));
    let port = 0;
    if (require.main === module) server.listen(3210, "127.0.0.1", () => { port = server.address().port; });`);
  const answer = await app.handle(request("GET", "/a%20b?c=1"));
  assert.equal(said(answer), "GET /a%20b?c=1 3210 10.0.0.7");
  assert.equal(answer.status, 200);
});

test("what listens for both kinds of addresses sees a client's IPv4 one as Node.js shows it there", async () => {
  const app = program(`
    require("http").createServer((req, res) => res.end(req.socket.remoteAddress)).listen(0, "::");`);
  assert.equal(said(await app.handle(request("GET", "/"))), "::ffff:10.0.0.7");
  assert.equal(said(await app.handle(request("GET", "/", { client: "[2001:db8::1]:80" }))), "2001:db8::1");
});

test("an application that is exported and does not listen is taken", async () => {
  const app = program(`module.exports = (req, res) => { res.statusCode = 201; res.end("made"); };`);
  const answer = await app.handle(request("POST", "/"));
  assert.deepEqual([answer.status, said(answer)], [201, "made"]);
});

test("an ES module that listens after an await", async () => {
  const app = program(
    `import http from "node:http";
    await new Promise(setImmediate);
    http.createServer((req, res) => res.end(import.meta.url.slice(-7))).listen({ port: 0 });`,
    "app.mjs",
  );
  assert.equal(said(await app.handle(request("GET", "/"))), "app.mjs");
});

test("headers come and go as they were written, those of the connection aside", async () => {
  const app = program(`
    require("http").createServer((req, res) => {
      res.writeHead(207, "Odd", [["X-One", "a"], ["x-one", "b"], ["Set-Cookie", "c=1"], ["Set-Cookie", "d=\\u00e9"]]);
      res.end(JSON.stringify(req.rawHeaders));
    }).listen(1);`);
  const headers = [["Host", "x"], ["X-Twice", "1"], ["x-twice", "\u00e9"], ["Connection", "close"]];
  const answer = await app.handle(request("GET", "/", { headers }));
  assert.deepEqual(JSON.parse(said(answer)), headers.flat());
  assert.deepEqual(answer.headers.filter(([name]) => name !== "Date"), [
    ["X-One", "a"],
    ["x-one", "b"],
    ["Set-Cookie", "c=1"],
    ["Set-Cookie", "d=\u00e9"],
  ]);
});

test("bodies of both kinds, whole and in pieces; HEAD has none and keeps its length", async () => {
  const app = program(`
    require("http").createServer((req, res) => {
      const parts = [];
      req.on("data", (d) => parts.push(d)).on("end", () => {
        if (req.url === "/whole") { const b = Buffer.concat(parts); res.setHeader("Content-Length", b.length); return res.end(b); }
        res.write("<"); res.write(Buffer.concat(parts)); res.end(">");
      });
    }).listen(2);`);
  const bytes = Buffer.from([0, 255, 13, 10, 13, 10]);
  const whole = await app.handle(request("PUT", "/whole", { headers: [["Host", "h"], ["Content-Length", "6"]], body: bytes }));
  assert.deepEqual(whole.body, bytes);
  const pieces = await app.handle(
    request("PUT", "/", { headers: [["Host", "h"], ["Transfer-Encoding", "chunked"]], body: "abc" }),
  );
  assert.equal(said(pieces), "<abc>");
  assert.ok(!pieces.headers.some(([name]) => name === "Transfer-Encoding"));
  const head = await app.handle(request("HEAD", "/whole"));
  assert.equal(head.body.length, 0);
  assert.deepEqual(head.headers.find(([name]) => name === "Content-Length"), ["Content-Length", "0"]);
});

test("requests run side by side", async () => {
  const app = program(`
    let first = null;
    require("http").createServer((req, res) => {
      if (req.url === "/wait") first = res;
      else { first.end("released"); res.end("done"); }
    }).listen(3);`);
  const waiting = app.handle(request("GET", "/wait"));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(said(await app.handle(request("GET", "/go"))), "done");
  assert.equal(said(await waiting), "released");
});

test("a request that cannot be read gets the server's own 400, a closed connection is an error", async () => {
  const app = program(`require("http").createServer((req, res) => req.socket.destroy()).listen(4);`);
  assert.equal((await app.handle(request("GET", "/", { headers: [["Bad Name", "x"]] }))).status, 400);
  await assert.rejects(app.handle(request("GET", "/")), /closed the connection without an answer/);
});

test("websockets are refused", async () => {
  const app = program(`require("http").createServer().on("upgrade", () => {}).listen(5);`);
  const headers = [["Host", "h"], ["Connection", "Upgrade"], ["Upgrade", "websocket"]];
  const answer = await app.handle(request("GET", "/", { headers }));
  assert.equal(answer.status, 501);
  assert.match(said(answer), /websocket/);
});

test("a program that ends itself while it starts, or breaks, says so at each request", async () => {
  const ends = program(`process.exit(3);`);
  await assert.rejects(ends.handle(request("GET", "/")), /app.js: the program ended itself .* process.exit\(3\)/);
  const breaks = program(`require("not-there-at-all");`);
  await assert.rejects(breaks.handle(request("GET", "/")), /Cannot find module/);
  await assert.rejects(breaks.handle(request("GET", "/")), /Cannot find module/);
});

test("a pass may be left: what it is left with is the answer", async () => {
  const app = program(`
    require("http").createServer((req, res) => { global.leaving(req); res.end("too late"); }).listen(6);`);
  const { PASS } = await import("../../../liquefy/node/injection.mjs");
  globalThis.leaving = (req) => req.socket[PASS].leave({ to: "elsewhere" });
  assert.deepEqual(await app.handle(request("GET", "/"), {}), { to: "elsewhere" });
});

test("an answer that takes long goes out in pieces, one that does not comes whole; a client that goes is told of", async () => {
  const app = program(`
    const held = [];
    globalThis.held = held;
    require("http").createServer((req, res) => {
      req.on("close", () => held.push("closed"));
      if (req.url === "/short") { res.write("a"); return setTimeout(() => res.end("b"), 5); }
      res.writeHead(200, { "Content-Type": "text/event-stream" });
      res.write("one ");
      if (req.url === "/ever") return;
      setTimeout(() => { res.write("two "); res.write("three"); }, 90);
      setTimeout(() => res.end("."), 120);
    }).listen(7);`);
  const sent = [];
  const stream = () => ({ send: (status, headers, body) => sent.push([status, String(body)]), onGone: () => {} });
  assert.equal(said(await app.handle(request("GET", "/short"), {}, stream())), "ab");
  assert.deepEqual(sent, []);
  assert.deepEqual(await app.handle(request("GET", "/long"), {}, stream()), { streamed: true });
  assert.equal(sent.map(([, text]) => text).join("|").replace("two |three", "two three"), "one |two three|.");
  assert.equal(sent[0][0], 200);
  const ever = stream();
  const waiting = app.handle(request("GET", "/ever"), {}, ever);
  await new Promise((resolve) => setTimeout(resolve, 80));
  globalThis.held.length = 0;
  ever.onGone();
  assert.deepEqual(await waiting, { streamed: true });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(globalThis.held, ["closed"]);
});
