"""Runs verbs: one write transaction each, then the bells of the jobs that it queued."""

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import msgspec

from shared.failpoints import fp
from shared.queue import Doorbell
from shared.repository import jobs
from shared.repository.database import Database, Tx
from shared.repository.holds import LOGIN
from shared.schemas.records import Job
from shared.settings import Settings
from shared.workflow import notices
from shared.workflow.unit import Caller, Rules, Unit

P = ParamSpec("P")
T = TypeVar("T")

# Workers listen on this channel; the message is the id of a job that was asked to stop.
STOP = "stop"
# Who shows what happens listens on this one: there are new events.
NEWS = "news"


def rules_of(settings: Settings) -> Rules:
    """The settings that decide about work."""
    models = {"planning": settings.model_planning, "exec": settings.model_exec, "qa": settings.model_qa}
    return Rules(
        max_attempts=settings.max_attempts,
        backoff_max_s=settings.backoff_max_s,
        queue_timeout_s=settings.queue_timeout_s,
        project_concurrency=settings.project_concurrency,
        credential=_credential_of(settings),
        auto_qa_after_exec=settings.auto_qa_after_exec,
        auto_qa_on_ci=settings.auto_qa_on_ci,
        ci_completes_step=settings.ci_completes_step,
        models=models,
    )


def _credential_of(settings: Settings) -> str:
    """A name for whose quota is used up by what runs here, which tells nothing of the key."""
    if settings.codex_api_key is None:
        return LOGIN
    return f"key-{hashlib.sha256(settings.codex_api_key.reveal().encode()).hexdigest()[:8]}"


class Workflow:
    """The door to every verb of `shared.workflow`."""

    def __init__(
        self, database: Database, queue: Doorbell, rules: Rules, *, chance: Callable[[], float] = random.random
    ) -> None:
        self.database = database
        self.rules = rules
        self._queue = queue
        self._chance = chance

    async def run(
        self, caller: Caller, verb: Callable[Concatenate[Unit, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run the verb in one transaction and ring for what it queued; a lost ring is the pump's to repeat.

        Its failpoints bear the verb's name: `before_verb`, `verb_committed`, `verb_rung`.
        """

        def work(tx: Tx) -> tuple[T, Unit]:
            unit = Unit(tx, caller, self.rules, self._chance)
            result = verb(unit, *args, **kwargs)
            notices.post(unit)
            return result, unit

        name = verb.__name__
        fp(f"before_{name}")
        result, unit = await self.database.write(work)
        fp(f"{name}_committed")
        await self.ring(unit.to_ring)
        for job_id in unit.stopping:
            await self._queue.publish(STOP, str(job_id))
        if unit.said:
            await self._queue.publish(NEWS, "")
        fp(f"{name}_rung")
        return result

    async def ring(self, due: Sequence[Job]) -> None:
        """Ring for committed jobs; those whose bell did not sound go back into the outbox."""
        silent = [
            (job.id, job.dispatch) for job in due if not await self._queue.ring(job.id, job.dispatch, job.priority)
        ]
        if silent:
            fp("ring_unheard")
            await self.database.write(jobs.mark_dispatched, silent, None)


class Silence(msgspec.Struct, frozen=True):
    """A doorbell that nobody hears; the pump finds the jobs by itself."""

    async def ring(self, job_id: int, dispatch: int, priority: int) -> bool:  # noqa: ARG002  the doorbell's shape
        """Nobody was told."""
        return False

    async def publish(self, channel: str, message: str) -> bool:  # noqa: ARG002  the doorbell's shape
        """Nobody was told."""
        return False
