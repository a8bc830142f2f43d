"""How what the controller says looks: tables for people, JSON for programs.

The shapes are those of `liquefy.control`; JSON prints them as they are. Each `*_table` takes one shape and
returns something that rich can print. Knows no command and asks nobody."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Callable, Iterable
from typing import IO, Any

import msgspec
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.status import Status
from rich.table import Table
from rich.text import Text

from liquefy.log import SOURCE_COLUMNS
from liquefy.wording import counted

WIDTH_PIPED = 200
"""Columns where the output is no terminal: nobody wraps there, and cut cells help nobody."""

QUIET_S = 1.0
"""What takes longer shows that it is being worked on."""

STATE_STYLES = {"up": "green", "hung": "yellow", "gone": "red", "cordoned": "cyan", "drained": "cyan"}
LEVEL_STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "bold red", "critical": "bold red"}


def console(stream: IO[str] | None = None) -> Console:
    """A console on `stream` (default: standard output)."""
    stream = stream or sys.stdout
    return Console(file=stream, width=None if stream.isatty() else WIDTH_PIPED, highlight=False, soft_wrap=False)


def to_json(value: Any) -> str:
    """One line of JSON. Bytes become text where they are UTF-8, else base64."""
    return msgspec.json.encode(_printable(value)).decode()


def _printable(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(_printable(k)): _printable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(v) for v in value]
    return value


def show(value: Any, as_json: bool, table: Callable[[Any], RenderableType]) -> None:
    """Print one result on standard output."""
    if as_json:
        sys.stdout.write(to_json(value) + "\n")
        sys.stdout.flush()
    else:
        console().print(table(value))


class Progress:
    """A line on standard error that says what is being waited for, once it takes longer than QUIET_S: a
    spinner on a terminal, plain lines elsewhere. Call it with each line of progress, and with "" to show that
    we wait."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._console = console(sys.stderr)
        self._began_s = time.monotonic()
        self._status: Status | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, line: str) -> None:
        if line:
            self.what = line
        if not self._console.is_terminal:
            if line:
                self._console.print(Text(line))
            return
        if not line and time.monotonic() - self._began_s < QUIET_S:
            return
        if self._status is None:
            self._status = self._console.status(escape(self.what))
            self._status.start()
        self._status.update(escape(self.what))


# -- numbers ----------------------------------------------------------------------------------------------


def bytes_text(size: float) -> str:
    """512 B, 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration_text(seconds: float) -> str:
    """12 s, 3 min, 2 h 05 min, 4 d."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d"


def age_text(since_s: float) -> str:
    """How long ago a Unix time was; "-" for 0."""
    return duration_text(time.time() - since_s) if since_s else "-"


def clock_text(time_s: float) -> str:
    """The local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(time_s)) + f".{int(time_s % 1 * 1000):03d}"


def moment_text(time_s: float) -> str:
    """Local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))


def percent(fraction: float) -> Text:
    """Coloured by how near to full it is."""
    return Text(f"{fraction:.0%}", style="red" if fraction >= 0.9 else "yellow" if fraction >= 0.7 else "")


# -- tables -----------------------------------------------------------------------------------------------


