"""The worker put together: arq's loop, the jobs, the reconciler, the stop line and the health page."""

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from structlog.contextvars import bound_contextvars

from services.worker.agent import Agent
from services.worker.arq_loop import WakingWorker
from services.worker.codex.request import CodexFailed
from services.worker.doors import Doors
from services.worker.git.door import Git
from services.worker.health import worker_app
from services.worker.jobs import chores, execution, planning, quality
from services.worker.lease import Lease
from services.worker.reconcile import Ownership, Reconciler
from shared.errors import Category, JobError, Refusal, StartupError
from shared.runtime import Runtime
from shared.safety import effective_host
from shared.schemas.reports import Claim, Ending, Failed, Report, Stopped
from shared.schemas.statuses import JobKind, StopRequest
from shared.security import new_hook_key
from shared.web.metrics import new_registry
from shared.web.server import serve
from shared.workflow import jobs as verbs
from shared.workflow.door import STOP
from shared.workflow.unit import Caller

Job = Callable[[Doors, Lease], Awaitable[Report]]

JOBS: dict[JobKind, Job] = {
    JobKind.SETUP: chores.set_up,
    JobKind.PLAN: planning.plan,
    JobKind.EXECUTE: execution.execute,
    JobKind.QA: quality.judge,
    JobKind.OPEN_PR: chores.publish,
    JobKind.DELIVERY: chores.look_at_delivery,
}
RELEASE_AGAIN_S = 1.0
_BUCKETS = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600)

log = structlog.stdlib.get_logger(__name__)


