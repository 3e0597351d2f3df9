"""What the measurements need: the services as processes, a repository, and databases of different sizes."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from shared.repository.database import Tx, open_database

TOKEN = "bench-token-0123456789abcdef"
AUTHORIZED = (("authorization", f"Bearer {TOKEN}"), ("content-type", "application/json"))
ROOT = Path(__file__).parent.parent

# Answers its version and the probe like Codex; as an agent it notes the time and ends.
STUB = """#!/bin/sh
case "$1" in
  --version) echo "codex-cli 0.163.0" ;;
  sandbox) exit 0 ;;
  exec) date +%s%N >> "{notes}"; exit 1 ;;
esac
"""


def environment(folder: Path, redis_url: str) -> dict[str, str]:
    """Settings of services that know only this folder."""
    stub = folder / "codex"
    stub.write_text(STUB.format(notes=folder / "starts"))
    stub.chmod(0o755)
    return {
        "DEKSDENFLOW_REDIS_URL": redis_url,
        "DEKSDENFLOW_DB_PATH": str(folder / "bench.sqlite"),
        "DEKSDENFLOW_WORKSPACES_DIR": str(folder / "workspaces"),
        "DEKSDENFLOW_API_TOKEN": TOKEN,
        "DEKSDENFLOW_API_HOST": "127.0.0.1",
        "DEKSDENFLOW_WEBHOOK_HOST": "127.0.0.1",
        "DEKSDENFLOW_WORKER_HOST": "127.0.0.1",
        "DEKSDENFLOW_API_PORT": "0",
        "DEKSDENFLOW_WEBHOOK_PORT": "0",
        "DEKSDENFLOW_WORKER_PORT": "0",
        "DEKSDENFLOW_ALLOW_LOCAL_REPOS": "true",
        "DEKSDENFLOW_CODEX_BIN": str(stub),
        "DEKSDENFLOW_CODEX_API_KEY": "bench",
        "DEKSDENFLOW_LOG_LEVEL": "WARNING",
        "DEKSDENFLOW_MAX_ATTEMPTS": "1",
    }


def make_repository(folder: Path) -> Path:
    """A repository with one commit."""
    path = folder / "origin.git"
    work = folder / "work"
    for command in (
        ["git", "init", "-q", "-b", "main", str(work)],
        [
            "git",
            "-C",
            str(work),
            "-c",
            "user.name=b",
            "-c",
            "user.email=b@b",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "One",
        ],
        ["git", "clone", "-q", "--bare", str(work), str(path)],
    ):
        subprocess.run(command, check=True)
    return path


@contextmanager
def bare_server(db: Path) -> Iterator[str]:
    """The bare routes on a free port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bare", str(port)], cwd=ROOT, env={"BENCH_DB": str(db)}, stdin=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def process(command: Sequence[str], environment: Mapping[str, str], cwd: Path, log: Path) -> Iterator[None]:
    """A process in a session of its own, so that one which starts more can be ended whole."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


async def listening(url: str) -> None:
    """Return once something accepts connections there."""
    host, port = url.removeprefix("http://").split(":")
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise TimeoutError(url)


def _grow(tx: Tx, rows: int) -> None:
    """A project with a protocol, a step, and that many events, jobs and attempts."""
    tx.run("INSERT INTO projects VALUES (1, 'bench', '/srv/bench.git', 'main', NULL, NULL, '{}', '{}', 1, 0, 0)")
    tx.run(
        "INSERT INTO protocol_runs (id, project_id, number, protocol_name, branch, base_branch, description, status,"
        " policy, created_at, updated_at) VALUES (1, 1, 1, '0001-a', '0001-a', 'main', 'd', 'planned', '{}', 0, 0)"
    )
    tx.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO events (project_id, protocol_id, event_type, entity, actor, metadata, created_at)"
        " SELECT 1, 1, 'planned', 'protocol', 'bench', '{}', i FROM n",
        (rows,),
    )
    tx.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO jobs (kind, project_id, protocol_id, payload, state, run_at, max_attempts, actor, created_at,"
        " finished_at) SELECT 'open_pr_job', 1, 1, '{}', 'succeeded', i, 3, 'bench', i, i FROM n",
        (rows,),
    )


@asynccontextmanager
async def grown_database(path: Path, rows: int) -> AsyncIterator[None]:
    """A database with that many rows in its long tables."""
    async with open_database(path) as database:
        await database.write(_grow, rows)
    yield
