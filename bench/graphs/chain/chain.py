"""The fluxions of the chain."""

import asyncio


def store(message, context):
    """Counts the requests of each user."""
    context["visits"] = context.get("visits", 0) + 1
    return {"user": message["params"]["id"], "visits": context["visits"]}


def local_process(message):
    """Some work on what it is given."""
    return {**message, "regular": message["visits"] >= 10}


async def call_external_db(message):
    """Asks somebody who answers at once."""
    await asyncio.sleep(0)
    return {**message, "city": "Lyon"}
