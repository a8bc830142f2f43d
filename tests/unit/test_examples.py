"""The examples' fluxions, called as a test of a user would call them; then whole graphs, their messages
delivered in random order (but in order from one sender to one receiver, as the cluster does), so that every
interleaving of a checkout has its chance.
"""

from __future__ import annotations

import asyncio
import importlib.util
import random
import re
import subprocess
import sys
from collections import deque
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from liquefy import Context, Message, graphfile
from liquefy.fluxion import Answer
from liquefy.graph import OUTPUT
from liquefy.handling import emissions
from liquefy.hosting import Emitted, Load
from liquefy.loading import load
from liquefy.messages import partition_index
from liquefy.values import pack, unpack

EXAMPLES = Path(__file__).parents[2] / "examples"


def module(path: str) -> ModuleType:
    """A module of the examples, under a name that nothing else has."""
    name = "example_" + path.replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{path}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


visits = module("visits/visits")
carts = module("shop/carts")
stock = module("shop/stock")
payments = module("shop/payments")
orders = module("shop/orders")
hot = module("hot/hot")


class Letter(NamedTuple):
    """A message on its way. `request`: the number of the request that it comes from."""

    fluxion: str
    key: str
    body: bytes
    request: int


class Service:
    """A graph that runs here, one message at a time, in an order drawn from the seed."""

    def __init__(self, name: str, seed: int = 0) -> None:
        folder = EXAMPLES / name
        self.graph = graphfile.read(folder / "graph.yaml")
        names = tuple(f.name for f in self.graph.fluxions)
        sys_path = list(sys.path)
        self.specs = {s.name: s for s in load(Load(self.graph, str(folder), names))}
        sys.path[:] = sys_path
        self.chance = random.Random(seed)
        self.contexts: dict[tuple[str, str], Context] = {}
        self.answers: dict[int, Answer] = {}
        self.delayed: list[tuple[tuple[str, str], Letter]] = []
        self.dead: list[tuple[Letter, Exception]] = []
        self._ways: dict[tuple[Any, Any], deque[Letter]] = {}
        self._requests = 0

    def request(self, method: str, path: str, body: Any = None) -> int:
        """Its number, under which its answer will be found."""
        self._requests += 1
        for entry in self.graph.inputs:
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", entry.path)
            match = re.fullmatch(pattern, path)
            if match and method == entry.method:
                request = {"params": match.groupdict(), "query": {}, "headers": {}, "body": body}
                key: Any = request
                fluxion = self.graph.fluxion_by_name[entry.to]
                for part in fluxion.key.split(".") if fluxion.key else ():
                    key = key[part]
                self._post(("", ""), Letter(entry.to, str(key), pack(request), self._requests))
                return self._requests
        raise AssertionError(f"no input for {method} {path}")

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """A request alone, to its answer."""
        number = self.request(method, path, body)
        self.run()
        return self.answers[number]

    def run(self) -> None:
        """Until nothing is on its way; delayed messages stay."""
        while self.step():
            pass

    def step(self) -> bool:
        """Delivers one message, of any way; False if there is none."""
        if not self._ways:
            return False
        way = self.chance.choice(list(self._ways))
        letter = self._ways[way].popleft()
        if not self._ways[way]:
            del self._ways[way]
        self._handle(letter)
        return True

    def fire(self) -> None:
        """Delivers all delayed messages now."""
        delayed, self.delayed = self.delayed, []
        for sender, letter in delayed:
            self._post(sender, letter)

    def _place(self, letter: Letter) -> tuple[str, str]:
        return self.graph.fluxion_by_name[letter.fluxion].group, letter.key

    def _post(self, sender: tuple[str, str], letter: Letter) -> None:
        self._ways.setdefault((sender, self._place(letter)), deque()).append(letter)

    def _handle(self, letter: Letter) -> None:
        spec, place = self.specs[letter.fluxion], self._place(letter)
        message = Message(unpack(letter.body), letter.key, deadline=1_000_010.0)
        context = self.contexts.setdefault(place, Context()) if spec.stateful else None
        try:
            result = spec.function(message) if context is None else spec.function(message, context)
            emitted = emissions(spec, asyncio.run(result) if spec.asynchronous else result)
        except Exception as error:
            if context is not None:
                context.rollback()
            self.dead.append((letter, error))
            return
        if context is not None:
            context.changes()
        for each in emitted:
            self._emit(place, letter, each)

    def _emit(self, place: tuple[str, str], letter: Letter, each: Emitted) -> None:
        if each.to == OUTPUT:
            assert letter.request not in self.answers, "answered twice"
            self.answers[letter.request] = Answer(unpack(each.body), each.status or 200, each.headers)
            return
        child = Letter(each.to, each.key or letter.key, each.body, letter.request)
        if each.delay_ms:
            self.delayed.append((place, child))
        else:
            self._post(place, child)


