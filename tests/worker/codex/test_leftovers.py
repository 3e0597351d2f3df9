"""Killing what earlier runs of a job left."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.worker.codex.leftovers import RUN_VARIABLE, RunMarker, kill_earlier_runs, kill_run, scope_of
from tests.worker.codex.ground import alive

Start = Callable[[str], int]


@pytest.fixture
def scope(tmp_path: Path) -> str:
    return scope_of(tmp_path)


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start_marked(mark: str) -> int:
        code = "import signal, sys; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"
        environment = {**os.environ, RUN_VARIABLE: mark}
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    yield start_marked
    for process in started:
        process.kill()
        process.communicate()


async def test_only_other_tokens_of_the_same_job_are_killed(start: Start, scope: str) -> None:
    earlier, another = start(f"{scope}:7/1"), start(f"{scope}:7/12")
    spared = [start(mark) for mark in (f"{scope}:7/2", f"{scope}:70/1", f"{scope}:77/1", f"x{scope}:7/1", "")]
    assert set(await kill_earlier_runs(RunMarker(scope, 7, 2))) == {earlier, another}
    assert not alive(earlier)
    assert not alive(another)
    assert all(map(alive, spared))


async def test_a_run_can_be_killed_by_its_own_token(start: Start, scope: str) -> None:
    own, other = start(f"{scope}:7/2"), start(f"{scope}:7/22")
    assert await kill_run(RunMarker(scope, 7, 2)) == (own,)
    assert alive(other)


def test_two_installations_have_different_scopes(tmp_path: Path) -> None:
    assert scope_of(tmp_path / "a") != scope_of(tmp_path / "b")
    assert scope_of(tmp_path / "a") == scope_of(tmp_path / "b" / ".." / "a")
