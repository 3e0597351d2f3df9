"""What becomes of a protocol when its branch was published, and of a project when it was set up."""

from typing import Any

from msgspec.structs import replace

from shared.errors import Category
from shared.repository import events, projects, protocols, steps
from shared.schemas.forge import PullWord
from shared.schemas.records import Job, Protocol
from shared.schemas.reports import PublishDone, SetupDone
from shared.schemas.statuses import EventType, Phase, ProtocolStatus, PullState, Reason
from shared.states.protocol import ProtocolTrigger
from shared.workflow import facts, progress, pulls
from shared.workflow.moves import save_protocol
from shared.workflow.unit import Unit

# What a push that the origin took shows to be over.
_HEALED = frozenset({Reason.PUBLISH_FAILED, Reason.DIVERGED})


def published(unit: Unit, job: Job, report: PublishDone) -> None:
    """The branch is at the remote and its PR is as `report.pull` says, or the note says why not."""
    protocol = protocols.expect(unit.tx, job.protocol_id or 0)
    if report.pushed:
        paused = protocol.status is ProtocolStatus.PAUSED and protocol.reason in _HEALED
        reason = Reason.OPERATOR if paused else protocol.reason
        protocol = save_protocol(unit, replace(protocol, pushed_sha=report.sha, diverged_sha=None, reason=reason))
    if report.comment is not None and report.comment != protocol.pr_comment:
        protocol = save_protocol(unit, replace(protocol, pr_comment=report.comment))
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
    if report.pull is not None:
        _heard(unit, job, protocol, report.pull)
    protocol = protocols.expect(unit.tx, protocol.id)
    if report.pushed and protocol.status is ProtocolStatus.BLOCKED and protocol.reason in _HEALED:
        progress.to_rest(unit, protocol, ProtocolTrigger.CAUSE_REMOVED, EventType.PROTOCOL_UNBLOCKED, cause=None)
    elif protocol.phase is Phase.AWAITING_MERGE and protocol.pr_number is None:
        # There is no forge to open a PR at: nothing is left to wait for.
        progress.settle(unit, protocol)


def _heard(unit: Unit, job: Job, protocol: Protocol, pull: PullWord) -> None:
    pulls.hear_pull(unit, job, projects.expect(unit.tx, protocol.project_id), protocol.id, pull)
    present = steps.of_protocol(unit.tx, protocol.id)
    ready = pull.state is PullState.OPEN and not pull.draft and present and all(step.status.settled for step in present)
    if ready and not events.was_told(unit.tx, protocol.id, EventType.PR_READY):
        now = protocols.expect(unit.tx, protocol.id)
        unit.say(EventType.PR_READY, now, job=job, number=pull.number, url=pull.url)


def not_published(unit: Unit, job: Job, category: Category, message: str) -> None:
    """Publishing failed for good: a running protocol is blocked until it succeeds or somebody unblocks it."""
    protocol = protocols.expect(unit.tx, job.protocol_id or 0)
    if category is Category.DIVERGED:
        progress.diverge(unit, protocol, job=job, message=message)
        return
    why: dict[str, Any] = {"cause": category.value, "message": message}
    progress.block(unit, protocol, ProtocolTrigger.JOB_FAILED, Reason.PUBLISH_FAILED, **why)


def set_up(unit: Unit, job: Job, report: SetupDone) -> None:
    """The mirror is there and has the base branch."""
    project = projects.expect(unit.tx, job.project_id or 0)
    told: dict[str, Any] = {"base_sha": report.base_sha, "default_branch": report.default_branch, "note": report.note}
    unit.say(EventType.SETUP_DONE, project, job=job, **{name: said for name, said in told.items() if said is not None})
    if report.repository is not None:
        facts.learn_repository(unit, project, report.repository, job=job)
