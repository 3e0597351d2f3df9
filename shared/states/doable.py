"""Which actions their guards would let through now: the tables' answer, less what the other records rule out (pure)."""

from shared.schemas.records import StepRun
from shared.schemas.statuses import JobKind, JobState, Phase, ProtocolStatus, Reason, StepStatus, StopRequest
from shared.states import protocol as protocol_table
from shared.states import step as step_table
from shared.states.protocol import ProtocolTrigger, targets
from shared.states.rest import missing_dependencies, next_step
from shared.states.waiting import Situation

# A protocol that is blocked for one of these is freed by actions on its steps.
STEP_CAUSES = frozenset({Reason.STEP_FAILED, Reason.QA_UNAVAILABLE})
_STARTS = frozenset({"run", "retry", "reject"})


def of_protocol(situation: Situation) -> tuple[str, ...]:
    """The actions on the protocol run that are not refused now."""
    protocol = situation.protocol
    names = protocol_table.allowed_actions(protocol.status, protocol.phase, protocol.reason)
    return tuple(name for name in names if _protocol_may(situation, name))


def of_step(situation: Situation, step: StepRun) -> tuple[str, ...]:
    """The actions on the step that are not refused now; an approval may need a reason."""
    return tuple(
        name for name in step_table.allowed_actions(step.status, step.phase) if _step_may(situation, step, name)
    )


def _protocol_may(situation: Situation, name: str) -> bool:
    steps, protocol = situation.steps, situation.protocol
    failed = [step for step in steps if step.status is StepStatus.FAILED]
    match name:
        case "start":
            return _may_plan(situation) or _may_start_with_steps(situation)
        case "run_next_step":
            repair = protocol.status is ProtocolStatus.BLOCKED and bool(failed)
            upcoming = next_step(steps, repair=repair)
            return upcoming is not None and startable(situation, upcoming)
        case "retry_latest":
            return bool(failed) and startable(situation, failed[0])
        case "unblock":
            return not (failed and protocol.reason in STEP_CAUSES)
        case "reject_plan":
            return all(step.status is StepStatus.PENDING for step in steps)
        case "open_pr":
            return protocol.head_sha is not None and situation.job(JobKind.OPEN_PR) is None
        case "adopt" | "reset":
            return _may_return(situation, name)
        case _:
            return True


def _may_plan(situation: Situation) -> bool:
    protocol, steps = situation.protocol, situation.steps
    if not targets(protocol.status, ProtocolTrigger.START) or situation.job(JobKind.PLAN) is not None:
        return False
    untouched = all(step.status is StepStatus.PENDING and step.phase is None for step in steps)
    return untouched and not (steps and protocol.plan_sha is None)


def _may_start_with_steps(situation: Situation) -> bool:
    protocol = situation.protocol
    if not targets(protocol.status, ProtocolTrigger.START_WITH_STEPS) or situation.job(JobKind.PLAN) is not None:
        return False
    return bool(situation.steps) and protocol.plan_sha is None


def _may_return(situation: Situation, name: str) -> bool:
    """Whether the branch may be adopted or reset: there is something of ours on it, and nobody works on it."""
    protocol = situation.protocol
    writes = any(job.kind.writes_branch and job.state is JobState.RUNNING for job in situation.jobs)
    if protocol.head_sha is None or writes:
        return False
    if name == "adopt":
        return protocol.diverged_sha is not None
    return not any(
        job.kind is JobKind.OPEN_PR and job.state is JobState.QUEUED and "reset" in job.payload
        for job in situation.jobs
    )


def _step_may(situation: Situation, step: StepRun, name: str) -> bool:
    protocol = situation.protocol
    if name in _STARTS:
        return startable(situation, step)
    if name == "run_qa":
        freed = protocol.status is ProtocolStatus.BLOCKED and protocol.reason is Reason.QA_UNAVAILABLE
        return protocol.status is ProtocolStatus.RUNNING or freed
    return True


def startable(situation: Situation, step: StepRun) -> bool:
    """Whether an execution of the step could be queued now."""
    protocol, steps = situation.protocol, situation.steps
    if not targets(protocol.status, ProtocolTrigger.RUN) or protocol.phase is Phase.AWAITING_PLAN_APPROVAL:
        return False
    if step.phase is Phase.QUEUED or missing_dependencies(step, steps):
        return False
    if protocol.status is ProtocolStatus.BLOCKED:
        others_failed = any(each.status is StepStatus.FAILED for each in steps)
        return protocol.reason in STEP_CAUSES and (step.status is StepStatus.FAILED or not others_failed)
    return not any(
        job.kind is JobKind.EXECUTE and job.stop is not StopRequest.CANCEL and job.step_id != step.id
        for job in situation.jobs
    )
