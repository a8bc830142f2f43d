"""What `liquefy-ctl` asks of the controller: the commands, their arguments and the shapes of what comes back.
These shapes are what `--json` prints; they are stable. MessagePack maps; times are Unix seconds, sizes bytes.

    deploy      {graph: Graph (builtins; version 0), bundle: bytes, dry_run: bool, if_changed: bool,
                 forget: bool}
                                                 -> {graph, version, partitions, nodes: [..]}
                progress lines while nodes prepare; error if one of them refuses (the old version runs on);
                `dry_run`: with `compared: true`; where no controller is reached liquefy-ctl itself answers
                {graph, version: null, partitions, nodes: [], compared: false, unreachable: text}
                `if_changed`: what runs just like this stays the version that it is; `forget`: contexts of groups that
                are no more, or that fluxions leave, may stay behind; without it such a version is refused
    undeploy    {graph, purge: bool}             -> {graph, partitions, contexts_kept: bool}
    status      {}                               -> Status
    nodes       {}                               -> [NodeStatus]
    graph       {graph}                          -> GraphStatus
    migrate     {what: "group"|"graph/group"|".../index", node}
                                                 -> {moved, failed, paused, pause_ms: {p50, p99, max}, held, seconds,
                                                     moves: [{partition, from, to, epoch, pause_ms, held, error}]}
                `paused`: how many of those moved were waited for by a message; the percentiles are theirs alone
    rebalance   {dry_run}                        -> {moves: [{partition, from, to, reason, gain, saved}],
                                                     balanced: bool, expected: text, result as migrate}
                `gain`: utilisation by which the higher of the two nodes falls; `saved`: messages a second that no
                longer go from node to node; `expected`: what all the moves should bring; one round at a time
    freeze      {reason} / unfreeze {}           -> {frozen: reason or ""}
    drain       {node}                           -> {node, moved, left, stay: [{partition, pinned}]}
                cordons it, moves all away, waits; `stay`: some of what is left, `pinned`: why it has to stay, or ""
    cordon      {node} / uncordon {node}         -> {node, cordoned}
    pin         {what, node} / unpin {what}      -> {what, node}             (pins move there, and stay)
    explain     {what}                           -> {stays, partitions: [{partition, node, epoch, since_s, reason, load,
                                                     share, pinned, history: [{time_s, text}]}]}
                `stays`: why the group cannot be moved (its `pinned` in graph.yaml), "" if it can; `pinned`: the node
                that `pin` names
    context     {action: "get", what: "graph/group", key} -> {partition, node, key, fields: {name: value}}
                (`key` is "" for the one context of a group without keys, here and in the list)
                {action: "list", what, limit}    -> {keys: [{key, partition}], total}
    dead        {action: "list", graph}          -> [{id, graph, fluxion, key, error, time_s, attempts}]
                {action: "show"|"replay"|"drop", id}     -> the letter, with body and traceback | {id, done}
    events      {follow, last, detail: bool}     -> items {time_s, level, event, text, fields}
                (without `detail` those of the level "debug" are left out: one for each partition that moves)
    logs        {follow, last, source}           -> items {time_s, level, source, text}

    Status       {graphs: [{name, version, fluxions, partitions, unplaced}], nodes: [NodeStatus], frozen, moves,
                  redis_ok, broker_ok, brokers: [{address, ok}], http: [url], leader: the controller that answers,
                  uptime_s (since it leads), migrations, failovers, dead}
                  `ok`: that controller is connected to it; `broker_ok`: to one at least
    NodeStatus   {name, state: "up"|"hung"|"gone"|"cordoned"|"drained", partitions, load, capacity, utilisation,
                  rate, queued, rss, hosts, since_s, brokers: [address of those by which it is reached]}
    GraphStatus  {name, version, deadline_ms, inputs: [{name, method, path, to}],
                  fluxions: [{name, code, group, key, streams}],
                  groups: [{name, stateful, pinned, partitions, nodes: {node: count}, rate, load}], streams: ["a >> b"]}

`load` is CPU seconds per second, `utilisation` load / capacity, `rate` messages per second, all smoothed.
A `what` without a graph is completed when only one deployed graph has such a group or fluxion; else UserError says
which there are. A fluxion's name stands for its group.
"""

from __future__ import annotations

from typing import Any

import msgspec

from liquefy.decoding import Whole, decoded


class Request(msgspec.Struct, frozen=True):
    """`id` is chosen by the asker and returned on each reply."""

    id: Whole
    command: str
    arguments: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of: `progress` (a line for people), `item` (of a stream), `result` with `end`, `error` with `end`. With
    `elsewhere` nothing was done: another controller leads, or soon will, and is asked there."""

    id: Whole
    progress: str = ""
    item: Any = None
    result: Any = None
    error: str = ""
    end: bool = False
    elsewhere: str = ""


_encoder = msgspec.msgpack.Encoder()
_request = msgspec.msgpack.Decoder(Request)
_reply = msgspec.msgpack.Decoder(Reply)


def encode(value: Request | Reply) -> bytes:
    """As MessagePack."""
    return _encoder.encode(value)


def decode_request(data: bytes) -> Request:
    """Raises BadFrame."""
    return decoded(_request, data)


def decode_reply(data: bytes) -> Reply:
    """Raises BadFrame."""
    return decoded(_reply, data)
