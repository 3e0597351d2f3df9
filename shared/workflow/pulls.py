"""What becomes of a protocol when its PR or MR is opened, merged, closed or reopened, or when its branch is moved."""

from typing import Any

from msgspec.structs import replace

from shared.errors import PreconditionFailed
from shared.repository import jobs, protocols, steps
from shared.schemas.forge import BranchWord, PullWord
from shared.schemas.records import Job, Project, Protocol
from shared.schemas.statuses import (
    EventType,
    JobKind,
    Phase,
    ProtocolStatus,
    Provider,
    PullState,
    Reason,
    StepStatus,
    StopRequest,
)
from shared.states.protocol import ProtocolTrigger, targets
from shared.states.rest import HELD
from shared.workflow import find, matching, progress, sync
from shared.workflow.moves import conflict, move_protocol, refuse_protocol, save_protocol, save_step, stop_job
from shared.workflow.moves import stop_step_job as stop_judging
from shared.workflow.pr import queue_publish
from shared.workflow.unit import Unit

_RANK = {PullState.OPEN: 0, PullState.CLOSED: 1, PullState.MERGED: 2}


def hear_pull(unit: Unit, job: Job, project: Project, protocol_id: int, word: PullWord) -> bool:
    """Keep where the PR stands if this is newer than what is known, and draw the conclusion; False when it is not.

    What is merged stays merged, whatever is said later.
    """
    protocol = protocols.expect(unit.tx, protocol_id)
    if not matching.is_ours(unit.tx, protocol, word):
        return False
    same = protocol.pr_number == word.number
    before = protocol.pr_state if same else None
    if before is not None and _order(before, protocol.pr_at) >= _order(word.state, word.at):
        return False
    protocol = save_protocol(
        unit,
        replace(
            protocol, pr_number=word.number, pr_url=word.url or protocol.pr_url, pr_state=word.state, pr_at=word.at
        ),
    )
    if before is word.state:
        return True
    match word.state:
        case PullState.MERGED:
            _merged(unit, job, project, protocol, word)
        case PullState.CLOSED:
            _closed(unit, job, protocol)
        case PullState.OPEN:
            _say(unit, job, EventType.PR_OPENED if before is None else EventType.PR_REOPENED, protocol)
            _free(unit, protocol)
    return True


def hear_branch(unit: Unit, job: Job, protocol_id: int, word: BranchWord) -> bool:
    """The origin's branch was looked at: a commit that is not ours blocks the protocol; whether it did.

    So does one of ours that was never accepted, where it already kept a push of ours from the branch: a person must be
    able to adopt it, or to give it up.
    """
    protocol = protocols.expect(unit.tx, protocol_id)
    if word.after is None or protocol.head_sha is None or protocol.status.terminal:
        return False
    diverged, message = protocol.reason is Reason.DIVERGED, "The branch was moved by somebody else."
    if matching.knows(unit.tx, protocol, word.after):
        unseen = diverged and protocol.diverged_sha is None
        if not unseen or word.after in {protocol.start_sha, protocol.head_sha, protocol.pushed_sha}:
            return False
        message = "The branch holds what an attempt of ours had pushed and nobody accepted."
    if diverged and protocol.diverged_sha == word.after:
        return False
    progress.diverge(unit, protocol, job=job, sha=word.after, message=message)
    return True


def adopt_branch(unit: Unit, protocol_id: int, sha: str) -> Protocol:
    """Take what somebody else put on the branch as ours; what waits to be judged is judged anew, on that commit.

    `sha` is what the person has looked at: it must be where the branch was seen last.
    """
    protocol = _diverged(unit, protocol_id, "adopt the branch")
    if sha != protocol.diverged_sha:
        seen = protocol.diverged_sha
        where = f"was last seen at {seen}, not at {sha}" if seen else "was not looked at yet: sync, and read it again"
        raise PreconditionFailed(f"{protocol.branch} {where}.", status_now=protocol.status)
    adopted = save_protocol(unit, replace(protocol, head_sha=sha, pushed_sha=sha, diverged_sha=None))
    unit.say(EventType.BRANCH_ADOPTED, adopted, sha=sha, before=protocol.head_sha)
    for step in steps.of_protocol(unit.tx, protocol_id):
        red = step.status is StepStatus.FAILED and step.reason is Reason.CI_FAILED
        if step.status is StepStatus.NEEDS_QA:
            stop_judging(unit, step)
            save_step(unit, replace(step, head_sha=sha, qa_asks=0, phase=Phase.AWAITING_GATES, reason=None))
        elif red:
            save_step(unit, replace(step, head_sha=sha, qa_asks=0))
    moved = progress.to_rest(unit, adopted, ProtocolTrigger.CAUSE_REMOVED, EventType.PROTOCOL_UNBLOCKED, cause=None)
    if not moved.status.terminal:
        # What the CI said of that commit was not for us when it came.
        sync.queue_sync(unit, moved)
    return protocols.expect(unit.tx, protocol_id)


