"""The API as it runs, but for the server: a real database, its own app behind an ASGI transport, a worker's hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from litestar import Litestar

from services.api.app import create_app
from shared.queue import Queue
from shared.repository import deliveries, meta
from shared.repository.database import Database, Row, Tx, open_database, wall_clock
from shared.schemas.records import Delivery
from shared.schemas.reports import Claim, ExecutionDone, Failed, PlanDone, PlannedStep, QaDone, Usage
from shared.schemas.statuses import DeliveryStatus, JobKind, Provider, StepType
from shared.secret import Secret
from shared.security import Vault
from shared.settings import Settings
from shared.workflow import plan_files
from shared.workflow.deliveries import receive_delivery
from shared.workflow.door import Workflow, rules_of
from shared.workflow.jobs import claim_job, note_attempt, note_commit, release
from shared.workflow.unit import Caller

WORKER = Caller(actor="worker")
TOKEN = "an-admin-token-for-tests-only"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
# Nothing listens there: the API works without Redis.
NO_REDIS = "redis://127.0.0.1:1/0"
SHA = "a" * 40


class Clock:
    """The wall clock, which a test may turn."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return wall_clock() + self.ahead_ms


class House:
    """The running app, its client, and its doors for setting the scene and for looking at what was stored."""

    def __init__(  # noqa: PLR0917  its doors
        self,
        settings: Settings,
        app: Litestar,
        database: Database,
        flow: Workflow,
        queue: Queue,
        vault: Vault,
        clock: Clock,
    ) -> None:
        self.settings, self.app, self.database, self.flow, self.vault = settings, app, database, flow, vault
        self.queue, self.clock = queue, clock
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    async def rows(self, sql: str, *params: Any) -> list[Row]:
        def look(tx: Tx) -> list[Row]:
            return tx.rows(sql, params)

        return await self.database.read(look)

    async def project(self, name: str = "shop", **fields: Any) -> int:
        # What publishes by itself would queue jobs beside those that a test asks for.
        policy = {"open_pr": "asked"} | fields.pop("policy", {})
        body = {"name": name, "git_url": f"https://github.com/acme/{name}.git", "policy": policy} | fields
        answer = await self.client.post("/projects", json=body, headers=ADMIN)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def project_token(self, project_id: int) -> str:
        answer = await self.client.post(f"/projects/{project_id}/tokens", json={"name": "ci"}, headers=ADMIN)
        assert answer.status_code == 201, answer.text
        return answer.json()["token"]

    async def protocol(self, project_id: int, **fields: Any) -> int:
        body = {"description": "Add a dark theme."} | fields
        answer = await self.client.post(f"/projects/{project_id}/protocols", json=body, headers=ADMIN)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def planned(self, project_id: int, *titles: str, **fields: Any) -> int:
        """A protocol run whose plan has these steps."""
        protocol_id = await self.protocol(project_id, **fields)
        await self.client.post(f"/protocols/{protocol_id}/actions/start", headers=ADMIN)
        await self.plan(*(titles or ("One", "Two")))
        return protocol_id

    async def executed(self, project_id: int, **fields: Any) -> tuple[int, int]:
        """A protocol run and its first step, which waits to be judged."""
        protocol_id = await self.planned(project_id, **fields)
        step = await self.client.post(f"/protocols/{protocol_id}/actions/run_next_step", headers=ADMIN)
        await self.execute()
        return protocol_id, step.json()["id"]

    async def delivery(self, status: str = "ignored", **about: Any) -> int:
        """A delivery that says that little, and came to this."""
        delivery = a_delivery(key=f"house-{len(await self.rows('SELECT id FROM deliveries'))}")
        stored, _ = await self.flow.run(Caller(actor="webhook:github"), receive_delivery, delivery)
        word = DeliveryStatus(status)
        await self.database.write(lambda tx: deliveries.settle(tx, stored.id, word, "ping", **about))
        return stored.id

    async def plan(self, *titles: str) -> None:
        """Do the newest planning job."""
        claim = await self.claim(JobKind.PLAN)
        assert claim.protocol is not None
        steps = tuple(
            PlannedStep(title=title, type=StepType.WORK, instructions=f"Do {title}.", depends_on=()) for title in titles
        )
        lines = [
            plan_files.Line(number, step.title, step.type, step.instructions, step.depends_on)
            for number, step in enumerate(steps, 1)
        ]
        plan = plan_files.compose(
            claim.protocol, revision=1, summary="A plan", plan_md="# Plan", context_md="", lines=lines, now=0
        )
        await self.end(claim, PlanDone(plan=plan, steps=steps, start_sha="0" * 40, head_sha="1" * 40, pushed=False))

    async def execute(self, sha: str = SHA, directory: str | None = None) -> Claim:
        """Do the newest execution."""
        claim = await self.claim(JobKind.EXECUTE)
        if directory is not None:
            await self.flow.run(WORKER, note_attempt, claim.job.id, claim.job.token, Usage(), directory)
        report = ExecutionDone(summary="Did it", changed=True, head_sha=sha, pushed=False)
        await self.flow.run(WORKER, note_commit, claim.job.id, claim.job.token, sha, report)
        await self.end(claim, report)
        return claim

    async def judge(self, verdict: str, sha: str = SHA) -> None:
        """Do the newest QA run."""
        claim = await self.claim(JobKind.QA)
        await self.end(claim, QaDone(sha=sha, verdict=verdict, summary="Looked at it"))  # pyright: ignore[reportArgumentType]

    async def fail(self, kind: JobKind, failure: Failed) -> None:
        """Let the newest job of the kind fail."""
        await self.end(await self.claim(kind), failure)

    async def claim(self, kind: JobKind) -> Claim:
        (job, *_) = await self.rows("SELECT * FROM jobs WHERE kind = ? AND state = 'queued' ORDER BY id DESC", kind)
        claim = await self.flow.run(WORKER, claim_job, job["id"], job["dispatch"], "w1")
        assert claim is not None
        return claim

    async def end(self, claim: Claim, ending: Any) -> None:
        """Report how a claimed job ended."""
        usage = Usage(thread_id="t1", input_tokens=100, cached_input_tokens=40, output_tokens=10)
        assert await self.flow.run(WORKER, release, claim.job.id, claim.job.token, ending, usage)


