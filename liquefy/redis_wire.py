"""Connections to Redis, and scripts: what `liquefy.contexts` speaks through, and nobody else.

Knows the wire and the errors, not what is stored; and how safe what was written has to be before its answer counts
(`DURABILITIES`). It waits for nothing and tries nothing twice: a call has an answer
or raises StoreUnavailable within its timeout, and the caller decides when to try again.

It speaks through `hiredis` on an asyncio protocol: a third less CPU per call than `redis.asyncio`; and
a cancelled call leaves the connection usable. Calls under way at one time on one connection are pipelined.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import hiredis

from liquefy.errors import ConfigError, Damaged, Deposed, LiquefyError, StoreUnavailable

TIMEOUT_S = 5.0
"""A call that has no answer by then raises StoreUnavailable, and its connection is given up."""

CONNECT_S = 1.0
"""One of several servers that cannot be connected to by then is passed over."""

RIVAL_S = 0.5
"""Another server that does not say by then what it is counts as away. Less than CONNECT_S: it is asked as somebody
connects, too."""

RIVAL_LOOKS = 10
"""That is looked at in so many parts: if it is we who stand still, one of them passes, and the answer is there."""

AWAY_S = 0.1
"""One that is away is asked so often, unless it leaves a question open; nobody waits for it meanwhile."""

AWAY_PATIENCE_S = 3.0
"""A question to it that is under way is left to it for so long: as soon as it can answer it can have been promoted."""

REPLICA_MS = 1_000
"""A write that no replica has by then has not been done, for all that we know."""

APPEND_S = 1.0
"""A Redis that could not write its file is given something to append to it so often, at most."""

ROUND_TRIP_MAX = 1_000
"""Commands sent before the answers to them are awaited."""

_MORE = object()

_CONDITION = re.compile(
    r"(?:^|[-\s])(?:LOADING|READONLY|OOM|MISCONF|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|ASK|BUSY|UNKILLABLE|NOREPLICAS"
    r"|NOAUTH|WRONGPASS|NOPERM)\s|max number of clients|invalid password"
)
"""Error replies that tell of the state the store is in; others are faults of ours, or of what is stored."""

_NO_PRIMARY = re.compile(r"(?:^|[-\s])(?:READONLY|MASTERDOWN)\s")
"""This server is not the primary any more: another one is looked for."""

_DEPOSED = re.compile(r"DEPOSED (\d+)")
"""What scripts say to a controller that another one has followed."""


class Moved(StoreUnavailable):
    """Of a Redis Cluster another server has the key; nothing was done."""


class Script:
    """A Lua script, called by its SHA-1."""

    def __init__(self, name: str) -> None:
        self.body = (Path(__file__).parent / name).read_bytes()
        self.sha = hashlib.sha1(self.body, usedforsecurity=False).hexdigest()


Tell = Callable[[list[Any] | StoreUnavailable], None]
"""Called with the replies, or with why there are none."""


def _into(future: asyncio.Future[list[Any]]) -> Tell:
    def tell(replies: list[Any] | StoreUnavailable) -> None:
        if future.done():
            return
        if isinstance(replies, StoreUnavailable):
            future.set_exception(replies)
        else:
            future.set_result(replies)

    return tell


class _Connection(asyncio.Protocol):
    """One connection: commands out, replies in, in order. Given up when a reply is not there in time."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self.open = False
        self.history = b""
        """Of a primary with replicas: the name of what it has told them so far."""
        self.promoted = False
        """It was a replica. One that was not, beside one that was, has started anew, and may have been followed."""
        self.name, self._timeout_s = name, timeout_s
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._waiting: deque[tuple[Tell, int, float]] = deque()
        """Whom to tell, how many replies, and when it is too late (the loop's time)."""
        self._replies: list[Any] = []
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.open = cast(asyncio.Transport, transport), True

    def send(self, commands: bytes, count: int) -> asyncio.Future[list[Any]]:
        """The replies to `count` packed commands; a refused command's is an exception in that list."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self.ask(commands, count, _into(future))
        return future

    def ask(self, commands: bytes, count: int, tell: Tell) -> None:
        """As `send`; `tell` is called as soon as the replies are read."""
        if not self.open or self._transport is None:
            tell(StoreUnavailable("Redis: the connection broke"))
            return
        self._waiting.append((tell, count, self._loop.time() + self._timeout_s))
        self._transport.write(commands)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look)

    def _look(self) -> None:
        """One timer for all calls: a call costs none of its own."""
        self._timer = None
        if not self._waiting:
            return
        left_s = self._waiting[0][2] - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self._fail(f"Redis at {self.name}: no answer in {self._timeout_s:g} s")
            self.give_up()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _MORE:
                self._replies.append(reply)
                if not self._waiting:
                    self.give_up()
                    return
                tell, count, _ = self._waiting[0]
                if len(self._replies) == count:
                    self._waiting.popleft()
                    replies, self._replies = self._replies, []
                    tell(replies)
        except hiredis.ProtocolError:
            self.give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._fail(f"Redis: the connection broke ({exc or 'closed'})")

    def _fail(self, why: str) -> None:
        while self._waiting:
            self._waiting.popleft()[0](StoreUnavailable(why))

    def give_up(self) -> None:
        """Close at once; all who wait get StoreUnavailable."""
        self.open = False
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()


class Address:
    """Where Redis is: `redis://[user:password@]host:port/db`, `unix:///path?db=0`, or `rediss://...` (TLS) with, if
    need be, `?ca=FILE`, whom to trust instead of the system's authorities, and `&cert=FILE&key=FILE`, who we are."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            database = parts.path.strip("/") if parts.scheme != "unix" else parse_qs(parts.query).get("db", [""])[0]
            self.host, self.port, self.database = (
                parts.hostname or "127.0.0.1",
                parts.port or 6379,
                int(database or 0),
            )
        except ValueError:
            raise _bad_url(url) from None
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise _bad_url(url)
        self.path = unquote(parts.path) if parts.scheme == "unix" else ""
        self._tls = _tls(url, dict(parse_qsl(parts.query))) if parts.scheme == "rediss" else None
        self.credentials = tuple(unquote(part) for part in (parts.username, parts.password) if part)
        self.name = self.path or f"{self.host}:{self.port}"

    async def connect(self, timeout_s: float) -> _Connection:
        """A connection, authenticated, on its database. Raises OSError, StoreUnavailable."""
        loop = asyncio.get_running_loop()

        def made() -> _Connection:
            return _Connection(self.name, timeout_s)

        if self.path:
            _, connection = await loop.create_unix_connection(made, self.path)
        else:
            _, connection = await loop.create_connection(made, self.host, self.port, ssl=self._tls)
        try:
            if self.credentials:
                _checked(await connection.send(pack("AUTH", *self.credentials), 1))
            if self.database:
                _checked(await connection.send(pack("SELECT", self.database), 1))
        except BaseException:
            connection.give_up()
            raise
        return connection


