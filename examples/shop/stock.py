"""The stock. An article's context is

    put_in       how many were ever put in
    left         how many can be bought
    reserved     "cart/checkout" -> how many are kept for it
    sold         how many were sold
    price_cents

and at any moment put_in = left + sum(reserved) + sold.
"""

from liquefy import answer

TOTAL_MAX = 1_000_000_000


def set_stock(message, context):
    """PUT /stock/{sku} {"total": 100, "price_cents": 250}: `total` is how many were ever put in, so that
    putting twice does no harm."""
    body = message["body"]
    total, price_cents = (
        (body.get("total"), body.get("price_cents")) if isinstance(body, dict) else (None, None)
    )
    if not all(type(n) is int and 0 <= n <= TOTAL_MAX for n in (total, price_cents)):
        return answer({"error": 'send {"total": 100, "price_cents": 250}'}, status=400)
    left = context.get("left", 0) + total - context.get("put_in", 0)
    if left < 0:
        return answer({"error": f"{-left} of these are sold or reserved"}, status=409)
    context.update(put_in=total, left=left, price_cents=price_cents)
    context.setdefault("sold", 0)
    context.setdefault("reserved", {})
    return _view(message, context)


def show(message, context):
    """GET /stock/{sku}"""
    if "put_in" not in context:
        return answer({"error": f"there is no article {message['params']['sku']}"}, status=404)
    return _view(message, context)


def reserve(message, context):
    """Keeps articles for a checkout, if there are enough."""
    count = message["count"]
    ok = context.get("left", 0) >= count
    if ok:
        context["left"] -= count
        context["reserved"][_reservation(message)] = count
    return {
        "cart": message["cart"],
        "number": message["number"],
        "sku": message["sku"],
        "ok": ok,
        "price_cents": context.get("price_cents", 0),
    }


def settle(message, context):
    """Sells what was reserved, or gives it back. That there is such a reservation is certain, as every
    message takes effect once; were it not, this would raise, and be seen among the dead letters."""
    count = context["reserved"].pop(_reservation(message))
    context["sold" if message["sold"] else "left"] += count


def _reservation(message):
    return f"{message['cart']}/{message['number']}"


def _view(message, context):
    return {
        "sku": message["params"]["sku"],
        "put_in": context["put_in"],
        "left": context["left"],
        "reserved": sum(context["reserved"].values()),
        "sold": context["sold"],
        "price_cents": context["price_cents"],
    }
