"""What every test may ask for: a real Redis server, a free port, and an environment without anybody's settings."""

import gc
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from tests.fakes.redis_server import RedisServer

pytest_plugins = ["tests.fakes.plugin"]

# A slow machine is no bug, and what was found is printed so that it can be played again.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("default"), database=None)
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "default")

# The folders whose single tests take longest begin, so that no worker is left alone with one of them at the end.
LONGEST_FIRST = ("chaos", "browser", "e2e", "processes", "local", "scripts", "worker", "api")


def pytest_configure() -> None:
    """A shell that starts the tests in its background has Ctrl-C ignored, by all programs that the tests start, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three for two processors: a third of the time a test waits for a process, a browser or a clock."""
    return len(os.sched_getaffinity(0)) * 3 // 2


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After the shuffle, whose order stays within each folder."""
    here = Path(__file__).parent
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.relative_to(here).parts[0], len(places)))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Look for cycles among what tests make, and seldom: modules and seven thousand items stay to the end anyhow.

    That is a fifth of the processor time of the tests that build an app each.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(autouse=True)
def _no_settings_of_the_person_who_runs_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("DEKSDENFLOW_", "CODEX_", "OPENAI_", "GIT_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A log that a test set up ends with it; Python's own warnings, once taken, would else never be taken again."""
    root = logging.getLogger()
    handlers, level, ours = root.handlers, root.level, structlog.get_config()
    structlog.contextvars.clear_contextvars()
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**ours)
    logging.captureWarnings(capture=False)


@pytest.fixture(scope="session")
def _shared_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(_shared_redis: RedisServer) -> str:
    """The address of a real and empty Redis server; whoever wants to stop one asks for `redis_server`."""
    _shared_redis.flushall()
    return _shared_redis.url


@pytest.fixture
def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