# -- visits -----------------------------------------------------------------------------------------------


def test_store_counts_and_remembers() -> None:
    context = Context()
    message = Message({"params": {"id": "alice"}}, deadline=110.0)
    assert visits.store(message, context) == {"user": "alice", "visits": 1, "away_s": 0}
    later = Message({"params": {"id": "alice"}}, deadline=112.5)
    assert visits.store(later, context) == {"user": "alice", "visits": 2, "away_s": 2.5}
    assert dict(context) == {"visits": 2, "last": 102.5}


def test_store_is_the_same_when_handled_again() -> None:
    message = Message({"params": {"id": "alice"}}, deadline=110.0)
    assert visits.store(message, Context()) == visits.store(message, Context())


def test_the_deadline_is_that_of_the_graph() -> None:
    assert graphfile.read(EXAMPLES / "visits/graph.yaml").deadline_ms == visits.DEADLINE_S * 1000


def test_visits_from_input_to_output() -> None:
    service = Service("visits")
    bodies = [service.ask("GET", "/alice").body for _ in range(11)]
    assert [body["visits"] for body in bodies] == list(range(1, 12))
    assert set(bodies[0]) == {"user", "visits", "greeting"}
    assert bodies[0]["greeting"].startswith("Welcome")
    assert bodies[1]["greeting"].startswith("Hello again, alice")
    assert bodies[10]["greeting"].startswith("Good to see you, alice")
    assert service.ask("GET", "/bob").body["visits"] == 1


# -- hot --------------------------------------------------------------------------------------------------


def burn(ms: Any, context: Context) -> Any:
    return hot.burn(Message({"params": {"id": "a"}, "query": {} if ms is None else {"ms": ms}}), context)


def test_burn_counts() -> None:
    context = Context()
    assert burn("0", context) == {"id": "a", "burns": 1, "ms": 0.0}
    assert burn(None, context)["burns"] == 2


@pytest.mark.parametrize("ms", ["x", "-1", "1001", "nan", ["1", "2"]])
def test_burn_refuses(ms: Any) -> None:
    context = Context()
    assert burn(ms, context).status == 400
    assert not context


# -- shop -------------------------------------------------------------------------------------------------


@pytest.fixture
def shop() -> Service:
    service = Service("shop")
    for sku, price in (("tea", 250), ("pot", 1000), ("unlucky", 13), ("away", 66)):
        assert service.ask("PUT", f"/stock/{sku}", {"total": 10, "price_cents": price}).status == 200
    return service


def add(service: Service, cart: str, **items: int) -> None:
    for sku, count in items.items():
        answer = service.ask("POST", f"/carts/{cart}/items", {"sku": sku, "count": count})
        assert answer.status == 200, answer


def levels(service: Service, sku: str) -> tuple[int, int, int]:
    body = service.ask("GET", f"/stock/{sku}").body
    assert body["put_in"] == body["left"] + body["reserved"] + body["sold"]
    return body["left"], body["reserved"], body["sold"]


def test_buying(shop: Service) -> None:
    add(shop, "c1", tea=2, pot=1)
    add(shop, "c1", tea=1)
    bought = shop.ask("POST", "/carts/c1/checkout")
    assert bought.status == 201
    order = {"order": "c1-1", "items": {"tea": 3, "pot": 1}, "total_cents": 1750, "payment": "payment-c1-1"}
    assert bought.body == order
    assert bought.headers == (("Location", "/orders/c1-1"),)
    assert shop.ask("GET", "/orders/c1-1").body == order
    assert levels(shop, "tea") == (7, 0, 3)
    assert levels(shop, "pot") == (9, 0, 1)
    assert shop.ask("GET", "/carts/c1").body == {"cart": "c1", "items": {}, "state": "open"}
    shop.fire()
    shop.run()
    assert levels(shop, "tea") == (7, 0, 3)
    assert not shop.dead


