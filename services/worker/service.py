"""The worker put together: arq's loop, the jobs, the reconciler, the stop line and the health page."""

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from services.worker.agent import Agent
from services.worker.arq_loop import WakingWorker
from services.worker.doors import Doors
from services.worker.forge import Forges
from services.worker.git.door import Git
from services.worker.health import worker_app
from services.worker.jobs.footing import save_leftovers
from services.worker.meter import JobMeter
from services.worker.pace import PACE, Pace
from services.worker.reconcile import Ownership, Reconciler
from services.worker.work import Worker
from shared.errors import JobError, StartupError
from shared.queue import end_tasks
from shared.runtime import Runtime
from shared.safety import effective_host
from shared.web.metrics import new_registry
from shared.web.server import serve

# What stopping an agent may take beyond the grace period: it is asked, and killed 10 s later.
LAST_S = 15.0
AGAIN_S = 1.0
# What git calls the authorities that OpenSSL's variables name; proxies it knows by the usual names, in small letters.
GIT_NAMES = {"SSL_CERT_FILE": "GIT_SSL_CAINFO", "SSL_CERT_DIR": "GIT_SSL_CAPATH"}

log = structlog.stdlib.get_logger(__name__)


def open_doors(runtime: Runtime, *, allow_local: bool, login_home: Path | None = None) -> Doors:
    """The doors to git, Codex and the forges for one worker; without git there is no worker."""
    settings = runtime.settings
    binary = shutil.which("git")
    if binary is None:
        raise StartupError("git is not on PATH; install it")
    redact = runtime.redactor.redact
    try:
        git = Git(
            binary,
            settings.workspaces_dir,
            allow_local=allow_local,
            redact=redact,
            extra_env={GIT_NAMES.get(name, name.lower()): value for name, value in runtime.network.items()},
        )
    except OSError as error:
        folder = str(settings.workspaces_dir)
        message = f"DEKSDENFLOW_WORKSPACES_DIR is {folder!r}, which cannot be used: {error.strerror}"
        raise StartupError(message) from error
    agent = Agent(settings, redact, login_home=login_home)
    forges = Forges(redactor=runtime.redactor)
    return Doors(settings, runtime.database, runtime.vault, git, agent, runtime.redactor, forges=forges)


async def run_worker(
    runtime: Runtime,
    stop: asyncio.Event,
    *,
    allow_local: bool,
    login_home: Path | None = None,
    bound: Callable[[str], None] = lambda _: None,
    pace: Pace = PACE,
) -> None:
    """Work until `stop` is set, then take nothing new, let live jobs finish for the grace period, and park the rest.

    `stop` is set when the worker ends of itself, which a fault alone makes it do; the fault is raised.
    """
    settings = runtime.settings
    registry = new_registry()
    doors = open_doors(runtime, allow_local=allow_local, login_home=login_home)
    worker = Worker(runtime, doors, JobMeter(registry), pace)
    ownership = Ownership(settings.workspaces_dir.absolute() / "workers", worker.owner)
    reconciler = Reconciler(
        runtime.flow,
        worker.caller,
        ownership,
        live=worker.leases,
        marker=doors.agent.marker_of,
        save=partial(save_leftovers, doors),
        pace=pace,
    )
    worker.freed = reconciler.wake
    loop = WakingWorker(runtime.queue, worker.run_job, slots=settings.worker_concurrency, mark_s=pace.mark_s)
    ended = asyncio.Event()
    page = serve(
        worker_app(runtime, registry, doors.agent, loop, reconciler),
        name="worker",
        host=effective_host("worker", settings),
        port=settings.worker_port,
        grace_s=1,
        stop=ended,
        bound=bound,
    )
    serving = asyncio.create_task(page, name="health")
    tasks = [
        asyncio.create_task(loop.async_run(), name="arq"),
        asyncio.create_task(reconciler.run(), name="reconcile"),
        asyncio.create_task(worker.hear_stops(), name="stops"),
        asyncio.create_task(stop.wait(), name="stop"),
    ]
    looking = asyncio.create_task(_look_around(doors), name="look around")
    try:
        await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        await _drain(worker, loop, settings.grace_s)
        await loop.close()
        await end_tasks(looking, *tasks)
        ended.set()
        results = await asyncio.gather(serving, looking, *tasks, return_exceptions=True)
        ownership.close()
        await doors.aclose()
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _look_around(doors: Doors) -> None:
    """Say at once whether agents can be run here, and remove what dead workers left in the workspaces."""
    try:
        binary = await doors.agent.ready()
        log.info("codex_ready", version=binary.version, path=str(binary.path), sandbox=doors.agent.sandbox)
        await doors.git.prune()
    except JobError as error:
        log.error("cannot_work", category=error.category, error=error.message)  # noqa: TRY400  what to do is in it


async def _drain(worker: Worker, loop: WakingWorker, grace_s: float) -> None:
    """Live jobs get half of the grace period to end by themselves; then they are parked, or else cut off."""
    worker.stopping = True
    loop.stop_picking()
    if await _drained(loop, within_s=grace_s / 2):
        return
    worker.park_all()
    patience = grace_s / 2 + LAST_S
    while not await _drained(loop, within_s=patience):
        worker.abandon_all()
        patience = AGAIN_S


async def _drained(loop: WakingWorker, *, within_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await loop.drained()
            return True
    return False
