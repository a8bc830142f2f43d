// Accounts in memory, on Node's own http server: what is remembered has aliases, dates, maps and a counter.
"use strict";

const http = require("http");
const { format } = require("./format");

const accounts = new Map();
const journal = [];
let next = 1;

class Account {
  constructor(owner) {
    this.owner = owner;
    this.opened = new Date(0);
    this.entries = [];
  }

  add(amount) {
    const entry = { number: next++, owner: this.owner, amount };
    this.entries.push(entry);
    journal.push(entry);
    return entry;
  }

  get balance() {
    return this.entries.reduce((sum, entry) => sum + entry.amount, 0);
  }
}

function open(owner) {
  if (!accounts.has(owner)) accounts.set(owner, new Account(owner));
  return accounts.get(owner);
}

function read(request) {
  return new Promise((resolve, reject) => {
    let text = "";
    request.on("data", (piece) => (text += piece));
    request.on("end", () => resolve(text));
    request.on("error", reject);
  });
}

function answer(response, status, value, type = "application/json") {
  response.writeHead(status, { "content-type": type });
  response.end(type === "application/json" ? JSON.stringify(value) : value);
}

async function handle(request, response) {
  const { pathname } = new URL(request.url, "http://localhost");
  const [, place, owner] = pathname.split("/");
  if (place === "accounts" && request.method === "POST") {
    const { amount } = JSON.parse(await read(request));
    if (typeof amount !== "number") return answer(response, 400, { error: "amount is no number" });
    return answer(response, 201, open(owner).add(amount));
  }
  if (place === "accounts" && accounts.has(owner)) {
    const account = accounts.get(owner);
    return answer(response, 200, { owner, balance: account.balance, opened: account.opened, entries: account.entries });
  }
  if (place === "correct" && request.method === "PUT") {
    const { amount } = JSON.parse(await read(request));
    const entry = journal.find((one) => one.number === Number(owner));
    if (!entry) return answer(response, 404, { error: "no such entry" });
    entry.amount = amount;
    return answer(response, 200, entry);
  }
  if (place === "journal") return answer(response, 200, format(journal), "text/plain; charset=utf-8");
  return answer(response, 404, { error: "nothing here" });
}

const server = http.createServer((request, response) => {
  handle(request, response).catch((error) => answer(response, 500, { error: error.message }));
});

server.listen(process.env.PORT || 3000, "127.0.0.1");