class JobMeter:
    """Counts jobs by kind and by how they ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter("jobs_processed_total", "Jobs that ended.", ["job_type", "status"], registry=registry)
        self._seconds = Histogram(
            "jobs_duration_seconds", "Time from claim to end.", ["job_type"], buckets=_BUCKETS, registry=registry
        )

    def note(self, kind: JobKind, ending: Ending, seconds: float) -> None:
        """Count one claimed job."""
        self._ended.labels(kind, "failed" if isinstance(ending, Failed) else type(ending).__name__.lower()).inc()
        self._seconds.labels(kind).observe(seconds)


class Worker:
    """Runs claimed jobs; made once for a process."""

    def __init__(self, runtime: Runtime, doors: Doors, meter: JobMeter) -> None:
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{new_hook_key()[:8]}"
        self.caller = Caller(f"worker:{self.owner}")
        self.leases: dict[int, Lease] = {}
        self.stopping = False
        self._runtime = runtime
        self._doors = doors
        self._meter = meter
        self.freed: Callable[[], None] = lambda: None

    async def run_job(self, job_id: int, dispatch: int) -> None:
        """Claim the job, do it, and release it with whatever came of it; never raises."""
        if self.stopping:
            return
        try:
            claim = await self._runtime.flow.run(self.caller, verbs.claim_job, job_id, dispatch, self.owner)
        except Refusal as refusal:
            log.warning("claim_refused", job=job_id, error=str(refusal))
            return
        if claim is None:
            return
        caller = Caller(self.caller.actor, claim.job.request_id)
        lease = Lease(self._runtime.flow, caller, claim)
        self.leases[job_id] = lease
        try:
            with bound_contextvars(**_names(claim)):
                await _to_its_end(asyncio.create_task(self._hold(lease, caller)), lease)
        finally:
            self.leases.pop(job_id, None)
            self.freed()

    async def _hold(self, lease: Lease, caller: Caller) -> None:
        began = time.monotonic()
        log.info("job_started", kind=lease.claim.job.kind, number=lease.claim.job.attempt)
        async with lease.kept():
            ending = await self._do(lease)
            await self._release(lease, caller, ending)
        seconds = time.monotonic() - began
        self._meter.note(lease.claim.job.kind, ending, seconds)
        log.info("job_ended", kind=lease.claim.job.kind, ending=type(ending).__name__, seconds=round(seconds, 3))

    async def _do(self, lease: Lease) -> Ending:
        redact = self._runtime.redactor.redact
        try:
            return await JOBS[lease.claim.job.kind](self._doors, lease)
        except JobError as error:
            if lease.stop.is_set() and lease.why is StopRequest.PARK:
                return Stopped(message="Stopped on request; it goes on later.")
            tail = error.result.stderr_tail if isinstance(error, CodexFailed) else error.stderr_tail
            return Failed(category=error.category, message=redact(error.message), stderr_tail=redact(tail))
        except Refusal as refusal:
            return Failed(category=Category.BUSY, message=redact(str(refusal)))
        except Exception as error:
            log.exception("job_raised")
            return Failed(category=Category.UNKNOWN, message=redact(f"{type(error).__name__}: {error}"))

    async def _release(self, lease: Lease, caller: Caller, ending: Ending) -> None:
        """Write the end; a database that cannot be written now is waited for, under the same lease."""
        while True:
            try:
                await self._runtime.flow.run(caller, verbs.release, lease.job_id, lease.token, ending)
            except Refusal as refusal:
                log.warning("release_refused", error=str(refusal))
                await asyncio.sleep(RELEASE_AGAIN_S)
            else:
                return

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


async def _to_its_end(work: asyncio.Task[None], lease: Lease) -> None:
    """Await the work whatever happens: a cancellation is the request to park it, never the end of its clean-up."""
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            lease.park()
    work.result()


def _names(claim: Claim) -> dict[str, int | str | None]:
    job = claim.job
    attempt = claim.attempt.id if claim.attempt else None
    names = {"request_id": job.request_id, "protocol": job.protocol_id, "step": job.step_id, "job": job.id}
    return {name: value for name, value in (names | {"attempt": attempt}).items() if value is not None}


def open_doors(runtime: Runtime, *, allow_local: bool, login_home: Path | None = None) -> Doors:
    """The doors to git and Codex for one worker; without git there is no worker."""
    settings = runtime.settings
    binary = shutil.which("git")
    if binary is None:
        raise StartupError("git is not on PATH; install it")
    redact = runtime.redactor.redact
    git = Git(binary, settings.workspaces_dir, allow_local=allow_local, redact=redact)
    agent = Agent(settings, redact, login_home=login_home)
    return Doors(settings, runtime.database, runtime.vault, git, agent, runtime.redactor.learn)


async def run_worker(
    runtime: Runtime,
    stop: asyncio.Event,
    *,
    allow_local: bool,
    login_home: Path | None = None,
    bound: Callable[[str], None] = lambda _: None,
) -> None:
    """Work until `stop` is set, then take nothing new, let live jobs finish for the grace period, and park the rest."""
    settings = runtime.settings
    registry = new_registry()
    doors = open_doors(runtime, allow_local=allow_local, login_home=login_home)
    worker = Worker(runtime, doors, JobMeter(registry))
    ownership = Ownership(settings.workspaces_dir.absolute() / "workers", worker.owner)
    reconciler = Reconciler(runtime.flow, worker.caller, ownership, live=worker.leases, marker=doors.agent.marker_of)
    worker.freed = reconciler.wake
    loop = WakingWorker(runtime.queue, worker.run_job, slots=settings.worker_concurrency)
    app = worker_app(runtime, registry, doors.agent, loop, reconciler)
    tasks = [
        asyncio.create_task(loop.async_run(), name="arq"),
        asyncio.create_task(reconciler.run(), name="reconcile"),
        asyncio.create_task(worker.hear_stops(), name="stops"),
    ]
    page = asyncio.create_task(
        serve(
            app,
            name="worker",
            host=effective_host("worker", settings),
            port=settings.worker_port,
            grace_s=1,
            stop=stop,
            bound=bound,
        ),
        name="health",
    )
    try:
        await asyncio.wait([page, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        worker.stopping = True
        loop.stop_picking()
        await _drain(worker, loop, settings.grace_s)
        await loop.close()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(page, *tasks, return_exceptions=True)
        ownership.close()
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _drain(worker: Worker, loop: WakingWorker, grace_s: float) -> None:
    """Let live jobs end by themselves for half of the grace period, then park what still runs."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s / 2):
            await loop.drained()
    worker.park_all()
