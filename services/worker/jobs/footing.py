"""What an attempt stands on: an earlier one's thread and files when they are sound, or else a clean start."""

import asyncio

import msgspec
import structlog

from services.worker.agent import folder_of_thread
from services.worker.codex.leftovers import kill_earlier_runs
from services.worker.codex.record import is_whole, thread_record
from services.worker.doors import Doors
from services.worker.lease import Lease
from shared.errors import JobError
from shared.failpoints import fp
from shared.repository import attempts, protocols
from shared.repository.database import Tx
from shared.schemas.records import Attempt, Job, Protocol
from shared.schemas.statuses import Footing, JobKind

# The reconciler has other things to do than to wait for a git command that somebody stopped.
SAVE_S = 20.0

log = structlog.stdlib.get_logger(__name__)


class Stand(msgspec.Struct, frozen=True):
    """`footing` is None when there is nothing earlier; `resume` is the attempt whose thread goes on."""

    footing: Footing | None
    resume: Attempt | None = None


async def stand_of(doors: Doors, lease: Lease) -> Stand:
    """What the claim says, once the earlier agent is surely dead and the thread was found to be readable to its end."""
    claim = lease.claim
    if claim.resume is None:
        return Stand(claim.footing)
    await kill_earlier_runs(doors.agent.marker_of(lease.job_id, lease.token))
    fp("earlier_runs_ended")
    unsound = await asyncio.to_thread(_unsound, claim.resume)
    return Stand(unsound) if unsound else Stand(claim.footing, claim.resume)


async def tell(lease: Lease, stand: Stand) -> None:
    """Keep it, and put it into the timeline."""
    if stand.footing is not None:
        await lease.note_footing(stand.footing, stand.resume.id if stand.resume else None)


async def save_leftovers(doors: Doors, job: Job) -> str | None:
    """Save what an execution left whose worker is dead; the ref, or None when there is nothing or git cannot.

    It changes nothing in the worktree: the next attempt, if there is one, may go on with it.
    """
    if job.kind is not JobKind.EXECUTE:
        return None
    protocol, attempt = await doors.database.read(_of_execution, job)
    since = attempt and (attempt.head_sha or attempt.start_sha)
    tree = doors.git.worktree(protocol.project_id, protocol.protocol_name, protocol.branch)
    if attempt is None or since is None or not tree.path.is_dir():
        return None
    try:
        async with asyncio.timeout(SAVE_S):
            return (await doors.git.salvage(tree, since, attempt.id)).ref
    except (JobError, TimeoutError) as error:
        log.warning("not_saved", job=job.id, attempt=attempt.id, error=str(error))
        return None


def _unsound(resume: Attempt) -> Footing | None:
    folder = folder_of_thread(resume)
    record = folder and thread_record(folder, resume.thread_id or "")
    if record is None:
        return Footing.THREAD_GONE
    return None if is_whole(record) else Footing.THREAD_TORN


def _of_execution(tx: Tx, job: Job) -> tuple[Protocol, Attempt | None]:
    return protocols.expect(tx, job.protocol_id or 0), attempts.live(tx, job.id)
