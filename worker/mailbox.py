"""The mailbox of one partition: which messages it has, in what order they may be handled, and which contexts the
host already holds.

Order: messages of one key are handled one at a time, in the order of arrival. A key waits while its context is
being read or a message marked as resent is looked up, and is passed over while a coroutine works on it; the messages
of such a key queue behind it, those of other keys go on.

Knows nothing of hosts, commits or routes; deciding only, no I/O and no clock.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Any, Final

from liquefy.commits import SEEN_BUCKET_MS, ContextAnswer, ContextQuery
from liquefy.messages import Message, Session

LOCAL: Session = b""
"""The sender of messages that never left this worker."""


CONTEXT_OVERHEAD_BYTES = 200
"""What a cached context costs besides its packed fields, roughly."""

FINISHED_KEPT_MS = 1_000
"""So long at least it is known which messages to fluxions without a context became safe: longer than an
acknowledgement waits and travels."""

FINISHED_MAX = 50_000
"""Beyond so many, those before are forgotten early."""

BROKEN_MAX = 10_000
"""Of so many partitions, by each broker, it is known by which path something came that is here no more; the oldest are
forgotten."""


class Stage(Enum):
    """How far one message has come."""

    QUEUED = auto()
    RUNNING = auto()
    RAN = auto()
    COMMITTING = auto()
    EMITTED = auto()
    """Handled without a commit; waits until all that it emitted is safe."""


class Life(Enum):
    """A partition at its owner."""

    LOADING = auto()
    ACTIVE = auto()
    LOST = auto()


QUEUED: Final = Stage.QUEUED
RUNNING: Final = Stage.RUNNING
RAN: Final = Stage.RAN
COMMITTING: Final = Stage.COMMITTING
EMITTED: Final = Stage.EMITTED
ACTIVE: Final = Life.ACTIVE
"""Names of their own: compiled code has these at hand, and would look a member of an enum up each time."""


class Entry:
    """One message in the mailbox, and whom to tell when it is safe. `ticket` is its present run in a host (0:
    none); results of earlier runs are stale. `doomed` says why it goes to the dead letters unhandled."""

    __slots__ = (
        "check", "children", "crashes", "doomed", "id", "key", "message", "others", "partition", "replays", "result",
        "sender", "seq", "stage", "ticket",
    )  # fmt: skip

    def __init__(self, partition: Partition, message: Message, sender: Session | None, seq: int, check: bool) -> None:
        self.partition = partition
        self.message = message
        self.id, self.key = message.id, message.key
        self.sender = sender
        self.seq = seq
        self.check = check
        self.stage = QUEUED
        self.ticket = self.children = self.crashes = 0
        self.doomed = ""
        self.replays = b""
        self.result: Any = None
        self.others: dict[tuple[Session, int], None] | None = None
        """Who else sent it, and as what: its parent was handled by two owners, or twice by one. They wait, too."""

    def sent_again(self, sender: Session, seq: int) -> None:
        """It came once more, from the same session or another."""
        if self.sender is not None and (self.sender, self.seq) != (sender, seq):
            self.others = self.others or {}
            self.others[self.sender, self.seq] = None
        self.sender, self.seq = sender, seq


class ContextRecord:
    """What this worker knows of one context. `fields`: as read, until they are given to the host, then None.
    `users`: messages admitted that need it and are not committed; it cannot be dropped while there are any."""

    __slots__ = ("exists", "fields", "size", "users")

    def __init__(self, fields: dict[str, bytes]) -> None:
        self.fields: dict[str, bytes] | None = fields
        self.exists = bool(fields)
        self.size = CONTEXT_OVERHEAD_BYTES + sum(map(len, fields.values()))
        self.users = 0


class Partition:
    """One partition that this worker owns."""

    def __init__(self, name: str, epoch: int, fresh_from: int = 0) -> None:
        self.name = name
        self.graph, self.group, _ = name.split("/")
        self.epoch = epoch
        self.life = Life.LOADING
        self.stateful = False
        self.working: dict[bytes, Entry] = {}
        """Everything admitted and not acknowledged, in order of arrival."""
        self.unhandled: dict[str, int] = {}
        """Without a context: how many of those have not been handled for good, by key."""
        self.ready: deque[Entry] = deque()
        self.waiting: dict[str, deque[Entry]] = {}
        self.awaiting: dict[str, list[Entry]] = {}
        """Keys on which a coroutine works, and what arrived behind it."""
        self.queries: dict[str, None] = {}
        """Keys to ask the store for; the ids of what waits for them are looked up as well, where that is needed."""
        self.asked: dict[str, list[Entry]] = {}
        """Keys asked for and not yet answered -> entries whose ids were looked up."""
        self.fresh_from = fresh_from
        """Answers to reads numbered lower were asked before the last reset, or by an earlier ownership, and are
        stale."""
        self.contexts: dict[str, ContextRecord] = {}
        self.host: str = ""
        """The host that holds its contexts."""
        self.busy = 0
        """Entries running, or run and not yet committed."""
        self.ran: list[Entry] = []
        """Results to commit next."""
        self.committing = False
        self.reset_due = False
        self.sequence = 0
        self.leap = 0
        """Of its next commit."""
        self.beyond = 0
        """Commits of before it was loaded anew leave no more than this."""
        self.next_out = 1
        self.sent: dict[int, int] = {}
        """Outbox seq -> seq under which it is posted."""
        self.acknowledged: list[int] = []
        self.acknowledged_since_ms = 0
        self.scheduled = False
        self.move: Move | None = None
        self.paths: dict[int, int] = {}
        """By which path messages came last, by connection."""
        self.brokers: set[int] = set()
        """Connections to brokers that know that it is here, at its epoch."""
        self.holds: dict[int, int] = {}
        """Holds asked for, by connection, whose markers have not come."""

    def take(self, entry: Entry) -> None:
        """It is here from now on."""
        self.working[entry.id] = entry
        if not self.stateful and entry.stage is not EMITTED:
            key = entry.key
            self.unhandled[key] = self.unhandled.get(key, 0) + 1

    def handled(self, entry: Entry) -> None:
        """All that it emitted is on its way."""
        entry.stage = EMITTED
        self._count_down(entry.key)

    def let_go(self, entry: Entry) -> None:
        """It is safe."""
        there = self.working.pop(entry.id, None)
        if there is not None and not self.stateful and entry.stage is not EMITTED:
            self._count_down(entry.key)

    def _count_down(self, key: str) -> None:
        left = self.unhandled.get(key, 0) - 1
        if left > 0:
            self.unhandled[key] = left
        else:
            self.unhandled.pop(key, None)

    def admit(self, entry: Entry) -> bool:
        """Queue an entry that is in `working`. Returns True if it may be handled now, False if it waits."""
        key = entry.key
        line = self.waiting.get(key)
        if line is not None:
            line.append(entry)
            return False
        if self.stateful and not entry.doomed:
            if entry.check or key not in self.contexts:
                self.waiting[key] = deque((entry,))
                self.queries[key] = None
                return False
            self.contexts[key].users += 1
        self.ready.append(entry)
        return True

    def take_query(self) -> ContextQuery | None:
        """What has to be read from the store now, if anything."""
        if not self.queries:
            return None
        # All of a line at once: else one that was sent again would take a round trip for each of its messages.
        asked = {key: [entry for entry in self.waiting.get(key, ()) if entry.check] for key in self.queries}
        ids = tuple(bucketed(entry.message) for entries in asked.values() for entry in entries)
        query = ContextQuery(self.name, tuple(asked), ids)
        self.asked.update(asked)
        self.queries = {}
        return query

    def answered(self, answer: ContextAnswer) -> tuple[list[Entry], list[Entry]]:
        """Contexts came: let their keys go on. Returns the entries found handled before: acknowledge them, they
        are out of the queue; and those that cannot be handled, as they are doomed now: so are they."""
        duplicates: list[Entry] = []
        doomed: list[Entry] = []
        spoilt = dict(answer.spoilt)
        for key, fields in answer.contexts.items():
            checked = self.asked.pop(key, None)
            if checked is None:
                continue
            if key not in self.contexts and key not in spoilt:
                self.contexts[key] = ContextRecord(fields)
            for entry in checked:
                entry.check = False
                if entry.id in answer.seen:
                    duplicates.append(entry)
                    self.waiting[key].remove(entry)
            if key in spoilt:
                for entry in self.waiting.pop(key, ()):
                    entry.doomed = f"its context cannot be read: {spoilt[key]}"
                    doomed.append(entry)
            else:
                self.release(key)
        return duplicates, doomed

    def release(self, key: str) -> bool:
        """The key waits no more: move what may run to `ready`, up to an entry that must be looked up first."""
        line = self.waiting.pop(key, None)
        moved = False
        while line:
            entry = line.popleft()
            if not self.admit(entry):
                waiting = self.waiting[key]
                waiting.extend(line)
                break
            moved = True
        return moved

    def unstarted(self) -> list[Entry]:
        """Entries not begun, in order of arrival."""
        return [e for e in self.working.values() if e.stage is QUEUED]

    def abandon(self) -> list[Entry]:
        """All of it, in order of arrival, is for others to care for. It keeps none: as each entry holds its partition,
        both would stay until somebody looks for such circles."""
        left, self.working = list(self.working.values()), {}
        self.ready.clear()  # it may still stand in a host's queue
        self.awaiting.clear()
        self.waiting.clear()
        self.asked.clear()
        self.ran.clear()
        return left

    def reset(self, next_read: int) -> list[Entry]:
        """Forget what was read and run but not committed; all of it is queued again, and returned. The next read
        will be number `next_read`."""
        again = [e for e in self.working.values() if e.stage in (QUEUED, RUNNING, RAN)]
        for entry in again:
            entry.stage = QUEUED
            entry.ticket = 0
            entry.result = None
        self.ready.clear()
        self.waiting.clear()
        self.awaiting.clear()
        self.queries.clear()
        self.asked.clear()
        self.contexts.clear()
        self.ran.clear()
        self.busy = sum(e.stage is COMMITTING for e in self.working.values())
        self.fresh_from = next_read
        self.reset_due = False
        return again


class Move:
    """A migration of which this worker is the source. `awaited`: connections to brokers whose Held markers are to come;
    `draining` from the last of these on; `committing` once the last commit was built: the point of no return is behind
    when its verdict is ok."""

    __slots__ = ("awaited", "committing", "controller", "draining", "link", "since_ms", "target", "unsent")

    def __init__(self, target: str, controller: Session, since_ms: int, link: int = 0) -> None:
        self.target = target
        self.controller, self.link = controller, link
        self.since_ms = since_ms
        self.awaited: set[int] = set()
        self.draining = False
        self.committing = False
        self.unsent: list[tuple[int, Message]] = []
        """Of the outbox, what the last commit added."""


class Finished:
    """Messages to fluxions without a context that became safe lately, by id. One that its sender sent again before it
    heard of that is not handled again; with a context, the store knows."""

    def __init__(self) -> None:
        self.ids: set[bytes] = set()
        """To be added to."""
        self._before: set[bytes] = set()
        self._since_ms = 0

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self.ids or message_id in self._before

    def tick(self, now_ms: int) -> None:
        """Forget those of earlier than FINISHED_KEPT_MS ago."""
        if now_ms - self._since_ms >= FINISHED_KEPT_MS or len(self.ids) > FINISHED_MAX:
            self._before, self.ids, self._since_ms = self.ids, set(), now_ms


class Broken:
    """Paths by which something came that is here no more, though nobody was handed it: its partition was taken away,
    or is not here. What comes by the same path has a gap before it, so it may not be taken should the partition be
    here again: one broker has told us of that, while another, by which this comes, does not know yet. When it does, it
    gives a new path, by which all of it is sent again."""

    def __init__(self) -> None:
        self._paths: dict[tuple[str, int], int] = {}

    def add(self, destination: str, link: int, path: int) -> None:
        self._paths[destination, link] = path
        if len(self._paths) > BROKEN_MAX:
            del self._paths[next(iter(self._paths))]

    def has(self, destination: str, link: int, path: int) -> bool:
        """Whether what comes by that path has a gap before it. Where another one is taken now, nothing comes by those
        of before."""
        if not self._paths or (broken := self._paths.get((destination, link))) is None:
            return False
        if broken != path:
            del self._paths[destination, link]
        return broken == path

    def link_down(self, link: int) -> None:
        """To our next session nothing comes by those paths."""
        self._paths = {way: path for way, path in self._paths.items() if way[1] != link}


def bucketed(message: Message) -> tuple[int, bytes]:
    """The dedupe bucket of a message, and its id."""
    return message.born_ms // SEEN_BUCKET_MS, message.id
