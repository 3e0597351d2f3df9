"""A workshop whose project is at a forge: the worker and git reach the fake one by its proxy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.schemas.records import Delivery
from shared.schemas.statuses import DeliveryStatus, Provider
from shared.secret import Secret
from shared.workflow.deliveries import receive_delivery
from shared.workflow.projects import add_hook
from shared.workflow.protocols import open_pr
from tests.e2e.house import addition, answered, done
from tests.fakes.deliveries import Sent
from tests.fakes.forge import FakeForge, Repository
from tests.worker.workshop import Workshop, open_workshop

TOKEN = "forge-canary-9c41d07e22"
EXECUTED = answered("execute step 01", done("greet"), addition("greeting.txt", ["hello"]))
POLICY = {"open_pr": "asked", "ci_settle_s": 0}
PULLS = {"github": r"/pulls$", "gitlab": r"/merge_requests$"}
COMMENTS = {"github": r"/comments$", "gitlab": r"/notes$"}


class Scene:
    """One project at one forge, and the words to let things happen there."""

    def __init__(self, shop: Workshop, forge: FakeForge, repository: Repository) -> None:
        self.shop, self.forge, self.repository = shop, forge, repository

    async def execute(self, **policy: Any) -> str:
        """A protocol run of one step, executed and pushed; its commit."""
        provider = Provider(self.repository.provider)
        await self.shop.open("Greet", git_url=self.repository.git_url, ci_provider=provider, policy=POLICY | policy)
        step = await self.shop.execute()
        assert step.head_sha is not None
        return step.head_sha

    async def publish(self) -> None:
        await self.shop.call(open_pr, 1)
        await self.work()

    async def work(self) -> None:
        """Until nothing is due, also after every backoff."""
        for _ in range(6):
            await self.shop.work()
            self.shop.pass_time(61)

    async def receive(self, sent: Sent) -> Delivery:
        """Store the delivery for the project's hook, as the webhook service does, and let it be applied."""
        if not await self.shop.rows("SELECT 1 FROM hooks"):
            provider = Provider(self.repository.provider)
            await self.shop.call(add_hook, 1, provider=provider, key="k" * 24, scheme="hmac", sealed=None)
        said = Delivery(
            id=0,
            provider=Provider(sent.provider),
            hook_id=1,
            delivery_key=sent.key,
            event=sent.event,
            headers={name: text for name, text in sent.headers("x").items() if "event" in name},
            body=sent.body,
            body_sha256=sent.key.replace("-", "").ljust(64, "0"),
            project_id=1,
            protocol_id=None,
            step_id=None,
            status=DeliveryStatus.RECEIVED,
            reason=None,
            effect=None,
            received_at=0,
            applied_at=None,
        )
        stored, _ = await self.shop.call(receive_delivery, said)
        await self.work()
        (row,) = await self.shop.rows("SELECT * FROM deliveries WHERE id = ?", stored.id)
        return row  # type: ignore[return-value]


@asynccontextmanager
async def at_forge(
    provider: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, token: str | None = TOKEN
) -> AsyncIterator[Scene]:
    async with FakeForge(folder / "forge") as forge:
        for name, value in forge.environment.items():
            monkeypatch.setenv(name, value)
        repository = forge.repository(provider, f"{provider}.com", "acme/pears", token=TOKEN)
        secret = {} if token is None else {f"{provider}_token": Secret(token)}
        async with open_workshop(folder, EXECUTED, network=forge.environment, **secret) as shop:
            yield Scene(shop, forge, repository)
