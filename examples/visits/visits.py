"""The poster's example as fluxions: input >> store >> localProcess >> callExternalDB >> send >> output.

Each can be called in a test: `store(Message({"params": {"id": "alice"}}), Context())`.
"""

import asyncio
from zlib import crc32

DEADLINE_S = 10
"""As in graph.yaml."""

EXTERNAL_CALL_S = 0.002

REGULAR_VISITS = 10

CITIES = ("Lyon", "Grenoble", "Seclin", "Blois", "Villeurbanne")


def store(message, context):
    """Counts the visits of each user. Its context is that of the key, `params.id`, wherever it runs."""
    # When the request came: from the message, not from the clock, so that handling it again gives the same.
    came = round(message.deadline - DEADLINE_S, 3)
    last = context.get("last", came)
    context["visits"] = context.get("visits", 0) + 1
    context["last"] = came
    return {
        "user": message["params"]["id"],
        "visits": context["visits"],
        "away_s": round(came - last, 3),
    }


def local_process(message):
    """Works on what it is given, and remembers nothing."""
    return {**message, "regular": message["visits"] >= REGULAR_VISITS}


async def call_external_db(message):
    """Asks somebody else, and waits; others are served meanwhile. The database is a few lines of
    arithmetic."""
    await asyncio.sleep(EXTERNAL_CALL_S)
    return {**message, "city": CITIES[crc32(message["user"].encode()) % len(CITIES)]}


def send(message):
    """Makes the answer."""
    visits, user, city = message["visits"], message["user"], message["city"]
    if visits == 1:
        greeting = f"Welcome to {city}, {user}"
    elif message["regular"]:
        greeting = (
            f"Good to see you, {user}: visit {visits} from {city}, {message['away_s']} s after the last"
        )
    else:
        greeting = f"Hello again, {user} from {city}"
    return {"user": user, "visits": visits, "greeting": greeting}
