"""A Redis Cluster: which of its servers has which hash slot, and a `Line` to each. The same calls as a `Line`.

Knows slots and where they are, not what is stored. What belongs together has one tag, `{...}` in its keys, and so is on
one server; a script runs there. A slot that is moved, or whose server is gone, is looked for anew: the caller gets
StoreUnavailable or an answer, as from a `Line`.
"""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from liquefy.errors import ConfigError, StoreUnavailable
from liquefy.redis_wire import TIMEOUT_S, Line, Moved, Script, Servers

SCHEME = "redis+cluster"
SLOTS = 16_384

MOVED_MAX = 3
"""So often in one call a slot may turn out to be elsewhere."""


def slot_of(key: str) -> int:
    """Of the tag in the key, or of the key."""
    start = key.find("{")
    end = key.find("}", start + 1) if start >= 0 else -1
    tag = key[start + 1 : end] if end > start + 1 else key
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


class Topology:
    """Which server has which slot, as one of them said last; shared by the lines to one cluster. `urls`:
    `redis+cluster://[user:password@]host:port`, some of the servers, with commas between them."""

    def __init__(self, urls: str, durability: str) -> None:
        self.durability = durability
        parts = urlsplit(urls.split(",")[0])
        self._login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        self._seeds = [url.removeprefix(f"{SCHEME}://").rpartition("@")[2].strip("/") for url in urls.split(",")]
        if not all(urlsplit(f"//{seed}").hostname for seed in self._seeds):
            raise ConfigError(f"a seed of {SCHEME} has no host\n  remedy: give {SCHEME}://host:port,host:port")
        self._slots: list[str] = []
        self._reading = asyncio.Lock()

    def servers(self, place: str) -> Servers:
        """What a line to host:port connects to."""
        return Servers(f"redis://{self._login}{place}/0", self.durability)

    async def place(self, slot: int) -> str:
        """host:port of the server that has the slot. Raises StoreUnavailable."""
        if not self._slots:
            async with self._reading:
                if not self._slots:
                    await self._read()
        place = self._slots[slot] if self._slots else ""
        if not place:
            self.forget()
            raise StoreUnavailable(f"Redis Cluster: no server has slot {slot}")
        return place

    def forget(self) -> None:
        """It is not as it was: ask again."""
        self._slots = []

    async def _read(self) -> None:
        problems = []
        for seed in list(self._seeds):
            line = Line(Servers(f"redis://{self._login}{seed}/0"), 1.0)
            try:
                ranges = await line.call("CLUSTER", "SLOTS")
            except StoreUnavailable as error:
                problems.append(str(error))
                continue
            finally:
                line.close()
            slots = [""] * SLOTS
            for first, last, (host, port, *_), *_ in ranges:
                place = f"{(host or b'').decode() or seed.rpartition(':')[0]}:{port}"
                slots[first : last + 1] = [place] * (last + 1 - first)
            # Those found there are asked next time, too: the seeds may be gone by then.
            self._seeds = list(dict.fromkeys([seed, *self._seeds, *(place for place in set(slots) if place)]))
            self._slots = slots
            return
        raise StoreUnavailable(f"Redis Cluster: {'; '.join(problems)}")


class ClusterLine:
    """As `liquefy.redis_wire.Line`."""

    def __init__(self, topology: Topology, timeout_s: float = TIMEOUT_S) -> None:
        self._topology, self._timeout_s = topology, timeout_s
        self._lines: dict[str, Line] = {}

    async def call(self, *arguments: str | int | bytes, settled: bool = False) -> Any:
        """The second argument is the key, or (PING) there is none."""
        key = str(arguments[1]) if len(arguments) > 1 else ""
        return await self._on(key, lambda line: line.call(*arguments, settled=settled))

    async def script(self, script: Script, key: str, *arguments: str | int | bytes, settled: bool = True) -> Any:
        return await self._on(key, lambda line: line.script(script, key, *arguments, settled=settled))

    async def many(self, commands: Sequence[Sequence[str | int | bytes]], settled: bool = False) -> list[Any]:
        """One round trip to each server, side by side; replies in the order of the commands."""
        for _ in range(MOVED_MAX):
            by_place: dict[str, list[int]] = {}
            for index, command in enumerate(commands):
                by_place.setdefault(await self._topology.place(slot_of(str(command[1]))), []).append(index)
            replies: list[Any] = [None] * len(commands)
            calls = [
                self._line(place).many([commands[i] for i in indexes], settled) for place, indexes in by_place.items()
            ]
            found = await asyncio.gather(*calls, return_exceptions=True)
            failed = [error for error in found if isinstance(error, BaseException)]
            if failed:
                self._topology.forget()
                if all(isinstance(error, Moved) for error in failed):
                    continue
                raise next(error for error in failed if not isinstance(error, Moved))
            for indexes, some in zip(by_place.values(), found, strict=True):
                for index, reply in zip(indexes, some, strict=True):  # type: ignore[arg-type]
                    replies[index] = reply
            return replies
        raise StoreUnavailable("Redis Cluster: slots are moving")

    async def _on(self, key: str, work: Any) -> Any:
        for _ in range(MOVED_MAX):
            place = await self._topology.place(slot_of(key))
            try:
                return await work(self._line(place))
            except Moved:
                self._topology.forget()
            except StoreUnavailable:
                self._topology.forget()
                raise
        raise StoreUnavailable("Redis Cluster: a slot is moving")

    def _line(self, place: str) -> Line:
        if place not in self._lines:
            self._lines[place] = Line(self._topology.servers(place), self._timeout_s)
        return self._lines[place]

    def close(self) -> None:
        for line in self._lines.values():
            line.close()
        self._lines.clear()
