"""The webhook service as it runs: a real database file, a real Redis, its own app behind an ASGI transport."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from services.webhooks.app import create_app
from shared.queue import Queue
from shared.repository import meta
from shared.repository.database import Database, Row, Tx, open_database
from shared.schemas.policy import Policy
from shared.schemas.records import Hook
from shared.schemas.statuses import Provider
from shared.secret import Secret
from shared.security import Vault, new_hook_key
from shared.settings import Settings
from shared.workflow.deliveries import hook_seal_context
from shared.workflow.door import Workflow, rules_of
from shared.workflow.projects import add_hook, register_project, rotate_hook
from shared.workflow.unit import Caller

TESTER = Caller(actor="tester")


class Clock:
    """The wall clock, which a test may turn."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


class Service:
    """The running app, its client, and its doors for setting the scene and for looking at what was stored."""

    def __init__(self, database: Database, flow: Workflow, queue: Queue, vault: Vault, clock: Clock) -> None:
        self.database, self.flow, self.queue, self.vault, self.clock = database, flow, queue, vault, clock
        self.client = httpx.AsyncClient()

    async def hook(self, provider: Provider, secret: str | None, scheme: str = "hmac", *, project: str = "one") -> Hook:
        """A hook of a project of this name, which is registered once."""
        project_id = await self.project(project)
        key = new_hook_key()
        sealed = None if secret is None else self.vault.seal(secret, hook_seal_context(key))
        return await self.flow.run(
            TESTER, add_hook, project_id, provider=provider, key=key, scheme=scheme, sealed=sealed
        )

    async def rotate(self, hook: Hook, secret: str, scheme: str = "hmac") -> None:
        """Give a hook a new secret beside its present one."""
        sealed = self.vault.seal(secret, hook_seal_context(hook.key))
        later = self.clock() + 86_400_000
        await self.flow.run(
            TESTER, rotate_hook, hook.project_id, hook.id, scheme=scheme, sealed=sealed, others_until=later
        )

    async def project(self, name: str) -> int:
        if known := await self.rows("SELECT id FROM projects WHERE name = ?", name):
            return known[0]["id"]
        project = await self.flow.run(
            TESTER,
            register_project,
            name=name,
            git_url=f"https://github.com/orchard/{name}",
            base_branch="main",
            ci_provider=None,
            default_models={},
            policy=Policy(),
            allow_local=False,
        )
        return project.id

    async def rows(self, sql: str, *params: Any) -> list[Row]:
        def look(tx: Tx) -> list[Row]:
            return tx.rows(sql, params)

        return await self.database.read(look)

    async def jobs(self) -> list[Row]:
        return await self.rows("SELECT * FROM jobs WHERE kind = 'process_delivery' ORDER BY id")

    async def deliveries(self) -> list[Row]:
        return await self.rows("SELECT * FROM deliveries ORDER BY id")


Start = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path, redis_url: str) -> Start:
    """Starts the service with these settings; several may run on the one database."""

    @asynccontextmanager
    async def run(redis: str = redis_url, **changes: Any) -> AsyncIterator[Service]:
        settings = msgspec.structs.replace(Settings(redis_url=Secret(redis)), **changes)
        clock = Clock()
        async with open_database(tmp_path / "flow.sqlite", clock=clock) as database:
            queue = Queue.from_url(redis, await database.read(meta.instance))
            vault = Vault(Secret("a key that is only good for tests"))
            service = Service(database, Workflow(database, queue, rules_of(settings)), queue, vault, clock)
            app = create_app(settings, database, service.flow, queue, vault, clock=clock)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://hooks") as client:
                service.client = client
                yield service
            await queue.close()

    return run


@pytest.fixture
async def service(start: Start) -> AsyncIterator[Service]:
    """The service with the global secret `the global one`."""
    async with start(webhook_token=Secret("the global one")) as running:
        yield running
