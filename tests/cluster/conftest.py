"""What tests on real processes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from liquefy.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A redis-server of the tests' own, on a free port, which ends with them. Tests take partitions of their own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    try:
        yield server.url
    finally:
        server.stop()
