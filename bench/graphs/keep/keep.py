"""A fluxion whose contexts are as large as is asked for."""


def keep(message, context):
    """Counts; the first message of a key says how much is kept beside."""
    if "pad" not in context:
        context["pad"] = "x" * message["body"]["bytes"]
    context["count"] = context.get("count", 0) + 1
    return context["count"]