def test_a_second_order_of_the_same_cart(shop: Service) -> None:
    for number in (1, 2):
        add(shop, "c1", tea=1)
        assert shop.ask("POST", "/carts/c1/checkout").body["order"] == f"c1-{number}"


def test_declined_payment_releases(shop: Service) -> None:
    add(shop, "c1", pot=2, unlucky=1)
    declined = shop.ask("POST", "/carts/c1/checkout")
    assert (declined.status, declined.body["total_cents"]) == (402, 2013)
    assert levels(shop, "pot") == (10, 0, 0)
    assert levels(shop, "unlucky") == (10, 0, 0)
    cart = shop.ask("GET", "/carts/c1").body
    assert cart == {"cart": "c1", "items": {"pot": 2, "unlucky": 1}, "state": "open"}


def test_sold_out_releases_the_others(shop: Service) -> None:
    add(shop, "c1", tea=11, pot=1)
    refused = shop.ask("POST", "/carts/c1/checkout")
    assert (refused.status, refused.body) == (409, {"error": "sold out", "skus": ["tea"]})
    assert levels(shop, "tea") == (10, 0, 0)
    assert levels(shop, "pot") == (10, 0, 0)


def test_payment_that_never_comes_back_expires(shop: Service) -> None:
    add(shop, "c1", tea=4, away=1, pot=1)
    number = shop.request("POST", "/carts/c1/checkout")
    shop.run()
    assert number not in shop.answers
    (letter, error) = shop.dead.pop()
    assert letter.fluxion == "pay"
    assert isinstance(error, ConnectionError)
    assert levels(shop, "tea") == (6, 4, 0)
    assert shop.ask("POST", "/carts/c1/checkout").body == {"error": "a checkout is under way"}
    assert shop.ask("POST", "/carts/c1/items", {"sku": "tea"}).status == 409
    shop.fire()
    shop.run()
    assert levels(shop, "tea") == (10, 0, 0)
    assert shop.ask("GET", "/carts/c1").body["state"] == "open"


def test_payment_after_expiry_is_refunded() -> None:
    context = Context({"checkouts": 1, "items": {"tea": 1}})
    message = {"cart": "c1", "number": 1, "ok": True, "payment": "p", "total_cents": 1}
    refund = carts.paid(Message(message), context)
    assert (refund.to, refund.body) == ("refund", {"payment": "p"})
    assert carts.paid(Message({**message, "ok": False}), context) is None
    assert context["items"] == {"tea": 1}


def test_reservation_after_expiry_is_released() -> None:
    message = {"cart": "c1", "number": 1, "sku": "tea", "ok": True, "price_cents": 1}
    for context in (
        Context(),
        Context({"checkout": {"number": 2, "waiting": ["tea"], "prices": {}, "refused": []}}),
    ):
        before = dict(context)
        (release,) = carts.reserved(Message(message), context)
        assert (release.to, release.body["sold"], release.body["number"]) == ("settle", False, 1)
        assert carts.reserved(Message({**message, "ok": False}), context) is None
        assert dict(context) == before


@pytest.mark.parametrize(
    "body", [None, "tea", {}, {"sku": 1}, {"sku": "tea", "count": 0}, {"sku": "tea", "count": True}]
)
def test_bad_items(shop: Service, body: Any) -> None:
    assert shop.ask("POST", "/carts/c1/items", body).status == 400


def test_bad_requests(shop: Service) -> None:
    assert shop.ask("POST", "/carts/none/checkout").status == 409
    assert shop.ask("GET", "/stock/none").status == 404
    assert shop.ask("GET", "/orders/none").status == 404
    assert shop.ask("PUT", "/stock/tea", {"total": -1, "price_cents": 1}).status == 400
    add(shop, "c1", tea=4)
    shop.ask("POST", "/carts/c1/checkout")
    assert shop.ask("PUT", "/stock/tea", {"total": 3, "price_cents": 1}).status == 409
    assert shop.ask("PUT", "/stock/tea", {"total": 4, "price_cents": 1}).body["left"] == 0
    add(shop, "full", **{f"a{i}": 1 for i in range(carts.ARTICLES_MAX)})
    assert shop.ask("POST", "/carts/full/items", {"sku": "more"}).status == 409


