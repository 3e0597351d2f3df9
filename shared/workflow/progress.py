"""What follows by itself from a change: gates become a verdict, settled steps become a status, the next step starts."""

from typing import Any

from msgspec.structs import replace

from shared.repository import jobs, protocols, steps
from shared.schemas.records import Job, Protocol, StepRun
from shared.schemas.statuses import (
    EventType,
    GateName,
    GateState,
    JobKind,
    JobState,
    Phase,
    ProtocolStatus,
    PullState,
    Reason,
    StepStatus,
    StopRequest,
)
from shared.states.protocol import READY, ProtocolTrigger, targets
from shared.states.rest import missing_dependencies, resting_status, standing_cause, under_way
from shared.states.step import StepTrigger
from shared.workflow import pr, sync
from shared.workflow.gates import findings, gate_of, verdict_of
from shared.workflow.moves import move_protocol, move_step, save_protocol, stop_step_job
from shared.workflow.unit import Unit

# A protocol that is blocked for one of these is free again as soon as its steps are.
STEP_CAUSES = frozenset({Reason.STEP_FAILED, Reason.QA_UNAVAILABLE})


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
    """Set the protocol running and queue one execution of the step; guards are the caller's.

    Without `feedback` it gets what was said before and not yet answered, or what the red gates found.
    """
    set_running(unit, protocol)
    job = unit.enqueue(JobKind.EXECUTE, project_id=protocol.project_id, protocol_id=protocol.id, step_id=step.id)
    told = feedback or step.feedback or findings(unit, step) or None
    metadata: dict[str, Any] = {"sha": step.head_sha} if step.head_sha else {}
    metadata |= {"feedback": told} if told else {}
    return move_step(
        unit,
        protocol,
        replace(step, feedback=told),
        trigger,
        event,
        phase=Phase.QUEUED,
        reason=reason,
        job=job,
        **metadata,
    )


def set_running(unit: Unit, protocol: Protocol) -> Protocol:
    """Set the protocol running because one of its steps is worked on again."""
    if protocol.status is ProtocolStatus.RUNNING:
        return protocol
    blocked = protocol.status is ProtocolStatus.BLOCKED
    event = EventType.PROTOCOL_UNBLOCKED if blocked else EventType.PROTOCOL_STARTED
    running = move_protocol(unit, protocol, ProtocolTrigger.RUN, event)
    if blocked:
        wake_jobs(unit, running)
    return running


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


def evaluate(unit: Unit, protocol: Protocol, step: StepRun) -> StepRun:
    """Let the gates of a waiting step decide: completed, repaired, failed, or still waiting.

    A red commit is repaired once. A repair that is due while the protocol is paused is decided when it goes on.
    """
    if step.status is not StepStatus.NEEDS_QA:
        return step
    verdict = verdict_of(unit, protocol, step)
    repairable = step.repairs < protocol.policy.auto_fix and step.repaired_sha != step.head_sha
    waits = repairable and protocol.status is ProtocolStatus.PAUSED
    if not verdict.passed and (waits or not verdict.failed):
        return step
    stop_step_job(unit, step)
    if verdict.passed:
        done = move_step(
            unit, protocol, step, StepTrigger.GATES_PASSED, EventType.STEP_DONE, reason=Reason.GATES_PASSED
        )
        settle(unit, protocol)
        return done
    if repairable and protocol.status is ProtocolStatus.RUNNING:
        return queue_execution(
            unit,
            protocol,
            replace(step, repairs=step.repairs + 1, repaired_sha=step.head_sha),
            StepTrigger.REPAIR,
            EventType.STEP_REPAIR_ENQUEUED,
            reason=Reason.REPAIR,
        )
    reason = Reason.CI_FAILED if GateName.CI in verdict.failed else Reason.QA_FAILED
    failed = move_step(unit, protocol, step, StepTrigger.GATE_FAILED, EventType.STEP_FAILED, reason=reason)
    block(unit, protocol, ProtocolTrigger.STEP_FAILED, Reason.STEP_FAILED, step_index=step.step_index, cause=reason)
    return failed


