"""The same with what it counts in Redis."""

import asyncio
import os

import redis.asyncio
from fastapi import FastAPI

app = FastAPI()
store = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], max_connections=1_000)


@app.get("/{user}")
async def visit(user: str):
    count = await store.hincrby("visits", user, 1)
    known = {"user": user, "visits": count, "regular": count >= 10}
    await asyncio.sleep(0)
    return {**known, "city": "Lyon"}