def test_a_reservation_that_is_not_there_is_an_error() -> None:
    context = Context({"left": 1, "sold": 0, "reserved": {}})
    with pytest.raises(KeyError):
        stock.settle(Message({"cart": "c1", "number": 1, "sku": "tea", "sold": True}), context)


def test_reservations_outlive_the_client() -> None:
    assert graphfile.read(EXAMPLES / "shop/graph.yaml").deadline_ms < carts.RESERVATION_S * 1000


@pytest.mark.parametrize("seed", range(40))
def test_any_interleaving_of_many_shoppers(seed: int) -> None:
    """Reservations expire at any moment, even before the stock has answered."""
    service = Service("shop", seed)
    chance = random.Random(seed)
    prices = {"tea": 200, "pot": 100, "unlucky": 13, "away": 66}
    for sku, price in prices.items():
        service.ask("PUT", f"/stock/{sku}", {"total": 8, "price_cents": price})
    checkouts = []
    for cart in range(12):
        wishes = {sku: chance.randint(1, 3) for sku in chance.sample(list(prices), chance.randint(1, 3))}
        add(service, f"c{cart}", **wishes)
        checkouts.append((service.request("POST", f"/carts/c{cart}/checkout"), wishes))
        for _ in range(chance.randint(0, 12)):
            service.step()
        if chance.random() < 0.3:
            service.fire()
    service.run()
    service.fire()
    service.run()
    sold = dict.fromkeys(prices, 0)
    for number, wishes in checkouts:
        answer = service.answers.get(number)
        if answer is not None and answer.status == 201:
            assert answer.body["items"] == wishes
            sold = {sku: sold[sku] + wishes.get(sku, 0) for sku in sold}
    for sku, count in sold.items():
        assert levels(service, sku) == (8 - count, 0, count)
    assert all(isinstance(error, ConnectionError) for _, error in service.dead)


# -- the load scripts -------------------------------------------------------------------------------------


def answered(number: Any, status: int = 200, unsure: bool = False) -> Any:
    loadclient = sys.modules["loadclient"]
    return loadclient.Answer(status, b'{"visits": %s}' % str(number).encode(), 0.01, 1, unsure)


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Any:
    loadclient = module("loadclient")
    monkeypatch.setitem(sys.modules, "loadclient", loadclient)
    return loadclient.Tally()


def test_tally_is_content_with_each_number_once(tally: Any) -> None:
    for number in (2, 1, 3):
        tally.enter("a", "visits", 0, answered(number))
    assert tally.highest("a") == 3
    assert tally.close() == []
    assert (tally.keys, tally.counted) == (1, 3)


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([(0, 1), (0, 1)], "number 1 was answered twice"),
        ([(0, 2), (2, 1)], "number 1 was asked for after 2 was answered"),
        ([(0, 1), (0, 3)], "1 counted that were not answered (the first is 2)"),
        ([(0, "null")], "the answer is"),
    ],
)
def test_tally_notices(tally: Any, entries: list[tuple[int, Any]], problem: str) -> None:
    for before, number in entries:
        tally.enter("a", "visits", before, answered(number))
    assert problem in tally.close()[0]


def test_tally_allows_what_nobody_can_know(tally: Any) -> None:
    tally.enter("a", "visits", 0, answered(1))
    tally.enter("a", "visits", 1, answered(0, status=0, unsure=True))
    tally.enter("a", "visits", 1, answered(3))
    assert tally.close() == []
    tally.enter("a", "visits", 3, answered(0, status=503))
    tally.enter("a", "visits", 3, answered(5))
    assert len(tally.close()) == 1


def test_hot_keys_fall_where_they_should(tally: Any) -> None:
    load_hot = module("hot/load")
    keys = load_hot.keys_of({3, 17}, "x")
    assert len(set(keys)) == 2 * load_hot.KEYS_PER_PARTITION
    assert {partition_index(key, load_hot.GROUP_PARTITIONS) for key in keys} == {3, 17}
    group = graphfile.read(EXAMPLES / "hot/graph.yaml").group_by_name["burn"]
    assert group.partitions == load_hot.GROUP_PARTITIONS


def test_fluxions_in_javascript_are_called_as_functions() -> None:
    command = [sys.executable, "-m", "liquefy.nodejs", "--test", str(EXAMPLES / "visits-js" / "visits.test.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
