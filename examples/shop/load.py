"""Shoppers for examples/shop, and the check that no article is lost or sold twice.

    python examples/shop/load.py --rate 300 --seconds 30 [--idempotent]

A shopper puts some articles into a new cart and checks out. One article makes the payment be declined, one
makes the payment provider unreachable. At the end, when no reservation is left, of every article: what was
put in = what is left + what was sold, and what was sold = what is in the orders that were answered. Every
order must say what its cart held. `--idempotent`: each request is tried again until it is answered, so this
holds through kills too; without it, requests without an answer leave the number sold uncertain by that much.
"""

import asyncio
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import loadclient

REQUESTS_PER_SHOPPER = 3.5
"""One to four articles and a checkout, on average."""

UNLUCKY_CENTS = 13
AWAY_CENTS = 66
SPECIAL_SHARE = 0.05
"""How many shoppers take the unlucky article; a fifth as many the one that nobody can pay."""

SETTLE_MAX_S = 60.0
"""How long the last reservations may take to expire: RESERVATION_S of the carts, and some."""


class Shop:
    """The shoppers' book."""

    def __init__(self, client, options):
        self.client = client
        self.chance = random.Random(options.seed)
        self.idempotent = options.idempotent
        self.run = client.new_key().partition("-")[0]
        self.prices = {f"{self.run}-a{i}": 100 * (i + 1) for i in range(options.articles)}
        self.common = list(self.prices)
        self.unlucky, self.away = f"{self.run}-unlucky", f"{self.run}-away"
        self.prices |= {self.unlucky: UNLUCKY_CENTS, self.away: AWAY_CENTS}
        self.stock = options.stock
        self.sold = Counter()
        self.unsure = Counter()
        self.results = Counter()
        self.violations = []
        self._carts = 0

    async def ask(self, method, path, body=None, due=0.0):
        key = self.client.new_key() if self.idempotent and method != "GET" else ""
        return await self.client.ask(method, path, body, key, due)

    async def fill(self):
        """Puts the articles in; the service has to be up for that, so this is asked until it is answered."""
        for sku, price in self.prices.items():
            body = {"total": self.stock, "price_cents": price}
            answer = await self.client.ask("PUT", f"/stock/{sku}", body, self.client.new_key())
            if not answer.ok:
                sys.exit(f"PUT /stock/{sku}: {answer.status} {answer.body[:200].decode(errors='replace')}")

    def wishes(self):
        wishes = {
            sku: self.chance.randint(1, 3)
            for sku in self.chance.choices(self.common, k=self.chance.randint(1, 4))
        }
        luck = self.chance.random()
        if luck < SPECIAL_SHARE:
            wishes[self.away if luck < SPECIAL_SHARE / 5 else self.unlucky] = 1
        return wishes

    async def shopper(self, due):
        self._carts += 1
        cart, wishes = f"{self.run}-{self._carts}", self.wishes()
        for sku, count in wishes.items():
            answer = await self.ask("POST", f"/carts/{cart}/items", {"sku": sku, "count": count}, due)
            due = 0.0
            if not answer.ok:
                self.results["gave up filling the cart"] += 1
                return
        self.enter(cart, wishes, await self.ask("POST", f"/carts/{cart}/checkout"))

    def enter(self, cart, wishes, answer):
        """What became of a checkout."""
        unlucky, away = self.unlucky in wishes, self.away in wishes
        expected = 500 if away else 402 if unlucky else 201
        self.results[
            {201: "bought", 402: "declined", 409: "sold out", 500: "provider away"}.get(
                answer.status, "failed"
            )
        ] += 1
        if answer.status == 201:
            body = answer.json() or {}
            total = sum(self.prices[sku] * count for sku, count in wishes.items())
            if body.get("items") != wishes or body.get("total_cents") != total:
                self.violations.append(f"cart {cart}: {wishes} for {total} cents became the order {body}")
            self.sold.update(wishes)
        elif answer.unsure and not away:
            self.unsure.update(wishes)
        if answer.status in (201, 402) and answer.status != expected:
            self.violations.append(f"cart {cart}: {answer.status} instead of {expected} for {wishes}")

    async def settle(self):
        """Waits until nothing is reserved, then compares the stock with the book."""
        end = time.monotonic() + SETTLE_MAX_S
        for sku in self.prices:
            while True:
                answer = await self.client.ask("GET", f"/stock/{sku}")
                article = (answer.json() or {}) if answer.ok else {}
                if article.get("reserved") == 0 or time.monotonic() > end:
                    break
                await asyncio.sleep(0.2)
            self.compare(sku, article)

    def compare(self, sku, article):
        if article.get("reserved") != 0:
            self.violations.append(f"{sku}: still reserved after {SETTLE_MAX_S:.0f} s: {article}")
            return
        if article["put_in"] != self.stock or article["left"] + article["sold"] != self.stock:
            self.violations.append(
                f"{sku}: of {self.stock} put in, {article['left']} left and {article['sold']} sold"
            )
        if not 0 <= article["sold"] - self.sold[sku] <= self.unsure[sku]:
            self.violations.append(
                f"{sku}: {article['sold']} sold, {self.sold[sku]} in orders answered, "
                f"{self.unsure[sku]} in checkouts without an answer"
            )


async def main(options):
    client = loadclient.client_of(options)
    shop = Shop(client, options)
    await shop.fill()
    await loadclient.at_rate(options.rate / REQUESTS_PER_SHOPPER, options.seconds, shop.shopper)
    print("waiting for the last reservations", file=sys.stderr)
    await shop.settle()
    client.close()
    facts = {
        "checkouts": dict(shop.results.most_common()),
        "sold": shop.sold.total(),
        "unsure": shop.unsure.total(),
    }
    return loadclient.report(client, shop.violations, options.json, **facts)


if __name__ == "__main__":
    parser = loadclient.arguments(__doc__.splitlines()[0])
    parser.add_argument("--articles", type=int, default=50)
    parser.add_argument("--stock", type=int, default=1000, help="of each article")
    parser.add_argument(
        "--idempotent", action="store_true", help="send Idempotency-Key and try again until answered"
    )
    sys.exit(loadclient.run(main(parser.parse_args())))
