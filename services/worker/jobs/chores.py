"""The jobs that need no Codex: setting a project up, publishing a branch, looking at a delivery."""

from services.worker.doors import Doors
from services.worker.jobs.branch import reach
from services.worker.lease import Lease
from shared.errors import Category, JobError
from shared.failpoints import fp
from shared.schemas.reports import DeliveryDone, PublishDone, SetupDone, SyncDone


async def set_up(doors: Doors, lease: Lease) -> SetupDone:
    """Clone the project's mirror, or bring it up to date, and check its base branch."""
    project = lease.claim.project
    if project is None:
        raise JobError(Category.CONFIG, f"Job {lease.job_id} has no project.")
    info = await doors.git.setup_mirror(project.id, await doors.remote_of(project), project.base_branch)
    return SetupDone(base_sha=info.base_sha, default_branch=info.default_branch)


async def publish(doors: Doors, lease: Lease) -> PublishDone:
    """Push the branch as it stands; opening the PR or MR by the forge's API is not done yet, and the note says so."""
    project, protocol = lease.claim.project, lease.claim.protocol
    if project is None or protocol is None or protocol.head_sha is None:
        raise JobError(Category.CONFIG, f"Job {lease.job_id} has no branch to publish.")
    remote = await reach(doors, project, protocol)
    await lease.confirm()
    pushed = await doors.git.push(project.id, remote, protocol.branch, protocol.head_sha, protocol.pushed_sha)
    note = f"{protocol.branch} is at {pushed.sha} at the origin. No PR was opened: open it at the forge by hand."
    return PublishDone(sha=pushed.sha, pushed=True, note=note)


async def look_at_delivery(doors: Doors, lease: Lease) -> DeliveryDone:  # noqa: ARG001  the shape of every job
    """Record that the delivery was received; it changes nothing."""
    fp("delivery_looked_at")
    return DeliveryDone(said=None, reason="recorded; deliveries do not change anything yet")


async def sync(doors: Doors, lease: Lease) -> SyncDone:  # noqa: ARG001  the shape of every job
    """Ask the forge nothing yet."""
    return SyncDone()
