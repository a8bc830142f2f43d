"""Whether a graph can be deployed beside, or instead of, what is in force: pure functions that raise UserError.

Reading graph.yaml is not done here; what comes in was checked where it was written, and is not believed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

import msgspec

from liquefy.errors import UserError
from liquefy.graph import OUTPUT, PARTITIONS_MAX, Fluxion, Graph, Group, Input
from liquefy.wording import counted

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_PARAMETER = re.compile(r"\{[^}]*\}")
_REST = "...}"


def check(
    graph: Graph, bundle: bytes, old: Graph | None, in_force: Mapping[str, Graph], forget: bool = False
) -> None:
    """Raises UserError: not a graph that could run, one that would lose contexts of `old`, or one that wants
    requests that another graph gets. `forget`: contexts of groups that it has no more, or that fluxions leave, may stay
    behind."""
    _check_names(graph)
    digest = hashlib.sha256(bundle).hexdigest()
    if digest != graph.bundle:
        raise UserError(
            f"{graph.name}: the bundle has the digest {digest[:12]}, the graph wants {graph.bundle[:12]}\n"
            "  remedy: deploy again"
        )
    if old is not None:
        _check_contexts(graph, old)
        if not forget:
            _check_left_behind(graph, old)
    for other in in_force.values():
        if other.name != graph.name:
            _check_inputs(graph, other)


def merge(graph: Graph, old: Graph | None) -> Graph:
    """The graph with its version, each fluxion with its bundle, and with the fluxions of the old version that it has
    no more, retired."""
    fluxions = [msgspec.structs.replace(f, bundle=f.bundle or graph.bundle, retired=False) for f in graph.fluxions]
    groups = list(graph.groups)
    if old is not None:
        names, group_names = {f.name for f in fluxions}, {g.name for g in groups}
        retired = [msgspec.structs.replace(f, retired=True) for f in old.fluxions if f.name not in names]
        fluxions += retired
        needed = {f.group for f in retired} - group_names
        groups += [g for g in old.groups if g.name in needed]
    version = old.version + 1 if old is not None else 1
    return msgspec.structs.replace(graph, version=version, fluxions=tuple(fluxions), groups=tuple(groups))


def _check_names(graph: Graph) -> None:
    _check_each("graph", [graph.name])
    _check_each("fluxion", [f.name for f in graph.fluxions])
    _check_each("group", [g.name for g in graph.groups])
    known = {f.name for f in graph.fluxions}
    for fluxion in graph.fluxions:
        if fluxion.name == OUTPUT:
            raise UserError(f"{graph.name}: {OUTPUT!r} is reserved\n  remedy: name the fluxion otherwise")
        if fluxion.group not in graph.group_by_name:
            raise UserError(f"{graph.name}: {fluxion.name} is in a group {fluxion.group!r} that does not exist")
        for target in fluxion.streams:
            if target not in known and target != OUTPUT:
                raise UserError(f"{graph.name}: {fluxion.name} >> {target}: there is no fluxion {target!r}")
    for entry in graph.inputs:
        if entry.to not in known:
            raise UserError(f"{graph.name}: {entry.name} >> {entry.to}: there is no fluxion {entry.to!r}")
    for group in graph.groups:
        if not 1 <= group.partitions <= PARTITIONS_MAX:
            raise UserError(
                f"{graph.name}: group {group.name} has {counted(group.partitions, 'partition')}\n"
                f"  remedy: give 1 to {PARTITIONS_MAX}"
            )


def _check_each(kind: str, names: Iterable[str]) -> None:
    seen = set()
    for name in names:
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot be the name of a {kind}\n"
                "  remedy: letters, digits, _ and -, beginning with a letter; at most 64"
            )
        if name in seen:
            raise UserError(f"there are two {kind}s of the name {name!r}\n  remedy: rename one")
        seen.add(name)


def _check_contexts(graph: Graph, old: Graph) -> None:
    for group in graph.groups:
        before = old.group_by_name.get(group.name)
        if before is None or not before.stateful:
            continue
        if not group.stateful:
            change = "has no context any more"
        elif before.partitions != group.partitions:
            change = f"has {counted(group.partitions, 'partition')} instead of {before.partitions}"
        elif _keyed(graph.fluxions, group) != _keyed(old.fluxions, before):
            change = "has a key" if _keyed(graph.fluxions, group) else "has no key any more"
        else:
            continue
        raise UserError(
            f"{graph.name}: group {group.name} {change}; its contexts would not be found again\n"
            "  remedy: leave it as it is, or give it another name and deploy with --forget: it begins without contexts"
        )


def _check_left_behind(graph: Graph, old: Graph) -> None:
    """Contexts are found by the name of their group: under another one, each key begins anew, and nobody notices."""
    for fluxion in old.fluxions:
        if fluxion.retired or not old.group_by_name[fluxion.group].stateful:
            continue
        new = graph.fluxion_by_name.get(fluxion.name)
        if fluxion.group not in graph.group_by_name:
            what = f"group {fluxion.group}, which had contexts, is no more"
            what += f" ({fluxion.name} is in group {new.group} now)" if new is not None else ""
        elif new is not None and new.group != fluxion.group and graph.group_by_name[new.group].stateful:
            what = f"{fluxion.name} had the contexts of group {fluxion.group} and is in group {new.group} now"
        else:
            continue
        raise UserError(
            f"{graph.name}: {what}; version {old.version}'s contexts would not be found\n"
            f"  remedy: let it be in group {fluxion.group}; to begin without those contexts, `liquefy-ctl deploy "
            "--forget PATH` (of a local cluster that is not needed any more, `liquefy-ctl down --purge` first)"
        )


def _keyed(fluxions: Iterable[Fluxion], group: Group) -> bool:
    return any(f.key for f in fluxions if f.group == group.name and not f.retired)


def _check_inputs(graph: Graph, other: Graph) -> None:
    for mine in graph.inputs:
        for theirs in other.inputs:
            methods = mine.method == theirs.method or "*" in (mine.method, theirs.method)
            if methods and _PARAMETER.sub("{}", mine.path) == _PARAMETER.sub("{}", theirs.path):
                raise UserError(_conflict(graph, mine, other, theirs))


def _conflict(graph: Graph, mine: Input, other: Graph, theirs: Input) -> str:
    remedy = (
        f"`liquefy-ctl undeploy {other.name}`; what an earlier local cluster left behind goes with "
        "`liquefy-ctl down --purge`"
    )
    if _REST in mine.path or _REST in theirs.path:
        whole = graph if _REST in mine.path else other
        text = f"{graph.name} and {other.name} would answer the same requests: {whole.name} answers every path, as a "
        text += "compiled service does"
        return f"{text}\n  remedy: give one of them a cluster of its own, or {remedy}"
    text = f"{graph.name}: {mine.method} {mine.path} is what {other.name} answers ({theirs.method} {theirs.path})"
    return f"{text}\n  remedy: choose another path, or {remedy}"
