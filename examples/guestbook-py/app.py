"""A guestbook for each user: who looks at it is counted, and may leave a note.

An ordinary Flask program, of the poster's shape: nothing in it knows of Liquefy.
"""

import json
import os
from pathlib import Path

from flask import Flask, jsonify, request

app = Flask(__name__)

CITIES = Path(__file__).with_name("cities.json")

# What is remembered: for each user how often the book was looked at, and its notes.
books = {}


@app.get("/<user>")
def page(user):
    return store(user)


def store(user):
    book = books.setdefault(user, {"visits": 0, "notes": []})
    book["visits"] += 1
    return local_process(user, book["visits"], book["notes"][-10:])


def local_process(user, visits, notes):
    regular = visits >= 10
    return call_external_db(user, visits, notes, regular)


def call_external_db(user, visits, notes, regular):
    """The database is a file."""
    cities = json.loads(CITIES.read_text())
    return send(user, visits, notes, regular, cities[len(user) % len(cities)])


def send(user, visits, notes, regular, city):
    return jsonify(user=user, visits=visits, regular=regular, city=city, notes=notes)


@app.post("/<user>/notes")
def sign(user):
    note = request.get_json()
    if not note.get("text"):
        return jsonify(error="a note has a text"), 400
    book = books.setdefault(user, {"visits": 0, "notes": []})
    book["notes"].append({"from": note.get("from", "somebody"), "text": note["text"]})
    return jsonify(notes=len(book["notes"])), 201


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "5000")))
