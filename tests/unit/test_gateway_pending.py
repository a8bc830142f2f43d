"""What the gateway decides, event by event."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from gateway.events import (
    Answer,
    Begin,
    Cancelled,
    DataFromPeer,
    Down,
    Effect,
    Event,
    Flush,
    FromBroker,
    FromPeer,
    Kept,
    Look,
    Looked,
    Reconnect,
    Refuse,
    Requested,
    Store,
    Stored,
    StoreFailed,
    Tick,
    Up,
)
from gateway.pending import POLL_MS, STORE_RETRY_MS, GatewayState
from gateway.records import RECORD_BYTES
from gateway.routes import Match
from liquefy import values
from liquefy.commits import DEDUPE_RETENTION_MS
from liquefy.config import GatewayConfig
from liquefy.effects import Log, Relay, SendFrame, ToBroker
from liquefy.graph import Fluxion, Graph, Group, Input
from liquefy.messages import (
    Ack,
    Beat,
    Fenced,
    Grant,
    Graphs,
    Hello,
    Message,
    Part,
    Ping,
    Posted,
    Route,
    Routes,
    Welcome,
    partition_index,
)
from liquefy.sending import ACK_AFTER_MS

INPUTS = (Input("plain", "GET", "/plain", "plain"), Input("keyed", "POST", "/{id}", "keyed"))
FLUXIONS = (Fluxion("plain", "m:f", "plain"), Fluxion("keyed", "m:f", "keyed", "params.id"))
GRAPH = Graph("g", 1, "", INPUTS, FLUXIONS, (Group("plain", False, 1), Group("keyed", True, 4)), 1_000)
NODE = b"node1#1"


def route(partition: str, path: int = 1, session: bytes = NODE, node: str = "node1") -> Route:
    return Route(partition, node, session, 1, path)


ROUTES = [route(name) for name in GRAPH.partition_names()]


class Gateway:
    """A state, the time, and what it asked for last."""

    def __init__(self, window: int = 10, **settings: Any) -> None:
        self.now_ms = 1_000_000
        self.state = GatewayState(GatewayConfig(name="gateway1", **settings), b"abcdef")
        self.ticket = 0
        self.do(Up(b"gateway1#1"))
        self.do(FromBroker(Welcome("b", ROUTES)))
        self.do(FromBroker(Grant({"node1": window})))
        self.do(FromPeer(b"controller#1", Graphs([GRAPH])))

    def do(self, event: Event, later_ms: int = 0) -> list[Effect]:
        self.now_ms += later_ms
        return self.state.step(event, self.now_ms)

    def sent(self) -> list[tuple[str, int, Posted]]:
        """(destination, path, message) of all that leaves now."""
        out = []
        for frame in self.do(Flush()):
            assert isinstance(frame, SendFrame)
            for part, posted in zip(frame.header, frame.parts, strict=True):
                assert part.count == len(posted)
                out += [(part.destination, part.path, p) for p in posted]
        return out

    def request(
        self,
        path: str = "/plain",
        once: str | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, list[Effect]]:
        method = "GET" if path == "/plain" else "POST"
        match = self.state.router.match(method, path)
        assert isinstance(match, Match)
        request = {
            "method": method,
            "path": path,
            "params": match.params,
            "query": {},
            "headers": headers or {},
            "body": body,
        }
        self.ticket += 1
        return self.ticket, self.do(Requested(self.ticket, match.entry, request, values.pack(request), once))

    def post(self, path: str = "/plain", once: str | None = None) -> tuple[int, Posted]:
        """A request that is let in: its ticket, its message."""
        ticket, effects = self.request(path, once)
        if once is not None:
            (begin,) = effects
            assert isinstance(begin, Begin)
            effects = self.do(Looked(begin.root, None, True))
        assert effects == []
        ((_, _, posted),) = self.sent()
        return ticket, posted

    def answer(self, message: Message, seq: int = 1, later_ms: int = 0, **changes: Any) -> list[Effect]:
        """What becomes of an answer to that message, sent by the worker."""
        fields = {
            "id": message.id + b"\0",
            "fluxion": "output",
            "key": message.key,
            "body": values.pack("fine"),
            "born_ms": self.now_ms,
            "root": message.root,
            "gateway": message.gateway,
            "deadline_ms": message.deadline_ms,
            "remember": message.remember,
        } | changes
        posted = Posted(seq, Message(**fields))
        return [*self.do(DataFromPeer(NODE, [Part("@gateway1", 1, 1)], [[posted]]), later_ms), *self.gathered()]

    def gathered(self) -> list[Effect]:
        """Acknowledgements, once they have been gathered for their time."""
        return [e for later_ms in (0, ACK_AFTER_MS) for e in self.do(Flush(), later_ms) if isinstance(e, Relay)]


def acks(effects: list[Effect]) -> list[int]:
    return [
        seq for e in effects if isinstance(e, Relay) and isinstance(e.message, Ack) for seq in e.message.seqs
    ]


def refused(effects: list[Effect]) -> list[tuple[int, int]]:
    return [(e.ticket, e.status) for e in effects if isinstance(e, Refuse)]


def answered(effects: list[Effect]) -> list[tuple[int, int, bool]]:
    return [(e.ticket, e.status, e.replayed) for e in effects if isinstance(e, Answer)]


# -- the connection ---------------------------------------------------------------------------------------


def test_it_says_hello_and_beats() -> None:
    state = GatewayState(GatewayConfig(name="gateway1", beat_interval_ms=100), b"abcdef")
    assert state.step(Up(b"s"), 1_000) == [ToBroker(Hello("gateway", "gateway1", address="http://127.0.0.1:8080"))]
    assert state.step(Tick(), 1_050) == []
    assert state.step(Tick(), 1_100) == [ToBroker(Beat())]
    assert state.step(Tick(), 1_150) == []


def test_a_silent_broker_and_a_fence_make_it_reconnect() -> None:
    gateway = Gateway(silence_max_ms=2_000, beat_interval_ms=1_000_000)
    gateway.do(FromBroker(Ping()), 1_500)
    assert gateway.do(Tick(), 2_000) == []
    effects = gateway.do(Tick(), 1)
    assert isinstance(effects[0], Log)
    assert effects[1] == Reconnect()
    assert gateway.do(Tick(), 1) == []
    assert gateway.do(FromBroker(Fenced())) == [Reconnect()]


def test_it_is_ready_with_a_broker_and_routes() -> None:
    gateway = Gateway()
    assert gateway.state.ready
    gateway.do(Down())
    assert not gateway.state.ready
    gateway.do(Up(b"gateway1#2"))
    assert not gateway.state.ready
    gateway.do(FromBroker(Welcome("b", ROUTES)))
    assert gateway.state.ready
    gateway.do(FromPeer(b"controller#1", Graphs([])))
    assert not gateway.state.ready


# -- requests -----------------------------------------------------------------------------------------------


def test_a_request_becomes_a_message_and_its_answer_goes_back() -> None:
    gateway = Gateway()
    ticket, effects = gateway.request("/alice", headers={"traceparent": "00-1-2-01"})
    assert effects == []
    ((destination, path, posted),) = gateway.sent()
    message = posted.message
    assert (destination, path) == (f"g/keyed/{partition_index('alice', 4)}", 1)
    assert (message.fluxion, message.key, message.gateway, message.trace) == (
        "keyed",
        "alice",
        "gateway1",
        "00-1-2-01",
    )
    assert (message.born_ms, message.deadline_ms) == (gateway.now_ms, gateway.now_ms + 1_000)
    assert message.id == message.root
    assert len(message.id) == 12
    assert message.id.startswith(b"abcdef")
    assert not message.remember
    assert values.unpack(message.body)["params"] == {"id": "alice"}
    effects = gateway.answer(message, seq=7, status=201, headers=(("x", "y"),))
    assert effects == [Answer(ticket, 201, (("x", "y"),), values.pack("fine"), False), Relay(NODE, Ack([7]))]


def test_ids_differ_and_are_the_keys_where_there_is_none() -> None:
    gateway = Gateway()
    _, first = gateway.post()
    _, second = gateway.post()
    assert first.message.id != second.message.id
    assert first.message.key == first.message.id.hex()


def test_a_request_without_its_key_is_refused() -> None:
    gateway = Gateway()
    match = gateway.state.router.match("POST", "/alice")
    assert isinstance(match, Match)
    request = {"method": "POST", "params": {}, "headers": {}}
    (effect,) = gateway.do(Requested(1, match.entry, request, b"", None))
    assert isinstance(effect, Refuse)
    assert (effect.status, effect.text) == (400, "the request has no params.id, which is the key here")


def test_a_second_answer_and_one_for_nobody_are_acknowledged() -> None:
    gateway = Gateway()
    ticket, posted = gateway.post()
    assert answered(gateway.answer(posted.message, seq=1)) == [(ticket, 200, False)]
    effects = gateway.answer(posted.message, seq=2)
    assert (answered(effects), acks(effects)) == ([], [2])
    effects = gateway.answer(posted.message, seq=3, root=b"unknown")
    assert (answered(effects), acks(effects)) == ([], [3])


def test_acknowledgements_of_one_frame_go_together() -> None:
    gateway = Gateway()
    messages = [gateway.post()[1].message for _ in range(3)]
    parts = [[Posted(i, Message(b"", "output", "", b"", 0, root=m.root)) for i, m in enumerate(messages)]]
    assert len(gateway.do(DataFromPeer(NODE, [Part("@gateway1", 1, 3)], parts))) == 3
    assert gateway.gathered() == [Relay(NODE, Ack([0, 1, 2]))]


# -- admission ----------------------------------------------------------------------------------------------


def test_the_window_bounds_what_is_unanswered() -> None:
    gateway = Gateway(window=2)
    _, first = gateway.post()
    gateway.post()
    ticket, effects = gateway.request()
    (effect,) = effects
    assert isinstance(effect, Refuse)
    assert (effect.ticket, effect.status, effect.headers) == (ticket, 503, (("retry-after", "1"),))
    gateway.do(FromPeer(NODE, Ack([first.seq])))
    assert refused(gateway.request()[1]) == [(4, 503)], "an acknowledgement is no answer"
    gateway.answer(first.message)
    gateway.post()


def test_a_client_that_leaves_keeps_its_place_until_the_answer() -> None:
    gateway = Gateway(window=1)
    ticket, posted = gateway.post()
    gateway.do(Cancelled(ticket))
    assert refused(gateway.request()[1]) != []
    assert answered(gateway.answer(posted.message)) == []
    gateway.post()


def test_no_route_no_grant_or_no_broker_is_503() -> None:
    gateway = Gateway()
    gateway.do(FromBroker(Routes([Route("g/plain/0", "", b"", 0, 2)])))
    assert refused(gateway.request()[1]) == [(1, 503)]
    gateway.do(FromBroker(Routes([route("g/plain/0", 3)])))
    gateway.post()
    gateway.do(FromBroker(Grant({})))
    assert refused(gateway.request()[1]) == [(3, 503)]
    gateway.do(FromBroker(Grant({"node1": 0})))
    (shut,) = gateway.request()[1]
    assert isinstance(shut, Refuse)
    assert (shut.status, shut.text) == (503, "node1 takes no requests at the moment; try again")
    gateway.do(FromBroker(Grant({"node1": 1})))
    (full,) = gateway.request()[1]
    assert isinstance(full, Refuse)
    assert (full.status, full.text) == (503, "node1 has as many requests as it takes; try again")
    gateway.do(FromBroker(Grant({"node1": 10})))
    gateway.post()
    gateway.do(Down())
    assert refused(gateway.request()[1]) == [(7, 503)]


# -- deadlines ----------------------------------------------------------------------------------------------


def test_the_deadline_answers_504_and_a_late_answer_is_acknowledged() -> None:
    gateway = Gateway(window=1)
    ticket, posted = gateway.post()
    assert refused(gateway.do(Tick(), 999)) == []
    assert refused(gateway.do(Tick(), 1)) == [(ticket, 504)]
    assert refused(gateway.do(Tick(), 1)) == []
    assert refused(gateway.request()[1]) == [(2, 503)], "it is still in the cluster"
    effects = gateway.answer(posted.message, seq=9)
    assert (answered(effects), acks(effects)) == ([], [9])
    gateway.post()


def test_after_the_deadline_the_acknowledgement_frees_the_place() -> None:
    gateway = Gateway(window=1)
    _, posted = gateway.post()
    gateway.do(Tick(), 1_000)
    gateway.do(FromPeer(NODE, Ack([posted.seq])))
    _, posted = gateway.post()
    gateway.do(FromPeer(NODE, Ack([posted.seq])))
    gateway.do(Tick(), 1_000)
    gateway.post()


def test_requests_to_a_graph_that_is_gone_are_forgotten_at_their_deadline() -> None:
    gateway = Gateway(window=1)
    ticket, _ = gateway.post()
    gateway.do(FromPeer(b"controller#1", Graphs([])))
    gateway.do(FromBroker(Routes([Route("g/plain/0", "", b"", 1, 1)])))
    gateway.do(Tick())
    assert gateway.state.figures()["messages_unacknowledged"] == 1
    assert refused(gateway.do(Tick(), 1_000)) == [(ticket, 504)]
    assert gateway.state.figures()["messages_unacknowledged"] == 0
    gateway.do(FromPeer(b"controller#1", Graphs([GRAPH])))
    gateway.do(FromBroker(Routes([route("g/plain/0", 2)])))
    gateway.post()


def test_a_request_that_is_answered_is_forgotten_with_its_graph_but_not_while_that_is_being_closed() -> None:
    """It may be acknowledged only when all that followed from it is done with."""
    gateway = Gateway()
    _, posted = gateway.post()
    gateway.answer(posted.message)
    gateway.do(FromPeer(b"controller#1", Graphs([])))
    gateway.do(Tick())
    assert gateway.state.figures()["messages_unacknowledged"] == 1
    gateway.do(FromBroker(Routes([Route("g/plain/0", "", b"", 1, 1)])))
    gateway.do(Tick())
    assert gateway.state.figures()["messages_unacknowledged"] == 0


def test_a_request_that_is_answered_is_forgotten_with_its_partition() -> None:
    """Undeployed, and deployed again with fewer."""
    gateway = Gateway()
    _, posted = gateway.post()
    gateway.answer(posted.message)
    gateway.do(FromBroker(Routes([Route("g/plain/0", "", b"", 1, 1)])))
    gateway.do(Tick())
    assert gateway.state.figures()["messages_unacknowledged"] == 1
    without = replace(GRAPH, groups=(Group("plain", False, 0), Group("keyed", True, 4)))
    gateway.do(FromPeer(b"controller#1", Graphs([without])))
    gateway.do(Tick())
    assert gateway.state.figures()["messages_unacknowledged"] == 0


# -- resending ----------------------------------------------------------------------------------------------


def test_a_new_path_makes_it_send_again_in_order() -> None:
    gateway = Gateway()
    posted = [gateway.post("/alice")[1] for _ in range(3)]
    partition = f"g/keyed/{partition_index('alice', 4)}"
    gateway.do(FromPeer(NODE, Ack([posted[1].seq])))
    gateway.do(FromBroker(Routes([route(partition, 2, b"node2#1", "node2")])))
    again = gateway.sent()
    assert [(d, p, s.seq, s.resend) for d, p, s in again] == [
        (partition, 2, posted[0].seq, True),
        (partition, 2, posted[2].seq, True),
    ]
    assert [s.message for _, _, s in again] == [posted[0].message, posted[2].message]


def test_a_broker_that_comes_back_gets_everything_again() -> None:
    gateway = Gateway()
    ticket, posted = gateway.post()
    gateway.do(Down())
    assert gateway.sent() == []
    gateway.do(Up(b"gateway1#2"))
    gateway.do(FromBroker(Welcome("c", ROUTES)))
    assert [s.seq for _, _, s in gateway.sent()] == [posted.seq]
    assert answered(gateway.answer(posted.message)) == [(ticket, 200, False)]


# -- once only ----------------------------------------------------------------------------------------------


def begun(gateway: Gateway, once: str = "k", body: Any = None) -> tuple[int, Begin]:
    ticket, (begin,) = gateway.request("/alice", once, body)
    assert isinstance(begin, Begin)
    assert gateway.sent() == [], "nothing leaves before the record is there"
    return ticket, begin


def test_the_record_is_first_and_the_answer_is_stored_before_anybody_gets_it() -> None:
    gateway = Gateway()
    ticket, begin = begun(gateway)
    assert (begin.kept.born_ms, begin.kept.status) == (gateway.now_ms, 0)
    assert gateway.do(Looked(begin.root, None, True)) == []
    ((_, _, posted),) = gateway.sent()
    assert posted.message.remember
    assert posted.message.root == posted.message.id == begin.root
    assert gateway.answer(posted.message, seq=5, status=402) == [Look(begin.root)]
    assert gateway.answer(posted.message, seq=6, status=402) == []
    (store,) = gateway.do(Looked(begin.root, begin.kept, False))
    assert isinstance(store, Store)
    assert store.kept == Kept(begin.kept.born_ms, begin.kept.fingerprint, 402, (), values.pack("fine"))
    effects = gateway.do(Stored(begin.root))
    assert (answered(effects), acks(effects)) == ([(ticket, 402, False)], [5, 6])


def test_other_keys_and_graphs_have_other_roots() -> None:
    gateway = Gateway()
    roots = {begun(gateway, key)[1].root for key in ("a", "b", "a|b")}
    assert len(roots) == 3
    again = Gateway()
    assert begun(again, "a")[1].root in roots, "whichever gateway it is"


def test_an_answer_that_is_there_is_given_again() -> None:
    gateway = Gateway(window=1)
    ticket, begin = begun(gateway)
    kept = Kept(5, begin.kept.fingerprint, 201, (("a", "b"),), b"x")
    assert gateway.do(Looked(begin.root, kept, True)) == [Answer(ticket, 201, (("a", "b"),), b"x", True)]
    assert gateway.sent() == []
    gateway.post()


def test_what_the_store_keeps_of_answers_is_bounded_until_it_expires() -> None:
    gateway = Gateway(window=3, idempotency_bytes_max=1_000, idempotency_retention_s=60)

    def kept() -> int:
        gateway.do(Tick())
        return gateway.state.figures()["answers_kept_bytes"]

    _, begin = begun(gateway)
    assert kept() == 0, "it may be there already"
    gateway.do(Looked(begin.root, None, True))
    assert kept() == RECORD_BYTES
    ((_, _, posted),) = gateway.sent()
    gateway.answer(posted.message, body=values.pack("x" * 997))
    gateway.do(Looked(begin.root, begin.kept, False))
    gateway.do(StoreFailed(begin.root, False))
    assert kept() == RECORD_BYTES, "tried again, and stored once"
    gateway.do(Looked(begin.root, begin.kept, False))
    gateway.do(Stored(begin.root))
    assert kept() == RECORD_BYTES + 1_000
    for _ in range(2):
        assert refused(gateway.request("/alice", "another")[1]) == [(gateway.ticket, 503)]
    gateway.post()
    gateway.now_ms += 59_000
    assert refused(gateway.request("/alice", "another")[1]) == [(gateway.ticket, 503)]
    gateway.now_ms += 3_000
    assert kept() == 0
    [again] = gateway.request("/alice", "another")[1]
    assert isinstance(again, Begin)
    gateway.do(Looked(again.root, Kept(5, again.kept.fingerprint, 200, (), b"x"), True))
    assert kept() == 0, "what is there already is not stored again"


def test_another_request_with_the_same_key_is_refused() -> None:
    gateway = Gateway(window=1)
    ticket, begin = begun(gateway)
    assert refused(gateway.do(Looked(begin.root, Kept(5, b"other", 200), True))) == [(ticket, 422)]
    _, begin = begun(gateway, body="this")
    assert refused(gateway.request("/alice", "k", "that")[1]) == [(3, 422)]


def test_a_request_under_way_is_joined() -> None:
    gateway = Gateway(window=1)
    first, begin = begun(gateway)
    second, effects = gateway.request("/alice", "k")
    assert effects == []
    gateway.do(Looked(begin.root, None, True))
    third, effects = gateway.request("/alice", "k")
    assert effects == []
    ((_, _, posted),) = gateway.sent()
    gateway.do(Cancelled(first))
    gateway.answer(posted.message)
    gateway.do(Looked(begin.root, begin.kept, False))
    assert answered(gateway.do(Stored(begin.root))) == [(second, 200, True), (third, 200, True)]
    gateway.post()


def test_a_request_begun_elsewhere_is_posted_again_and_its_answer_looked_for() -> None:
    gateway = Gateway()
    ticket, begin = begun(gateway)
    kept = Kept(gateway.now_ms - 50_000, begin.kept.fingerprint)
    assert gateway.do(Looked(begin.root, kept, True)) == []
    ((_, _, posted),) = gateway.sent()
    assert posted.resend
    assert (posted.message.id, posted.message.born_ms) == (begin.root, kept.born_ms)
    assert Look(begin.root) not in gateway.do(Tick(), POLL_MS - 1)
    assert Look(begin.root) in gateway.do(Tick(), 1)
    assert gateway.do(Looked(begin.root, kept, False)) == []
    assert Look(begin.root) in gateway.do(Tick(), POLL_MS)
    effects = gateway.do(Looked(begin.root, _ended(kept), False))
    assert answered(effects) == [(ticket, 200, True)]
    assert Look(begin.root) not in gateway.do(Tick(), POLL_MS)


def _ended(kept: Kept) -> Kept:
    return Kept(kept.born_ms, kept.fingerprint, 200, (), b"x")


def test_what_is_too_old_to_be_known_again_is_not_posted() -> None:
    gateway = Gateway(window=1)
    ticket, begin = begun(gateway)
    kept = Kept(gateway.now_ms - DEDUPE_RETENTION_MS, begin.kept.fingerprint)
    assert refused(gateway.do(Looked(begin.root, kept, True))) == [(ticket, 409)]
    assert gateway.sent() == []
    gateway.post()


def test_without_the_store_it_is_503_and_nothing_is_posted() -> None:
    gateway = Gateway(window=1)
    ticket, begin = begun(gateway)
    assert refused(gateway.do(StoreFailed(begin.root, True))) == [(ticket, 503)]
    assert gateway.sent() == []
    gateway.post()


def test_an_answer_waits_for_the_store() -> None:
    gateway = Gateway()
    ticket, posted = gateway.post("/alice", "k")
    root = posted.message.root
    assert gateway.answer(posted.message) == [Look(root)]
    assert gateway.do(StoreFailed(root, False)) == []
    assert Look(root) not in gateway.do(Tick(), STORE_RETRY_MS - 1)
    assert Look(root) in gateway.do(Tick(), 1)
    (store,) = gateway.do(Looked(root, None, False))
    assert isinstance(store, Store)
    assert gateway.do(StoreFailed(root, False)) == []
    gateway.do(Tick(), STORE_RETRY_MS)
    gateway.do(Looked(root, None, False))
    effects = gateway.do(Stored(root))
    assert (answered(effects), acks(effects)) == ([(ticket, 200, False)], [1])


def test_the_first_answer_counts() -> None:
    gateway = Gateway()
    ticket, posted = gateway.post("/alice", "k")
    root = posted.message.root
    gateway.answer(posted.message, status=500)
    effects = gateway.do(Looked(root, Kept(1, b"", 201, (), b"first"), False))
    assert answered(effects) == [(ticket, 201, False)]
    assert acks(effects) == [1]


def test_an_orphans_answer_is_stored() -> None:
    """The gateway that asked is gone, for good or under this very name."""
    gateway = Gateway()
    message = Message(b"r", "keyed", "alice", b"", 5, b"r", "gateway1", 0, remember=True)
    assert gateway.answer(message, seq=3) == [Look(b"r")]
    (store,) = gateway.do(Looked(b"r", Kept(5, b"print"), False))
    assert store == Store(b"r", Kept(5, b"print", 200, (), values.pack("fine")))
    assert acks(gateway.do(Stored(b"r"))) == [3]


def test_a_late_answer_is_stored() -> None:
    gateway = Gateway()
    ticket, posted = gateway.post("/alice", "k")
    assert refused(gateway.do(Tick(), 1_000)) == [(ticket, 504)]
    assert gateway.answer(posted.message) == [Look(posted.message.root)]
    gateway.do(Looked(posted.message.root, None, False))
    assert acks(gateway.do(Stored(posted.message.root))) == [1]


def test_the_length_of_an_idempotency_key() -> None:
    gateway = Gateway()
    assert refused(gateway.request("/alice", "")[1]) == [(1, 400)]
    assert refused(gateway.request("/alice", "x" * 256)[1]) == [(2, 400)]
    begun(gateway, "x" * 255)


# -- answers for others -------------------------------------------------------------------------------------


def stray(gateway: Gateway, seq: int = 4) -> list[Effect]:
    message = Message(b"r", "f", "k", b"", 5, b"r", "gateway2", gateway.now_ms + 500)
    return gateway.answer(message, seq)


def test_an_answer_for_another_gateway_is_passed_on_when_it_is_back() -> None:
    gateway = Gateway()
    assert stray(gateway) == []
    assert gateway.sent() == []
    gateway.do(FromBroker(Routes([route("@gateway2", 9, b"gateway2#1", "")])))
    ((destination, path, posted),) = gateway.sent()
    assert (destination, path, posted.message.root) == ("@gateway2", 9, b"r")
    assert gateway.do(FromPeer(b"gateway2#1", Ack([posted.seq]))) == [Relay(NODE, Ack([4]))]


def test_it_is_not_kept_longer_than_its_client_waits() -> None:
    gateway = Gateway()
    stray(gateway)
    assert acks(gateway.do(Tick(), 499 - ACK_AFTER_MS)) == []
    assert acks(gateway.do(Tick(), 1)) == [4]
    gateway.now_ms -= 1_000
    message = Message(b"r", "f", "k", b"", 5, b"r", "gateway2", gateway.now_ms)
    assert acks(gateway.answer(message, 5)) == [5]


def test_one_that_comes_again_is_passed_on_once_and_all_who_sent_it_are_told() -> None:
    gateway = Gateway()
    stray(gateway)
    stray(gateway)
    stray(gateway, 5)
    gateway.do(FromBroker(Routes([route("@gateway2", 9, b"gateway2#1", "")])))
    ((_, _, posted),) = gateway.sent()
    stray(gateway, 6)
    assert gateway.state.figures()["messages_unacknowledged"] == 1
    assert acks(gateway.do(FromPeer(b"gateway2#1", Ack([posted.seq])))) == [4, 5, 6]
    assert gateway.state.figures()["answers_to_pass_on"] == 0


def test_one_for_a_gateway_that_goes_again_is_sent_to_no_other_and_waits_until_its_deadline() -> None:
    """Another would pass it on in turn; and it may be this one, which would have one more of it each time."""
    gateway = Gateway()
    stray(gateway)
    gateway.do(FromBroker(Routes([route("@gateway1", 3, b"gateway1#1", ""), route("@gateway2", 9, b"gateway2#1", "")])))
    assert len(gateway.sent()) == 1
    gateway.do(FromBroker(Routes([Route("@gateway2", "", b"", 0, 9)])))
    assert gateway.sent() == []
    gateway.do(FromBroker(Routes([route("@gateway2", 10, b"gateway2#2", "")])))
    assert [(destination, path) for destination, path, _ in gateway.sent()] == [("@gateway2", 10)]
    assert acks(gateway.do(Tick(), 501)) == []  # it is there, and will say that it has it
    gateway.do(FromBroker(Routes([Route("@gateway2", "", b"", 0, 10)])))
    assert acks(gateway.do(Tick(), 1)) == [4]
    assert gateway.state.figures()["messages_unacknowledged"] == 0


def test_one_to_be_remembered_is_stored_and_passed_on() -> None:
    gateway = Gateway()
    message = Message(b"r", "f", "k", b"", 5, b"r", "gateway2", gateway.now_ms + 500, remember=True)
    gateway.answer(message, 8)
    gateway.do(Looked(b"r", Kept(5, b"print"), False))
    assert acks(gateway.do(Stored(b"r"))) == []
    gateway.do(FromBroker(Routes([route("@gateway2", 9, b"gateway2#1", "")])))
    ((destination, _, posted),) = gateway.sent()
    assert destination == "@gateway2"
    assert gateway.do(FromPeer(b"gateway2#1", Ack([posted.seq]))) == [Relay(NODE, Ack([8]))]


def test_more_bytes_than_may_be_under_way_are_refused_until_some_are_safe() -> None:
    gate = Gateway(queued_bytes_max=1_500)
    _, effects = gate.request(body="x" * 1_000)
    assert not effects
    _, effects = gate.request(body="x" * 1_000)
    assert isinstance(effects[0], Refuse)
    assert effects[0].status == 503
    ((_, _, posted),) = gate.sent()
    gate.do(FromPeer(NODE, Ack([posted.seq])))
    gate.do(Tick(), 2_000)
    _, effects = gate.request(body="x" * 1_000)
    assert not effects
    assert gate.state.figures()["requests_bytes"] < 1_500


# -- several brokers --------------------------------------------------------------------------------------


def with_two_brokers() -> Gateway:
    gateway = Gateway(brokers="tcp://a:1,tcp://b:1")
    routes = [r._replace(session=b"node1#2", path=9) for r in ROUTES]
    gateway.do(Up(b"gateway1#2", 1))
    gateway.do(FromBroker(Welcome("b2", routes), 1))
    gateway.do(FromBroker(Grant({"node1": 10}), 1))
    return gateway


def test_of_what_several_brokers_grant_the_least_counts() -> None:
    gateway = with_two_brokers()
    gateway.do(FromBroker(Grant({"node1": 1}), 1))
    assert refused(gateway.request()[1]) == []
    assert refused(gateway.request()[1]) == [(2, 503)]
    gateway.do(Down(1))
    assert refused(gateway.request()[1]) == []


def test_a_broker_that_goes_is_not_noticed_by_clients() -> None:
    gateway = with_two_brokers()
    gateway.request()
    [frame] = [f for f in gateway.do(Flush()) if isinstance(f, SendFrame)]
    gateway.do(Down(frame.link))
    assert gateway.state.ready
    [again] = [f for f in gateway.do(Flush()) if isinstance(f, SendFrame)]
    assert again.link == 1 - frame.link
    assert [p.message for p in again.parts[0]] == [p.message for p in frame.parts[0]]
    assert refused(gateway.request()[1]) == []


def test_an_answer_is_acknowledged_by_the_broker_that_brought_it() -> None:
    gateway = with_two_brokers()
    gateway.request()
    [(_, _, posted)] = gateway.sent()
    answer = Message(b"a", "output", "", values.pack("hi"), gateway.now_ms, posted.message.root, "gateway1")
    gateway.do(DataFromPeer(b"node1#2", [Part("@gateway1", 1, 1)], [[Posted(7, answer)]], 1))
    gateway.do(Flush())
    relays = [e for e in gateway.do(Flush(), 100) if isinstance(e, Relay)]
    assert relays == [Relay(b"node1#2", Ack([7]), 1)]