def reset_branch(unit: Unit, protocol_id: int) -> Job:
    """Queue a publish job that puts the branch back to our head, but only from the commit that was seen there."""
    protocol = _diverged(unit, protocol_id, "reset the branch")
    queued = jobs.queued_of_protocol(unit.tx, protocol_id, JobKind.OPEN_PR)
    if queued is not None and "reset" in queued.payload:
        message = f"{protocol.protocol_name} is being reset already; wait for that job to end."
        raise conflict(protocol, message, "already-queued", but={"reset", "open_pr"})
    if queued is not None:
        stop_job(unit, queued, StopRequest.CANCEL)
    job = queue_publish(unit, protocol, {"reset": protocol.diverged_sha})
    unit.say(EventType.BRANCH_RESET, protocol, job=job, sha=protocol.head_sha, before=protocol.diverged_sha)
    return job


def _diverged(unit: Unit, protocol_id: int, wanted: str) -> Protocol:
    protocol = find.protocol(unit.tx, unit.caller.project_id, protocol_id)
    if protocol.status is not ProtocolStatus.BLOCKED or protocol.reason is not Reason.DIVERGED:
        raise refuse_protocol(protocol, wanted)
    if protocol.head_sha is None:
        message = f"{protocol.protocol_name} has no commit of its own on the branch yet: unblock it, or cancel it."
        raise conflict(protocol, message, "nothing-of-ours", but={"adopt", "reset", "open_pr"})
    if (writer := jobs.writer_of(unit.tx, protocol_id)) is not None:
        message = f"Job {writer.id} still works on {protocol.branch}: wait for its end, or cancel it."
        raise conflict(protocol, message, "branch-busy", but={"adopt", "reset", "open_pr"})
    return protocol


def _order(state: PullState, at: int | None) -> tuple[bool, int, int]:
    return (state is PullState.MERGED, at or 0, _RANK[state])


def _say(unit: Unit, job: Job, event: EventType, protocol: Protocol) -> None:
    over: dict[str, Any] = {"after_terminal": True} if protocol.status.terminal else {}
    unit.say(event, protocol, job=job, number=protocol.pr_number, url=protocol.pr_url, **over)


def _merged(unit: Unit, job: Job, project: Project, protocol: Protocol, word: PullWord) -> None:
    event = EventType.MR_MERGED if project.ci_provider is Provider.GITLAB else EventType.PR_MERGED
    _say(unit, job, event, protocol)
    if targets(protocol.status, ProtocolTrigger.PR_MERGED):
        move_protocol(
            unit,
            protocol,
            ProtocolTrigger.PR_MERGED,
            EventType.PROTOCOL_COMPLETED,
            reason=Reason.MERGED,
            job=job,
            merge_sha=word.merge_sha,
        )


def _closed(unit: Unit, job: Job, protocol: Protocol) -> None:
    """Block it, unless something else blocks it that only its own remedy removes; a paused one learns of it later."""
    held = protocol.reason in HELD and protocol.status is ProtocolStatus.BLOCKED
    if (
        not held
        and protocol.status is not ProtocolStatus.PAUSED
        and targets(protocol.status, ProtocolTrigger.PR_CLOSED)
    ):
        move_protocol(
            unit,
            protocol,
            ProtocolTrigger.PR_CLOSED,
            EventType.PR_CLOSED,
            phase=progress.waiting_phase(protocol),
            reason=Reason.PR_CLOSED,
            job=job,
            number=protocol.pr_number,
            url=protocol.pr_url,
        )
        return
    _say(unit, job, EventType.PR_CLOSED, progress.remember_cause(unit, protocol, Reason.PR_CLOSED))


def _free(unit: Unit, protocol: Protocol) -> None:
    if protocol.reason is not Reason.PR_CLOSED:
        return
    if protocol.status is ProtocolStatus.BLOCKED:
        progress.to_rest(unit, protocol, ProtocolTrigger.PR_REOPENED, EventType.PROTOCOL_UNBLOCKED, cause=None)
    elif protocol.status is ProtocolStatus.PAUSED:
        save_protocol(unit, replace(protocol, reason=Reason.OPERATOR))
