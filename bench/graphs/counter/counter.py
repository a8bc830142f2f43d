"""The fluxion of the counter."""

LAST = 10


def count(message, context):
    """How many there were of this key, their sum, and the last ten."""
    body = message["body"]
    context["count"] = context.get("count", 0) + 1
    context["sum"] = context.get("sum", 0) + body["n"]
    context["last"] = [*context.get("last", ()), body["n"]][-LAST:]
    return context["count"]
