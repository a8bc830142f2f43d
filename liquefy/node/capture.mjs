// Takes the place of listening: a program that would listen on a port is told that it does, and its servers are kept
// here for requests to be injected into. Nothing listens. Knows neither requests nor fluxions.

import http from "node:http";
import https from "node:https";
import net from "node:net";
import { networkInterfaces } from "node:os";

const FREE_PORT = 49152; // what a program that asked for port 0 is told; its own servers count up from here

// Where a program listens that does not say where: as Node.js does it, for both kinds of addresses if there are both.
const ANYWHERE = Object.values(networkInterfaces()).flat().some(({ family }) => family === "IPv6") ? "::" : "0.0.0.0";

export const servers = []; // those that listen, in the order in which they began
const waiting = new Set();

let ports = FREE_PORT;
let captured = false;

// Everything that listens from now on is captured.
export function captureListening() {
  if (captured) return;
  captured = true;
  net.Server.prototype.listen = listen;
}

// `heard` is called with each server that begins to listen, those that already do first. Returns how to stop it.
export function whenListening(heard) {
  for (const server of servers) heard(server);
  waiting.add(heard);
  return () => waiting.delete(heard);
}

export function isHttp(server) {
  return server instanceof http.Server || server instanceof https.Server;
}

function listen(...given) {
  const { options, callback } = listenArguments(given);
  if (callback) this.once("listening", callback);
  if (this._handle) {
    const error = new Error("Listen method has been called more than once without closing.");
    throw Object.assign(error, { code: "ERR_SERVER_ALREADY_LISTEN" });
  }
  this._handle = new Handle(this, options);
  this._listeningId = (this._listeningId ?? 0) + 1;
  process.nextTick(() => {
    if (this._handle === null) return; // closed at once
    servers.push(this);
    this.emit("listening");
    for (const heard of [...waiting]) heard(this);
  });
  return this;
}

// The ways to say it: (port, host, backlog, callback), (path, callback), (options, callback), each shorter too.
function listenArguments(given) {
  const callback = typeof given.at(-1) === "function" ? given.at(-1) : null;
  const [first, second] = given;
  if (first !== null && typeof first === "object") return { options: first, callback };
  if (typeof first === "string" && !/^\d+$/.test(first)) return { options: { path: first }, callback };
  const port = typeof first === "function" || first == null ? 0 : Number(first);
  if (!(Number.isInteger(port) && port >= 0 && port <= 65535)) {
    const error = new RangeError(`options.port should be >= 0 and < 65536. Received ${String(first)}.`);
    throw Object.assign(error, { code: "ERR_SOCKET_BAD_PORT" });
  }
  return { options: { port, host: typeof second === "string" ? second : undefined }, callback };
}

// What a net.Server asks of its listening socket.
class Handle {
  constructor(server, options) {
    this.server = server;
    this.address = options.host ?? ANYWHERE;
    this.port = Number(options.port ?? 0) || ports++;
    if (options.path) server._pipeName = options.path;
  }

  getsockname(out) {
    const address = this.address === "localhost" ? "127.0.0.1" : this.address;
    out.address = address;
    out.family = net.isIPv4(address) ? "IPv4" : "IPv6";
    out.port = this.port;
    return 0;
  }

  close(done) {
    const index = servers.indexOf(this.server);
    if (index >= 0) servers.splice(index, 1);
    if (done) process.nextTick(() => done.call(this));
  }

  ref() {}

  unref() {}

  hasRef() {
    return true;
  }
}
