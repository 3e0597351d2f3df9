"""When the branch and its PR are published by themselves: one job that waits at a time."""

from typing import Any

from shared.repository import jobs, projects, protocols
from shared.schemas.names import url_host
from shared.schemas.records import Job, Project, Protocol
from shared.schemas.statuses import EventType, JobKind, PullState, Reason
from shared.states.protocol import READY
from shared.workflow.unit import Unit

# What publishing could not help, or was blocked by itself.
_HOPELESS = frozenset({Reason.DIVERGED, Reason.PUBLISH_FAILED, Reason.MERGED})


def queue_publish(unit: Unit, protocol: Protocol, payload: dict[str, Any] | None = None) -> Job:
    """Queue the publishing of the branch as it stands when the job runs."""
    job = unit.enqueue(JobKind.OPEN_PR, project_id=protocol.project_id, protocol_id=protocol.id, payload=payload)
    unit.say(EventType.OPEN_PR_ENQUEUED, protocol, job=job, sha=protocol.head_sha)
    return job


def publish_plan(unit: Unit, protocol_id: int) -> None:
    """The branch has its first commits, or a new plan: open the PR where the policy says so, or bring it up to date."""
    protocol = protocols.expect(unit.tx, protocol_id)
    if protocol.policy.open_pr == "planned" and not jobs.was_queued(unit.tx, protocol_id, JobKind.OPEN_PR):
        _open(unit, protocol)
    else:
        keep_up(unit, protocol_id)


def publish_done(unit: Unit, protocol: Protocol) -> bool:
    """All steps are done: open the PR where the policy wants one by now; whether one is on its way."""
    if protocol.pr_number is None and protocol.policy.open_pr != "asked":
        if not jobs.was_queued(unit.tx, protocol.id, JobKind.OPEN_PR):
            _open(unit, protocol)
        return any(job.kind is JobKind.OPEN_PR for job in jobs.open_of_protocol(unit.tx, protocol.id))
    return False


def keep_up(unit: Unit, protocol_id: int) -> None:
    """Something happened that the open PR tells of: publish again, unless that waits already."""
    protocol = protocols.expect(unit.tx, protocol_id)
    if protocol.pr_state is PullState.OPEN and protocol.reason not in _HOPELESS:
        _queue_once(unit, protocol)


def has_forge(project: Project) -> bool:
    """Whether the project's repository lives at a forge that can be told of a PR."""
    return project.ci_provider is not None and url_host(project.git_url) is not None


def _open(unit: Unit, protocol: Protocol) -> None:
    if has_forge(projects.expect(unit.tx, protocol.project_id)):
        _queue_once(unit, protocol)


def _queue_once(unit: Unit, protocol: Protocol) -> None:
    if protocol.status not in READY[JobKind.OPEN_PR] or protocol.head_sha is None:
        return
    if jobs.queued_of_protocol(unit.tx, protocol.id, JobKind.OPEN_PR) is None:
        queue_publish(unit, protocol)
