"""The gateway's sockets and clock: HTTP clients on one side, the broker and the store on the other. Turns
requests into events, performs the effects in order, and decides nothing that concerns the cluster.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import time
from collections import Counter
from typing import Any

import msgspec

from gateway import answers, bodies
from gateway.events import (
    Answer,
    Begin,
    BreakOff,
    Cancelled,
    DataFromPeer,
    Down,
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
    Stream,
    Tick,
    Up,
)
from gateway.http1 import CONNECTIONS_MAX, Exchange, Limits, Server
from gateway.pending import GatewayState
from gateway.routes import RESERVED, Match, NoMatch
from liquefy import log, messages, running, values
from liquefy.admission import Complaints
from liquefy.clock import SteadyClock
from liquefy.config import GatewayConfig
from liquefy.contexts import Contexts
from liquefy.decoding import decoded
from liquefy.effects import Count, Log, Relay, SendFrame, ToBroker
from liquefy.errors import BadFrame, LiquefyError, StoreUnavailable, UserError
from liquefy.keyring import Keyring, redis_url
from liquefy.transport import LinkSet

TICK_MS = 25
"""Precision of deadlines, beats and of what else takes time."""

STOP_GRACE_S = 5.0
"""How long requests under way are waited for when we are asked to stop."""

FILES_OF_OURS = 200
"""Files and connections that are not clients': of what we may have open, these stay free for ourselves."""

FULL_TOLD_MS = 10_000
"""How often it is logged, at most, that clients are cut off."""

IDEMPOTENCY = "root"
"""The graph's place in the names of records in the store: an answer knows its root, not its graph."""

_kept = msgspec.msgpack.Decoder(Kept)


