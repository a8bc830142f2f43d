"""Carts, and the checkout as a small saga. A cart's context is

    items      article -> count
    checkouts  how many there were
    checkout   the one under way: number, waiting (articles the stock has not answered for), prices (of those
               it has reserved), refused (those it has not)

The saga: reserve every article (in parallel), pay, then sell what was reserved and place the order; or
release it. Each step is a message, and each takes effect exactly once, so nothing here looks for doubles.
What does need thought is a payment that never comes back: `expire`, sent with a delay when the checkout
begins, gives the reservations back.
"""

from liquefy import answer, emit

ARTICLES_MAX = 20
COUNT_MAX = 1_000

RESERVATION_S = 15
"""How long articles are reserved for a payment; longer than the client waits."""


def add_item(message, context):
    """POST /carts/{cart}/items {"sku": "tea", "count": 2}"""
    body = message["body"]
    sku, count = (body.get("sku"), body.get("count", 1)) if isinstance(body, dict) else (None, None)
    if not isinstance(sku, str) or not sku or type(count) is not int or not 1 <= count <= COUNT_MAX:
        return answer({"error": f'send {{"sku": "...", "count": 1 to {COUNT_MAX}}}'}, status=400)
    if "checkout" in context:
        return answer({"error": "a checkout is under way"}, status=409)
    items = context.get("items", {})
    if sku not in items and len(items) == ARTICLES_MAX:
        return answer({"error": f"a cart holds {ARTICLES_MAX} different articles"}, status=409)
    items[sku] = items.get(sku, 0) + count
    context["items"] = items
    return {"cart": message["params"]["cart"], "items": items}


def show(message, context):
    """GET /carts/{cart}"""
    state = "checkout" if "checkout" in context else "open"
    return {"cart": message["params"]["cart"], "items": context.get("items", {}), "state": state}


def begin_checkout(message, context):
    """POST /carts/{cart}/checkout: asks the stock for every article at once."""
    items = context.get("items")
    if "checkout" in context:
        return answer({"error": "a checkout is under way"}, status=409)
    if not items:
        return answer({"error": "the cart is empty"}, status=409)
    cart, number = message["params"]["cart"], context.get("checkouts", 0) + 1
    context["checkouts"] = number
    context["checkout"] = {"number": number, "waiting": sorted(items), "prices": {}, "refused": []}
    requests = [
        emit("reserve", {"sku": sku, "count": count, "cart": cart, "number": number})
        for sku, count in sorted(items.items())
    ]
    return [*requests, emit("expire", {"cart": cart, "number": number}, delay_s=RESERVATION_S)]


def reserved(message, context):
    """The stock has answered for one article. With the last answer it is known how to go on."""
    checkout = _current(message, context)
    if checkout is None:  # it expired meanwhile
        return [_settle(message, message["sku"], sold=False)] if message["ok"] else None
    sku = message["sku"]
    checkout["waiting"].remove(sku)
    if message["ok"]:
        checkout["prices"][sku] = message["price_cents"]
    else:
        checkout["refused"].append(sku)
    if checkout["waiting"]:
        return None
    if checkout["refused"]:
        releases = _end(message, context, sold=False)
        return [*releases, answer({"error": "sold out", "skus": sorted(checkout["refused"])}, status=409)]
    total = sum(price * context["items"][sku] for sku, price in checkout["prices"].items())
    return emit("pay", {"cart": message["cart"], "number": message["number"], "total_cents": total})


def paid(message, context):
    """The payment provider has answered."""
    checkout = _current(message, context)
    if checkout is None:  # it expired, and the articles may be somebody else's by now
        return emit("refund", {"payment": message["payment"]}) if message["ok"] else None
    settlements = _end(message, context, sold=message["ok"])
    if not message["ok"]:
        return [
            *settlements,
            answer({"error": "payment declined", "total_cents": message["total_cents"]}, status=402),
        ]
    order = {
        "order": f"{message['cart']}-{message['number']}",
        "items": context.pop("items"),
        "total_cents": message["total_cents"],
        "payment": message["payment"],
    }
    return [*settlements, emit("place", order)]


def expire(message, context):
    """RESERVATION_S after a checkout began. Mostly it is long over."""
    if _current(message, context) is None:
        return None
    return _end(message, context, sold=False) or None  # an empty list would be a body


def _current(message, context):
    """The checkout under way, if it is the one that the message is about. Changed in place: the context
    notices."""
    checkout = context.get("checkout")
    return checkout if checkout and checkout["number"] == message["number"] else None


def _end(message, context, sold):
    """Ends the checkout; what to tell the stock of the articles that it has reserved."""
    checkout = context.pop("checkout")
    return [_settle(message, sku, sold) for sku in sorted(checkout["prices"])]


def _settle(message, sku, sold):
    return emit("settle", {"sku": sku, "cart": message["cart"], "number": message["number"], "sold": sold})
