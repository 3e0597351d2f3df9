"""The worker's own page: health, readiness with Codex, sandbox and loop, and metrics."""

import time

from litestar import Litestar
from prometheus_client import CollectorRegistry

from services.worker.agent import Agent
from services.worker.arq_loop import WakingWorker
from services.worker.reconcile import Reconciler
from shared.errors import JobError
from shared.runtime import Runtime
from shared.web.front import put_front
from shared.web.health import Check, CheckNow, database_check, health_routes, redis_check
from shared.web.metrics import HttpMeter, metrics_route
from shared.web.peers import Peers
from shared.web.problems import problem_handlers

RECENT_S = 30.0


def worker_app(
    runtime: Runtime, registry: CollectorRegistry, agent: Agent, loop: WakingWorker, reconciler: Reconciler
) -> Litestar:
    """The app behind the worker's port."""
    checks = {
        "database": database_check(runtime.database),
        "redis": redis_check(runtime.queue),
        "codex": _codex_check(agent),
        "loop": _loop_check(loop, reconciler),
    }
    app = Litestar(
        [*health_routes(checks), metrics_route(registry, runtime.settings.api_token)],
        exception_handlers=problem_handlers(),
        logging_config=None,
        openapi_config=None,
        request_max_body_size=0,
    )
    return put_front(app, meter=HttpMeter(registry), peers=Peers(runtime.settings.trusted_proxies))


def _codex_check(agent: Agent) -> CheckNow:
    """Codex is there, and its sandbox works or was given up by the operator."""

    async def check() -> Check:
        try:
            binary = await agent.ready()
        except JobError as error:
            return Check(ok=False, detail=f"{error.category}: {error.message}")
        note = "" if binary.tested else ", which was not tested with this release"
        return Check(ok=True, detail=f"codex {binary.version}{note}; sandbox {agent.sandbox}")

    return check


def _loop_check(loop: WakingWorker, reconciler: Reconciler) -> CheckNow:
    """Both loops went round a short while ago."""

    async def check() -> Check:
        now = time.monotonic()
        if now - reconciler.last_tick > RECENT_S:
            return Check(ok=False, detail="the reconcile loop stands still")
        if now - loop.last_tick > RECENT_S:
            return Check(ok=False, detail="the queue was not read for a while; is Redis there?")
        return Check(ok=True)

    return check
