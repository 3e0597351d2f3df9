"""The hold on one claimed job: shows life, hears the request to stop, and notes what is known so far."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import structlog

from shared.errors import Category, JobError, Refusal
from shared.schemas.records import Plan, Protocol
from shared.schemas.reports import Claim, ExecutionDone, PlanDone, Usage
from shared.schemas.statuses import StopRequest
from shared.workflow import jobs as verbs
from shared.workflow.door import Workflow
from shared.workflow.unit import Caller

BEAT_S = 10.0

log = structlog.stdlib.get_logger(__name__)


class Lease:
    """The hold on one job, by its token. When `stop` is set, everything that was started for it must end.

    `why` says what for: a cancel, a park, or None when the lease itself is lost and nothing more may be written.
    """

    def __init__(self, flow: Workflow, caller: Caller, claim: Claim) -> None:
        self.claim = claim
        self.stop = asyncio.Event()
        self.why: StopRequest | None = None
        self.thread_id: str | None = None
        self._flow = flow
        self._caller = caller
        self._poked = asyncio.Event()

    @property
    def job_id(self) -> int:
        """The job that is held."""
        return self.claim.job.id

    @property
    def token(self) -> int:
        """The fencing token of this hold."""
        return self.claim.job.token

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
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._poked.wait()
            self._poked.clear()
            try:
                job = await self._flow.run(self._caller, verbs.beat, self.job_id, self.token)
            except Refusal as refusal:
                log.warning("no_heartbeat", error=str(refusal))
                continue
            if job is None:
                log.warning("lease_lost")
                self.stop.set()
                return
            if job.stop is not None and self.why is None:
                self.why = job.stop
                self.stop.set()

    async def note_usage(self, usage: Usage, directory: str) -> None:
        """Keep the thread, the folder and the tokens of the live attempt."""
        self.thread_id = usage.thread_id or self.thread_id
        self._hold(await self._flow.run(self._caller, verbs.note_attempt, self.job_id, self.token, usage, directory))

    async def note_commit(self, sha: str, report: PlanDone | ExecutionDone) -> None:
        """Keep a commit before it is pushed."""
        self._hold(await self._flow.run(self._caller, verbs.note_commit, self.job_id, self.token, sha, report))

    async def note_branch(self, start_sha: str, head_sha: str, plan: Plan) -> Protocol:
        """Keep where the branch is after the plan's files were written on it."""
        noted = await self._flow.run(
            self._caller, verbs.note_branch, self.job_id, self.token, start_sha, head_sha, plan
        )
        self._hold(noted is not None)
        return noted or self._no_protocol()

    def check(self) -> None:
        """Go no further when somebody asked to stop."""
        if self.stop.is_set():
            raise JobError(Category.CANCELLED, "The job was asked to stop.")

    def _hold(self, held: bool) -> None:  # noqa: FBT001  the answer of a verb
        if not held:
            self.stop.set()
            raise JobError(Category.CANCELLED, "Somebody else holds the job now.")

    def _no_protocol(self) -> Protocol:
        raise JobError(Category.CANCELLED, "Somebody else holds the job now.")
