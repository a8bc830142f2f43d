"""A fluxion that is all processor time, always the same work."""


def burn(message, context):
    """Counts, after so many rounds of arithmetic."""
    value = 1
    for _ in range(message["body"]["rounds"]):
        value = (value * 1_103_515_245 + 12_345) % 2_147_483_648
    context["count"] = context.get("count", 0) + 1
    return context["count"]
