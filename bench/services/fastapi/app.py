"""The service as one writes it in FastAPI."""

from fastapi import FastAPI

app = FastAPI()
visits = {}


@app.get("/{user}")
async def visit(user: str):
    visits[user] = visits.get(user, 0) + 1
    return {"user": user, "visits": visits[user], "regular": visits[user] >= 10, "city": "Lyon"}
