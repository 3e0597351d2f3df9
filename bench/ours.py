"""DeksdenFlow under the same driver as its peers: the real worker, and a process that commits as an API.

    python -m bench.ours work|drive

Nothing of the product is replaced: what is added notes the time of a commit, on the side of who waited for it.
"""

import contextlib
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from msgspec.structs import replace

from bench.peers import driver
from services.worker.service import run_worker
from shared.queue import Queue
from shared.redaction import Redactor
from shared.repository.database import Database
from shared.runtime import Runtime, open_runtime, run_service
from shared.schemas.records import Delivery
from shared.schemas.statuses import DeliveryStatus, Provider
from shared.settings import Settings
from shared.web.server import stop_on_signals
from shared.workflow.deliveries import receive_delivery
from shared.workflow.door import Workflow, rules_of
from shared.workflow.jobs import claim_job, release
from shared.workflow.unit import Caller

CALLER = Caller("bench")


class MarkedFlow(Workflow):
    """Marks what the worker has committed."""

    def __init__(self, database: Database, queue: Queue, settings: Settings) -> None:
        super().__init__(database, queue, rules_of(settings))
        self._pipe = driver.opened_pipe()

    async def run(self, caller: Caller, verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the verb, and mark the job that it claimed or released."""
        result = await super().run(caller, verb, *args, **kwargs)
        if verb is claim_job and result is not None:
            driver.mark(self._pipe, driver.CLAIMED, args[0])
        elif verb is release and result:
            driver.mark(self._pipe, driver.DONE, args[0])
        return result


class MarkedBell:
    """Notes when a job's transaction was committed: the bell is what comes next."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.watch: driver.Watch | None = None

    async def ring(self, job_id: int, dispatch: int, priority: int) -> bool:
        """Note it, and ring."""
        if self.watch is not None:
            self.watch.send(job_id)
        return await self._queue.ring(job_id, dispatch, priority)

    async def publish(self, channel: str, message: str) -> bool:
        """Tell it on."""
        return await self._queue.publish(channel, message)


@contextlib.asynccontextmanager
async def opened(settings: Settings, redactor: Redactor) -> AsyncGenerator[Runtime]:
    """The doors; with BENCH_SYNC the database is as durable as that says instead of FULL."""
    async with open_runtime(settings, "worker", redactor=redactor) as runtime:
        if asked := os.environ.get("BENCH_SYNC"):
            await runtime.database._writer.execute_fetchall(f"PRAGMA synchronous={asked}")
        yield runtime


async def work(settings: Settings, redactor: Redactor) -> None:
    """Run the worker."""
    async with opened(settings, redactor) as runtime:
        marked = replace(runtime, flow=MarkedFlow(runtime.database, runtime.queue, settings))
        await run_worker(marked, stop_on_signals(), allow_local=True)


async def drive(settings: Settings, redactor: Redactor) -> None:
    """Store deliveries, as the webhook service does; each queues a job that has nothing to do."""
    async with opened(settings, redactor) as runtime:
        bell = MarkedBell(runtime.queue)
        flow = Workflow(runtime.database, bell, rules_of(settings))

        async def enqueue(watch: driver.Watch, number: int) -> None:
            bell.watch = watch
            await flow.run(CALLER, receive_delivery, _delivery(number))

        await driver.drive(enqueue)


def _delivery(number: int) -> Delivery:
    return Delivery(
        id=0,
        provider=Provider.GITHUB,
        hook_id=None,
        delivery_key=f"bench-{number}-{time.monotonic_ns()}",
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


if __name__ == "__main__":
    sys.exit(run_service({"work": work, "drive": drive}[sys.argv[1]]))
