"""What happens to a worker (events), and what only a worker asks for (effects). Shapes only.

A number (`tag`, `read`) given with an effect comes back with its result.
"""

from __future__ import annotations

from typing import NamedTuple

from liquefy.commits import ContextAnswer, ContextQuery, PartitionCommit, PartitionState, Verdict
from liquefy.graph import Graph
from liquefy.hosting import FromHost, ToHost
from liquefy.messages import Control, Part, Posted, Session

# -- events -----------------------------------------------------------------------------------------------


class Up(NamedTuple):
    """A link to a broker can be spoken on, as this session. `link`: its number, as in `liquefy.links`."""

    session: Session
    link: int = 0


class Down(NamedTuple):
    """The link broke; another session will follow."""

    link: int = 0


class FromBroker(NamedTuple):
    message: Control
    link: int = 0


class FromPeer(NamedTuple):
    sender: Session
    message: Control
    link: int = 0


class Data(NamedTuple):
    """Messages: `parts[i]` are for `header[i].destination`."""

    sender: Session
    header: list[Part]
    parts: list[list[Posted]]
    link: int = 0


class HostStarted(NamedTuple):
    """The process of the host runs, and can be sent messages."""

    host: str


class HostFailed(NamedTuple):
    """The host could not be started: the bundle, or what it requires, cannot be had."""

    host: str
    error: str


class HostSaid(NamedTuple):
    host: str
    message: FromHost


class HostDied(NamedTuple):
    host: str
    reason: str


class ContextsRead(NamedTuple):
    read: int
    answers: list[ContextAnswer]


class PartitionsLoaded(NamedTuple):
    states: list[PartitionState]


class Committed(NamedTuple):
    tag: int
    verdicts: list[Verdict]


class Measured(NamedTuple):
    """CPU seconds since the start, of the worker and of its hosts, and resident bytes of all."""

    worker_cpu_s: float
    hosts_cpu_s: float
    rss_bytes: int


class StopAsked(NamedTuple):
    """`now`: without handing over first."""

    now: bool


class Tick(NamedTuple):
    pass


Event = (
    Up | Down | FromBroker | FromPeer | Data | HostStarted | HostFailed | HostSaid | HostDied
    | ContextsRead | PartitionsLoaded | Committed | Measured | StopAsked | Tick
)  # fmt: skip

# -- effects ----------------------------------------------------------------------------------------------


class StartHost(NamedTuple):
    """Fetch the bundle if it is not there, install what it requires, start the process for the language. `env`: names
    of variables of our environment that it is given. `home`: the graph in whose own folder it runs, which it may write
    to; "": in that of the bundle."""

    host: str
    bundle: str
    language: str = "python"
    env: tuple[str, ...] = ()
    home: str = ""


class StopHost(NamedTuple):
    """End the process; no HostDied is wanted for it."""

    host: str


class ForgetFiles(NamedTuple):
    """Delete what the pinned services of these graphs wrote."""

    graphs: tuple[str, ...]


class KillHost(NamedTuple):
    """End the process, which hangs; HostDied follows."""

    host: str


class TellHost(NamedTuple):
    host: str
    message: ToHost


class LoadGraph(NamedTuple):
    """Have the host import these fluxions of the graph from the folder of its bundle."""

    host: str
    graph: Graph
    only: tuple[str, ...]


class ReadContexts(NamedTuple):
    read: int
    queries: list[ContextQuery]


class LoadPartitions(NamedTuple):
    partitions: list[str]


class CommitBatch(NamedTuple):
    """To be tried until there are verdicts."""

    tag: int
    commits: list[PartitionCommit]


class Reconnect(NamedTuple):
    """Give the link's session up and make a new one."""

    link: int = 0


class Exit(NamedTuple):
    """The worker is done."""