class GatewayService:
    """Runs from `start` to `stop`, within one event loop."""

    def __init__(self, config: GatewayConfig, connections: int = CONNECTIONS_MAX) -> None:
        self._config = config
        self._time = SteadyClock(lambda: time.time() * 1000, lambda: time.monotonic() * 1000)
        self._now_ms = 0
        self._state = GatewayState(config, secrets.token_bytes(6))
        redis = redis_url(config.redis, config.keys, "gateway")
        self._contexts = Contexts(redis, durability=config.durability)
        keys = Keyring.given(config.keys, "gateway")
        on = (self._on_frames, self._on_up, self._on_down)
        self._links = LinkSet(config.broker_addresses, config.name, *on, keys, self._on_refused)
        limits = Limits(
            config.body_bytes_max,
            config.headers_bytes_max,
            config.header_timeout_ms / 1000,
            config.body_timeout_ms / 1000,
            config.keep_alive_ms / 1000,
            config.queued_bytes_max,
            connections,
        )
        self._server = Server(limits, self._on_request, self._on_gone, self._server_error, self._on_full)
        self._complaints = Complaints()
        self._exchanges: dict[int, Exchange] = {}
        self._next_ticket = 1
        self._flushing = False
        self._statuses: Counter[int] = Counter()
        self._counts: Counter[str] = Counter()
        self._full_told_ms = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._perform = {
            Answer: self._answer,
            Stream: self._stream,
            BreakOff: self._break_off,
            Refuse: self._refuse,
            SendFrame: self._send_frame,
            Relay: lambda e: self._links.send[e.link]((e.to, messages.encode(e.message))),
            ToBroker: lambda e: self._links.send[e.link]((messages.encode(e.message),)),
            Begin: lambda e: self._spawn(self._begin(e)),
            Look: lambda e: self._spawn(self._look(e)),
            Store: lambda e: self._spawn(self._store(e)),
            Log: self._log,
            Count: self._count,
            Reconnect: lambda e: self._links.reconnect(e.link),
        }

    async def start(self) -> str:
        """Listen and connect; returns the URL. Raises UserError when the address cannot be had."""
        host, port = self._config.http_host, self._config.http_port
        try:
            port = await self._server.start(host, port)
        except OSError as error:
            raise UserError(_listen_problem(host, port, error)) from None
        self._links.open()
        self._tick()
        return f"http://{'[' + host + ']' if ':' in host else host}:{port}"

    async def stop(self) -> None:
        """Take no more requests, answer those under way within STOP_GRACE_S, close."""
        await self._server.stop(STOP_GRACE_S)
        if self._ticker is not None:
            self._ticker.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._flush()
        self._links.close()
        await self._contexts.close()

    # -- the state ----------------------------------------------------------------------------------------

    def _step(self, event: Event) -> None:
        if not self._flushing:  # else the time is that of the first event of this turn
            self._flushing = True
            self._now_ms = self._time.now_ms()
            self._loop.call_soon(self._flush)
        for effect in self._state.step(event, self._now_ms):
            self._perform[type(effect)](effect)  # type: ignore[operator]

    def _flush(self) -> None:
        """Once per turn of the loop: all that was posted in it leaves in as few frames as can be."""
        for effect in self._state.step(Flush(), self._time.now_ms()):
            self._perform[type(effect)](effect)  # type: ignore[operator]
        self._flushing = False

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(TICK_MS / 1000, self._tick)
        self._step(Tick())

    # -- HTTP ---------------------------------------------------------------------------------------------

    def _on_request(self, exchange: Exchange) -> None:
        path, query = bodies.split_target(exchange.target)
        if path.startswith(RESERVED):
            self._respond(exchange, self._own(exchange.method, path))
            return
        found = self._state.router.match(exchange.method, path)
        if isinstance(found, NoMatch):
            self._respond(exchange, _no_match(exchange.method, path, found, self._config.retry_after_s))
            return
        headers = exchange.headers
        exchange.raw = found.entry.raw
        if exchange.raw and "upgrade" in headers and "upgrade" in headers.get("connection", "").lower():
            text = f"connections are not upgraded here (to {headers['upgrade'][:80]}): requests and answers only"
            self._respond(exchange, answers.error(501, text))
            return
        try:
            request, packed = _read(exchange, found, path, query)
        except ValueError as error:
            status = 415 if isinstance(error, bodies.Unsupported) else 400
            self._respond(exchange, answers.error(status, str(error)))
            return
        exchange.ticket = ticket = self._next_ticket
        self._next_ticket += 1
        self._exchanges[ticket] = exchange
        self._step(Requested(ticket, found.entry, request, packed, headers.get("idempotency-key")))

    def _on_gone(self, exchange: Exchange) -> None:
        if self._exchanges.pop(exchange.ticket, None) is not None:
            self._step(Cancelled(exchange.ticket))

    def _server_error(self, status: int, text: str) -> tuple[list[tuple[str, str]], bytes]:
        self._statuses[status] += 1
        _, headers, body = answers.error(status, text)
        return headers, body

    def _on_full(self, client: str) -> None:
        self._counts["clients_cut_off"] += 1
        now_ms = self._time.now_ms()
        if now_ms - self._full_told_ms >= FULL_TOLD_MS:
            self._full_told_ms = now_ms
            text = f"{client} is cut off: it did not read its answers, and {self._server.held} bytes are held already"
            self._log(Log("warning", text, "full"))

    def _respond(self, exchange: Exchange, rendered: answers.Rendered) -> None:
        self._statuses[rendered[0]] += 1
        exchange.respond(*rendered)

    def _answer(self, effect: Answer) -> None:
        exchange = self._exchanges.pop(effect.ticket, None)
        if exchange is None:
            return
        try:
            body = values.unpack(effect.body)
            if exchange.raw:
                rendered = answers.as_it_is(effect.status, effect.headers, body, exchange.method == "HEAD")
            else:
                rendered = answers.render(effect.status, effect.headers, body)
        except (ValueError, BadFrame) as error:
            self._log(Log("error", f"{exchange.method} {exchange.target[:200]}: {error}", "answer"))
            rendered = answers.error(500, str(error))
        if effect.replayed:
            rendered[1].append(("idempotency-replayed", "true"))
        self._respond(exchange, rendered)

    def _stream(self, effect: Stream) -> None:
        exchange = self._exchanges.get(effect.ticket)
        if exchange is None:
            return
        if effect.last:
            del self._exchanges[effect.ticket]
        try:
            body = values.unpack(effect.body)
            status, headers, data = answers.as_it_is(effect.status, effect.headers, body, True)
        except (ValueError, BadFrame) as error:
            self._log(Log("error", f"{exchange.method} {exchange.target[:200]}: {error}", "answer"))
            exchange.break_off()
            return
        if effect.first:
            self._statuses[status] += 1
            exchange.stream(status, headers)
        exchange.write(data, effect.last)

    def _break_off(self, effect: BreakOff) -> None:
        exchange = self._exchanges.pop(effect.ticket, None)
        if exchange is not None:
            text = f"{exchange.method} {exchange.target[:200]}: the answer is broken off: {effect.reason}"
            self._log(Log("warning", text, "answer"))
            exchange.break_off()

    def _refuse(self, effect: Refuse) -> None:
        exchange = self._exchanges.pop(effect.ticket, None)
        if exchange is not None:
            self._respond(exchange, answers.error(effect.status, effect.text, effect.headers))

    def _own(self, method: str, path: str) -> answers.Rendered:
        if method not in ("GET", "HEAD"):
            return answers.error(405, f"{method} is not allowed for {path}", (("allow", "GET, HEAD"),))
        if path == "/-/health":
            ready = self._state.ready
            body = {"ready": ready, "broker": self._state.welcomed, "routes": self._state.router.size}
            return answers.render(200 if ready else 503, (), body)
        if path == "/-/metrics":
            return answers.render(200, (), self._metrics())
        return answers.error(404, f"no page {path[:200]}; there are /-/health and /-/metrics")

    def _metrics(self) -> str:
        """The text form that Prometheus reads."""
        statuses = sorted(self._statuses.items())
        lines = [f'liquefy_gateway_answers_total{{status="{status}"}} {n}' for status, n in statuses]
        lines += [f"liquefy_gateway_{name}_total {n}" for name, n in sorted(self._counts.items())]
        lines += [f"liquefy_gateway_{name} {n}" for name, n in self._state.figures().items()]
        lines.append(f"liquefy_gateway_held_bytes {self._server.held}")
        lines.append(f"liquefy_gateway_connections {len(self._server.connections)}")
        return "\n".join(lines) + "\n"

    # -- the broker ---------------------------------------------------------------------------------------

    def _on_up(self, session: bytes, link: int = 0) -> None:
        self._step(Up(session, link))

    def _on_refused(self, reason: str) -> None:
        self._log(Log("warning", f"not connected to the broker: {reason}", "refused_peer"))

    def _on_down(self, link: int = 0) -> None:
        self._step(Down(link))

    def _on_frames(self, frames: list[bytes], link: int = 0) -> None:
        try:
            if len(frames) == 3:
                event: Event = DataFromPeer(frames[0], *messages.decode_data(frames[1], frames[2]), link)
            elif len(frames) == 2:
                event = FromPeer(frames[0], messages.decode_control(frames[1]), link)
            else:
                event = FromBroker(messages.decode_control(frames[0]), link)
        except BadFrame as error:
            if len(frames) in (2, 3):
                for effect in self._complaints.about(frames[0], str(error), link):
                    self._perform[type(effect)](effect)  # type: ignore[operator]
                return
            broker = self._config.broker_named(link)
            self._log(Log("error", f"{broker} sent what is no message of ours: {error}", "protocol"))
            self._links.reconnect(link)
            return
        self._step(event)

    def _send_frame(self, effect: SendFrame) -> None:
        self._links.send[effect.link]((b"", messages.encode(effect.header), messages.encode(effect.parts)))

    def _log(self, effect: Log) -> None:
        log.emit(effect)
        line = log.told(effect, self._config.name)
        if line is not None and (controller := self._state.links.controller()) is not None:
            self._links.send[controller[1]]((controller[0], messages.encode(line)))

    def _count(self, effect: Count) -> None:
        self._counts[effect.name] += effect.by

    # -- the store ----------------------------------------------------------------------------------------

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self, effect: Begin) -> None:
        try:
            data = messages.encode(effect.kept)
            ttl_s = self._config.idempotency_retention_s
            found = await self._contexts.idem_begin(IDEMPOTENCY, effect.root.hex(), data, ttl_s)
            event: Event = Looked(effect.root, _decode_kept(found), True)
        except LiquefyError:
            event = StoreFailed(effect.root, True)
        self._step(event)

    async def _look(self, effect: Look) -> None:
        try:
            found = await self._contexts.idem_get(IDEMPOTENCY, effect.root.hex())
            event: Event = Looked(effect.root, _decode_kept(found), False)
        except LiquefyError:
            event = StoreFailed(effect.root, False)
        self._step(event)

    async def _store(self, effect: Store) -> None:
        try:
            data = messages.encode(effect.kept)
            ttl_s = self._config.idempotency_retention_s
            await self._contexts.idem_end(IDEMPOTENCY, effect.root.hex(), data, ttl_s)
            event: Event = Stored(effect.root)
        except LiquefyError:
            event = StoreFailed(effect.root, False)
        self._step(event)


