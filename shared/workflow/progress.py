"""What follows by itself from a change: gates become a verdict, settled steps become a status, the next step starts."""

from typing import Any

from msgspec.structs import replace

from shared.repository import jobs, steps
from shared.schemas.records import Job, Protocol, StepRun
from shared.schemas.statuses import (
    EventType,
    GateName,
    JobKind,
    JobState,
    Phase,
    ProtocolStatus,
    Reason,
    StepStatus,
)
from shared.states.gates import Verdict, judge
from shared.states.protocol import ProtocolTrigger
from shared.states.rest import missing_dependencies, resting_status
from shared.states.step import StepTrigger
from shared.workflow.moves import move_protocol, move_step, save_protocol
from shared.workflow.unit import Unit

# A protocol that is blocked for one of these is free again as soon as its steps are.
STEP_CAUSES = frozenset({Reason.STEP_FAILED, Reason.QA_UNAVAILABLE})


def verdict_of(unit: Unit, protocol: Protocol, step: StepRun) -> Verdict:
    """What the gates of the step's commit say together."""
    gates = steps.gates(unit.tx, step.id, step.head_sha) if step.head_sha else ()
    return judge(protocol.policy, {gate.name: gate.state for gate in gates})


def queue_execution(
    unit: Unit,
    protocol: Protocol,
    step: StepRun,
    trigger: StepTrigger,
    event: EventType,
    *,
    reason: Reason | None = None,
    feedback: str | None = None,
) -> StepRun:
    """Queue one execution of the step and set its protocol running; guards are the caller's."""
    job = unit.enqueue(
        JobKind.EXECUTE, project_id=protocol.project_id, protocol_id=protocol.id, step_id=step.id, payload={}
    )
    metadata: dict[str, Any] = {"feedback": feedback} if feedback else {}
    queued = move_step(
        unit,
        protocol,
        replace(step, feedback=feedback),
        trigger,
        event,
        phase=Phase.QUEUED,
        reason=reason,
        job=job,
        **metadata,
    )
    set_running(unit, protocol)
    return queued


def set_running(unit: Unit, protocol: Protocol) -> Protocol:
    """Set the protocol running because one of its steps is worked on again."""
    if protocol.status is ProtocolStatus.RUNNING and protocol.phase is None:
        return protocol
    match protocol.status:
        case ProtocolStatus.BLOCKED:
            event = EventType.PROTOCOL_UNBLOCKED
        case ProtocolStatus.RUNNING:
            return save_protocol(unit, replace(protocol, phase=None, reason=None))
        case _:
            event = EventType.PROTOCOL_STARTED
    return move_protocol(unit, protocol, ProtocolTrigger.RUN, event)


def queue_qa(unit: Unit, protocol: Protocol, step: StepRun) -> StepRun:
    """Queue a QA run on the step's commit."""
    job = unit.enqueue(JobKind.QA, project_id=protocol.project_id, protocol_id=protocol.id, step_id=step.id)
    return move_step(
        unit,
        protocol,
        step,
        StepTrigger.RUN_QA,
        EventType.QA_ENQUEUED,
        phase=Phase.QA_QUEUED,
        job=job,
        sha=step.head_sha,
    )


def evaluate(unit: Unit, protocol: Protocol, step: StepRun, *, feedback: str = "") -> StepRun:
    """Let the gates of a waiting step decide: completed, repaired, failed, or still waiting."""
    if step.status is not StepStatus.NEEDS_QA:
        return step
    verdict = verdict_of(unit, protocol, step)
    if verdict.passed:
        done = move_step(
            unit, protocol, step, StepTrigger.GATES_PASSED, EventType.STEP_DONE, reason=Reason.GATES_PASSED
        )
        settle(unit, protocol)
        return done
    if not verdict.failed:
        return step
    reason = Reason.CI_FAILED if GateName.CI in verdict.failed else Reason.QA_FAILED
    if step.repairs < protocol.policy.auto_fix and protocol.status is ProtocolStatus.RUNNING:
        repaired = replace(step, repairs=step.repairs + 1)
        return queue_execution(
            unit,
            protocol,
            repaired,
            StepTrigger.REPAIR,
            EventType.STEP_REPAIR_ENQUEUED,
            reason=Reason.REPAIR,
            feedback=feedback or f"The gate {', '.join(verdict.failed)} is red on {step.head_sha}.",
        )
    failed = move_step(unit, protocol, step, StepTrigger.GATE_FAILED, EventType.STEP_FAILED, reason=reason)
    block(unit, protocol, ProtocolTrigger.STEP_FAILED, Reason.STEP_FAILED, step_index=step.step_index, cause=reason)
    return failed