class Servers:
    """A server, or several of which one is the primary; their addresses with commas between them. `durability`: what a
    server must be able to do to be used."""

    def __init__(self, urls: str, durability: str = "memory") -> None:
        self._addresses = [Address(url) for url in urls.split(",")]
        self.durability = durability
        self.name = ", ".join(address.name for address in self._addresses)
        self._asked: dict[str, _Connection] = {}
        self._away: dict[str, asyncio.Task[None]] = {}

    async def connect(self, timeout_s: float) -> _Connection:
        """A connection to the primary. Raises OSError, StoreUnavailable."""
        if len(self._addresses) == 1 and self.durability == "memory":
            return await self._addresses[0].connect(timeout_s)
        problems = []
        for address in list(self._addresses):
            connection = None
            try:
                async with asyncio.timeout(CONNECT_S):
                    connection = await address.connect(timeout_s)
                    problem = await self._unfit(connection)
            except (OSError, TimeoutError, StoreUnavailable) as error:
                problem = str(error) or "no answer"
            if connection is not None and not problem:
                # Where it was found it is looked for first.
                self._addresses.sort(key=lambda other: other is not address)
                return connection
            if connection is not None:
                connection.give_up()
            problems.append(f"{address.name}: {problem}")
        raise StoreUnavailable(f"no Redis can be used ({'; '.join(problems)})")

    async def _unfit(self, connection: _Connection) -> str:
        """Why this server cannot be used, or ""."""
        role = _checked(await connection.send(pack("ROLE"), 1))[0]
        if role[0] != b"master":
            return "it is a replica"
        if self.durability == "replicated" and not role[2]:
            return "it has no replica, and durability is replicated"
        if self.durability == "replicated":
            found = await _replication(connection)
            connection.history = found.get(b"master_replid", b"none")
            connection.promoted = bool(found.get(b"master_replid2", b"").strip(b"0"))
            if follower := await self.follower(connection):
                return f"{follower} was promoted in its place"
        if self.durability == "disk":
            setting = _checked(await connection.send(pack("CONFIG", "GET", "appendfsync"), 1))[0]
            kept = _checked(await connection.send(pack("CONFIG", "GET", "appendonly"), 1))[0]
            if (setting[1:], kept[1:]) != ([b"always"], [b"yes"]):
                return "its appendfsync is not always, and durability is disk"
        return ""

    async def follower(self, primary: _Connection) -> str:
        """Where `durability` is replicated: another server that was promoted in place of this one, or "". A primary
        that hung meanwhile does not know: it may have other replicas yet, and what these get from it is void."""
        if self.durability != "replicated":
            return ""
        others = [address for address in self._addresses if address.name != primary.name]
        found = await asyncio.gather(*(self._history(address) for address in others))
        return next(
            (
                address.name
                for address, before in zip(others, found, strict=True)
                if before and (before == primary.history or not primary.promoted)
            ),
            "",
        )

    async def _history(self, address: Address) -> bytes:
        """Of another primary: that of the one in whose place it was promoted; b"" if it is none, or away."""
        if address.name in self._away:
            return b""
        asking = asyncio.create_task(self._replication_of(address))
        for _ in range(RIVAL_LOOKS):
            if (await asyncio.wait({asking}, timeout=RIVAL_S / RIVAL_LOOKS))[0]:
                break
        found = asking.result() if asking.done() else {}
        if not found and address.name not in self._away:
            self._away[address.name] = asyncio.create_task(self._until_back(address, asking))
        return found.get(b"master_replid2", b"") if found.get(b"role") == b"master" else b""

    async def _replication_of(self, address: Address) -> dict[bytes, bytes]:
        """Empty if it does not say."""
        connection = self._asked.get(address.name)
        try:
            async with asyncio.timeout(AWAY_PATIENCE_S):
                if connection is None or not connection.open:
                    made = await address.connect(AWAY_PATIENCE_S)
                    connection = self._asked.get(address.name)
                    if connection is not None and connection.open:  # somebody else made one at the same time
                        made.give_up()
                    else:
                        connection = self._asked[address.name] = made
                return await _replication(connection)
        except (OSError, TimeoutError, StoreUnavailable):
            if connection is not None:
                connection.give_up()
            return {}

    async def _until_back(self, address: Address, asking: asyncio.Task[dict[bytes, bytes]]) -> None:
        """It is not away any more when it has answered: then it is asked anew by who wants to know."""
        asked_s = asyncio.get_running_loop().time()
        while not await asking:
            await asyncio.sleep(max(0.0, asked_s + AWAY_S - asyncio.get_running_loop().time()))
            asked_s = asyncio.get_running_loop().time()
            asking = asyncio.create_task(self._replication_of(address))
        del self._away[address.name]

    def hang_up(self) -> None:
        """Ask the others no more, until the next time."""
        for connection in self._asked.values():
            connection.give_up()
        for task in self._away.values():
            task.cancel()
        self._asked.clear()
        self._away.clear()


