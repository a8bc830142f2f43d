// One request into an http.Server without a network, and its answer out: the server reads the very bytes that a client
// would have sent, from a socket that is none, and writes the very bytes that it would have answered. Knows nothing of
// fluxions.

import { ServerResponse } from "node:http";
import { isIPv4 } from "node:net";
import { Duplex } from "node:stream";

export const PASS = Symbol("the pass that a socket belongs to");

const EXCHANGE = Symbol("the exchange of a socket");
const HOP = new Set(["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "trailer"]);
const CRLF2 = Buffer.from("\r\n\r\n");
const EMPTY = Buffer.alloc(0);
const LOCAL_PORT = 80;

export const STREAM_AFTER_MS = 50; // an answer that is not complete so long after its beginning goes out in pieces

// The server's answer to {method, target, headers: [[name, value]], body: bytes, client, scheme} as
// {status, headers: [[name, value]], body}. `pass` is found again at `request.socket[PASS]`. What is resolved with by
// `leave` of the pass, if that is called first, is the answer instead, and the request is dropped. With a `stream`, see
// streaming.mjs, an answer that takes long goes there; then the result is {streamed: true}, as it is when the client goes.
export function inject(server, request, pass = {}, stream = null) {
  if (isUpgrade(request) && server.listenerCount("upgrade") > 0) return Promise.resolve(noUpgrade(request));
  return new Promise((resolve, reject) => {
    const both = server.address()?.address === "::"; // then clients' IPv4 addresses are written as IPv6
    const wire = new Wire(request, new Exchange(resolve, reject), stream, both);
    wire[PASS] = pass;
    if (stream) {
      stream.onGone = () => {
        if (wire[EXCHANGE].settle(resolve, { streamed: true })) wire.destroy();
      };
    }
    pass.leave = (value) => {
      if (wire[EXCHANGE].settle(resolve, value)) wire.destroy();
    };
    if (request.scheme === "https" || server.setSecureContext) wire.encrypted = true;
    server.emit(server.setSecureContext ? "secureConnection" : "connection", wire);
  });
}

function isUpgrade({ headers }) {
  const has = (wanted, word) =>
    headers.some(([name, value]) => name.toLowerCase() === wanted && value.toLowerCase().includes(word));
  return has("connection", "upgrade") && has("upgrade", "");
}

function noUpgrade(request) {
  const upgrade = request.headers.find(([name]) => name.toLowerCase() === "upgrade")[1];
  const text = `connections are not upgraded here (to ${upgrade.slice(0, 80)}): requests and answers only`;
  return {
    status: 501,
    headers: [["content-type", "application/json"]],
    body: Buffer.from(JSON.stringify({ error: text })),
  };
}

// The end of an exchange: whatever comes first counts.
class Exchange {
  constructor(resolve, reject) {
    this.resolve = resolve;
    this.reject = reject;
    this.settled = false;
  }

  settle(how, value) {
    if (this.settled) return false;
    this.settled = true;
    how(value);
    return true;
  }
}

// A socket of which one end is here. What is written is kept until the answer is complete.
class Wire extends Duplex {
  constructor(request, exchange, stream, both) {
    super({ allowHalfOpen: true });
    const [given, port] = splitAddress(request.client);
    const address = both && isIPv4(given) ? `::ffff:${given}` : given;
    this.remoteAddress = address;
    this.remotePort = port;
    this.remoteFamily = address.includes(":") ? "IPv6" : "IPv4";
    this.localAddress = address === given && this.remoteFamily === "IPv6" ? "::1" : both ? "::ffff:127.0.0.1" : "127.0.0.1";
    this.localPort = LOCAL_PORT;
    this.localFamily = this.remoteFamily;
    this.connecting = false;
    this.pending = false;
    this.readyState = "open";
    this.timeout = 0;
    this.bytesRead = this.bytesWritten = 0;
    this.request = request;
    this.chunks = [];
    this[EXCHANGE] = exchange;
    this.stream = stream;
    this.pieces = null; // of an answer that is streamed
    this.timer = null;
  }

  _read() {
    if (this.request === null) return;
    const { bytes, request } = { bytes: bytesOf(this.request), request: this.request };
    this.request = null;
    this.method = request.method;
    this.bytesRead = bytes.length;
    this.push(bytes);
  }

  _write(chunk, _, done) {
    this.put(chunk);
    done();
  }

  _writev(chunks, done) {
    for (const { chunk } of chunks) this.put(chunk);
    done();
  }

  put(chunk) {
    this.bytesWritten += chunk.length;
    if (this[EXCHANGE].settled) return;
    this.chunks.push(chunk);
    if (this.pieces) this.flush();
    else if (this.stream && this.timer === null) this.timer = setTimeout(() => this.flush(), STREAM_AFTER_MS);
  }

  // What there is of the answer goes out.
  flush() {
    if (this[EXCHANGE].settled) return;
    const data = Buffer.concat(this.chunks);
    if (this.pieces === null) {
      const head = headOf(data);
      if (head === null) return;
      this.pieces = new Pieces(head.chunked);
      this.chunks = [data.subarray(head.end)];
      this.stream.send(head.status, head.headers, this.pieces.feed(this.chunks.pop()));
      return;
    }
    this.chunks = [];
    const body = this.pieces.feed(data);
    if (body.length) this.stream.send(200, [], body);
  }

  _final(done) {
    done();
    this.complete(); // the server has said its last word, such as the 400 for a request that it cannot read
  }

  _destroy(error, done) {
    done(error);
    if (this[EXCHANGE].settled) return;
    if (this.chunks.length) this.complete();
    else this.fail(error);
  }

  // The answer, if what was written is one.
  complete() {
    const exchange = this[EXCHANGE];
    clearTimeout(this.timer);
    if (exchange.settled) return;
    if (this.pieces) {
      exchange.settle(exchange.resolve, { streamed: true });
      return;
    }
    let answer;
    try {
      answer = answerOf(Buffer.concat(this.chunks), this.method);
    } catch (error) {
      exchange.settle(exchange.reject, error);
      return;
    }
    if (answer) exchange.settle(exchange.resolve, answer);
    else this.fail(null);
  }

  fail(error) {
    const exchange = this[EXCHANGE];
    const why = error ? `: ${error.message}` : "";
    exchange.settle(exchange.reject, new Error(`the program closed the connection without an answer${why}`));
  }

  destroySoon() {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", this.destroy);
  }

  setTimeout(_, callback) {
    if (callback) this.once("timeout", callback);
    return this;
  }

  setNoDelay() {
    return this;
  }

  setKeepAlive() {
    return this;
  }

  ref() {
    return this;
  }

  unref() {
    return this;
  }

  address() {
    return { address: this.localAddress, family: this.localFamily, port: this.localPort };
  }
}

const assignSocket = ServerResponse.prototype.assignSocket;
ServerResponse.prototype.assignSocket = function (socket) {
  assignSocket.call(this, socket);
  if (!(socket instanceof Wire)) return;
  this.once("finish", () => {
    socket.complete();
    // After what the program itself does at "finish", as a client that closes would come later too.
    setImmediate(() => socket.destroy());
  });
};

function splitAddress(client) {
  const colon = (client ?? "").lastIndexOf(":");
  if (colon < 0) return ["127.0.0.1", 0];
  return [client.slice(0, colon).replace(/^\[|\]$/g, ""), Number(client.slice(colon + 1)) || 0];
}

// -- bytes -----------------------------------------------------------------------------------------------------------

function bytesOf({ method, target, headers, body }) {
  let head = `${method} ${target} HTTP/1.1\r\n`;
  let chunked = false;
  for (const [name, value] of headers) {
    head += `${name}: ${value}\r\n`;
    chunked ||= name.toLowerCase() === "transfer-encoding" && /chunked/i.test(value);
  }
  const start = Buffer.from(`${head}\r\n`, "latin1");
  const data = body == null ? EMPTY : Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (!chunked) return data.length ? Buffer.concat([start, data]) : start;
  const size = data.length ? `${data.length.toString(16)}\r\n` : "";
  return Buffer.concat([start, Buffer.from(size), data, Buffer.from(size ? "\r\n0\r\n\r\n" : "0\r\n\r\n")]);
}

// The answer that the bytes are, null if they are none.
function answerOf(bytes, method) {
  const head = headOf(bytes);
  if (head === null) return null;
  const { status, headers, chunked, end } = head;
  if (method === "HEAD" || status === 204 || status === 304) return { status, headers, body: EMPTY };
  const data = bytes.subarray(end);
  return { status, headers, body: chunked ? dechunked(data) : data };
}

// {status, headers, chunked, end}; null as long as it is not complete.
function headOf(bytes) {
  let begin = 0;
  for (;;) {
    const end = bytes.indexOf(CRLF2, begin);
    if (end < 0) return null;
    const lines = bytes.latin1Slice(begin, end).split("\r\n");
    const status = Number(lines[0].slice(9, 12));
    begin = end + 4;
    if (status >= 100 && status < 200) continue; // 100 Continue goes before the answer
    return { status, ...headersOf(lines), end: begin };
  }
}

function headersOf(lines) {
  const headers = [];
  let chunked = false;
  for (let i = 1; i < lines.length; i++) {
    const colon = lines[i].indexOf(":");
    const name = lines[i].slice(0, colon);
    const value = lines[i].slice(colon + 1).trim();
    const lower = name.toLowerCase();
    if (lower === "transfer-encoding") chunked = /chunked/i.test(value);
    if (!HOP.has(lower)) headers.push([name, value]);
  }
  return { headers, chunked };
}

// The body of an answer that comes bit by bit.
class Pieces {
  constructor(chunked) {
    this.chunked = chunked;
    this.left = EMPTY; // a chunk that is not complete yet
  }

  feed(data) {
    if (!this.chunked) return data;
    const bytes = this.left.length ? Buffer.concat([this.left, data]) : data;
    const parts = [];
    let at = 0;
    for (;;) {
      const end = bytes.indexOf("\r\n", at);
      const size = end < 0 ? 0 : parseInt(bytes.latin1Slice(at, end), 16);
      const next = end + 2 + size + 2;
      if (!(size > 0) || next > bytes.length) break;
      parts.push(bytes.subarray(end + 2, next - 2));
      at = next;
    }
    this.left = bytes.subarray(at);
    return Buffer.concat(parts);
  }
}

function dechunked(data) {
  const parts = [];
  for (let at = 0; ; ) {
    const end = data.indexOf("\r\n", at);
    const size = end < 0 ? NaN : parseInt(data.latin1Slice(at, end), 16);
    if (!(size >= 0) || end + 2 + size > data.length) throw new Error("the program's answer ends in the middle");
    if (size === 0) return parts.length === 1 ? parts[0] : Buffer.concat(parts);
    parts.push(data.subarray(end + 2, end + 2 + size));
    at = end + 2 + size + 2;
  }
}