def table(*columns: str, title: str | None = None) -> Table:
    """A plain table. A column whose name begins with `>` is aligned to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        right = column.startswith(">")
        made.add_column(column.lstrip(">"), justify="right" if right else "left", header_style="dim", overflow="fold")
    return made


def text(value: Any) -> Text:
    """What others wrote, as it is: without rich's markup, and without control characters, which could drive
    the terminal."""
    return Text("".join(c if c.isprintable() or c in "\n\t" else "�" for c in str(value)))


def nodes_table(nodes: list[dict[str, Any]]) -> RenderableType:
    """[NodeStatus]"""
    if not nodes:
        return Text("no nodes yet: they appear as soon as a worker says hello", style="yellow")
    several = any(len(n.get("brokers", ())) > 1 for n in nodes)
    made = table(
        "NODE",
        "STATE",
        ">PARTITIONS",
        ">LOAD",
        ">UTIL",
        ">MSG/S",
        ">QUEUED",
        ">MEMORY",
        ">HOSTS",
        ">FOR",
        *([">BROKERS"] if several else []),
    )
    for n in sorted(nodes, key=lambda n: n["name"]):
        made.add_row(
            text(n["name"]),
            Text(n["state"], style=STATE_STYLES.get(n["state"], "")),
            f"{n['partitions']:,}",
            f"{n['load']:.2f}/{n['capacity']:g}",
            percent(n["utilisation"]),
            f"{n['rate']:,.0f}",
            f"{n['queued']:,}",
            bytes_text(n["rss"]),
            str(n["hosts"]),
            age_text(n["since_s"]),
            *([str(len(n["brokers"]))] if several else []),
        )
    return made


def _brokers(status: dict[str, Any], ok: Text, away: Text) -> list[str | Text]:
    """Of one it is enough to say that it is there; of several each is named."""
    brokers = status.get("brokers", ())
    if len(brokers) < 2:
        return ["   broker ", ok if status["broker_ok"] else away]
    return [part for b in brokers for part in (f"   broker {b['address']} ", ok if b["ok"] else away)]


def status_table(status: dict[str, Any], where: str = "") -> RenderableType:
    """Status. `where`: which controller said so."""
    ok, away = Text("ok", style="green"), Text("away", style="bold red")
    head = Text.assemble(
        "redis ", ok if status["redis_ok"] else away,
        *_brokers(status, ok, away),
        f"   {status.get('leader', 'controller')} leads for {duration_text(status['uptime_s'])}",
        f"   {counted(_number(status['migrations']), 'migration')}",
        f"   {counted(_number(status['failovers']), 'failover')}",
        f"   {counted(_number(status['moves']), 'move')} under way",
    )  # fmt: skip
    dead = _number(status["dead"])
    if dead:
        head.append(f"   {counted(dead, 'dead letter')} (liquefy-ctl dead list)", style="yellow")
    parts: list[RenderableType] = [head]
    if where:
        parts.append(Text(where))
    if status["http"]:
        parts.append(Text("http " + "  ".join(status["http"])))
    if status["frozen"]:
        parts.append(Text(f"frozen: no automatic moves: {status['frozen']}", style="cyan"))
    graphs = table("GRAPH", ">VERSION", ">FLUXIONS", ">PARTITIONS", "PLACED")
    for g in status["graphs"]:
        placed = Text("all", style="green") if not g["unplaced"] else Text(f"{g['unplaced']} not", style="red")
        graphs.add_row(
            text(g["name"]),
            str(g["version"]),
            str(_number(g["fluxions"])),
            f"{_number(g['partitions']):,}",
            placed,
        )
    parts += [
        Text(),
        graphs if status["graphs"] else Text("no graph: liquefy-ctl deploy path/to/graph.yaml", style="yellow"),
    ]
    return Group(*parts, Text(), nodes_table(status["nodes"]))


def _number(value: Any) -> int:
    """Counts come as counts, or as the lists of what is counted."""
    return len(value) if isinstance(value, list | tuple | dict) else int(value)


def graph_text(graph: dict[str, Any]) -> RenderableType:
    """GraphStatus"""
    where = {g["name"].rsplit("/", 1)[-1]: g for g in graph["groups"]}
    head = Text.assemble(
        (graph["name"], "bold"),
        f" version {graph['version']}, clients wait at most {duration_text(graph['deadline_ms'] / 1000)}",
    )
    entries = [
        Text(f"  {i['method']} {i['path']}  enters at {i['to']}" + ("" if i["name"] == "input" else f" ({i['name']})"))
        for i in graph["inputs"]
    ]
    streams = table("STREAM", "NODES OF ITS END")
    group_of = {f["name"]: f["group"] for f in graph["fluxions"]}
    for stream in graph["streams"]:
        source, _, target = stream.partition(" >> ")
        at = where.get(group_of.get(target, ""))
        streams.add_row(
            Text.assemble(text(source), (" >> ", "dim"), text(target)),
            Text("the waiting gateway", style="dim") if at is None else Text(nodes_text(at["nodes"])),
        )
    groups = table("GROUP", "FLUXIONS", "CONTEXT", ">PARTITIONS", "NODES", ">MSG/S", ">LOAD")
    for name, g in where.items():
        members = ", ".join(f["name"] for f in graph["fluxions"] if f["group"] == name)
        kept = "pinned" if g["pinned"] else "kept" if g["stateful"] else "none"
        groups.add_row(
            text(name),
            text(members),
            kept,
            str(g["partitions"]),
            nodes_text(g["nodes"]),
            f"{g['rate']:,.0f}",
            f"{g['load']:.2f}",
        )
    return Group(head, *entries, Text(), streams, Text(), groups)


def nodes_text(nodes: dict[str, int]) -> str:
    """node1 (11), node2 (11), node3 (10)"""
    return ", ".join(f"{node or 'nowhere'} ({count})" for node, count in sorted(nodes.items())) or "nowhere yet"


def moves_table(moves: list[dict[str, Any]]) -> RenderableType:
    """The moves of a migration: [{partition, from, to, epoch, pause_ms, held, error}]"""
    made = table("PARTITION", "FROM", "TO", ">EPOCH", ">PAUSE MS", ">HELD", "")
    for m in moves:
        pause = "-" if m.get("pause_ms") is None else f"{m['pause_ms']:.1f}"
        failed = Text(m.get("error") or "", style="red")
        made.add_row(
            text(m["partition"]),
            text(m["from"]),
            text(m["to"]),
            str(m.get("epoch", "")),
            pause,
            f"{m.get('held', 0):,}",
            failed,
        )
    return made


def migration_text(result: dict[str, Any], what: str, node: str) -> Text:
    """moved 32 partitions of visits/store to node3 in 0.4 s; pause of the 9 partitions that were waited for: p50 ..."""
    moved, failed = _number(result["moved"]), _number(result["failed"])
    if not moved and not failed:
        return Text(f"nothing to move: all of {what} is on {node}")
    if moved == 1 and not failed:
        only = result["moves"][0]
        held = f"pause {only['pause_ms']:.1f} ms, {counted(only['held'], 'message')} held"
        return Text(f"moved {only['partition']} to {node}: {held}")
    line = f"moved {counted(moved, 'partition')} of {what} to {node} in {result['seconds']:.1f} s"
    paused = _number(result["paused"])
    if paused:
        whose = f"{counted(paused, 'partition')} that {'was' if paused == 1 else 'were'} waited for"
        figures = ", ".join(f"{name} {result['pause_ms'][name]:.1f} ms" for name in ("p50", "p99", "max"))
        line += f"; pause of the {whose}: {figures}; {counted(result['held'], 'message')} held"
    elif moved:
        line += "; nobody waited for one of them"
    made = Text(line)
    if failed:
        errors = sorted({m["error"] for m in result["moves"] if m.get("error")})
        made.append(f"\n{counted(failed, 'partition')} not moved: {'; '.join(errors)}", style="red")
    return made


def plan_table(result: dict[str, Any]) -> RenderableType:
    """The plan of a rebalance: {moves: [{partition, from, to, reason, gain, saved}], balanced, expected}"""
    if not result["moves"]:
        return Text("balanced: no move would pay for itself" if result["balanced"] else "no move is possible now")
    made = table("PARTITION", "FROM", "TO", "REASON", ">GAIN", ">SAVES MSG/S")
    for m in result["moves"]:
        made.add_row(
            text(m["partition"]),
            text(m["from"]),
            text(m["to"]),
            text(m.get("reason", "")),
            f"{m['gain']:.3f}" if m.get("gain") else "",
            f"{m['saved']:,.0f}" if m.get("saved") else "",
        )
    return Group(made, Text(f"expected: {result['expected']}")) if result.get("expected") else made


def explain_text(result: dict[str, Any], each: bool = False) -> RenderableType:
    """{stays, partitions: [{partition, node, epoch, since_s, reason, load, share, pinned, history}]}. Few are told with
    their history; of many those that are somewhere for the same reason share a line, unless `each` is wanted."""
    rows = result["partitions"]
    if len(rows) > EXPLAIN_WHOLE_MAX:
        return _explain_each(rows) if each else _explain_alike(rows)
    parts: list[RenderableType] = []
    if result.get("stays") and rows:
        group = rows[0]["partition"].rpartition("/")[0]
        kept = f" is pinned: what it remembers is in one process, lost when that ends: {result['stays']}"
        parts.append(Text.assemble((group, "bold"), text(kept)))
    for p in rows:
        pinned = ", pinned" if p["pinned"] else ""
        parts.append(
            Text.assemble(
                (p["partition"], "bold"),
                f" is on {p['node'] or 'no node'} for {age_text(p['since_s'])} (epoch {p['epoch']}{pinned})",
            )
        )
        parts.append(Text.assemble("  why: ", text(p["reason"])))
        parts.append(Text(f"  load {p['load']:.3f}, {p['share']:.1%} of its node's"))
        parts += [Text.assemble((f"  {moment_text(h['time_s'])}  ", "dim"), text(h["text"])) for h in p["history"]]
    return Group(*parts) if parts else Text("no partitions")


EXPLAIN_WHOLE_MAX = 4
"""So many partitions are explained with their history; more are a table."""


def _explain_each(rows: list[dict[str, Any]]) -> RenderableType:
    made = table("PARTITION", "NODE", ">EPOCH", "FOR", ">LOAD", ">SHARE", "PINNED", "WHY THERE")
    for p in rows:
        made.add_row(
            text(p["partition"]),
            text(p["node"]),
            str(p["epoch"]),
            age_text(p["since_s"]),
            f"{p['load']:.3f}",
            f"{p['share']:.1%}",
            "yes" if p["pinned"] else "",
            text(p["reason"]),
        )
    return made


def _explain_alike(rows: list[dict[str, Any]]) -> RenderableType:
    made = table("NODE", ">PARTITIONS", "WHICH", "FOR", ">LOAD", ">SHARE", "WHY THERE")
    alike: dict[tuple[str, str, bool], list[dict[str, Any]]] = {}
    for p in rows:
        alike.setdefault((p["node"], p["reason"], bool(p["pinned"])), []).append(p)
    for (node, reason, pinned), members in sorted(alike.items()):
        made.add_row(
            text(node or "no node"),
            str(len(members)),
            ranges_text(int(p["partition"].rpartition("/")[2]) for p in members),
            age_text(min(p["since_s"] for p in members)),
            f"{sum(p['load'] for p in members):.3f}",
            f"{sum(p['share'] for p in members):.1%}",
            text(f"pinned; {reason}" if pinned else reason),
        )
    group, hottest = rows[0]["partition"].rpartition("/")[0], max(rows, key=lambda p: p["load"])
    parts: list[RenderableType] = [Text(group, style="bold"), made]
    if hottest["load"] > 0:
        parts.append(
            Text.assemble(
                "the most loaded is ",
                text(hottest["partition"].rpartition("/")[2]),
                f": {hottest['load']:.3f} cores, {hottest['share']:.1%} of its node's load; --each shows every one",
                style="dim",
            )
        )
    return Group(*parts)


def ranges_text(numbers: Iterable[int]) -> str:
    """0-3, 7, 9-10"""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


ONE_CONTEXT = "(the one of the group)"
"""Shown for the key "", which no key is: of a group that has one context for all."""


def context_text(result: dict[str, Any]) -> RenderableType:
    """{partition, node, key, fields}"""
    made = table("FIELD", "VALUE")
    for name, value in sorted(result["fields"].items()):
        made.add_row(text(name), text(to_json(value)))
    where = f" in {result['partition']} on {result['node'] or 'no node'}"
    head = Text.assemble((str(result["key"] or ONE_CONTEXT), "bold"), where)
    return Group(head, made if result["fields"] else Text("no context", style="yellow"))


def keys_table(result: dict[str, Any]) -> RenderableType:
    """{keys: [{key, partition}], total}"""
    made = table("KEY", "PARTITION")
    for k in result["keys"]:
        made.add_row(text(k["key"] or ONE_CONTEXT), text(k["partition"]))
    more = result["total"] - len(result["keys"])
    return Group(
        made,
        Text(
            f"and {more:,} more (--limit)" if more > 0 else counted(result["total"], "context"),
            style="dim",
        ),
    )


def letters_table(letters: list[dict[str, Any]]) -> RenderableType:
    """[{id, graph, fluxion, key, error, time_s, attempts}]"""
    if not letters:
        return Text("no dead letters", style="green")
    made = table("ID", "WHEN", "FLUXION", "KEY", ">TRIES", "ERROR")
    for d in letters:
        error = str(d["error"]).strip().splitlines()
        made.add_row(
            text(d["id"]),
            moment_text(d["time_s"]),
            text(f"{d['graph']}/{d['fluxion']}"),
            text(d["key"]),
            str(d["attempts"]),
            text(error[-1] if error else ""),
        )
    return made


def letter_text(letter: dict[str, Any]) -> RenderableType:
    """A dead letter, with body and traceback; whatever else it has is shown too."""
    made = table("", "")
    for name, value in letter.items():
        if name not in ("traceback", "body"):
            made.add_row(Text(name, style="dim"), text(moment_text(value) if name == "time_s" else value))
    parts: list[RenderableType] = [made, Text("body", style="dim"), text(_pretty(letter.get("body")))]
    if letter.get("traceback"):
        parts += [Text("traceback", style="dim"), text(letter["traceback"])]
    return Group(*parts)


def _pretty(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.format(to_json(value), indent=2)


def event_line(event: dict[str, Any]) -> Text:
    """{time_s, event, text, fields}"""
    return Text.assemble(
        (clock_text(event["time_s"]), "dim"),
        "  ",
        (f"{event['event'] or '-':<12}", "cyan"),
        "  ",
        text(event["text"]),
    )


# No yellow and no red: those are for warnings and errors.
SOURCE_STYLES = (
    "cyan",
    "magenta",
    "green",
    "blue",
    "bright_cyan",
    "bright_magenta",
    "bright_green",
)


def log_line(line: dict[str, Any]) -> Text:
    """{time_s, level, source, text}"""
    return log_text(clock_text(line["time_s"]), str(line["source"]), line["level"], line["text"])


def log_text(clock: str, source: str, level: str, said: str) -> Text:
    """One line of the log: the source in a colour that is the same each time, the level as a colour and, where it is
    not plain information, as a word."""
    colour = SOURCE_STYLES[sum(source.encode()) % len(SOURCE_STYLES)]
    made = Text.assemble((clock, "dim"), "  ", (f"{text(source).plain:<{SOURCE_COLUMNS}}", colour), "  ")
    body = text(said if level in ("info", "") else f"{level}: {said}")
    body.stylize(LEVEL_STYLES.get(level, ""))
    return made.append_text(body)