async def serve(config: GatewayConfig, stop: asyncio.Event) -> None:
    """The whole life of a gateway: returns after `stop` is set and what was under way is answered."""
    files = running.files_allowed()
    connections = max(1, min(CONNECTIONS_MAX, files - FILES_OF_OURS))
    if connections < CONNECTIONS_MAX:
        text = f"may have {files} files open: takes {connections} connections, not {CONNECTIONS_MAX} (ulimit -Hn)"
        log.emit(Log("warning", text, "files"))
    service = GatewayService(config, connections)
    try:
        url = await service.start()
        log.emit(Log("info", f"HTTP at {url}", "listening", {"url": url}))
        await stop.wait()
    finally:
        await service.stop()


def _decode_kept(data: bytes | None) -> Kept | None:
    try:
        return None if data is None else decoded(_kept, data)
    except BadFrame:
        raise StoreUnavailable("a record in the store is not one of ours") from None


def _read(exchange: Exchange, found: Match, path: str, query: str) -> tuple[dict[str, Any], bytes]:
    """The request as values, and as its fluxion gets it, packed: with headers and body, of which the exchange lets go.
    Raises ValueError."""
    request = _request(exchange, found, path, query)
    packed = values.pack(_as_it_came(exchange, request) if found.entry.raw else request, "the request")
    exchange.let_go()
    return request, packed


