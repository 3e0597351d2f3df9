"""Which actions their guards would let through now: the tables' answer, less what the other records rule out (pure)."""

from collections.abc import Sequence
from functools import cache

from shared.schemas.records import StepState
from shared.schemas.statuses import JobKind, JobState, Phase, ProtocolStatus, Reason, StepStatus, StopRequest
from shared.states import protocol as protocol_table
from shared.states import step as step_table
from shared.states.protocol import ProtocolTrigger, targets
from shared.states.rest import missing_dependencies, next_step
from shared.states.waiting import Standing

# A protocol that is blocked for one of these is freed by actions on its steps.
STEP_CAUSES = frozenset({Reason.STEP_FAILED, Reason.QA_UNAVAILABLE})
# What the tables say, which lists ask again and again.
_of_status = cache(protocol_table.allowed_actions)
_of_step_status = cache(step_table.allowed_actions)
_STARTS = frozenset({"run", "retry", "reject"})


def of_protocol(standing: Standing) -> tuple[str, ...]:
    """The actions on the protocol run that are not refused now."""
    protocol = standing.protocol
    names = _of_status(protocol.status, protocol.phase, protocol.reason)
    return tuple([name for name in names if _protocol_may(standing, name)])


def of_step(standing: Standing, step: StepState) -> tuple[str, ...]:
    """The actions on the step that are not refused now; an approval may need a reason."""
    return tuple([name for name in _of_step_status(step.status, step.phase) if _step_may(standing, step, name)])


def _protocol_may(standing: Standing, name: str) -> bool:
    steps, protocol = standing.steps, standing.protocol
    match name:
        case "start":
            return _may_plan(standing) or _may_start_with_steps(standing)
        case "run_next_step":
            repair = protocol.status is ProtocolStatus.BLOCKED and bool(_failed(steps))
            upcoming = next_step(steps, repair=repair)
            return upcoming is not None and startable(standing, upcoming)
        case "retry_latest":
            failed = _failed(steps)
            return bool(failed) and startable(standing, failed[0])
        case "unblock":
            return protocol.reason not in STEP_CAUSES or not _failed(steps)
        case "reject_plan":
            return all(step.status is StepStatus.PENDING for step in steps)
        case "open_pr":
            return protocol.head_sha is not None and standing.job(JobKind.OPEN_PR) is None
        case "adopt" | "reset":
            return _may_return(standing, name)
        case _:
            return True


def _failed(steps: Sequence[StepState]) -> list[StepState]:
    return [step for step in steps if step.status is StepStatus.FAILED]


def _may_plan(standing: Standing) -> bool:
    protocol, steps = standing.protocol, standing.steps
    if not targets(protocol.status, ProtocolTrigger.START) or standing.job(JobKind.PLAN) is not None:
        return False
    untouched = all(step.status is StepStatus.PENDING and step.phase is None for step in steps)
    return untouched and not (steps and protocol.plan_sha is None)


def _may_start_with_steps(standing: Standing) -> bool:
    protocol = standing.protocol
    if not targets(protocol.status, ProtocolTrigger.START_WITH_STEPS) or standing.job(JobKind.PLAN) is not None:
        return False
    return bool(standing.steps) and protocol.plan_sha is None


def _may_return(standing: Standing, name: str) -> bool:
    """Whether the branch may be adopted or reset: there is something of ours on it, and nobody works on it."""
    protocol = standing.protocol
    writes = any(job.kind.writes_branch and job.state is JobState.RUNNING for job in standing.jobs)
    if protocol.head_sha is None or writes:
        return False
    if name == "adopt":
        return protocol.diverged_sha is not None
    return not any(
        job.kind is JobKind.OPEN_PR and job.state is JobState.QUEUED and "reset" in job.payload for job in standing.jobs
    )


def _step_may(standing: Standing, step: StepState, name: str) -> bool:
    protocol = standing.protocol
    if name in _STARTS:
        return startable(standing, step)
    if name == "run_qa":
        freed = protocol.status is ProtocolStatus.BLOCKED and protocol.reason is Reason.QA_UNAVAILABLE
        return protocol.status is ProtocolStatus.RUNNING or freed
    return True


def startable(standing: Standing, step: StepState) -> bool:
    """Whether an execution of the step could be queued now."""
    protocol, steps = standing.protocol, standing.steps
    if not targets(protocol.status, ProtocolTrigger.RUN) or protocol.phase is Phase.AWAITING_PLAN_APPROVAL:
        return False
    if step.phase is Phase.QUEUED or missing_dependencies(step, steps):
        return False
    if protocol.status is ProtocolStatus.BLOCKED:
        others_failed = any(each.status is StepStatus.FAILED for each in steps)
        return protocol.reason in STEP_CAUSES and (step.status is StepStatus.FAILED or not others_failed)
    return not any(
        job.kind is JobKind.EXECUTE and job.stop is not StopRequest.CANCEL and job.step_id != step.id
        for job in standing.jobs
    )
