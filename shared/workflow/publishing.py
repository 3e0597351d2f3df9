"""What becomes of a protocol when its branch was published, and of a project when it was set up."""

from typing import Any

from msgspec.structs import replace

from shared.errors import Category
from shared.repository import projects, protocols
from shared.schemas.records import Job
from shared.schemas.reports import PublishDone, SetupDone
from shared.schemas.statuses import EventType, ProtocolStatus, Reason
from shared.states.protocol import ProtocolTrigger
from shared.workflow import progress
from shared.workflow.moves import save_protocol
from shared.workflow.unit import Unit


def published(unit: Unit, job: Job, report: PublishDone) -> None:
    """The branch is at the remote, or the note says why not."""
    protocol = protocols.expect(unit.tx, job.protocol_id or 0)
    if report.pushed:
        paused = protocol.status is ProtocolStatus.PAUSED and protocol.reason is Reason.PUBLISH_FAILED
        reason = Reason.OPERATOR if paused else protocol.reason
        protocol = save_protocol(unit, replace(protocol, pushed_sha=report.sha, reason=reason))
    unit.say(
        EventType.BRANCH_PUSHED,
        protocol,
        job=job,
        branch=protocol.branch,
        sha=report.sha,
        pushed=report.pushed,
        note=report.note,
        url=report.url,
    )
    if report.pushed and protocol.status is ProtocolStatus.BLOCKED and protocol.reason is Reason.PUBLISH_FAILED:
        progress.to_rest(unit, protocol, ProtocolTrigger.CAUSE_REMOVED, EventType.PROTOCOL_UNBLOCKED, cause=None)


def not_published(unit: Unit, job: Job, category: Category, message: str) -> None:
    """Publishing failed for good: a running protocol is blocked until it succeeds or somebody unblocks it."""
    protocol = protocols.expect(unit.tx, job.protocol_id or 0)
    if category is Category.DIVERGED:
        progress.diverge(unit, protocol, job=job, message=message)
        return
    facts: dict[str, Any] = {"cause": category.value, "message": message}
    progress.block(unit, protocol, ProtocolTrigger.JOB_FAILED, Reason.PUBLISH_FAILED, **facts)


def set_up(unit: Unit, job: Job, report: SetupDone) -> None:
    """The mirror is there and has the base branch."""
    project = projects.expect(unit.tx, job.project_id or 0)
    unit.say(EventType.SETUP_DONE, project, job=job, base_sha=report.base_sha, default_branch=report.default_branch)