def block(unit: Unit, protocol: Protocol, trigger: ProtocolTrigger, reason: Reason, **metadata: Any) -> Protocol:
    """Block a running protocol; one that is paused or already blocked stays so, and learns of it when it goes on."""
    if protocol.status in {ProtocolStatus.RUNNING, ProtocolStatus.PLANNED}:
        return move_protocol(unit, protocol, trigger, EventType.PROTOCOL_BLOCKED, reason=reason, **metadata)
    return protocol


def settle(unit: Unit, protocol: Protocol) -> Protocol:
    """Draw the conclusions of a step that is settled or free again: complete, unblock, or go on by itself."""
    if protocol.status not in {ProtocolStatus.PLANNED, ProtocolStatus.RUNNING, ProtocolStatus.BLOCKED}:
        return protocol
    if protocol.status is ProtocolStatus.BLOCKED and protocol.reason not in STEP_CAUSES:
        return protocol
    status = resting_status(steps.of_protocol(unit.tx, protocol.id), planned=True, planning=False)
    if status is ProtocolStatus.COMPLETED:
        return finish_steps(unit, protocol)
    if status is ProtocolStatus.CANCELLED:
        return move_protocol(
            unit, protocol, ProtocolTrigger.STEPS_CANCELLED, EventType.CANCELLED, reason=Reason.STEPS_CANCELLED
        )
    if protocol.status is ProtocolStatus.BLOCKED and status is not ProtocolStatus.BLOCKED:
        protocol = move_protocol(unit, protocol, ProtocolTrigger.CAUSE_REMOVED, EventType.PROTOCOL_UNBLOCKED, to=status)
    advance(unit, protocol)
    return protocol


def finish_steps(unit: Unit, protocol: Protocol) -> Protocol:
    """All steps are settled: complete, or wait for the merge where the policy wants it and a PR is open."""
    if protocol.policy.completion == "merge" and protocol.pr_number is not None:
        if protocol.status is ProtocolStatus.RUNNING and protocol.phase is Phase.AWAITING_MERGE:
            return protocol
        if protocol.status is not ProtocolStatus.RUNNING:
            protocol = set_running(unit, protocol)
        waiting = save_protocol(unit, replace(protocol, phase=Phase.AWAITING_MERGE))
        unit.say(EventType.AWAITING_MERGE, waiting)
        return waiting
    return move_protocol(
        unit, protocol, ProtocolTrigger.STEPS_DONE, EventType.PROTOCOL_COMPLETED, reason=Reason.STEPS_DONE
    )


def advance(unit: Unit, protocol: Protocol) -> None:
    """Start what the policy starts by itself: QA of what was executed, then the next step."""
    if protocol.status not in {ProtocolStatus.PLANNED, ProtocolStatus.RUNNING}:
        return
    if protocol.phase is Phase.AWAITING_PLAN_APPROVAL:
        return
    everything = steps.of_protocol(unit.tx, protocol.id)
    for step in everything:
        if protocol.policy.auto_qa_after_exec and _unjudged(unit, step):
            queue_qa(unit, protocol, step)
    upcoming = next((step for step in everything if not step.status.settled), None)
    if upcoming is None or upcoming.status is not StepStatus.PENDING or upcoming.phase is Phase.QUEUED:
        return
    if protocol.policy.starts_by_itself(upcoming.step_index) and not missing_dependencies(upcoming, everything):
        queue_execution(unit, protocol, upcoming, StepTrigger.RUN, EventType.STEP_ENQUEUED)


def wake_jobs(unit: Unit, protocol: Protocol) -> None:
    """Ring again for what waited while the protocol was paused or blocked."""
    for job in jobs.open_of_protocol(unit.tx, protocol.id):
        if job.state is JobState.QUEUED:
            unit.ring_again(job)


def executing_job(unit: Unit, protocol: Protocol, *, but: StepRun | None = None) -> Job | None:
    """The open execution of another step; one worktree serves one step at a time."""
    return next(
        (
            job
            for job in jobs.open_of_protocol(unit.tx, protocol.id)
            if job.kind is JobKind.EXECUTE and job.stop is None and (but is None or job.step_id != but.id)
        ),
        None,
    )


def _unjudged(unit: Unit, step: StepRun) -> bool:
    if step.status is not StepStatus.NEEDS_QA or step.phase is not Phase.AWAITING_GATES or step.qa_asks:
        return False
    return jobs.open_of_step(unit.tx, step.id) is None
