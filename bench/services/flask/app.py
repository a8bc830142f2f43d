"""The service as one writes it in Flask."""

from flask import Flask, jsonify

app = Flask(__name__)
visits = {}


@app.get("/<user>")
def visit(user):
    visits[user] = visits.get(user, 0) + 1
    return jsonify({"user": user, "visits": visits[user], "regular": visits[user] >= 10, "city": "Lyon"})
