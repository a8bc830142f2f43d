"""The same with what it counts in Redis."""

import os

import redis
from flask import Flask, jsonify

app = Flask(__name__)
store = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.get("/<user>")
def visit(user):
    count = store.hincrby("visits", user, 1)
    return jsonify({"user": user, "visits": count, "regular": count >= 10, "city": "Lyon"})
