"""What tests on real processes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis_processes import three_masters

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


@pytest.fixture(scope="session")
def redis_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis Cluster of three masters, likewise."""
    with three_masters(tmp_path_factory.mktemp("cluster")) as url:
        yield url


@pytest.fixture(params=["one server", "three masters"])
def any_redis_url(request: pytest.FixtureRequest) -> str:
    """One after the other."""
    found: str = request.getfixturevalue("redis_url" if request.param == "one server" else "redis_cluster_url")
    return found
