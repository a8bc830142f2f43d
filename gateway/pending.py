"""What the gateway decides: which requests it lets in, what it sends where, who gets which answer, what is
said when none comes, and how a request with an Idempotency-Key takes effect once. Sockets, HTTP, Redis and
the clock are `service.py`'s.

The life of a request: admitted (a place at the node that owns its partition) -> posted -> answered. Its place
is free again when the answer is there; or, if its clients got 504, when its message is acknowledged.

With an Idempotency-Key the root of the request is a digest of graph and key, so that any gateway that tries
the request again posts the same message, which is handled once, and any gateway that gets the answer finds
the record:

    Requested -> Begin -> none there: post, and wait for the answer
                       -> answer there: that one again -> no answer yet: post the same message again (its
                       birth is that of the first), and look for
                          the answer every POLL_MS, as another gateway may get it
    an answer -> Look -> Store -> acknowledge it, and give it to the clients

An answer for a client of another gateway reaches this one when that gateway's connection was away for a
moment. It is passed on as soon as that gateway is back, until its client's deadline: once, however often it came,
and to that one only. Where another stood in for it (this one itself, if there are two) it would come round as one more.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

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
from gateway.keys import ID_LENGTH_MAX, KeyMissing, key_of
from gateway.records import RECORD_BYTES, Request, Retained, Storing, Stray, Strays, Wait
from gateway.routes import Router
from gateway.streams import Streams
from liquefy import values
from liquefy.commits import DEDUPE_RETENTION_MS
from liquefy.config import GatewayConfig
from liquefy.effects import Count, Log, Relay, ToBroker
from liquefy.graph import Graph
from liquefy.links import Links
from liquefy.messages import (
    Ack,
    Beat,
    Fenced,
    Grant,
    Graphs,
    Hangup,
    Hello,
    Message,
    Ping,
    Posted,
    Read,
    Routes,
    Session,
    Welcome,
    partition_index,
)
from liquefy.sending import Acks, Outgoing
from liquefy.wording import counted

POLL_MS = 100
"""How often an answer that may come to another gateway is looked for in the store."""

STORE_RETRY_MS = 200
"""After the store did not take an answer."""


class GatewayState:
    """`incarnation`: 6 bytes, different at each start of any gateway. `step` never raises on what peers
    send."""

    def __init__(self, config: GatewayConfig, incarnation: bytes) -> None:
        self._config = config
        self._incarnation = incarnation
        self._counter = 0
        self.router = Router()
        self.links = Links(len(config.broker_addresses))
        self._outgoing = Outgoing(self.links.count, stand_in=False)
        self._acks = Acks(self.links)
        self._windows: dict[str, int] = {}
        self._granted: dict[int, dict[str, int]] = {}
        """By connection to a broker: what that has granted."""
        self._outstanding: dict[str, int] = {}
        self._requests: dict[bytes, Request] = {}
        self._queued_bytes = 0
        """Of their messages' bodies."""
        self._waits: dict[int, Wait] = {}
        self._deadlines: dict[int, dict[int, tuple[int, Wait]]] = {}
        """By length of the deadline, so that each is in order of time: number -> (when, who)."""
        self._polled: dict[bytes, Request] = {}
        self._storing: dict[bytes, Storing] = {}
        self._retained = Retained(config.idempotency_retention_s * 1000)
        self._retained_bytes = 0
        """As of the last tick."""
        self._strays = Strays()
        self._streams = Streams(config.stream_silence_ms_max, self._claim, self.links)
        self._graphs: dict[str, Graph] = {}
        self._in_force: list[Graph] = []
        self._beat_ms = 0
        self._handlers: dict[type, Any] = {
            Requested: self._requested,
            DataFromPeer: self._data,
            FromPeer: self._from_peer,
            FromBroker: self._from_broker,
            Flush: lambda _, now_ms: [*self._outgoing.flush(now_ms), *self._acks.flush(now_ms)],
            Tick: self._tick,
            Cancelled: self._cancelled,
            Up: self._up,
            Down: self._down,
            Looked: self._looked,
            Stored: self._stored,
            StoreFailed: self._store_failed,
        }

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """`now_ms` is Unix time. What is posted leaves with the next Flush."""
        effects: list[Effect] = self._handlers[type(event)](event, now_ms)
        return effects

    @property
    def welcomed(self) -> bool:
        """Whether there is a broker."""
        return bool(self.links.welcomed)

    @property
    def ready(self) -> bool:
        """Whether requests could be answered."""
        return self.welcomed and self.router.size > 0

    def figures(self) -> dict[str, int]:
        """Gauges: what is under way."""
        return {
            "requests_waiting": len(self._waits),
            "requests_outstanding": sum(self._outstanding.values()),
            "requests_bytes": self._queued_bytes,
            "window": sum(self._windows.values()),
            "messages_unacknowledged": len(self._outgoing),
            "answers_streaming": len(self._streams),
            "answers_storing": len(self._storing),
            "answers_kept_bytes": self._retained_bytes,
            "answers_to_pass_on": len(self._strays),
        }

    # -- the brokers --------------------------------------------------------------------------------------

    def _up(self, event: Up, now_ms: int) -> list[Effect]:
        self.links.up(event.link, event.session, now_ms)
        self._beat_ms = now_ms + self._config.beat_interval_ms
        return [ToBroker(Hello("gateway", self._config.name, address=self._config.url), event.link)]

    def _down(self, event: Down, now_ms: int) -> list[Effect]:
        self.links.down(event.link)
        self._grant(event.link, {})
        self._outgoing.on_disconnected(event.link)
        broker = self._config.broker_named(event.link)
        if self.links.sessions:
            text = f"the connection to {broker} is gone; what went by it goes by another"
        else:
            text = f"the connection to {broker} is gone; requests are answered 503 until it is back"
        return [Log("warning", text, "down")]

    def _from_broker(self, event: FromBroker, now_ms: int) -> list[Effect]:
        link = event.link
        self.links.heard(link, now_ms)
        message = event.message
        kind = type(message)
        if kind is Routes:
            self._outgoing.on_routes(message.routes, link=link)  # type: ignore[union-attr]
            self._pass_on()
        elif kind is Grant:
            self._grant(link, message.windows)  # type: ignore[union-attr]
        elif kind is Welcome:
            self.links.welcomed.add(link)
            self._outgoing.on_routes(message.routes, True, link)  # type: ignore[union-attr]
            self._pass_on()
            return [Log("info", f"connected to the broker {message.broker}", "up")]  # type: ignore[union-attr]
        elif kind is Fenced:
            return [Reconnect(link)]
        elif kind is Ping:
            mark = message.mark  # type: ignore[union-attr]
            return [ToBroker(Read(mark), link)] if mark else []
        else:
            return [Log("debug", f"the broker sent a {kind.__name__}, which is not for gateways")]
        return []

    def _grant(self, link: int, windows: dict[str, int]) -> None:
        """Each broker grants our share of all that a node takes, as far as it knows: the least of them counts."""
        self._granted.pop(link, None)
        if windows:
            self._granted[link] = windows
        least: dict[str, int] = {}
        for granted in self._granted.values():
            for node, window in granted.items():
                least[node] = min(window, least.get(node, window))
        self._windows = least

    def _from_peer(self, event: FromPeer, now_ms: int) -> list[Effect]:
        message = event.message
        if event.link:
            self.links.met(event.session, event.link)
        if type(message) is Ack:
            return self._acked(message.seqs)
        if type(message) is Graphs and self.links.led(event.session, event.link, message.term, message.number):
            if self.links.count > 1 and message.graphs == self._in_force:
                return []  # once more, by another broker
            self._in_force = message.graphs
            self.router = Router(message.graphs)
            self._graphs = {graph.name: graph for graph in message.graphs}
            conflicts = self.router.conflicts
            lines: list[Effect] = [Log("error", f"route left out: {line}", "route") for line in conflicts]
            names = ", ".join(f"{graph.name} version {graph.version}" for graph in message.graphs)
            text = f"answers {counted(self.router.size, 'route')} of {names or 'no graphs'}"
            return [*lines, Log("info", text, "routes")]
        return []

    def _acked(self, seqs: list[int]) -> list[Effect]:
        effects: list[Effect] = []
        for token in self._outgoing.settle(seqs):
            if type(token) is Stray:
                self._strays.drop(token)
                effects += self._passed_on(token)
                continue
            token.acked = True
            if not token.waits:
                self._release(token)
        return effects

    # -- requests -----------------------------------------------------------------------------------------

    def _requested(self, event: Requested, now_ms: int) -> list[Effect]:
        entry = event.entry
        if event.once is not None:
            return self._requested_once(event, event.once, now_ms)
        self._counter += 1
        root = self._incarnation + self._counter.to_bytes(6, "big")
        try:
            key = key_of(event.request, entry, root)
        except KeyMissing as missing:
            return [Refuse(event.ticket, 400, str(missing))]
        admitted = self._admit(event, root, key, now_ms)
        if type(admitted) is Refuse:
            return [admitted]
        self._post(admitted, False)
        return []

    def _admit(self, event: Requested, root: bytes, key: str, now_ms: int) -> Any:
        """A Request that has its place, or a Refuse."""
        entry = event.entry
        destination = entry.places[partition_index(key, len(entry.places))]
        route = self._outgoing.route(destination)
        if route is None or not self.welcomed:
            why = (
                f"no node has {destination} at the moment"
                if self.welcomed
                else "the broker cannot be reached"
            )
            return self._shed(event.ticket, why)
        node = route.node
        outstanding, window = self._outstanding.get(node, 0), self._windows.get(node, 0)
        if window <= 0:
            return self._shed(event.ticket, f"{node} takes no requests at the moment; try again")
        if outstanding >= window:
            return self._shed(event.ticket, f"{node} has as many requests as it takes; try again")
        if self._queued_bytes + len(event.packed) > self._config.queued_bytes_max:
            return self._shed(event.ticket, f"{self._queued_bytes} bytes of requests are under way already; try again")
        self._outstanding[node] = outstanding + 1
        self._queued_bytes += len(event.packed)
        trace = event.request["headers"].get("traceparent", "")
        message = Message(  # in the order of its fields: by name it takes half as long again
            root, entry.fluxion, key, event.packed, now_ms, root, self._config.name, now_ms + entry.deadline_ms, 0, 0,
            trace, event.once is not None,
        )  # fmt: skip
        request = Request(entry, message, destination, node)
        self._requests[root] = request
        self._wait(request, event.ticket, now_ms)
        return request

    def _shed(self, ticket: int, why: str) -> Refuse:
        return Refuse(ticket, 503, why, (("retry-after", str(self._config.retry_after_s)),))

    def _wait(self, request: Request, ticket: int, now_ms: int) -> None:
        length_ms = request.entry.deadline_ms
        self._counter += 1
        wait = Wait(ticket, self._counter, request)
        request.waits.append(wait)
        self._waits[ticket] = wait
        if length_ms not in self._deadlines:
            self._deadlines[length_ms] = {}
        self._deadlines[length_ms][wait.number] = (now_ms + length_ms, wait)

    def _post(self, request: Request, resend: bool) -> None:
        request.seq = self._outgoing.post(request.destination, request.message, request, resend)

    def _cancelled(self, event: Cancelled, now_ms: int) -> list[Effect]:
        hung_up = self._streams.cancelled(event.ticket)
        if hung_up:
            return hung_up
        wait = self._waits.pop(event.ticket, None)
        if wait is None:
            return []
        wait.ticket = None
        route = self._outgoing.route(wait.request.destination)
        if not wait.request.entry.raw or route is None:
            return []
        return [Relay(route.session, Hangup(wait.request.message.root), route.link)]

    def _finish(self, request: Request) -> list[int]:
        """The request is answered: its place is free. Returns the tickets of the clients who still wait."""
        tickets = []
        deadlines = self._deadlines[request.entry.deadline_ms]
        for wait in request.waits:
            deadlines.pop(wait.number, None)
            if wait.ticket is not None:
                del self._waits[wait.ticket]
                tickets.append(wait.ticket)
        request.waits = []
        self._release(request)
        return tickets

    def _release(self, request: Request) -> None:
        root = request.message.root
        if self._requests.get(root) is not request:
            return
        del self._requests[root]
        self._queued_bytes -= len(request.message.body)
        self._polled.pop(root, None)
        left = self._outstanding[request.node] - 1
        if left:
            self._outstanding[request.node] = left
        else:
            del self._outstanding[request.node]

    # -- answers ------------------------------------------------------------------------------------------

    def _data(self, event: DataFromPeer, now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        if event.link:
            self.links.met(event.session, event.link)
        for part in event.parts:
            for posted in part:
                message = posted.message
                if message.piece or message.root in self._streams:
                    self._acks.add(event.session, posted.seq)
                    effects += self._streams.take(event.session, message, now_ms)
                elif message.remember:
                    effects += self._remember(event.session, posted)
                elif message.root in self._requests or not self._is_stray(message, now_ms):
                    self._acks.add(event.session, posted.seq)
                    self._give(
                        message.root, message.status or 200, message.headers, message.body, effects, True
                    )
                else:
                    self._strays.add(event.session, posted)
        if self._strays:
            self._pass_on()
        return effects

    def _give(
        self, root: bytes, status: int, headers: Any, body: bytes, effects: list[Effect], first: bool
    ) -> None:
        """To all who wait for this root. `first`: the one who waited longest caused it, so it is no replay to
        them."""
        request = self._requests.get(root)
        if request is None:
            effects.append(Count("answers_unclaimed"))
            return
        owner = request.waits[0].ticket if request.waits and first else None
        for ticket in self._finish(request):
            effects.append(Answer(ticket, status, headers, body, ticket != owner))

    def _claim(self, root: bytes) -> int | None:
        """The client who waits for this request, if one does; what it waits for now begins to come."""
        request = self._requests.get(root)
        tickets = self._finish(request) if request is not None else []
        return tickets[0] if tickets else None

    def _is_stray(self, message: Message, now_ms: int) -> bool:
        return message.gateway not in ("", self._config.name) and now_ms < message.deadline_ms

    def _pass_on(self) -> None:
        """Answers of other gateways' clients, to those of them that are back."""
        for destination, stray in self._strays.unsent(self._outgoing):
            stray.seq = self._outgoing.post(destination, stray.message, stray, True)

    def _passed_on(self, stray: Stray) -> list[Effect]:
        """Whoever sent it need not send it again."""
        return [self.links.relay(session, Ack([seq])) for session, seq in stray.senders]

    # -- once only ----------------------------------------------------------------------------------------

    def _requested_once(self, event: Requested, once: str, now_ms: int) -> list[Effect]:
        if not 1 <= len(once) <= ID_LENGTH_MAX:
            text = f"the Idempotency-Key must have 1 to {ID_LENGTH_MAX} characters, not {len(once)}"
            return [Refuse(event.ticket, 400, text)]
        request = event.request
        root = blake2b(f"{event.entry.graph}|{once}".encode(), digest_size=16).digest()
        what = values.pack([request["method"], request["path"], request["query"], request["body"]])
        fingerprint = blake2b(what, digest_size=16).digest()
        under_way = self._requests.get(root)
        if under_way is not None:
            if under_way.fingerprint != fingerprint:
                return [_mismatch(event.ticket)]
            self._wait(under_way, event.ticket, now_ms)
            return []
        try:
            key = key_of(request, event.entry, root)
        except KeyMissing as missing:
            return [Refuse(event.ticket, 400, str(missing))]
        retained = self._retained.left(now_ms)
        if retained >= self._config.idempotency_bytes_max:
            why = f"{retained} bytes are kept for Idempotency-Keys already; try again later, or without one"
            return [self._shed(event.ticket, why)]
        admitted = self._admit(event, root, key, now_ms)
        if type(admitted) is Refuse:
            return [admitted]
        admitted.fingerprint = fingerprint
        return [Begin(root, Kept(now_ms, fingerprint))]

    def _looked(self, event: Looked, now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        storing = self._storing.get(event.root)
        if storing is not None and not event.begun:
            return self._store(event.root, storing, event.kept, now_ms)
        request = self._requests.get(event.root)
        kept = event.kept
        if request is None:
            return []
        if kept is not None and kept.fingerprint and kept.fingerprint != request.fingerprint:
            return [_mismatch(ticket) for ticket in self._finish(request)]
        if kept is not None and kept.status:
            self._give(event.root, kept.status, kept.headers, kept.body, effects, False)
        elif event.begun and kept is None:
            self._retained.add(RECORD_BYTES, now_ms)
            self._post(request, False)
        elif event.begun and kept is not None and now_ms - kept.born_ms >= DEDUPE_RETENTION_MS:
            text = "this Idempotency-Key is too old, and there is no answer yet; ask later or use another"
            return [Refuse(ticket, 409, text) for ticket in self._finish(request)]
        elif event.begun and kept is not None:
            request.message = _reborn(request.message, kept.born_ms)
            self._post(request, True)
            request.look_ms = now_ms + POLL_MS
            self._polled[event.root] = request
        return effects

    def _remember(self, session: Session, posted: Posted) -> list[Effect]:
        """An answer to keep: it is acknowledged, and given, once the store has it."""
        root = posted.message.root
        storing = self._storing.get(root)
        if storing is None:
            storing = self._storing[root] = Storing(posted.message)
            storing.senders.append((session, posted))
            return [Look(root)]
        storing.senders.append((session, posted))
        return []

    def _store(self, root: bytes, storing: Storing, kept: Kept | None, now_ms: int) -> list[Effect]:
        if kept is not None and kept.status:  # the first answer counts
            storing.looked = kept
            return self._stored(Stored(root), now_ms, known=True)
        message = storing.message
        request = self._requests.get(root)
        born_ms, fingerprint = message.born_ms, request.fingerprint if request is not None else b""
        if kept is not None:
            born_ms, fingerprint = kept.born_ms, kept.fingerprint
        storing.looked = Kept(born_ms, fingerprint, message.status or 200, message.headers, message.body)
        return [Store(root, storing.looked)]

    def _stored(self, event: Stored, now_ms: int, known: bool = False) -> list[Effect]:
        """`known`: it was there already."""
        storing = self._storing.pop(event.root, None)
        if storing is None or storing.looked is None:
            return []
        effects: list[Effect] = []
        kept, message = storing.looked, storing.message
        if not known:
            self._retained.add(len(kept.body) + sum(len(n) + len(v) for n, v in kept.headers), now_ms)
        ours = event.root in self._requests
        self._give(event.root, kept.status, kept.headers, kept.body, effects, True)
        for session, posted in storing.senders:
            if not ours and posted.message is message and self._is_stray(message, now_ms):
                self._strays.add(session, posted)
            else:
                effects.append(self.links.relay(session, Ack([posted.seq])))
        self._pass_on()
        return effects

    def _store_failed(self, event: StoreFailed, now_ms: int) -> list[Effect]:
        if event.begun:
            request = self._requests.get(event.root)
            if request is None or request.seq:
                return []
            why = "the store cannot be reached, so the Idempotency-Key cannot be kept"
            return [self._shed(ticket, why) for ticket in self._finish(request)]
        storing = self._storing.get(event.root)
        if storing is not None:
            storing.retry_ms = now_ms + STORE_RETRY_MS
        return []

    # -- time ---------------------------------------------------------------------------------------------

    def _tick(self, event: Tick, now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        if self.links.sessions:
            if now_ms >= self._beat_ms:
                self._beat_ms = now_ms + self._config.beat_interval_ms
                effects += [ToBroker(Beat(), link) for link in self.links.sessions]
            for link, _ in self.links.silent(now_ms, self._config.silence_max_ms):
                text = f"{self._config.broker_named(link)} said nothing for {self._config.silence_max_ms} ms"
                effects += [Log("warning", text, "silence"), Reconnect(link)]
        for length_ms in list(self._deadlines):
            self._expire(self._deadlines[length_ms], now_ms, effects)
        for root, request in self._polled.items():
            if now_ms >= request.look_ms:
                request.look_ms = now_ms + POLL_MS
                if root not in self._storing:
                    effects.append(Look(root))
        for root, storing in self._storing.items():
            if storing.retry_ms and now_ms >= storing.retry_ms:
                storing.retry_ms = 0
                effects.append(Look(root))
        if self._strays:
            for stray in self._strays.late(self._outgoing, now_ms):
                self._outgoing.settle([stray.seq])
                effects += self._passed_on(stray)
        self._retained_bytes = self._retained.left(now_ms)
        self._abandon()
        self._outgoing.on_tick(now_ms)
        return effects + self._streams.silent(now_ms)

    def _expire(self, deadlines: dict[int, tuple[int, Wait]], now_ms: int, effects: list[Effect]) -> None:
        late = []
        for number, (when_ms, _) in deadlines.items():
            if when_ms > now_ms:
                break
            late.append(number)
        for number in late:
            _, wait = deadlines.pop(number)
            request = wait.request
            request.waits.remove(wait)
            if wait.ticket is not None:
                del self._waits[wait.ticket]
                text = f"no answer within {request.entry.deadline_ms} ms"
                effects.append(Refuse(wait.ticket, 504, text))
            if not request.waits and request.acked:
                self._release(request)

    def _exists(self, partition: str) -> bool:
        graph, group, index = partition.split("/")
        found = self._graphs[graph].group_by_name.get(group) if graph in self._graphs else None
        return found is not None and int(index) < found.partitions

    def _abandon(self) -> None:
        """What goes to a graph that is undeployed, or that the store has lost, or to a partition that a later version
        has not, nobody will ever take; who waits for an answer does so until the deadline."""
        for destination in self._outgoing.homeless():
            if not self._exists(destination):
                for request in self._outgoing.abandon(destination, lambda request: not request.waits):
                    request.acked = True
                    self._release(request)


def _mismatch(ticket: int) -> Refuse:
    return Refuse(ticket, 422, "this Idempotency-Key was used before, for another request")


def _reborn(message: Message, born_ms: int) -> Message:
    """As it was the first time, so that it is known again."""
    return Message(
        id=message.id,
        fluxion=message.fluxion,
        key=message.key,
        body=message.body,
        born_ms=born_ms,
        root=message.root,
        gateway=message.gateway,
        deadline_ms=message.deadline_ms,
        trace=message.trace,
        remember=True,
    )
