"""Many who want the same at once: one gets it, whoever they are and however often they ask."""

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import httpx

from services.worker.arq_loop import WakingWorker
from shared.queue import Queue, end_tasks
from shared.repository.database import Row, Tx, open_database
from shared.schemas.records import Delivery
from shared.schemas.reports import DeliveryDone
from shared.schemas.statuses import DeliveryStatus, Provider
from shared.workflow.deliveries import receive_delivery
from shared.workflow.door import Workflow
from shared.workflow.jobs import claim_job, release
from shared.workflow.unit import Caller, Rules
from tests.processes.driving import TOKEN, open_run, post
from tests.processes.services import Service
from tests.waiting import eventually

CALLS = 200
WORKERS = 20
JOBS = 100


async def test_of_two_hundred_that_run_one_step_at_once_one_does_and_there_is_one_job(
    api: Service, client: httpx.AsyncClient, folder: Path
) -> None:
    path = await open_run(client, folder / "nowhere.git")
    step = await post(client, f"{path}/steps", {"step_name": "Greet"})
    await post(client, f"{path}/actions/start", {"plan": False})
    headers, limits = {"authorization": f"Bearer {TOKEN}"}, httpx.Limits(max_connections=50)
    async with httpx.AsyncClient(base_url=api.url, headers=headers, timeout=60, limits=limits) as crowd:
        answers = await asyncio.gather(*(crowd.post(f"/steps/{step['id']}/actions/run") for _ in range(CALLS)))
    codes = Counter(answer.status_code for answer in answers)
    assert codes == {202: 1, 409: CALLS - 1}, codes
    events = (await client.get(f"{path}/events", params={"limit": 500})).json()
    assert sum(event["event_type"] == "step_enqueued" for event in events) == 1
    async with open_database(folder / "deksdenflow.sqlite", readers=1) as database:

        def jobs_of_step(tx: Tx) -> list[Row]:
            return tx.rows("SELECT state FROM jobs WHERE step_id = ?", (step["id"],))

        assert await database.read(jobs_of_step) == [{"state": "queued"}]


class Taker:
    """A worker with a database and a Redis connection of its own, that does nothing but claim and release."""

    def __init__(self, name: str, flow: Workflow, queue: Queue) -> None:
        self.taken: list[int] = []
        self.loop = WakingWorker(queue, self._take, slots=3)
        self._name = name
        self._flow = flow

    async def _take(self, job_id: int, dispatch: int) -> None:
        claim = await self._flow.run(Caller(self._name), claim_job, job_id, dispatch, self._name)
        if claim is not None:
            self.taken.append(job_id)
            await self._flow.run(
                Caller(self._name), release, job_id, claim.job.token, DeliveryDone(said=None, reason="crowd")
            )


async def test_of_twenty_workers_on_one_queue_one_claims_each_job(folder: Path, redis_url: str) -> None:
    queues = [Queue.from_url(redis_url, "crowd") for _ in range(WORKERS + 1)]
    async with contextlib.AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(open_database(folder / "crowd.sqlite", readers=1)) for _ in queues]
        flows = [Workflow(*doors, Rules()) for doors in zip(databases, queues, strict=True)]
        takers = [Taker(f"w{number}", *doors) for number, doors in enumerate(zip(flows[1:], queues[1:], strict=True))]
        running = [asyncio.create_task(taker.loop.async_run()) for taker in takers]
        for number in range(JOBS):
            await flows[0].run(Caller("forge"), receive_delivery, a_delivery(number))

        def ended(tx: Tx) -> list[Row]:
            return tx.rows("SELECT id, attempt, token FROM jobs WHERE state = 'succeeded' ORDER BY id")

        async def all_ended() -> bool:
            return len(await databases[0].read(ended)) == JOBS

        try:
            await eventually(all_ended, within=60)
            rows = await databases[0].read(ended)
        finally:
            for taker in takers:
                await taker.loop.close()
            await end_tasks(*running)
            for queue in queues:
                await queue.close()
    assert Counter(job_id for taker in takers for job_id in taker.taken) == dict.fromkeys(range(1, JOBS + 1), 1)
    assert {(row["attempt"], row["token"]) for row in rows} == {(1, 1)}


def a_delivery(number: int) -> Delivery:
    return Delivery(
        id=0,
        provider=Provider.GITHUB,
        hook_id=None,
        delivery_key=f"key-{number}",
        event="ping",
        headers={},
        body=b"{}",
        body_sha256=f"{number:064}",
        project_id=None,
        protocol_id=None,
        step_id=None,
        status=DeliveryStatus.RECEIVED,
        reason=None,
        effect=None,
        received_at=0,
        applied_at=None,
    )
