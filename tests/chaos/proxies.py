"""Connections that can be cut, cut by half, or made slow: between each process of a cluster and the broker, and each
Redis, is a proxy of its own, named after the process. Knows nothing of what it carries.

A role is told where its proxies are by `proxied.py`, which asks `Exchange.control`: one line "NAME HOST PORT", answered
by one with a port.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable

READ_BYTES = 65_536
HOST = "127.0.0.1"
START_S = 10.0


class Proxy:
    """Whoever connects to `port` is connected to `host:target`. All methods are called in the loop of the exchange."""

    def __init__(self, name: str, host: str, target: int) -> None:
        self.name, self._host, self.target = name, host, target
        self.port = 0
        self._ends: set[asyncio.StreamWriter] = set()
        self._refusing = False
        self._delay_s = 0.0
        self._chance = random.Random(name)
        self._open = {"up": asyncio.Event(), "down": asyncio.Event()}
        for gate in self._open.values():
            gate.set()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """All connections break, and new ones are refused until `heal`."""
        self._refusing = True
        self._reset()

    def hold(self, *ways: str) -> None:
        """Nothing goes "up" (from the process), or "down" (to it), any more: neither bytes nor the end of them."""
        for way in ways:
            self._open[way].clear()

    def slow(self, delay_s: float) -> None:
        """Up to so much more, each way."""
        self._delay_s = delay_s

    def heal(self, broken: bool = False) -> None:
        """As at first; what was held goes on, or, if `broken`, its connections break."""
        if broken:
            self._reset()
        self._refusing, self._delay_s = False, 0.0
        for gate in self._open.values():
            gate.set()

    def _reset(self) -> None:
        for end in list(self._ends):
            reset(end)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            reset(writer)
            return
        try:
            there_reader, there = await asyncio.open_connection(self._host, self.target)
        except OSError:
            reset(writer)
            return
        ends = (writer, there)
        for end in ends:
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ends.update(ends)
        try:
            if not self._refusing:
                await asyncio.gather(self._pump(reader, there, "up"), self._pump(there_reader, writer, "down"))
        finally:
            self._ends.difference_update(ends)
            for end in ends:
                reset(end)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        gate = self._open[way]
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                if self._delay_s:
                    await asyncio.sleep(self._chance.uniform(0, self._delay_s))
                await gate.wait()
                writer.write(data)
                await writer.drain()
        await gate.wait()  # that a process has ended is not heard through a connection that is cut, either
        with contextlib.suppress(OSError):
            writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """The other end sees its connection break, not end."""
    with contextlib.suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


class Exchange:
    """All proxies of one cluster, in a thread. `between` finds them; what is done to them is done in the thread."""

    def __init__(self) -> None:
        self.control = 0
        self._proxies: dict[tuple[str, int], Proxy] = {}
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Exchange:
        self._thread.start()
        assert self._ready.wait(START_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(START_S)

    def between(self, name: str, target: int) -> Proxy:
        """Of the process and the port that it means to reach."""
        return self._proxies[name, target]

    def do(self, work: Callable[[], None]) -> None:
        """In the thread; returns when it is done."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (work(), done.set()))
        assert done.wait(START_S)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._asked, HOST, 0)
        self.control = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, host, port = (await reader.readline()).decode().split()
        key = (name, int(port))
        if key not in self._proxies:
            proxy = Proxy(name, host, int(port))
            await proxy.listen()
            self._proxies[key] = proxy
        writer.write(f"{self._proxies[key].port}\n".encode())
        writer.close()