def block(unit: Unit, protocol: Protocol, trigger: ProtocolTrigger, reason: Reason, **metadata: Any) -> Protocol:
    """Block a running protocol; one that is paused learns of it when it goes on, one that is blocked stays so."""
    if protocol.status in {ProtocolStatus.RUNNING, ProtocolStatus.PLANNED}:
        return move_protocol(
            unit,
            protocol,
            trigger,
            EventType.PROTOCOL_BLOCKED,
            phase=waiting_phase(protocol),
            reason=reason,
            **metadata,
        )
    unjudged = any(step.phase is Phase.INCONCLUSIVE for step in steps.of_protocol(unit.tx, protocol.id))
    if protocol.reason is Reason.QA_UNAVAILABLE and reason is Reason.STEP_FAILED and not unjudged:
        # The step that could not be judged has failed since: what removes that is something else.
        return save_protocol(unit, replace(protocol, reason=reason))
    return remember_cause(unit, protocol, reason)


def waiting_phase(protocol: Protocol) -> Phase | None:
    """What must not be forgotten while it is blocked: that its plan still waits for an approval."""
    return protocol.phase if protocol.phase is Phase.AWAITING_PLAN_APPROVAL else None


def remember_cause(unit: Unit, protocol: Protocol, reason: Reason) -> Protocol:
    """Keep for a paused protocol what will block it when it goes on; failed steps speak for themselves."""
    if protocol.status is not ProtocolStatus.PAUSED or reason is Reason.STEP_FAILED:
        return protocol
    if standing_cause(protocol.reason, (), planned=protocol.plan_sha is not None) is not None:
        return protocol
    return save_protocol(unit, replace(protocol, reason=reason))


def diverge(unit: Unit, protocol: Protocol, *, job: Job, sha: str | None = None, **metadata: Any) -> Protocol:
    """Somebody else moved the branch, to `sha` if that was seen: nothing is done on it until a person has looked.

    Where it was not seen, it is looked at: to adopt or give up a commit, a person must know which.
    """
    metadata["sha"] = sha
    if sha is None and not protocol.status.terminal:
        sync.queue_sync(unit, protocol)
    if sha is not None and not protocol.status.terminal:
        protocol = save_protocol(unit, replace(protocol, diverged_sha=sha))
    if targets(protocol.status, ProtocolTrigger.DIVERGED) and protocol.status is not ProtocolStatus.PAUSED:
        return move_protocol(
            unit,
            protocol,
            ProtocolTrigger.DIVERGED,
            EventType.DIVERGED,
            phase=waiting_phase(protocol),
            reason=Reason.DIVERGED,
            job=job,
            **metadata,
        )
    noted = remember_cause(unit, protocol, Reason.DIVERGED)
    unit.say(EventType.DIVERGED, noted, job=job, reason=Reason.DIVERGED, **metadata)
    return noted


def settle(unit: Unit, protocol: Protocol) -> None:
    """Draw the conclusions of a step that is settled or free again: complete, unblock, or go on by itself."""
    blocked = protocol.status is ProtocolStatus.BLOCKED
    if protocol.status not in {ProtocolStatus.PLANNED, ProtocolStatus.RUNNING, ProtocolStatus.BLOCKED}:
        return
    if blocked and protocol.reason not in STEP_CAUSES:
        return
    present = steps.of_protocol(unit.tx, protocol.id)
    cause = standing_cause(protocol.reason, present, planned=True)
    match resting_status(present, planned=True, planning=False, cause=cause):
        case ProtocolStatus.COMPLETED:
            finish_steps(unit, protocol)
        case ProtocolStatus.CANCELLED:
            move_protocol(
                unit, protocol, ProtocolTrigger.STEPS_CANCELLED, EventType.CANCELLED, reason=Reason.STEPS_CANCELLED
            )
        case ProtocolStatus.BLOCKED if blocked:
            if cause is not protocol.reason:
                save_protocol(unit, replace(protocol, reason=cause))
        case ProtocolStatus.BLOCKED if not any(under_way(step) for step in present):
            # Two had failed, and the one that was retried is done.
            block(unit, protocol, ProtocolTrigger.STEP_FAILED, Reason.STEP_FAILED)
        case status:
            if blocked:
                protocol = move_protocol(
                    unit, protocol, ProtocolTrigger.CAUSE_REMOVED, EventType.PROTOCOL_UNBLOCKED, to=status
                )
                wake_jobs(unit, protocol)
            advance(unit, protocol)


