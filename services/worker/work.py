"""The life of a claimed job, from the claim to the release, which comes exactly once whatever happens in between."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime

import structlog
from structlog.contextvars import bound_contextvars

from services.worker.codex.quota import named_time
from services.worker.codex.request import CodexFailed
from services.worker.doors import Doors
from services.worker.jobs import deliveries, execution, notify, planning, publish, quality, setup, sync
from services.worker.lease import Lease
from services.worker.meter import JobMeter
from services.worker.pace import PACE, Pace
from shared.errors import Category, JobError, Refusal, Unavailable
from shared.runtime import Runtime
from shared.schemas.reports import Claim, Ending, Failed, Report, Stopped
from shared.schemas.statuses import JobKind, StopRequest
from shared.security import new_hook_key
from shared.workflow import jobs as verbs
from shared.workflow.door import STOP
from shared.workflow.unit import Caller

Job = Callable[[Doors, Lease], Awaitable[Report]]

JOBS: dict[JobKind, Job] = {
    JobKind.SETUP: setup.set_up,
    JobKind.PLAN: planning.plan,
    JobKind.EXECUTE: execution.execute,
    JobKind.QA: quality.judge,
    JobKind.OPEN_PR: publish.publish,
    JobKind.DELIVERY: deliveries.look_at_delivery,
    JobKind.SYNC: sync.sync,
    JobKind.NOTIFY: notify.notify,
}

log = structlog.stdlib.get_logger(__name__)


class Worker:
    """Runs claimed jobs; made once for a process. `freed` is called whenever a place became free."""

    def __init__(self, runtime: Runtime, doors: Doors, meter: JobMeter, pace: Pace = PACE) -> None:
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{new_hook_key()[:8]}"
        self.caller = Caller(f"worker:{self.owner}")
        self.leases: dict[int, Lease] = {}
        self.stopping = False
        self.freed: Callable[[], None] = lambda: None
        self._runtime = runtime
        self._doors = doors
        self._meter = meter
        self._pace = pace
        self._held: set[asyncio.Task[None]] = set()

    async def run_job(self, job_id: int, dispatch: int) -> None:
        """Claim the job, do it, and release it with whatever came of it."""
        if self.stopping:
            return
        claim = await self._claim(job_id, dispatch)
        if claim is None:
            return
        lease = Lease(self._runtime.flow, Caller(self.caller.actor, claim.job.request_id), claim, self._pace)
        self.leases[job_id] = lease
        try:
            with bound_contextvars(**_names(claim)):
                await self._to_its_end(lease)
        finally:
            if self.leases.get(job_id) is lease:  # released, it may be claimed anew before we come here
                del self.leases[job_id]
            self.freed()

    async def hear_stops(self) -> None:
        """Look at once at jobs that somebody asked to stop; a word that is lost comes with the next heartbeat."""
        async with contextlib.aclosing(self._runtime.queue.listen(STOP)) as line:
            async for heard in line:
                for job_id, lease in tuple(self.leases.items()):
                    if heard.message in {"", str(job_id)}:
                        lease.poke()

    def park_all(self) -> None:
        """Stop what runs so that it can go on later."""
        for lease in tuple(self.leases.values()):
            lease.park()

    def abandon_all(self) -> None:
        """Cut off what did not even stop; another worker takes its jobs back."""
        for task in tuple(self._held):
            log.error("job_abandoned", task=task.get_name())
            task.cancel()

    async def _claim(self, job_id: int, dispatch: int) -> Claim | None:
        try:
            return await self._runtime.flow.run(self.caller, verbs.claim_job, job_id, dispatch, self.owner)
        except Refusal as refusal:
            log.warning("claim_refused", job=job_id, error=str(refusal))
            return None

    async def _to_its_end(self, lease: Lease) -> None:
        """Hold the job whatever happens: a cancellation is the request to park it, never the end of its clean-up."""
        task = asyncio.create_task(self._hold(lease), name=f"job {lease.job_id}")
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                lease.park()
        task.result()

    async def _hold(self, lease: Lease) -> None:
        kind, began = lease.claim.job.kind, time.monotonic()
        log.info("job_started", kind=kind, number=lease.claim.job.attempt)
        async with lease.kept():
            ending = await self._do(lease)
            await self._release(lease, ending)
        seconds = time.monotonic() - began
        self._meter.note(lease, ending, seconds)
        log.info("job_ended", kind=kind, ending=type(ending).__name__, seconds=round(seconds, 3))

    async def _do(self, lease: Lease) -> Ending:
        redact = self._runtime.redactor.redact
        try:
            async with _cut_off(lease, self._pace.patience_s):
                return await JOBS[lease.claim.job.kind](self._doors, lease)
        except JobError as error:
            if lease.stop.is_set() and lease.why is StopRequest.PARK:
                return Stopped(message="Stopped on request; it goes on later.")
            log.warning("job_error", category=error.category, error=error.message)
            tail = error.result.stderr_tail if isinstance(error, CodexFailed) else error.stderr_tail
            return Failed(
                category=error.category,
                message=redact(error.message),
                stderr_tail=redact(tail),
                again_at=self._again_at(error),
            )
        except Exception as error:  # whatever a job raises ends as its failure, never as a lost job
            log.exception("job_raised")
            return Failed(category=Category.UNKNOWN, message=redact(f"{type(error).__name__}: {error}"))

    def _again_at(self, error: JobError) -> int | None:
        now_ms = self._runtime.database.clock()
        if error.again_in_s is not None:
            return now_ms + round(error.again_in_s * 1000)
        if error.category is not Category.QUOTA:
            return None
        named = named_time(error.message, datetime.fromtimestamp(now_ms / 1000, UTC))
        return None if named is None else round(named.timestamp() * 1000)

    async def _release(self, lease: Lease, ending: Ending) -> None:
        """Write the end; a database that cannot be written now is waited for, under the same lease."""
        while True:
            try:
                await self._runtime.flow.run(lease.caller, verbs.release, lease.job_id, lease.token, ending)
            except Unavailable as refusal:
                log.warning("release_waits", error=str(refusal))
                await asyncio.sleep(self._pace.again_s)
            except Exception as error:  # a report that is refused is told as a failure, once
                log.exception("release_failed", ending=type(ending).__name__)
                if isinstance(ending, Failed):
                    return  # the reconciler takes back what nobody holds
                ending = Failed(category=Category.UNKNOWN, message=f"What the job reported was not accepted: {error}")
            else:
                return


@contextlib.asynccontextmanager
async def _cut_off(lease: Lease, patience_s: float) -> AsyncGenerator[None]:
    """Cancel the body when it goes on for too long after the request to stop; JobError(CANCELLED) then.

    Codex and git clean up behind themselves when they are cancelled. What runs no agent holds nothing that would be
    worth a wait.
    """

    async def watch() -> None:
        await lease.stop.wait()
        patience = patience_s if lease.claim.job.kind.runs_codex else 0
        limit.reschedule(asyncio.get_running_loop().time() + patience)

    limit = asyncio.timeout(None)
    try:
        async with limit:
            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise JobError(Category.CANCELLED, "The job was asked to stop, and cut off.") from error


def _names(claim: Claim) -> dict[str, int | str | None]:
    job = claim.job
    attempt = claim.attempt.id if claim.attempt else None
    names = {"request_id": job.request_id, "protocol": job.protocol_id, "step": job.step_id, "job": job.id}
    return {name: value for name, value in (names | {"attempt": attempt}).items() if value is not None}