class Line:
    """A connection that is made when it is needed, and again after it broke. `settled`: what is written is to be as
    safe as the servers' `durability` says before there is an answer."""

    def __init__(self, address: Servers, timeout_s: float) -> None:
        self._address, self._timeout_s = address, timeout_s
        self._waits = address.durability == "replicated"
        self._connection: _Connection | None = None
        self._lock = asyncio.Lock()
        self._appended_s = -APPEND_S

    async def call(self, *arguments: str | int | bytes, settled: bool = False) -> Any:
        """The reply to one command. Raises StoreUnavailable; LiquefyError if Redis refuses the command itself."""
        return self._checked(await self._settled(pack(*arguments), 1, settled))[0]

    async def many(self, commands: Sequence[Sequence[str | int | bytes]], settled: bool = False) -> list[Any]:
        """The replies to all commands, in one round trip for each ROUND_TRIP_MAX."""
        replies: list[Any] = []
        for first in range(0, len(commands), ROUND_TRIP_MAX):
            chunk = commands[first : first + ROUND_TRIP_MAX]
            packed = b"".join([pack(*c) for c in chunk])
            replies += self._checked(await self._settled(packed, len(chunk), settled))
        return replies

    async def script(self, script: Script, key: str, *arguments: str | int | bytes, settled: bool = True) -> Any:
        """What the script returns; it is loaded if Redis does not have it (any more). `key`: one that it uses."""
        command = pack("EVALSHA", script.sha, 1, key, *arguments)
        replies = await self._settled(command, 1, settled)
        if isinstance(replies[0], hiredis.ReplyError) and str(replies[0]).startswith("NOSCRIPT"):
            loaded = pack("SCRIPT", "LOAD", script.body) + command
            replies = (await self._settled(loaded, 2, settled))[1:]
        return self._checked(replies)[0]

    def script_at_once(
        self, script: Script, key: str, *arguments: str | int | bytes, tell: Callable[[Any], None]
    ) -> bool:
        """`script` for what is called all the time: without a task, where all is as it should be. `tell` gets what the
        script returns; None if anything was amiss, and it is to be called again by `script`, which knows what to do
        about it. False: by that in the first place."""
        connection = self._connection
        if self._waits or connection is None or not connection.open:
            return False

        def told(replies: list[Any] | StoreUnavailable) -> None:
            amiss = isinstance(replies, StoreUnavailable) or isinstance(replies[0], hiredis.ReplyError)
            tell(None if amiss else replies[0])  # type: ignore[index]

        connection.ask(pack("EVALSHA", script.sha, 1, key, *arguments), 1, told)
        return True

    async def _settled(self, commands: bytes, count: int, settled: bool) -> list[Any]:
        """Exchange; and then wait, if that is asked for, until a replica has all that was written until then, by
        whomever: also what an earlier try of these commands wrote, upon another connection."""
        if not (settled and self._waits):
            return await self._exchange(commands, count)
        replies = await self._exchange(commands + pack("WAIT", 1, REPLICA_MS), count + 1)
        if not isinstance(replies[-1], int) or replies[-1] < 1:
            self.close()  # perhaps another one is the primary by now
            raise StoreUnavailable(f"Redis at {self._address.name}: no replica has what was written")
        return replies[:-1]

    def _checked(self, replies: list[Any]) -> list[Any]:
        try:
            return _checked(replies)
        except StoreUnavailable as error:
            if _NO_PRIMARY.search(str(error)):
                self.close()
            elif "MISCONF" in str(error):
                self._append()
            raise

    def _append(self) -> None:
        """Redis finds out that its disk has room again when it has something to append, and till then it refuses all
        writes. After a rewrite of the file it has nothing, and would refuse them for good; a script it takes."""
        connection, now_s = self._connection, asyncio.get_running_loop().time()
        if connection is not None and now_s - self._appended_s >= APPEND_S:
            self._appended_s = now_s
            said = connection.send(pack("SCRIPT", "LOAD", "return 0"), 1)
            said.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _exchange(self, commands: bytes, count: int) -> list[Any]:
        connection = self._connection
        if connection is None or not connection.open:
            connection = await self._connect()
        replies = await connection.send(commands, count)
        # Afterwards: who was promoted before this was done may not have it, and what was read may be of the past.
        if self._waits and (follower := await self._address.follower(connection)):
            connection.give_up()
            raise StoreUnavailable(f"Redis at {connection.name}: {follower} was promoted in its place")
        return replies

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(self._timeout_s), self._lock:
                if self._connection is None or not self._connection.open:
                    self._connection = await self._address.connect(self._timeout_s)
                return self._connection
        except TimeoutError:
            raise StoreUnavailable(f"Redis at {self._address.name}: no answer in {self._timeout_s:g} s") from None
        except OSError as error:
            raise StoreUnavailable(f"Redis at {self._address.name}: {error}") from None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.give_up()
            self._connection = None


