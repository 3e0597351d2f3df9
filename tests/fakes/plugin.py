"""The fixtures of the fakes, for `pytest_plugins` of the root conftest."""

from collections.abc import Iterator

import pytest

from tests.fakes.redis_server import RedisServer


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis server of the test's own, to kill and to start again."""
    with RedisServer() as server:
        yield server
