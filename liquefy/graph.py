"""The graph of one service: fluxions, streams, inputs, groups. Shapes only: reading and checking `graph.yaml` is
`liquefy.graphfile`'s work, running it the roles'.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import msgspec

from liquefy.decoding import Name, Natural

OUTPUT = "output"
"""The reserved name of the graph's exit: a message to it answers the request."""

PARTITIONS_DEFAULT = 32
"""Partitions of a keyed group, and of a stateless fluxion. More spread finer, and cost more bookkeeping."""

PARTITIONS_MAX = 4096

STREAMS_MAX = 20_000
"""Of one graph; more are no service that anybody wrote."""

GRAPH_PARTITIONS_MAX = 65_536
"""Of all groups of one graph: each is placed, reported and told to everybody."""


class Input(msgspec.Struct, frozen=True):
    """Where requests enter: `method` ("GET", ... or "*"), `path` with `{parameters}`, and the fluxion they go to.
    `raw`: the fluxion gets the request as it came, and gives the answer as it is to go out."""

    name: Name
    method: str
    path: str
    to: str
    raw: bool = False


class Fluxion(msgspec.Struct, frozen=True):
    """`code` is `module:function`, `key` the dotted path of the key in the body ("" when it has none of its own:
    then it inherits the sender's), `bundle` the SHA-256 of the code. `retired`: no longer in the graph, still
    run for messages that were under way when the new version came in."""

    name: Name
    code: str
    group: str
    key: str = ""
    language: str = "python"
    bundle: str = ""
    streams: tuple[str, ...] = ()
    """Names of the fluxions it may send to, and `output`."""
    timeout_ms: Natural = 10_000
    retired: bool = False
    speculative: bool = False
    """It may be called before that is committed from which its message follows, and for what is void in the end."""


class Group(msgspec.Struct, frozen=True):
    """The fluxions that share a context (`stateful`), or one fluxion without any; the unit that is partitioned.
    `pinned`: why it stays on its node ("": it does not). What it remembers is in the process that runs it, and lost
    with it."""

    name: Name
    stateful: bool
    partitions: Annotated[int, msgspec.Meta(ge=1, le=PARTITIONS_MAX)]
    pinned: str = ""


class Graph(msgspec.Struct, frozen=True, dict=True):
    """One version of one service. `version` counts deployments from 1; `deadline_ms` is how long a client waits."""

    name: Name
    version: Natural
    bundle: str
    inputs: tuple[Input, ...]
    fluxions: tuple[Fluxion, ...]
    groups: tuple[Group, ...]
    deadline_ms: Natural = 30_000
    env: tuple[str, ...] = ()
    """Names of the variables of a worker's environment that the code is given."""

    def __post_init__(self) -> None:
        """Raises ValueError if the parts do not fit together; so a graph that was decoded can be relied on."""
        groups = {g.name for g in self.groups}
        fluxions = {f.name for f in self.fluxions}
        if lost := [f.name for f in self.fluxions if f.group not in groups]:
            raise ValueError(f"the fluxion {lost[0]!r} is in a group that the graph {self.name!r} has not")
        if lost := [i.name for i in self.inputs if i.to not in fluxions]:
            raise ValueError(f"the input {lost[0]!r} goes to a fluxion that the graph {self.name!r} has not")

    @cached_property
    def fluxion_by_name(self) -> dict[str, Fluxion]:
        return {f.name: f for f in self.fluxions}

    @cached_property
    def group_by_name(self) -> dict[str, Group]:
        return {g.name: g for g in self.groups}

    @cached_property
    def places(self) -> dict[str, tuple[str, ...]]:
        """Fluxion -> the partitions of its group, by index."""
        of = {g.name: tuple(f"{self.name}/{g.name}/{i}" for i in range(g.partitions)) for g in self.groups}
        return {f.name: of[f.group] for f in self.fluxions}

    @cached_property
    def speculates(self) -> bool:
        """Whether messages may go on before what they follow from is committed."""
        return any(f.speculative for f in self.fluxions)

    @property
    def bundles(self) -> set[str]:
        """Digests of all code that may have to run: this version's and that of retired fluxions."""
        return {f.bundle for f in self.fluxions}

    def language_of(self, bundle: str) -> str:
        """What the code of the bundle is written in: one language, as each bundle has a graph.yaml of its own."""
        return next(f.language for f in self.fluxions if f.bundle == bundle)

    def key_of(self, fluxion: str, own: str, inherited: str, root: bytes) -> str:
        """The key under which a message travels to a fluxion: its `own`, found by the fluxion's key path; "" for the
        one context of a group without key; else the `inherited` one; the id of its request where there is none."""
        target = self.fluxion_by_name[fluxion]
        if not target.key and self.group_by_name[target.group].stateful:
            return ""
        return own or inherited or root.hex()

    def excess(self) -> str:
        """What of it is more than anybody could run; "" if nothing is."""
        streams = len(self.inputs) + sum(len(f.streams) for f in self.fluxions)
        partitions = sum(g.partitions for g in self.groups)
        if streams > STREAMS_MAX:
            return f"the graph {self.name!r} has {streams:,} streams (limit {STREAMS_MAX:,})"
        if partitions > GRAPH_PARTITIONS_MAX:
            return f"the groups of {self.name!r} have {partitions:,} partitions (limit {GRAPH_PARTITIONS_MAX:,})"
        return ""

    def partition_names(self) -> list[str]:
        """All partitions of all groups, `graph/group/index`."""
        return [f"{self.name}/{g.name}/{i}" for g in self.groups for i in range(g.partitions)]

    def streams(self) -> list[str]:
        """The streams in the notation of the poster, `store >> localProcess`, in declaration order."""
        pairs = [(i.name, i.to) for i in self.inputs]
        pairs += [(f.name, to) for f in self.fluxions if not f.retired for to in f.streams]
        return [f"{a} >> {b}" for a, b in pairs]
