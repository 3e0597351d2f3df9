"""The loop that heals: rings for jobs whose bell was lost, and takes back jobs whose worker is dead."""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Awaitable, Callable, Container
from pathlib import Path

import msgspec
import structlog

from services.worker.codex.leftovers import RunMarker, kill_run
from services.worker.pace import PACE, Pace
from shared.errors import Category, JobError, Unavailable
from shared.failpoints import fp
from shared.repository import holds, idempotency, jobs, protocols
from shared.repository.database import Tx
from shared.schemas.records import Job
from shared.schemas.reports import Lost
from shared.workflow import jobs as verbs
from shared.workflow import line, sync
from shared.workflow.door import Workflow
from shared.workflow.unit import Caller, Rules

RINGS = 64
OLD_FILE_S = 3600.0
TIDY_S = 3600.0
# How long the answer to a request with an Idempotency-Key is kept.
ANSWERS_MS = 24 * 3600 * 1000

log = structlog.stdlib.get_logger(__name__)


class Ownership:
    """The proof that this worker lives: a locked file, freed by the kernel when the process ends in whatever way."""

    def __init__(self, folder: Path, owner: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.owner = owner
        self._folder = folder
        self._descriptor = os.open(folder / owner, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_dead(self, owner: str) -> bool:
        """Whether another worker's lock is free; one whose file is not here (another host) counts as alive."""
        try:
            descriptor = os.open(self._folder / owner, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def tidy(self, needed: Container[str | None]) -> None:
        """Remove the files of dead workers that nobody will ask for any more."""
        for file in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another worker tidies too
                old = time.time() - file.stat().st_mtime > OLD_FILE_S  # a new one may not be locked yet
                if old and file.name not in needed and self.is_dead(file.name):
                    file.unlink()

    def close(self) -> None:
        """Give the lock back. The file stays for those who look whether its owner is dead."""
        os.close(self._descriptor)


class _Seen(msgspec.Struct, frozen=True):
    token: int
    heartbeat: int
    since: float


class Reconciler:
    """Safe to run in every worker at once: whatever it does is one compare-and-set that only one of them wins.

    `live` are the jobs that this worker holds itself, by their ids; `save` keeps what a dead worker's agent had written
    and gives its git ref; `last_tick` is the monotonic time of the last round that did all of its work.
    """

    def __init__(
        self,
        flow: Workflow,
        caller: Caller,
        ownership: Ownership,
        *,
        live: Container[int],
        marker: Callable[[int, int], RunMarker],
        save: Callable[[Job], Awaitable[str | None]],
        monotonic: Callable[[], float] = time.monotonic,
        pace: Pace = PACE,
    ) -> None:
        self._flow = flow
        self._caller = caller
        self._ownership = ownership
        self._live = live
        self._marker = marker
        self._save = save
        self._monotonic = monotonic
        self._pace = pace
        self._seen: dict[int, _Seen] = {}
        self._woken = asyncio.Event()
        self._looked_at = float("-inf")
        self._tidied_at = float("-inf")
        self.last_tick = float("-inf")

    def wake(self) -> None:
        """Look at once: a slot became free, or a job went back to the outbox."""
        self._woken.set()

    async def run(self) -> None:
        """Pump and take back until cancelled, whatever goes wrong in a round."""
        while True:
            self._woken.clear()
            wait = self._pace.pump_s
            try:
                wait = await self.pump()
                if self._monotonic() - self._looked_at >= self._pace.look_s:
                    await self.take_back()
                    await self.tidy_up()
                    self._looked_at = self._monotonic()
                self.last_tick = self._monotonic()
            except Unavailable as refusal:
                log.warning("reconcile_waits", error=str(refusal))
            except Exception:  # who heals must outlive what it cannot heal; readiness tells when it heals nothing
                log.exception("reconcile_failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()

    async def pump(self) -> float:
        """Ring for what may start now; gives the seconds until it should look again."""
        due, wait = await self._flow.database.read(_due, self._flow.rules, self._pace)
        if due:
            rung = [(job.id, job.dispatch) for job in due]
            now = self._flow.database.clock()
            fp("pump_due")
            await self._flow.database.write(jobs.mark_dispatched, rung, now)
            fp("pump_marked")
            await self._flow.ring(due)
            fp("pump_rung")
        return wait

    async def take_back(self) -> None:
        """Release the jobs of dead workers, once nothing of them runs any more."""
        await self._flow.run(self._caller, verbs.mend_times)
        running = await self._flow.database.read(jobs.running)
        self._seen = {job.id: self._sight(job) for job in running}
        for job in running:
            why = self._why_lost(job)
            if why is not None:
                await self._take_back(job, why)
        self._ownership.tidy({job.owner for job in running})

    async def tidy_up(self) -> None:
        """Let go what a hold kept until now, and have forges looked at that were not heard of for a while.

        Once in an hour, forget the answers that nobody may ask for again.
        """
        if await self._flow.database.read(holds.over):
            await self._flow.run(self._caller, line.lift_ended)
        older = round(self._pace.sync_s * 1000)
        if await self._flow.database.read(_unsynced, older):
            await self._flow.run(self._caller, sync.sync_due, older)
        if self._monotonic() - self._tidied_at >= TIDY_S:
            forgotten = await self._flow.database.write(_forget_answers)
            fp("answers_forgotten")
            self._tidied_at = self._monotonic()
            if forgotten:
                log.info("answers_forgotten", count=forgotten)

    async def _take_back(self, job: Job, why: str) -> None:
        try:
            await kill_run(self._marker(job.id, job.token))
            fp("take_back_killed")
            lost = Lost(message=why, salvage=await self._save(job))
            fp("take_back_saved")
            taken = await self._flow.run(self._caller, verbs.release, job.id, job.token, lost)
        except JobError as error:
            log.warning("kill_unconfirmed", job=job.id, error=error.message)
            if error.category is Category.BUSY:
                await self._flow.run(self._caller, verbs.note_unkilled, job.id, job.token, error.message)
        except Unavailable:
            raise
        except Exception:  # one job that cannot be released must not keep the others
            log.exception("not_taken_back", job=job.id)
        else:
            if taken:
                log.warning("job_taken_back", job=job.id, owner=job.owner, why=why)
                self.wake()

    def _sight(self, job: Job) -> _Seen:
        before = self._seen.get(job.id)
        if before is not None and (before.token, before.heartbeat) == (job.token, job.heartbeat):
            return before
        return _Seen(job.token, job.heartbeat, self._monotonic())

    def _why_lost(self, job: Job) -> str | None:
        silent = self._monotonic() - self._seen[job.id].since
        if job.owner == self._ownership.owner:
            # What was claimed or released just now may be told to us before it is told to who runs it.
            forgotten = job.id not in self._live and silent >= self._pace.look_s
            return "Its own worker does not know it any more." if forgotten else None
        if job.owner is not None and self._ownership.is_dead(job.owner):
            return f"Its worker {job.owner} is dead."
        if silent > self._pace.silent_s:
            return f"Its worker {job.owner} has shown no life for {silent:.0f} s."
        return None


def _due(tx: Tx, rules: Rules, pace: Pace) -> tuple[list[Job], float]:
    unanswered = tx.now - round(pace.unanswered_s * 1000)
    limit = rules.project_concurrency
    due = list(jobs.to_ring(tx, project_limit=limit, rung_before=unanswered, limit=RINGS, credential=rules.credential))
    upcoming = jobs.next_run_at(tx)
    wait = pace.pump_s if upcoming is None else min(pace.pump_s, max(0.01, (upcoming - tx.now) / 1000))
    return due, wait


def _unsynced(tx: Tx, older_than_ms: int) -> bool:
    return bool(protocols.unsynced(tx, tx.now - older_than_ms))


def _forget_answers(tx: Tx) -> int:
    return idempotency.forget_before(tx, tx.now - ANSWERS_MS)
