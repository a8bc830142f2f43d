"""Redis with a password, and with TLS (by a relay, as not every redis-server has it)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from pathlib import Path

import pytest

from liquefy.contexts import Contexts
from liquefy.errors import ConfigError, StoreUnavailable
from liquefy.redis_server import RedisServer


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-keyout", key, "-out", cert, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return cert, key


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def relay(port: int, cert: Path, key: Path) -> asyncio.Server:
    """TLS in front of the Redis at that port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)


async def answers(url: str) -> bool:
    contexts = Contexts(url, 2.0)
    try:
        await contexts.put_bundle(b"x")
    except StoreUnavailable:
        return False
    finally:
        await contexts.close()
    return True


def test_password_and_tls(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", appendonly=False)
    server.start()
    (own, own_key), (other, _) = certificate(tmp_path, "own"), certificate(tmp_path, "other")
    at = f"127.0.0.1:{server.port}/0"

    async def body() -> None:
        assert await answers(f"redis://{at}")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"CONFIG SET requirepass p%w\r\nACL SETUSER me on >s@cret ~* +@all\r\n".replace(b"p%w", b"p:w"))
        await reader.readline()
        await reader.readline()
        writer.close()
        assert not await answers(f"redis://{at}")
        assert not await answers(f"redis://:wrong@{at}")
        assert await answers(f"redis://:p%3Aw@{at}")
        assert await answers(f"redis://me:s%40cret@{at}")
        secured = await relay(server.port, own, own_key)
        port = secured.sockets[0].getsockname()[1]
        tls = f"rediss://me:s%40cret@127.0.0.1:{port}/0"
        assert await answers(f"{tls}?ca={own}")
        assert not await answers(tls)
        assert not await answers(f"{tls}?ca={other}")
        assert not await answers(f"redis://me:s%40cret@127.0.0.1:{port}/0")
        secured.close()

    try:
        asyncio.run(body())
    finally:
        server.stop()


@pytest.mark.parametrize("query", ["ca=/nowhere.pem", "cert=/nowhere.pem", "verify=no"])
def test_what_cannot_be_is_said_without_the_password(query: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Contexts(f"rediss://me:s3cret@10.0.0.1:7703/0?{query}")
    assert "s3cret" not in str(raised.value)
    assert "remedy" in str(raised.value)