def to_rest(
    unit: Unit, protocol: Protocol, trigger: ProtocolTrigger, event: EventType, *, cause: Reason | None
) -> Protocol:
    """Go on where the plan and the steps stand now; `cause` is what it was stopped for, None when that is forgiven."""
    present = steps.of_protocol(unit.tx, protocol.id)
    plan_job = open_plan_job(unit, protocol)
    planned = protocol.plan_sha is not None
    cause = standing_cause(cause, present, planned=planned)
    status = resting_status(present, planned=planned, planning=plan_job is not None, cause=cause)
    if status is ProtocolStatus.COMPLETED:
        moved = move_protocol(unit, protocol, trigger, event, to=ProtocolStatus.RUNNING)
        wake_jobs(unit, moved)
        return finish_steps(unit, moved)
    if status is protocol.status is ProtocolStatus.BLOCKED:
        event = EventType.PROTOCOL_BLOCKED
    phase: Phase | None = None
    if status is ProtocolStatus.PLANNED and protocol.phase is Phase.AWAITING_PLAN_APPROVAL:
        phase = protocol.phase
    elif status is ProtocolStatus.PLANNING and plan_job is not None:
        phase = Phase.EXECUTING if plan_job.state is JobState.RUNNING else Phase.QUEUED
    reason = Reason.STEPS_CANCELLED if status is ProtocolStatus.CANCELLED else cause
    moved = move_protocol(unit, protocol, trigger, event, to=status, phase=phase, reason=reason)
    if not moved.status.terminal:
        wake_jobs(unit, moved)
        for step in present:
            evaluate(unit, protocols.expect(unit.tx, protocol.id), steps.expect(unit.tx, step.id))
        advance(unit, protocols.expect(unit.tx, protocol.id))
    return protocols.expect(unit.tx, protocol.id)


def finish_steps(unit: Unit, protocol: Protocol) -> Protocol:
    """All steps are settled: complete, or wait for the merge where the policy wants it and a PR is or will be open."""
    coming = pr.publish_done(unit, protocol)
    if protocol.policy.completion == "merge" and (coming or protocol.pr_state is PullState.OPEN):
        running = set_running(unit, protocol)
        waiting = save_protocol(unit, replace(running, phase=Phase.AWAITING_MERGE))
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
        if _unjudged(unit, step) and _wants_qa(unit, protocol, step):
            queue_qa(unit, protocol, step)
    upcoming = next((step for step in everything if not step.status.settled), None)
    if upcoming is None or upcoming.status is not StepStatus.PENDING or upcoming.phase is Phase.QUEUED:
        return
    if protocol.policy.starts_by_itself(upcoming.step_index) and not missing_dependencies(upcoming, everything):
        queue_execution(unit, protocol, upcoming, StepTrigger.RUN, EventType.STEP_ENQUEUED)


def wake_jobs(unit: Unit, protocol: Protocol) -> None:
    """Ring again for what waited while the protocol was paused or blocked."""
    for job in jobs.open_of_protocol(unit.tx, protocol.id):
        if job.state is JobState.QUEUED and protocol.status in READY[job.kind]:
            unit.ring_again(job)


def executing_job(unit: Unit, protocol: Protocol, *, but: StepRun | None = None) -> Job | None:
    """The open execution of another step; one worktree serves one step at a time."""
    return next(
        (
            job
            for job in jobs.open_of_protocol(unit.tx, protocol.id)
            if job.kind is JobKind.EXECUTE
            and job.stop is not StopRequest.CANCEL
            and (but is None or job.step_id != but.id)
        ),
        None,
    )


def open_plan_job(unit: Unit, protocol: Protocol) -> Job | None:
    """The planning that is queued or under way, and not being cancelled."""
    present = jobs.open_of_protocol(unit.tx, protocol.id)
    return next((job for job in present if job.kind is JobKind.PLAN and job.stop is not StopRequest.CANCEL), None)


def _unjudged(unit: Unit, step: StepRun) -> bool:
    if step.status is not StepStatus.NEEDS_QA or step.phase is not Phase.AWAITING_GATES or step.qa_asks:
        return False
    return jobs.open_of_step(unit.tx, step.id) is None


def _wants_qa(unit: Unit, protocol: Protocol, step: StepRun) -> bool:
    """Whether the policy has the commit judged by itself: at once, or as its CI is green."""
    if protocol.policy.auto_qa_after_exec:
        return True
    ci = gate_of(unit, step, GateName.CI) if protocol.policy.auto_qa_on_ci else None
    return ci is not None and ci.state is GateState.PASSED
