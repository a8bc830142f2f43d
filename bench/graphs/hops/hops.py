"""Steps that do as little as a step can."""


def stateless(message):
    """Passes on what the next one needs."""
    return {"params": message["params"]}


def stateful(message, context):
    """The same, and counts."""
    context["count"] = context.get("count", 0) + 1
    return {"params": message["params"], "count": context["count"]}
