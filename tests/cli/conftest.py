"""What the command line's tests may ask for: a served API for each module, and the command line in a fresh folder."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.cli.served import Line, Served, serving
from tests.fakes.redis_server import RedisServer

_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def _no_logs_of_the_server_in_the_output() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, _shared_redis: RedisServer) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), _shared_redis.url) as running:
        yield running


@pytest.fixture
def cli(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Line:
    """The command line, pointed at the module's API."""
    return Line(served, tmp_path, capsys)


@pytest.fixture
def name() -> str:
    """A name that no other test of the module gives to its project."""
    return f"shop{next(_numbers)}"
