"""`python -m services.webhooks` as a process of its own: it starts, receives, stops, or says in one line why not."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from secrets import token_hex

import httpx
import pysqlite3
import pytest

from tests.fakes.redis_server import RedisServer
from tests.waiting import until
from tests.webhooks.senders import from_github

ROOT = Path(__file__).parents[2]


def environment(folder: Path, **settings: str) -> dict[str, str]:
    ours = {
        "DB_PATH": str(folder / "flow.sqlite"),
        "WEBHOOK_PORT": "0",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    } | settings
    return {"PATH": os.environ["PATH"], "HOME": str(folder)} | {
        f"DEKSDENFLOW_{name}": value for name, value in ours.items() if value
    }


@contextmanager
def webhooks(folder: Path, **settings: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The running service's URL and process."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.webhooks"],
            cwd=ROOT,
            env=environment(folder, **settings),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        url = re.search(r"http://\S+", line)
        assert url, (folder / "log").read_text()
        yield url[0], process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_it_receives_without_redis_and_ends_with_0_on_sigterm(tmp_path: Path) -> None:
    with webhooks(tmp_path, WEBHOOK_TOKEN="w-1") as (url, process):
        body = b'{"zen": "Practicality beats purity."}'
        headers = from_github("w-1", body, event="ping")
        first = httpx.post(f"{url}/webhooks/github", content=body, headers=headers)
        again = httpx.post(f"{url}/webhooks/github", content=body, headers=headers)
        assert (first.status_code, again.status_code) == (202, 200)
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        assert httpx.get(f"{url}/health/ready").status_code == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert "w-1" not in (tmp_path / "log").read_text()


def test_it_is_ready_once_redis_is_there(tmp_path: Path, redis_server: RedisServer) -> None:
    redis_server.stop()
    with webhooks(tmp_path, REDIS_URL=redis_server.url) as (url, _):
        assert httpx.get(f"{url}/health/ready").status_code == 503
        redis_server.start()
        until(lambda: httpx.get(f"{url}/health/ready").status_code == 200)


def started(folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "services.webhooks"],
        cwd=ROOT,
        env=environment(folder, **settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_outside_of_local_it_does_not_start_while_a_hook_has_no_secret(tmp_path: Path) -> None:
    real = {"ENV": "production", "SECRET_KEY": token_hex(32), "API_TOKEN": token_hex(32), "WEBHOOK_HOST": "127.0.0.1"}
    with webhooks(tmp_path, **real):
        pass  # the database is there
    with closing(pysqlite3.connect(tmp_path / "flow.sqlite", isolation_level=None)) as db:
        db.execute(
            "INSERT INTO projects (name, git_url, base_branch, default_models, policy, created_at, updated_at)"
            " VALUES ('one', 'https://github.com/a/b', 'main', '{}', '{}', 0, 0)"
        )
        db.execute("INSERT INTO hooks (project_id, provider, key, created_at) VALUES (1, 'github', 'k', 0)")
    ended = started(tmp_path, **real)
    assert (ended.returncode, "hook 1 of project 1" in ended.stderr) == (2, True)
    with webhooks(tmp_path) as (url, _):
        assert httpx.post(f"{url}/webhooks/github/k", content=b"{}").status_code == 403


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"REDIS_URL": ""}, "DEKSDENFLOW_REDIS_URL"),
        ({"REDIS_URL": "fakeredis://"}, "services.local"),
        ({"WEBHOOK_TOKN": "x"}, "DEKSDENFLOW_WEBHOOK_TOKEN"),
        ({"DB_PATH": "/proc/nothing/flow.sqlite"}, "/proc/nothing/flow.sqlite"),
        ({"ENV": "production"}, "DEKSDENFLOW_SECRET_KEY"),
        ({"WEBHOOK_HOST": "192.0.2.1"}, "192.0.2.1"),
    ],
)
def test_what_it_cannot_start_with_is_one_line_and_exit_2(tmp_path: Path, settings: dict[str, str], word: str) -> None:
    ended = started(tmp_path, **settings)
    complaint = [line for line in ended.stderr.splitlines() if line.startswith("deksdenflow: ")]
    assert ended.returncode == 2
    assert len(complaint) == 1
    assert word in complaint[0]
    assert "Traceback" not in ended.stderr
