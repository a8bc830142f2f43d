"""What peers may say, to the state of each role: it must take whatever comes through its decoder, go on, and say
nothing that could not be sent. Each function here runs one story, by the chance of its Maker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from controller_world import World
from controller_world import graph as controller_graph
from fuzz.making import Maker
from msgspec.structs import replace
from test_gateway_pending import GRAPH as GATEWAY_GRAPH
from test_gateway_pending import Gateway
from worker_bench import CONTROLLER, GATEWAY, Bench

from broker import state as b
from controller import events as ce
from gateway import events as ge
from liquefy import control, hosting
from liquefy import messages as m
from liquefy.config import BrokerConfig
from liquefy.effects import Relay, SendFrame, ToBroker
from liquefy.errors import BadFrame
from worker import events as we

STEPS = 60
"""Events of one story."""

ALL: tuple[type[Any], ...] = m.Control.__args__  # type: ignore[attr-defined]
SAID_TO_BROKER = (m.Hello, m.Beat, m.Hold, m.Release, m.Handover, m.Disown, m.Activated, m.Assign, m.Unassign, m.Expel)
SAID_BY_BROKER = (
    *(m.Welcome, m.Routes, m.Ping, m.Grant, m.Held, m.Activate, m.Drop, m.Fenced, m.PeerUp, m.PeerDown, m.Landed),
    m.Orphans,
)
RELAYED = tuple(kind for kind in ALL if kind.__name__ in m.RELAYED_BY)


class Wire(NamedTuple):
    """A data frame."""

    header: bytes
    payload: bytes


def wire(maker: Maker, path: Callable[[str], int] = lambda destination: 1) -> Wire:
    """Messages, mostly as many as the header says."""
    header, parts = [], []
    for _ in range(maker.one((1, 1, 2, 3))):
        posteds = [maker.made(m.Posted) for _ in range(maker.one((0, 1, 1, 2)))]
        part = maker.made(m.Part, count=len(posteds) if maker.often(0.9) else maker.number())
        header.append(replace(part, path=path(part.destination)) if maker.often(0.9) else part)
        parts.append(posteds)
    if maker.often(0.1):
        parts.append([])
    spoil = maker.spoilt if maker.often(0.1) else bytes
    return Wire(spoil(m.encode(header)), spoil(m.encode(parts)))


def arrived(maker: Maker, message: Any) -> m.Control | None:
    """As it comes out of the decoder; None if it does not."""
    frame = m.encode(message)
    try:
        return m.decode_control(maker.spoilt(frame) if maker.often(0.1) else frame)
    except BadFrame:
        return None


def sendable(effects: Sequence[Any]) -> None:
    """Whatever is to be sent can be, and its receiver can read it."""
    for effect in effects:
        if isinstance(effect, b.SendTo | ToBroker | Relay):
            m.decode_control(m.encode(effect.message))
        elif isinstance(effect, SendFrame):
            m.decode_data(m.encode(effect.header), m.encode(effect.parts))
        elif isinstance(effect, we.TellHost):
            hosting.decode_to_host(hosting.frame(effect.message)[4:])
        elif isinstance(effect, ce.Answer):
            control.decode_reply(control.encode(effect.reply))


def broker(maker: Maker) -> None:
    """Peers of all roles, with and without keys, before and after their Hello."""
    state = b.BrokerState(BrokerConfig(held_messages_max=5), "b1", 1_000)
    now_ms = 0.0
    for name, role in (("node1", "worker"), ("node2", "worker"), ("gw", "gateway"), ("ctl", "controller")):
        state.step(b.FromPeer(f"{name}#1".encode(), m.Hello(role, name)), now_ms)  # type: ignore[arg-type]
    claims: list[tuple[str, int, str]] = [("visits/store/0", 1, "node1"), ("visits/store/1", 1, "node2")]
    state.step(b.FromPeer(b"ctl#1", m.Assign(claims)), now_ms)
    sessions = (b"node1#1", b"node2#1", b"gw#1", b"gw2#1", b"ctl#1", b"", b"nobody#1", b"x@key")

    def path(destination: str) -> int:
        route = state._table.by_destination.get(destination)
        return route.path if route is not None else 0

    for _ in range(STEPS):
        now_ms += maker.one((0, 1, 40, 60, 600))
        session = maker.one(sessions)
        event: b.Event | None
        match maker.chance.randrange(12):
            case 0 | 1 | 2 | 3 | 4 | 5:
                message = arrived(maker, maker.control(SAID_TO_BROKER if maker.often(0.9) else ALL))
                key = maker.one(("", "", "", "worker", "gateway", "controller"))
                event = b.FromPeer(session, message, key) if message is not None else None
            case 6 | 7 | 8:
                event = b.DataFrom(session, *wire(maker, path))
            case 9:
                event = b.RelayFrom(session, maker.one(sessions), maker.spoilt(m.encode(maker.control(ALL))))
            case 10:
                event = maker.one((b.BadFrameFrom(session, "wrong"), b.Unreachable(session)))
            case _:
                event = b.Tick()
        if event is None:
            event = b.BadFrameFrom(session, "wrong")
        effects = state.step(event, now_ms)
        sendable(effects)
        assert all(isinstance(frame, bytes) for e in effects if isinstance(e, b.Forward) for frame in e.frames)
        assert state._holding.count == sum(hold.count for hold in state._holding.by_partition.values()) >= 0


class Said(NamedTuple):
    """What comes to a peer by way of the broker: from the broker itself where `sender` is b""."""

    sender: bytes
    message: m.Control


def said(maker: Maker, senders: Sequence[bytes]) -> Said | Wire | None:
    """None: what does not decode, and so never reaches a state."""
    match maker.chance.randrange(5):
        case 0 | 1:
            message = arrived(maker, maker.control(SAID_BY_BROKER))
            return Said(b"", message) if message is not None else None
        case 2 | 3:
            message = arrived(maker, maker.control(RELAYED))
            return Said(maker.one(senders), message) if message is not None else None
        case _:
            return wire(maker)


def worker(maker: Maker) -> None:
    """A node with partitions of its own, hosts and a store that answer as they should."""
    bench = Bench().ready("shop/store/0", "shop/tell/0")
    partitions = (*bench.graph.partition_names(), "shop/store/1", "other/a/0", "/", "", "@gateway1")
    names = ("shop", "store", "tell", "call", "output", "node1", "node2", "gateway1", "", "x" * 300)
    maker.known = {**maker.known, **dict.fromkeys(("partition", "destination"), partitions)}
    maker.known.update(dict.fromkeys(("name", "node", "target", "to", "fluxion", "group", "gateway", "graph"), names))
    for _ in range(STEPS):
        bench.now_ms += maker.one((0, 1, 25, 600, 6_000))
        bench.auto = maker.often(0.8)
        what = said(maker, (GATEWAY, b"node2#1", CONTROLLER))
        event: we.Event = we.Tick()
        if isinstance(what, Wire):
            try:
                event = we.Data(GATEWAY, *m.decode_data(*what))
            except BadFrame:
                continue
        elif what is not None:
            event = we.FromPeer(*what) if what.sender else we.FromBroker(what.message)
        before = len(bench.effects)
        bench.step(event)
        if maker.often(0.2):
            bench.step(maker.one((we.Tick(), we.Down(), we.Up(b"node1#2"))))
        if bench.auto:
            bench.answer_reads()
            bench.answer_runs()
            bench.answer_commits()
        sendable(bench.effects[before:])


def worker_host(maker: Maker) -> None:
    """A host that says anything: it also runs users' code."""
    bench = Bench().ready("shop/store/0", "shop/tell/0", "shop/call/0")
    maker.known = {**maker.known, "to": ("output", "tell", "store", "call", "", "nobody")}
    for number in range(STEPS // 2):
        bench.now_ms += maker.one((0, 1, 25, 600))
        bench.auto = False
        before = len(bench.effects)
        bench.arrive(bench.message(number, fluxion=maker.one(("store", "tell", "call"))), seq=number + 1)
        bench.answer_reads()
        running = [item.ticket for _, items in bench.runs for item in items] or [0]
        maker.known["ticket"] = [*running, 0, 99]
        for host in list(bench.state.fleet.hosts):
            frame = hosting.frame(maker.made(maker.one((hosting.Ran, hosting.Ran, hosting.Piece, hosting.Loaded))))[4:]
            try:
                message = hosting.decode_from_host(maker.spoilt(frame) if maker.often(0.2) else frame)
            except BadFrame:
                message = hosting.Ran([])
            bench.step(we.HostSaid(host, message))
        bench.answer_commits(maker.one(("ok", "ok", "seen")))
        if maker.often(0.3):
            bench.step(we.Tick())
        bench.runs.clear()
        sendable(bench.effects[before:])


def gateway(maker: Maker) -> None:
    """A gateway with clients that wait."""
    gate = Gateway()
    partitions = (*GATEWAY_GRAPH.partition_names(), "@gateway1", "@gateway2", "/", "")
    maker.known = {**maker.known, **dict.fromkeys(("partition", "destination"), partitions)}
    for _ in range(STEPS):
        gate.now_ms += maker.one((0, 1, 25, 600, 6_000))
        roots = [*gate.state._requests, b"", b"stranger"]
        maker.known["root"] = roots
        what = said(maker, (b"node1#1", b"controller#1"))
        if isinstance(what, Wire):
            try:
                event: ge.Event = ge.DataFromPeer(b"node1#1", *m.decode_data(*what))
            except BadFrame:
                continue
        elif what is not None:
            event = ge.FromPeer(*what) if what.sender else ge.FromBroker(what.message)
        else:
            event = maker.one((ge.Tick(), ge.Flush(), ge.Down(), ge.Up(b"gateway1#2"), ge.Cancelled(1)))
        sendable(gate.do(event))
        sendable(gate.do(ge.Flush()))


def controller(maker: Maker) -> None:
    """A controller with two nodes and a graph, asked by liquefy-ctl as well."""
    world = World()
    world.worker_up("node1")
    world.worker_up("node2")
    world.deploy(controller_graph())
    sessions = (*(node.session for node in world.workers.values()), b"gw#1", b"nobody#1")
    maker.known = {**maker.known, "session": sessions}
    commands = [*world.state._commands._handlers, "nothing"]
    for _ in range(STEPS // 2):
        before = len(world.effects)
        match maker.chance.randrange(4):
            case 0:
                message = arrived(maker, maker.control(SAID_BY_BROKER))
                event: Any = ce.FromBroker(message) if message is not None else None
            case 1 | 2:
                message = arrived(maker, maker.control(RELAYED))
                event = ce.FromNode(maker.one(sessions), message) if message is not None else None
            case _:
                event = ce.Asked(b"ctl#1", asked(maker, commands))
        world.feed(event or ce.Tick())
        world.run(maker.one((0, 50, 600)))
        sendable(world.effects[before:])


ARGUMENTS = (
    *("graph", "what", "node", "bundle", "dry_run", "purge", "if_changed", "reason", "action", "key", "id", "limit"),
    *("forget", "follow", "last", "source", "detail"),
)
SAID = (
    *("visits", "store", "visits/store", "visits/store/0", "node1", ""),
    *("list", "get", "show", "drop", "replay", "zz", "00"),
)


def asked(maker: Maker, commands: Sequence[str]) -> control.Request:
    """A command with arguments of any kind."""
    anything = (*SAID, 0, -1, 2**62, 1.5, True, False, None, b"x", [], {}, [["a"]], {"a": {"b": 1}}, {"name": "visits"})
    arguments = {maker.one(ARGUMENTS): maker.one(anything) for _ in range(maker.one((0, 1, 2, 4, 8)))}
    request = control.Request(maker.number() & (2**62 - 1), maker.one(commands), arguments)
    return control.decode_request(control.encode(request))


STORIES: dict[str, Callable[[Maker], None]] = {
    "broker": broker,
    "worker": worker,
    "worker_host": worker_host,
    "gateway": gateway,
    "controller": controller,
}