async def _replication(connection: _Connection) -> dict[bytes, bytes]:
    """What `INFO replication` says."""
    text: bytes = _checked(await connection.send(pack("INFO", "replication"), 1))[0]
    return {name: value for name, _, value in (line.partition(b":") for line in text.splitlines())}


def pack(*arguments: str | int | bytes) -> bytes:
    return hiredis.pack_command(arguments)  # type: ignore[arg-type, no-any-return]  # its stub wants a tuple of one


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            if str(reply).startswith("MOVED "):
                raise Moved("Redis Cluster: a slot is elsewhere")
            if _CONDITION.search(str(reply)):
                raise StoreUnavailable(f"Redis: {reply}")
            if deposed := _DEPOSED.search(str(reply)):
                raise Deposed(int(deposed[1]))
            if "WRONGTYPE" in str(reply):
                raise Damaged("is of the wrong type")
            raise LiquefyError(f"Redis refused a command: {reply}")
    return replies


def _tls(url: str, files: dict[str, str]) -> ssl.SSLContext:
    """Raises ConfigError."""
    if unknown := set(files) - {"ca", "cert", "key"}:
        raise ConfigError(f"{_shown(url)}: has no {min(unknown)}\n  remedy: give ca, cert and key alone, each a file")
    try:
        context = ssl.create_default_context(cafile=files.get("ca"))
        if "cert" in files:
            context.load_cert_chain(files["cert"], files.get("key"))
    except OSError as error:
        raise ConfigError(
            f"{_shown(url)}: a file of its TLS cannot be used: {error}\n  remedy: give PEM files that we may read"
        ) from None
    return context


def _shown(url: str) -> str:
    """Without what is secret in it."""
    return re.sub(r"//[^@/]*@", "//...@", url)


def _bad_url(url: str) -> ConfigError:
    return ConfigError(
        f"{_shown(url)!r} is not the address of a Redis\n  remedy: give redis://host:port/0 or unix:///path"
    )
