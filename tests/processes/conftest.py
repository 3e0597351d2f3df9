"""The three services, each ready to be started with one database file, one Redis server and the same workspaces."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from tests.fakes.redis_server import RedisServer
from tests.processes.driving import SECRET, TOKEN
from tests.processes.services import Service
from tests.worker.codex.ground import SANDBOX


@pytest.fixture
def folder() -> Iterator[Path]:
    """Outside of /tmp, below which Codex keeps no programs of its own."""
    with TemporaryDirectory(prefix="deksdenflow-test-", dir="/var/tmp", ignore_cleanup_errors=True) as made:
        yield Path(made)


@pytest.fixture
def environment(folder: Path, redis_server: RedisServer) -> dict[str, str]:
    """What all three share; a test adds where the model is."""
    settings = {
        "REDIS_URL": redis_server.url,
        "DB_PATH": str(folder / "deksdenflow.sqlite"),
        "WORKSPACES_DIR": str(folder / "workspaces"),
        "API_TOKEN": TOKEN,
        "WEBHOOK_TOKEN": SECRET,
        "API_HOST": "127.0.0.1",
        "WEBHOOK_HOST": "127.0.0.1",
        "WORKER_HOST": "127.0.0.1",
        "API_PORT": "0",
        "WEBHOOK_PORT": "0",
        "WORKER_PORT": "0",
        "ALLOW_LOCAL_REPOS": "true",
        "CODEX_SANDBOX": SANDBOX,
        "GRACE_S": "4",
    }
    return {f"DEKSDENFLOW_{name}": value for name, value in settings.items()}


@pytest.fixture
async def api(environment: dict[str, str], folder: Path) -> AsyncIterator[Service]:
    async with Service("api", environment, folder) as running:
        yield running


@pytest.fixture
async def client(api: Service) -> AsyncIterator[httpx.AsyncClient]:
    """The administrator's."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=api.url, headers=headers, timeout=20) as session:
        yield session
