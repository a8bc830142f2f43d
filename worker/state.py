"""What a worker decides: which partitions are its own, what runs where, what is committed, acknowledged, sent, and
how a migration goes at its source and its target (`docs/PROTOCOL.md`, sections 4 to 6).

`step(event, now_ms)` takes one event and the Unix time and returns effects. Knows no socket, clock, process or
Redis; the same object runs in the simulation. This file is the table of events and the ties to broker and
controller; messages are `flow`'s, partitions `ownership`'s, hosts `fleet`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from liquefy.config import WorkerConfig
from liquefy.effects import Log, Relay, ToBroker
from liquefy.errors import BadFrame
from liquefy.hosting import Loaded, Piece, Ran, Refused
from liquefy.letters import decode_letter
from liquefy.messages import (
    Abort,
    Ack,
    Activate,
    Beat,
    Control,
    Drop,
    Fenced,
    Graphs,
    Hangup,
    Held,
    Hello,
    Inventory,
    Leaving,
    Move,
    Ping,
    Prepare,
    Read,
    Recheck,
    Replay,
    Routes,
    Session,
    Welcome,
    child_id,
)
from liquefy.wording import counted
from worker import events as ev
from worker.fleet import Fleet
from worker.flow import Flow
from worker.mailbox import Entry, Life
from worker.ownership import Ownership

LEAVE_SILENCE_MS = 1_500
"""A worker that leaves and is asked for no move in that time stops as it is."""

BACKLOG_FACTOR = 4
"""With more messages in its mailboxes than so many windows, a worker grants no requests."""

REPLAY_INDEX = 254
"""A replayed dead letter is a new message: this child of the old one."""


class WorkerState:
    """One node."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.leaving_since_ms = 0
        self._effects: list[Any] = []
        self.fleet = Fleet(config.slots, config.host_start_ms, self._effects)
        self.flow = Flow(config, self.fleet, self._effects)
        self.links = self.flow.links
        self.ownership = Ownership(config.name, self.flow, self.fleet, self._effects)
        self._started_ms = 0
        """When it began with nothing; where there is one broker, each session is a beginning."""
        self._beat_ms = self._summed_ms = self._report_ms = self._asked_ms = 0
        self._listed_to: Session = b""
        """Which session of a controller was told last what is here."""
        self._window = 0
        self._queued_bytes = 0
        """Of messages that are here, as of `_summed_ms`: to sum them up more often than once a beat interval would
        cost. Not as of the last beat: one that tells of another window may be said at each tick."""
        self._events: dict[type, Callable[[Any], None]] = {
            ev.Up: self._up,
            ev.Down: self._down,
            ev.FromBroker: lambda e: self._control(e.message, b"", e.link),
            ev.FromPeer: lambda e: self._control(e.message, e.sender, e.link),
            ev.Data: self._data,
            ev.HostStarted: lambda e: self.fleet.started(e.host, self.flow.now_ms),
            ev.HostFailed: self._host_failed,
            ev.HostSaid: self._host_said,
            ev.HostDied: self._host_died,
            ev.ContextsRead: lambda e: self.flow.read(e.read, e.answers),
            ev.PartitionsLoaded: lambda e: self.ownership.loaded(e.states),
            ev.Committed: lambda e: self.flow.committed(e.tag, e.verdicts),
            ev.Measured: lambda e: self.flow.accounting.measured(*e),
            ev.StopAsked: self._stop_asked,
            ev.Tick: self._tick,
        }
        self._controls: dict[type, Callable[[Any, Session, int], None]] = {
            Welcome: self._welcome,
            Routes: lambda m, s, link: self.flow.outgoing.on_routes(m.routes, link=link),
            Ping: lambda m, s, link: self._do(ToBroker(Read(m.mark), link)) if m.mark else None,
            Fenced: self._fenced,
            Activate: lambda m, s, link: self.ownership.activate(m.partition, m.epoch, m.legacy, link),
            Held: lambda m, s, link: self.ownership.held(m.partition, m.epoch, link),
            Drop: self._drop,
            Ack: lambda m, s, link: self.flow.acknowledged(m.seqs),
            Hangup: lambda m, s, link: self.flow.hung_up(m.root),
            Prepare: self._prepare,
            Graphs: self._graphs,
            Move: self._move,
            Abort: lambda m, s, link: self.ownership.abort(m.partition, m.epoch, "the controller gave it up"),
            Replay: self._replay,
            Recheck: lambda m, s, link: self.ownership.recheck(),
        }

    def step(self, event: ev.Event, now_ms: int) -> list[Any]:
        """One event in, effects out, to be performed in order."""
        return self.handle(event, now_ms) + self.flush(now_ms)

    def handle(self, event: ev.Event, now_ms: int) -> list[Any]:
        """The first half of a step. Several events may be handled before one `flush`: what they cause then leaves
        together, in fewer and larger frames."""
        self.flow.now_ms = now_ms
        self._events[type(event)](event)
        return self._taken()

    def flush(self, now_ms: int) -> list[Any]:
        """The second half: what can go on, goes on."""
        self.flow.now_ms = now_ms
        while True:
            self.ownership.advance()
            self.flow.flush()
            if not self.flow.moved:
                return self._taken()
            moved, self.flow.moved = self.flow.moved, []
            for partition, verdict in moved:
                self.ownership.settled(partition, verdict)

    def _taken(self) -> list[Any]:
        effects = self._effects[:]
        self._effects.clear()
        return effects

    def _do(self, effect: object) -> None:
        self._effects.append(effect)

    # -- the links --------------------------------------------------------------------------------------

    def _up(self, event: ev.Up) -> None:
        now_ms, link = self.flow.now_ms, event.link
        self.links.up(link, event.session, now_ms)
        if self.links.count > 1:
            self._started_ms = self._started_ms or now_ms
        config, claims = self.config, self.ownership.claims()
        hello = Hello("worker", config.name, claims, config.capacity, started_ms=self._started_ms)
        self._do(ToBroker(hello, link))
        self.ownership.link_up(link)

    def _down(self, event: ev.Down) -> None:
        self.links.down(event.link)
        self.flow.outgoing.on_disconnected(event.link)
        self.flow.broken.link_down(event.link)
        self.ownership.link_down(event.link)

    def _control(self, message: Control, sender: Session, link: int) -> None:
        if not sender:
            self.links.heard(link, self.flow.now_ms)
        elif link:
            self.links.met(sender, link)
        handle = self._controls.get(type(message))
        if handle is None:
            self._do(Log("warning", f"unexpected {type(message).__name__}", "protocol"))
            return
        handle(message, sender, link)

    def _data(self, event: ev.Data) -> None:
        if event.link:
            self.links.met(event.sender, event.link)
        for name in self.flow.arrive(event.sender, event.header, event.parts, event.link):
            self._do(Log("debug", f"messages for {name}, which is not here", "stray"))

    def _welcome(self, message: Welcome, sender: Session, link: int) -> None:
        self._beat_ms = 0
        self.flow.outgoing.on_routes(message.routes, True, link)

    def _fenced(self, message: Fenced, sender: Session, link: int) -> None:
        if self.links.sessions.keys() - {link}:
            self._do(Log("warning", "a broker does not know this session any more; connecting to it anew", "fenced"))
        else:
            self._do(Log("warning", "declared dead by the controller; starting afresh", "fenced"))
            self.ownership.drop_all(link)
            self._started_ms = 0
        self._do(ev.Reconnect(link))

    def _drop(self, message: Drop, sender: Session, link: int) -> None:
        partition = self.flow.partitions.get(message.partition)
        if partition is not None and partition.epoch < message.epoch:
            self._do(Log("info", f"{message.partition} went elsewhere (epoch {message.epoch})", "drop"))
            self.ownership.drop_for(partition, link)

    # -- the controller ---------------------------------------------------------------------------------

    def _prepare(self, message: Prepare, sender: Session, link: int) -> None:
        self.links.asked(sender, link)
        self.fleet.prepare(message.graph, sender, self.flow.now_ms, link)

    def _graphs(self, message: Graphs, sender: Session, link: int) -> None:
        if not self.links.led(sender, link, message.term, message.number):
            return
        if self.fleet.enforce(message.graphs, self.flow.now_ms):
            names = ", ".join(f"{g.name} version {g.version}" for g in message.graphs) or "none"
            self._do(Log("info", f"graphs in force: {names}", "graphs"))
        if message.purged:
            self._do(ev.ForgetFiles(message.purged))
        self.ownership.graphs_changed()
        self.ownership.start()
        for partition in self.flow.partitions.values():
            self.flow.schedule(partition)

    def _move(self, message: Move, sender: Session, link: int) -> None:
        self.links.asked(sender, link)
        self._asked_ms = self.flow.now_ms
        self.ownership.move(message.partition, message.epoch, message.target, sender, link)

    def _replay(self, message: Replay, sender: Session, link: int) -> None:
        partition = self.flow.partitions.get(message.partition)
        if partition is None or partition.life is not Life.ACTIVE:
            return
        try:
            letter = decode_letter(message.letter)
        except BadFrame as error:
            self._do(Log("error", f"a dead letter of {message.partition} cannot be read: {error}", "replay"))
            return
        old = letter.message
        renewed = type(old)(
            id=child_id(old.id, REPLAY_INDEX),
            fluxion=old.fluxion,
            key=old.key,
            body=old.body,
            born_ms=self.flow.now_ms,
            root=old.root,
            trace=old.trace,
        )
        entry = Entry(partition, renewed, None, 0, False)
        entry.replays = old.id
        self.flow.replay(partition, entry)

    # -- hosts ------------------------------------------------------------------------------------------

    def _host_said(self, event: ev.HostSaid) -> None:
        host = self.fleet.hosts.get(event.host)
        if host is None:
            return
        message = event.message
        if isinstance(message, Ran):
            self.flow.ran(host, message.results)
        elif isinstance(message, Piece):
            self.flow.piece(host, message)
        elif isinstance(message, Loaded):
            if self.fleet.loaded(host, message):
                for partition in self.flow.partitions.values():
                    self.flow.schedule(partition)
        elif isinstance(message, Refused):
            self.fleet.refused(host, message)

    def _host_failed(self, event: ev.HostFailed) -> None:
        host = self.fleet.hosts.get(event.host)
        if host is not None:
            self.fleet.failed(host, event.error)

    def _host_died(self, event: ev.HostDied) -> None:
        host = self.fleet.hosts.get(event.host)
        if host is not None:
            self.flow.host_died(host)
            self.fleet.died(host, event.reason, self.flow.now_ms)

    # -- time -------------------------------------------------------------------------------------------

    def connected(self, now_ms: int) -> bool:
        """There is a broker, and it was heard of late."""
        return bool(self.links.sessions) and now_ms - self.links.heard_ms() <= self.config.silence_max_ms

    def stalled(self) -> bool:
        """The store has not answered for `stall_ms`."""
        waiting_ms = [since for since in (self.flow.commit_since_ms, *self.flow.reads_since_ms.values()) if since]
        return any(self.flow.now_ms - since > self.config.stall_ms for since in waiting_ms)

    def window(self) -> int:
        """How many requests this node takes in flight now."""
        backlog = sum(len(p.working) for p in self.flow.partitions.values())
        full = backlog > BACKLOG_FACTOR * self.config.window
        heavy = self._queued_bytes > self.config.queued_bytes_max
        return 0 if self.stalled() or full or heavy else self.config.window

    def _tick(self, event: ev.Tick) -> None:
        now_ms, config = self.flow.now_ms, self.config
        self.flow.tick()
        self.ownership.tick()
        self.fleet.reconcile(now_ms)
        self.fleet.end_hung(now_ms)
        if self.leaving_since_ms:
            self._leave()
        if not self.links.sessions:
            return
        if silent := self.links.silent(now_ms, config.silence_max_ms):
            for link, silence_ms in silent:
                broker = config.broker_named(link)
                self._do(Log("warning", f"{broker} is silent for {silence_ms} ms: reconnecting", "link"))
                self._do(ev.Reconnect(link))
            return
        if now_ms - self._summed_ms >= config.beat_interval_ms:
            self._summed_ms = now_ms
            working = [p.working for p in self.flow.partitions.values() if p.working]
            self._queued_bytes = sum(len(entry.message.body) for some in working for entry in some.values())
        window = self.window()
        if window != self._window or now_ms - self._beat_ms >= config.beat_interval_ms:
            if (window == 0) != (self._window == 0) and self._beat_ms:
                self._tell_window(window)
            self._window, self._beat_ms = window, now_ms
            for link in self.links.sessions:
                self._do(ToBroker(Beat(window), link))
        if now_ms - self._report_ms >= config.report_interval_ms and self.links.controllers:
            self._report(now_ms)

    def _tell_window(self, window: int) -> None:
        if window:
            self._do(Log("info", f"takes requests again, {window} at a time", "window"))
            return
        backlog = sum(len(p.working) for p in self.flow.partitions.values())
        waiting = f"{backlog} messages wait already, {self._queued_bytes} bytes"
        why = "the store does not answer" if self.stalled() else waiting
        self._do(Log("warning", f"takes no requests: {why}", "window"))

    def _report(self, now_ms: int) -> None:
        self._report_ms = now_ms
        partitions = self.flow.partitions
        controller = self.links.controller()
        # A new one has been told by brokers alone, who take what they have routed here for what is here.
        if controller is not None and (self.ownership.changed or controller[0] != self._listed_to):
            self.ownership.changed, self._listed_to = False, controller[0]
            self._do(Relay(controller[0], Inventory(self.ownership.claims()), controller[1]))
        hosts = sum(host.alive for host in self.fleet.hosts.values())
        report = self.flow.accounting.report(now_ms, partitions, hosts, not self.stalled())
        for link, session in self.links.controllers.items():  # by each, as it is a sign of life of each session
            self._do(Relay(session, report, link))

    def _stop_asked(self, event: ev.StopAsked) -> None:
        if event.now or not self.flow.partitions or not self.links.controllers:
            self._do(ev.Exit())
        elif not self.leaving_since_ms:
            self.leaving_since_ms = self._asked_ms = self.flow.now_ms
            self._do(Log("info", "asked to stop: handing over what is here", "leaving"))
            for link, session in self.links.controllers.items():
                self._do(Relay(session, Leaving(), link))

    def _leave(self) -> None:
        now_ms = self.flow.now_ms
        unasked = now_ms - self._asked_ms > LEAVE_SILENCE_MS
        over = now_ms - self.leaving_since_ms > self.config.stop_grace_ms
        if not self.flow.partitions or unasked or over:
            left = len(self.flow.partitions)
            text = f"stops with {counted(left, 'partition')} left here: no node took them" if left else "stops, empty"
            self._do(Log("info", text, "leaving"))
            self._do(ev.Exit())