def a_delivery(key: str = "d-1", **changes: Any) -> Delivery:
    """A push of GitHub as the webhook service would store it."""
    delivery = Delivery(
        id=0,
        provider=Provider.GITHUB,
        hook_id=None,
        delivery_key=key,
        event="push",
        headers={"x-github-event": "push", "user-agent": "GitHub-Hookshot/1"},
        body=b"{}",
        body_sha256=key,
        project_id=None,
        protocol_id=None,
        step_id=None,
        status=DeliveryStatus.RECEIVED,
        reason=None,
        effect=None,
        received_at=0,
        applied_at=None,
    )
    return msgspec.structs.replace(delivery, **changes)


@asynccontextmanager
async def open_house(
    folder: Path, *, redis: str = NO_REDIS, streams: bool = False, **changes: Any
) -> AsyncIterator[House]:
    """An API with an admin token unless `changes` say otherwise; the client sends no credential by itself.

    Without `streams` every event stream ends at once, for clients that wait for the end of each answer.
    """
    # No neighbour is asked: one that a person runs on this machine is none of ours.
    alone = {"webhook_port": 0, "worker_port": 0}
    defaults: dict[str, Any] = {"api_token": Secret(TOKEN), "workspaces_dir": folder / "work"} | alone
    settings = msgspec.structs.replace(Settings(redis_url=Secret(redis)), **(defaults | changes))
    clock = Clock()
    async with open_database(folder / "flow.sqlite", clock=clock) as database:
        queue = Queue.from_url(redis, await database.read(meta.instance))
        flow = Workflow(database, queue, rules_of(settings))
        vault = Vault(Secret("a key that is only good for tests"))
        house = House(settings, create_app(settings, database, flow, queue, vault), database, flow, queue, vault, clock)
        if not streams:
            house.app.state.feed.close()
        async with house.client:
            yield house
        await queue.close()
