"""The hold on one claimed job: shows life, hears the request to stop, and notes what is known so far."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Concatenate, ParamSpec, TypeVar

import structlog

from services.worker.pace import PACE, Pace
from shared.errors import Category, JobError, Unavailable
from shared.schemas.records import Plan, Protocol
from shared.schemas.reports import Claim, ExecutionDone, PlanDone, Usage
from shared.schemas.statuses import Footing, StopRequest
from shared.workflow import jobs as verbs
from shared.workflow.door import Workflow
from shared.workflow.unit import Caller, Unit

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)


class Lease:
    """The hold on one job, by its token. When `stop` is set, everything that was started for it must end.

    `why` says what for: a cancel, a park, or None when the lease itself is lost and nothing more may be written.
    Notes wait for a database that is busy; they raise JobError(CANCELLED) as soon as the job must stop.
    """

    def __init__(self, flow: Workflow, caller: Caller, claim: Claim, pace: Pace = PACE) -> None:
        self.claim = claim
        self.caller = caller
        self.stop = asyncio.Event()
        self.why: StopRequest | None = None
        self.usage = Usage()
        self._flow = flow
        self._pace = pace
        self._poked = asyncio.Event()
        self._shown_at = time.monotonic()

    @property
    def job_id(self) -> int:
        """The job that is held."""
        return self.claim.job.id

    @property
    def token(self) -> int:
        """The fencing token of this hold."""
        return self.claim.job.token

    @property
    def thread_id(self) -> str | None:
        """The Codex thread of this attempt, once it is known."""
        return self.usage.thread_id

    def poke(self) -> None:
        """Look at once whether somebody asked to stop."""
        self._poked.set()

    def park(self) -> None:
        """Stop because the worker itself stops."""
        self.why = self.why or StopRequest.PARK
        self.stop.set()

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Beat while the body runs."""
        beating = asyncio.create_task(self._keep_beating())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def confirm(self) -> None:
        """Go on only if the job is still held and nobody asked to stop: before what cannot be taken back."""
        await self._write(self._beat)
        self.check()

    def check(self) -> None:
        """Go no further when somebody asked to stop."""
        if self.stop.is_set():
            raise JobError(Category.CANCELLED, "The job was asked to stop.")

    def may_try_again(self, error: JobError) -> bool:
        """Whether the job is run again later when it fails by this."""
        return error.retryable and self.claim.job.attempt < self.claim.job.max_attempts

    async def note_usage(self, usage: Usage, directory: str) -> None:
        """Keep the thread, the folder and the tokens of the live attempt."""
        self.usage = usage
        self._hold(await self._note(verbs.note_attempt, usage, directory))

    async def note_footing(self, footing: Footing, resumed_from: int | None) -> None:
        """Keep what the live attempt stands on."""
        self._hold(await self._note(verbs.note_footing, footing, resumed_from))

    async def note_salvage(self, attempt_id: int, ref: str) -> None:
        """Keep where the files of an attempt were saved."""
        self._hold(await self._note(verbs.note_salvage, attempt_id, ref))

    async def note_commit(self, sha: str, report: PlanDone | ExecutionDone) -> None:
        """Keep a commit before it is pushed."""
        self._hold(await self._note(verbs.note_commit, sha, report))

    async def note_branch(self, start_sha: str, head_sha: str, plan: Plan) -> Protocol:
        """Keep where the branch is after the plan's files were written on it."""
        return self._hold(await self._note(verbs.note_branch, start_sha, head_sha, plan))

    async def _keep_beating(self) -> None:
        while not self.stop.is_set() or self.why is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.beat_s):
                    await self._poked.wait()
            self._poked.clear()
            try:
                await self._beat()
            except Unavailable as refusal:
                log.warning("no_heartbeat", error=str(refusal))
            except Exception:  # of whatever kind: without beats no cancel is heard, and the job would hang unseen
                log.exception("heartbeat_failed")
            if time.monotonic() - self._shown_at > self._pace.fence_s:
                self.park()

    async def _beat(self) -> None:
        job = await self._flow.run(self.caller, verbs.beat, self.job_id, self.token)
        self._shown_at = time.monotonic()
        if job is None:
            log.warning("lease_lost")
            self.why = None
            self.stop.set()
        elif job.stop is not None:
            self.why = self.why or job.stop
            self.stop.set()

    async def _note(self, verb: Callable[Concatenate[Unit, int, int, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        async def run() -> T:
            return await self._flow.run(self.caller, verb, self.job_id, self.token, *args, **kwargs)

        return await self._write(run)

    async def _write(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write at least once, and again for as long as the database is busy and the job may go on."""
        while True:
            try:
                return await write()
            except Unavailable as refusal:
                log.warning("not_noted", error=str(refusal))
                self.check()
                await asyncio.sleep(self._pace.again_s)

    def _hold(self, noted: T | None) -> T:
        """What a verb noted; it gives nothing when somebody else holds the job, or cancelled it."""
        if not noted:
            self.stop.set()
            raise JobError(Category.CANCELLED, "The job was cancelled, or somebody else holds it now.")
        return noted
