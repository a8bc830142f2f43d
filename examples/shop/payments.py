"""The payment provider, as seen from here: slow, sometimes unwilling, sometimes away. What it does depends on
the last two digits of the amount, so that each case can be had at will.
"""

import asyncio

PAYMENT_S = 0.005

DECLINED_CENTS = 13
"""Amounts that end so are declined."""

AWAY_CENTS = 66
"""For amounts that end so the provider cannot be reached: the message goes to the dead letters, the client
gets a 500, and the reservation expires."""


async def pay(message):
    """Waits without a context; others pay meanwhile. If it is called twice for one checkout (a node died in
    between), a real provider is told apart by the `payment` reference that both calls carry."""
    await asyncio.sleep(PAYMENT_S)
    cents = message["total_cents"] % 100
    if cents == AWAY_CENTS:
        raise ConnectionError("the payment provider cannot be reached")
    return {
        "cart": message["cart"],
        "number": message["number"],
        "total_cents": message["total_cents"],
        "payment": f"payment-{message['cart']}-{message['number']}",
        "ok": cents != DECLINED_CENTS,
    }


async def refund(message):
    """Ends the stream: nobody waits for it."""
    await asyncio.sleep(PAYMENT_S)
