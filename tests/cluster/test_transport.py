"""Real sockets: sessions, breaks, order, size."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from liquefy.errors import UserError
from liquefy.transport import Asker, Link, RouterSocket

PEER = """
import asyncio, sys
from liquefy.transport import Link
async def main():
    link = Link(sys.argv[1], "peer", lambda f: None, lambda s: link.send([b"hello"]), lambda: None)
    link.open()
    await asyncio.sleep(60)
asyncio.run(main())
"""


class Endpoint:
    """A Link and what happened to it."""

    def __init__(self, endpoint: str, name: str = "node1") -> None:
        self.sessions: list[bytes] = []
        self.downs = 0
        self.got: list[list[bytes]] = []
        self.link = Link(endpoint, name, self.got.append, self.sessions.append, self._down)
        self.link.open()

    def _down(self) -> None:
        self.downs += 1


class Server:
    def __init__(self, endpoint: str = "tcp://127.0.0.1:0") -> None:
        self.got: list[tuple[bytes, list[bytes]]] = []
        self.router = RouterSocket(endpoint, lambda identity, frames: self.got.append((identity, frames)))
        self.router.bind()


async def server_at(endpoint: str) -> Server:
    """Where another one was a moment ago: sockets are closed in the background."""
    while True:
        try:
            return Server(endpoint)
        except UserError:
            await asyncio.sleep(0.01)


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, 20)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def test_frames_go_both_ways() -> None:
    async def test() -> None:
        server = Server()
        peer = Endpoint(server.router.endpoint)
        await until(lambda: peer.sessions)
        assert peer.sessions[0].startswith(b"node1#")
        peer.link.send([b"", b"header", b"payload"])
        await until(lambda: server.got)
        assert server.got == [(peer.sessions[0], [b"", b"header", b"payload"])]
        assert server.router.send(peer.sessions[0], [b"answer"])
        await until(lambda: peer.got)
        assert peer.got == [[b"answer"]]
        peer.link.close()
        server.router.close()

    run(test())


def test_ipc_works_as_well(tmp_path: Path) -> None:
    async def test() -> None:
        server = Server(f"ipc://{tmp_path}/broker")
        peer = Endpoint(server.router.endpoint)
        await until(lambda: peer.sessions)
        peer.link.send([b"hello"])
        await until(lambda: server.got)
        peer.link.close()
        server.router.close()

    run(test())


def test_a_new_connection_is_a_new_session_and_what_was_queued_in_the_old_one_is_gone() -> None:
    async def test() -> None:
        first = Server()
        peer = Endpoint(first.router.endpoint)
        await until(lambda: peer.sessions)
        first.router.close()
        await until(lambda: peer.downs)
        peer.link.send([b"said while nobody was there"])
        second = await server_at(first.router.endpoint)
        await until(lambda: len(peer.sessions) == 2)
        assert peer.sessions[0] != peer.sessions[1]
        peer.link.send([b"hello again"])
        await until(lambda: second.got)
        assert second.got == [(peer.sessions[1], [b"hello again"])]
        assert peer.downs == 1
        assert not second.router.send(peer.sessions[0], [b"to the old one"])
        peer.link.close()
        second.router.close()

    run(test())


def test_a_session_never_comes_back_even_if_the_break_is_noticed_late() -> None:
    """The event loop stands still while the connection breaks and the server is back."""

    async def test() -> None:
        first = Server()
        peer = Endpoint(first.router.endpoint)
        await until(lambda: peer.sessions)
        first.router.close()
        second = None
        while second is None:
            time.sleep(0.01)  # noqa: ASYNC251
            with contextlib.suppress(UserError):
                second = Server(first.router.endpoint)
        peer.link.send([b"into the old session"])
        time.sleep(0.3)  # noqa: ASYNC251
        await until(lambda: len(peer.sessions) == 2)
        peer.link.send([b"hello again"])
        await until(lambda: (peer.sessions[1], [b"hello again"]) in second.got)
        assert len(second.got) == 1
        peer.link.close()
        second.router.close()

    run(test())


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_the_server_may_come_later(kind: str, tmp_path: Path) -> None:
    async def test() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}" if kind == "tcp" else f"ipc://{tmp_path}/broker"
        peer = Endpoint(endpoint)
        tries = peer.link.session
        await until(lambda: peer.link.session != tries)
        assert not peer.sessions
        late = Server(endpoint)
        await until(lambda: peer.sessions)
        assert peer.downs == 0
        peer.link.close()
        late.router.close()

    run(test())


def test_one_side_listens_at_several_endpoints(tmp_path: Path) -> None:
    async def test() -> None:
        server = Server(f"tcp://127.0.0.1:0,ipc://{tmp_path}/broker")
        peers = [Endpoint(endpoint) for endpoint in server.router.endpoint.split(",")]
        await until(lambda: all(peer.sessions for peer in peers))
        for peer in peers:
            peer.link.send([b"hello"])
        await until(lambda: len(server.got) == 2)
        assert {who for who, _ in server.got} == {peer.sessions[0] for peer in peers}
        for peer in peers:
            peer.link.close()
        server.router.close()

    run(test())


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_a_peer_that_is_cut_loses_what_waits_for_it_and_connects_anew(kind: str, tmp_path: Path) -> None:
    async def test() -> None:
        server = Server("tcp://127.0.0.1:0" if kind == "tcp" else f"ipc://{tmp_path}/broker")
        peers = [Endpoint(server.router.endpoint, name) for name in ("node1", "node2")]
        await until(lambda: all(peer.sessions for peer in peers))
        for peer in peers:
            peer.link.send([b"hello"])
        await until(lambda: len(server.got) == 2)
        first, other = peers[0].sessions[0], peers[1].sessions[0]
        server.router.cut(b"nobody#1")
        server.router.cut(first)
        server.router.cut(first)
        await until(lambda: len(peers[0].sessions) == 2)
        await until(lambda: not server.router.send(first, [b"gone"]))
        assert server.router.send(other, [b"still there"])
        await until(lambda: peers[1].got)
        assert peers[1].downs == 0
        peers[0].link.send([b"again"])
        await until(lambda: len(server.got) == 3)
        server.router.cut(peers[0].sessions[1])
        await until(lambda: len(peers[0].sessions) == 3)
        for peer in peers:
            peer.link.close()
        server.router.close()

    run(test())


def test_reconnect_gets_a_new_session() -> None:
    async def test() -> None:
        server = Server()
        peer = Endpoint(server.router.endpoint)
        await until(lambda: peer.sessions)
        peer.link.reconnect()
        await until(lambda: len(peer.sessions) == 2)
        assert len(set(peer.sessions)) == 2
        assert peer.downs == 1
        await until(lambda: not server.router.send(peer.sessions[0], [b"ping"]))
        peer.link.close()
        server.router.close()

    run(test())


@pytest.fixture
def killed_later() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def start_peer(endpoint: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PEER, endpoint])


def test_a_killed_peer_is_unreachable_within_200_ms(killed_later: list[subprocess.Popen[bytes]]) -> None:
    async def test() -> None:
        server = Server()
        peer = start_peer(server.router.endpoint)
        killed_later.append(peer)
        await until(lambda: server.got)
        session = server.got[0][0]
        assert server.router.send(session, [b"ping"])
        peer.kill()
        killed = time.monotonic()
        await until(lambda: not server.router.send(session, [b"ping"]))
        assert time.monotonic() - killed < 0.2
        server.router.close()

    run(test())


def test_large_frames_arrive_whole() -> None:
    async def test() -> None:
        server = Server()
        peer = Endpoint(server.router.endpoint)
        await until(lambda: peer.sessions)
        large = bytes(range(256)) * (32 * 1024 * 4)
        peer.link.send([b"", b"header", large])
        await until(lambda: server.got)
        assert server.got[0][1][2] == large
        assert server.router.send(peer.sessions[0], [large])
        await until(lambda: peer.got)
        assert peer.got == [[large]]
        peer.link.close()
        server.router.close()

    run(test())


def test_a_burst_arrives_whole_and_in_order_both_ways() -> None:
    async def test() -> None:
        server = Server()
        peer = Endpoint(server.router.endpoint)
        await until(lambda: peer.sessions)
        burst = [b"%d" % i for i in range(10_000)]
        peer.link.send([b"hello"])
        await until(lambda: server.got)
        for number in burst:
            peer.link.send([number])
            assert server.router.send(peer.sessions[0], [number])
        await until(lambda: len(server.got) == 10_001 and len(peer.got) == 10_000)
        assert [frames[0] for _, frames in server.got[1:]] == burst
        assert [frames[0] for frames in peer.got] == burst
        peer.link.close()
        server.router.close()

    run(test())


def test_echoes_inside_callbacks_lose_no_wake_up() -> None:
    """Each side sends only from within its on_frames: a swallowed edge would stop the ball for ever."""

    async def test() -> None:
        rallies = 0

        def back(identity: bytes, frames: list[bytes]) -> None:
            router.send(identity, frames)

        def count(frames: list[bytes]) -> None:
            nonlocal rallies
            rallies += 1
            link.send(frames)

        router = RouterSocket("tcp://127.0.0.1:0", back)
        router.bind()
        link = Link(router.endpoint, "node1", count, lambda session: link.send([b"ball"]), lambda: None)
        link.open()
        await until(lambda: rallies > 3_000)
        link.close()
        router.close()

    run(test())


def test_a_port_in_use_is_a_user_error_with_a_remedy() -> None:
    async def test() -> None:
        server = Server()
        with pytest.raises(UserError, match=r"tcp://127.0.0.1:\d+: cannot listen here.*\n  remedy: end the"):
            Server(server.router.endpoint)
        with pytest.raises(UserError, match="remedy: give tcp"):
            Server("nonsense")
        with pytest.raises(UserError, match="remedy: give tcp"):
            Endpoint("nonsense")
        server.router.close()

    run(test())


def test_a_blocking_client_asks_and_is_answered() -> None:
    async def test() -> None:
        router = RouterSocket("tcp://127.0.0.1:0", lambda who, frames: answer(who, frames))

        def answer(identity: bytes, frames: list[bytes]) -> None:
            for i in range(2):
                router.send(identity, [frames[0] + b"%d" % i])

        router.bind()

        def ask() -> list[bytes | None]:
            asker = Asker(router.endpoint)
            asker.send(b"request")
            answers = [asker.recv(5), asker.recv(5), asker.recv(0.01)]
            asker.close()
            return answers

        answers = await asyncio.get_running_loop().run_in_executor(None, ask)
        assert answers == [b"request0", b"request1", None]
        router.close()

    run(test())
