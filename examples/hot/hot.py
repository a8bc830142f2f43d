"""A fluxion that costs what it is told to: GET /burn/{id}?ms=1 spins for a millisecond of processor time."""

from time import thread_time

from liquefy import answer

MS_DEFAULT = 1.0
MS_MAX = 1000.0


def burn(message, context):
    """Counts its calls for each id, so that a load script can tell whether any was lost or doubled."""
    ms = _milliseconds(message["query"].get("ms"))
    if ms is None:
        return answer({"error": f"ms must be a number from 0 to {MS_MAX:.0f}"}, status=400)
    until = thread_time() + ms / 1000
    while thread_time() < until:
        pass
    context["burns"] = context.get("burns", 0) + 1
    return {"id": message["params"]["id"], "burns": context["burns"], "ms": ms}


def _milliseconds(text):
    try:
        ms = MS_DEFAULT if text is None else float(text)
    except (TypeError, ValueError):
        return None
    return ms if 0 <= ms <= MS_MAX else None
