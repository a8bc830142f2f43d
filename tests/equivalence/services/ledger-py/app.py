"""Accounts in memory, on the standard library's own server: what is remembered has aliases, dates and a counter."""

import json
import os
from datetime import date
from itertools import count
from wsgiref.simple_server import make_server

from layout import layout

accounts = {}
journal = []
numbers = count(1)


class Account:
    def __init__(self, owner):
        self.owner = owner
        self.opened = date(2020, 1, 2)
        self.entries = []

    def add(self, amount):
        entry = {"number": next(numbers), "owner": self.owner, "amount": amount}
        self.entries.append(entry)
        journal.append(entry)
        return entry

    @property
    def balance(self):
        return sum(entry["amount"] for entry in self.entries)


def post(owner, amount):
    if not isinstance(amount, int):
        return "400 Bad Request", {"error": "amount is no number"}
    if owner not in accounts:
        accounts[owner] = Account(owner)
    return "201 Created", accounts[owner].add(amount)


def show(owner):
    account = accounts[owner]
    opened = account.opened.isoformat()
    return "200 OK", {"owner": owner, "balance": account.balance, "opened": opened, "entries": account.entries}


def correct(number, amount):
    for entry in journal:
        if entry["number"] == number:
            entry["amount"] = amount
            return "200 OK", entry
    return "404 Not Found", {"error": "no such entry"}


def handle(environ):
    _, place, owner = (environ["PATH_INFO"] + "//").split("/")[:3]
    method = environ["REQUEST_METHOD"]
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = json.loads(environ["wsgi.input"].read(length)) if length else {}
    if place == "accounts" and method == "POST":
        return post(owner, body["amount"])
    if place == "accounts" and owner in accounts:
        return show(owner)
    if place == "correct" and method == "PUT":
        return correct(int(owner), body["amount"])
    if place == "journal":
        return "200 OK", layout(journal)
    return "404 Not Found", {"error": "nothing here"}


def application(environ, start_response):
    try:
        status, value = handle(environ)
    except ValueError as error:
        status, value = "500 Internal Server Error", {"error": str(error)}
    kind = "text/plain; charset=utf-8" if isinstance(value, str) else "application/json"
    data = (value if isinstance(value, str) else json.dumps(value)).encode()
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(data)))])
    return [data]


if __name__ == "__main__":
    make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), application).serve_forever()