def _request(exchange: Exchange, found: Match, path: str, query: str) -> dict[str, Any]:
    """The request as values. Raises ValueError on what cannot be read; behind a raw input that is the application's
    to judge, and only what may hold the key is read."""
    headers = exchange.headers
    request: dict[str, Any] = {
        "method": exchange.method,
        "path": bodies.decoded_path(path),
        "params": found.params,
        "query": {},
        "headers": headers,
        "body": exchange.body,
    }
    raw = found.entry.raw
    try:
        if query:
            request["query"] = bodies.parse_query(query)
        if not raw or found.entry.key[:1] == ("body",):
            request["body"] = bodies.parse_body(headers.get("content-type", ""), exchange.body)
    except ValueError:
        if not raw:
            raise
    return request


def _as_it_came(exchange: Exchange, request: dict[str, Any]) -> dict[str, Any]:
    """What the fluxion behind a raw input gets."""
    raw = {"target": exchange.target, "headers": exchange.pairs, "body": exchange.body}
    return {**request, **raw, "client": exchange.client, "scheme": "http"}


def _no_match(method: str, path: str, found: NoMatch, retry_after_s: int) -> answers.Rendered:
    if method == "OPTIONS" and path == "*":
        return 204, [], b""
    if found.status == 503:
        return answers.error(503, found.text, (("retry-after", str(retry_after_s)),))
    if found.status != 405:
        return answers.error(found.status, found.text)
    allow = ("allow", ", ".join(found.allow))
    return (204, [allow], b"") if method == "OPTIONS" else answers.error(405, found.text, (allow,))


def _listen_problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        remedy = "end the process that listens there, or choose another port (--http-port, LIQUEFY_HTTP_PORT)"
    elif error.errno == errno.EACCES:
        remedy = "ports below 1024 are for root: choose another (--http-port, LIQUEFY_HTTP_PORT)"
    else:
        remedy = "give an address of this machine, or 0.0.0.0 for all (--http-host, LIQUEFY_HTTP_HOST)"
    return f"{host}:{port}: cannot listen for HTTP here: {error.strerror}\n  remedy: {remedy}"
