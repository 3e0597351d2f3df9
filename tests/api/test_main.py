"""The API as a process: how it starts, what it refuses, how it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
NO_REDIS = "redis://127.0.0.1:1/0"

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the service with these settings in an empty folder; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def run(**settings: str) -> subprocess.Popen[str]:
        given = {"REDIS_URL": NO_REDIS, "API_PORT": "0"} | settings
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-m", "services.api"],
            cwd=tmp_path,
            env=env | {f"DEKSDENFLOW_{name}": value for name, value in given.items() if value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on "), line + (process.stderr.read() if process.stderr else "")
    return line.removeprefix("listening on ").strip()


def test_without_redis_it_starts_warns_once_and_ends_with_zero_on_a_signal(start: Start) -> None:
    process = start()
    url = url_of(process)
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{url}/health/ready").status_code == 503
    made = httpx.post(f"{url}/projects", json={"name": "a", "git_url": "https://github.com/a/b"})
    assert made.status_code == 201
    process.send_signal(signal.SIGTERM)
    _, logged = process.communicate(timeout=30)
    assert process.returncode == 0
    assert logged.count("redis_lost") == 1
    assert "Traceback" not in logged


def test_what_was_accepted_is_there_after_a_kill(start: Start) -> None:
    first = start()
    url = url_of(first)
    httpx.post(f"{url}/projects", json={"name": "a", "git_url": "https://github.com/a/b"})
    first.kill()
    first.wait()
    again = url_of(start())
    assert [each["name"] for each in httpx.get(f"{again}/projects").json()] == ["a"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"REDIS_URL": ""}, "DEKSDENFLOW_REDIS_URL is not set"),
        ({"REDIS_URL": "http://x"}, "DEKSDENFLOW_REDIS_URL is malformed"),
        ({"COLOUR": "red"}, "DEKSDENFLOW_COLOUR is not a setting"),
        ({"DB_PATH": "/proc/nope/flow.sqlite"}, "cannot be used"),
        ({"DB_PATH": "/dev/null"}, "cannot be used"),
        ({"ENV": "production"}, "DEKSDENFLOW_API_TOKEN and DEKSDENFLOW_SECRET_KEY must be set"),
        ({"API_HOST": "0.0.0.0"}, "only a loopback address is served"),
        ({"API_TOKEN": "x", "API_HOST": "192.0.2.1"}, "cannot listen on 192.0.2.1"),
    ],
)
def test_what_it_cannot_start_with_is_one_line_and_exit_code_two(
    start: Start, settings: dict[str, str], said: str
) -> None:
    process = start(**settings)
    _, logged = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said in logged
    assert len([line for line in logged.splitlines() if "redis_lost" not in line]) == 1
