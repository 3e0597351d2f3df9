"""Verbs on steps that people call: add, run, judge, retry, skip, cancel."""

from collections.abc import Sequence

from msgspec.structs import replace

from shared.errors import Invalid, PreconditionFailed
from shared.repository import protocols, steps
from shared.schemas.records import Protocol, StepRun
from shared.schemas.statuses import EventType, GateName, GateState, Phase, ProtocolStatus, Reason, StepStatus, StepType
from shared.states.protocol import ProtocolTrigger, targets
from shared.states.rest import missing_dependencies
from shared.states.step import StepTrigger, target
from shared.workflow import find, plan_files, progress
from shared.workflow.gates import set_gate, verdict_of
from shared.workflow.moves import conflict, move_step, refuse_protocol, refuse_step, save_protocol, stop_step_job
from shared.workflow.unit import Unit

LAST_INDEX = 999


def add_step(
    unit: Unit,
    protocol_id: int,
    *,
    step_name: str,
    step_index: int | None = None,
    step_type: StepType = StepType.WORK,
    model: str | None = None,
    instructions: str = "",
    depends_on: Sequence[int] = (),
    version: int | None = None,
) -> StepRun:
    """Add a step to an open protocol; the plan's new revision is on the branch before the next agent starts."""
    protocol = find.protocol(unit.tx, unit.caller.project_id, protocol_id)
    _check_version(version, protocol.version, protocol.status)
    if protocol.status.terminal or protocol.status is ProtocolStatus.PLANNING:
        raise refuse_protocol(protocol, "add a step")
    if progress.open_plan_job(unit, protocol) is not None:
        message = f"{protocol.protocol_name} is being planned; add the step to the plan that comes of it."
        raise conflict(protocol, message, "being-planned")
    present = steps.of_protocol(unit.tx, protocol_id)
    index = max((step.step_index for step in present), default=0) + 1 if step_index is None else step_index
    if any(step.step_index == index for step in present):
        raise conflict(protocol, f"Step {index} of {protocol.protocol_name} exists already.", "index-taken")
    if not 0 <= index <= LAST_INDEX:
        raise Invalid(f"step_index must be from 0 to {LAST_INDEX}")
    known = {step.step_index for step in present}
    if strangers := sorted(set(depends_on) - known):
        raise Invalid(f"depends_on names step {strangers[0]}, which does not exist")
    wanted = StepRun(
        id=0,
        protocol_id=protocol_id,
        step_index=index,
        step_name=step_name,
        step_type=step_type,
        file_name=plan_files.file_name(index, step_name),
        instructions=instructions or step_name,
        depends_on=tuple(sorted(set(depends_on))),
        model=model,
        created_at=unit.now,
        updated_at=unit.now,
    )
    step = steps.add(unit.tx, wanted)
    unit.say(EventType.STEP_ADDED, step, project_id=protocol.project_id, step_name=step_name, step_index=index)
    revised = _revise_plan(unit, protocol, (*present, step))
    progress.advance(unit, revised)
    return steps.expect(unit.tx, step.id)


def _revise_plan(unit: Unit, protocol: Protocol, present: Sequence[StepRun]) -> Protocol:
    before = protocols.plan(unit.tx, protocol.id, protocol.plan_revision)
    lines = [
        plan_files.Line(step.step_index, step.step_name, step.step_type, step.instructions, step.depends_on)
        for step in present
    ]
    plan = plan_files.compose(
        protocol,
        revision=protocol.plan_revision + 1,
        summary=before.summary if before else protocol.description,
        plan_md=before.plan_md if before else "",
        context_md=before.context_md if before else protocol.description,
        lines=lines,
        now=unit.now,
    )
    protocols.add_plan(unit.tx, plan)
    accepted = plan.sha256 if protocol.plan_sha is not None else None
    phase = None if protocol.phase is Phase.AWAITING_MERGE else protocol.phase
    revised = save_protocol(unit, replace(protocol, plan_revision=plan.revision, plan_sha=accepted, phase=phase))
    unit.say(EventType.PLAN_REVISED, revised, revision=plan.revision, plan_sha=plan.sha256)
    return revised


def run_step(unit: Unit, step_id: int, *, version: int | None = None) -> StepRun:
    """Queue the execution of a pending or failed step."""
    protocol, step = _read(unit, step_id, version)
    if target(step.status, StepTrigger.RUN) is None:
        raise refuse_step(step, "run it")
    _check_startable(unit, protocol, step)
    return progress.queue_execution(unit, protocol, step, StepTrigger.RUN, EventType.STEP_ENQUEUED)


def run_qa(unit: Unit, step_id: int, *, version: int | None = None) -> StepRun:
    """Queue a QA run on the commit of an executed step."""
    protocol, step = _read(unit, step_id, version)
    if target(step.status, StepTrigger.RUN_QA) is None:
        raise refuse_step(step, "run QA: it is judged once it was executed")
    if step.phase in {Phase.QA_QUEUED, Phase.QA_RUNNING}:
        raise conflict(step, f"QA of step {step.step_index} is under way.", "already-queued", but={"run_qa"})
    if protocol.status is ProtocolStatus.BLOCKED and protocol.reason is Reason.QA_UNAVAILABLE:
        protocol = progress.set_running(unit, protocol)
    if protocol.status is not ProtocolStatus.RUNNING:
        raise refuse_protocol(protocol, "run QA")
    return progress.queue_qa(unit, protocol, step)


def approve_step(
    unit: Unit, step_id: int, *, sha: str | None = None, reason: str | None = None, version: int | None = None
) -> StepRun:
    """Judge the step by a person: sets the approval gate, and completes it if no other gate but QA is open.

    With a `reason` it overrides open gates, and is the only way to complete a failed step. `sha` names the commit that
    was looked at; another one is refused.
    """
    protocol, step = _read(unit, step_id, version)
    if target(step.status, StepTrigger.OVERRIDE) is None:
        raise refuse_step(step, "approve it")
    if sha is not None and sha != step.head_sha:
        message = f"The step's commit is {step.head_sha}, not {sha}: look at it again."
        raise PreconditionFailed(message, type="stale-commit", status_now=step.status)
    if step.status is StepStatus.FAILED and not reason:
        message = f"Step {step.step_index} failed ({step.reason}); completing it needs a reason."
        raise conflict(step, message, "reason-needed")
    if step.head_sha is not None:
        set_gate(
            unit,
            protocol,
            step,
            GateName.APPROVAL,
            GateState.PASSED,
            sha=step.head_sha,
            summary=reason or "approved",
        )
    verdict = verdict_of(unit, protocol, step)
    missing = [name for name in (*verdict.open, *verdict.failed) if name is not GateName.QA]
    if missing and not reason:
        message = f"Open gates: {', '.join(missing)}. Wait for them, or give a reason to override."
        raise conflict(step, message, "gates-open")
    stop_step_job(unit, step)
    overridden = bool(missing) or step.status is StepStatus.FAILED
    trigger = StepTrigger.OVERRIDE if overridden else StepTrigger.APPROVE
    unit.say(EventType.MANUAL_APPROVAL, step, project_id=protocol.project_id, reason=reason, sha=step.head_sha)
    done = move_step(
        unit,
        protocol,
        step,
        trigger,
        EventType.STEP_DONE,
        reason=Reason.OVERRIDDEN if overridden else Reason.APPROVED,
        why=reason,
    )
    progress.settle(unit, protocol)
    return done


def reject_step(unit: Unit, step_id: int, *, feedback: str, version: int | None = None) -> StepRun:
    """Send an executed step back with what a person found."""
    protocol, step = _read(unit, step_id, version)
    if target(step.status, StepTrigger.REJECT) is None:
        raise refuse_step(step, "reject it")
    _check_startable(unit, protocol, step)
    stop_step_job(unit, step)
    set_gate(unit, protocol, step, GateName.APPROVAL, GateState.FAILED, sha=step.head_sha or "", summary=feedback)
    return progress.queue_execution(
        unit, protocol, step, StepTrigger.REJECT, EventType.STEP_REJECTED, reason=Reason.REJECTED, feedback=feedback
    )


def retry_step(
    unit: Unit,
    step_id: int,
    *,
    model: str | None = None,
    feedback: str | None = None,
    fresh: bool = False,
    version: int | None = None,
) -> StepRun:
    """Execute a failed or waiting step once more, with another model or feedback; `fresh` forgets the Codex thread."""
    protocol, step = _read(unit, step_id, version)
    if target(step.status, StepTrigger.RETRY) is None:
        raise refuse_step(step, "retry it")
    _check_startable(unit, protocol, step)
    stop_step_job(unit, step)
    again = replace(
        step, retries=step.retries + 1, model=model or step.model, thread_id=None if fresh or model else step.thread_id
    )
    return progress.queue_execution(
        unit,
        protocol,
        again,
        StepTrigger.RETRY,
        EventType.STEP_RETRY_ENQUEUED,
        reason=Reason.RETRIED,
        feedback=feedback,
    )


def skip_step(unit: Unit, step_id: int, *, reason: str, version: int | None = None) -> StepRun:
    """Go on without the step; it counts as settled."""
    protocol, step = _read(unit, step_id, version)
    if protocol.status.terminal or target(step.status, StepTrigger.SKIP) is None:
        raise refuse_step(step, "skip it")
    stop_step_job(unit, step)
    done = move_step(unit, protocol, step, StepTrigger.SKIP, EventType.STEP_SKIPPED, reason=Reason.SKIPPED, why=reason)
    progress.settle(unit, protocol)
    return done


def cancel_step(unit: Unit, step_id: int, *, version: int | None = None) -> StepRun:
    """End an open step; what works on it is stopped."""
    protocol, step = _read(unit, step_id, version)
    if target(step.status, StepTrigger.CANCEL) is None:
        raise refuse_step(step, "cancel it")
    stop_step_job(unit, step)
    done = move_step(unit, protocol, step, StepTrigger.CANCEL, EventType.STEP_CANCELLED, reason=Reason.OPERATOR)
    progress.settle(unit, protocol)
    return done


def _read(unit: Unit, step_id: int, version: int | None) -> tuple[Protocol, StepRun]:
    step = find.step(unit.tx, unit.caller.project_id, step_id)
    _check_version(version, step.version, step.status)
    return protocols.expect(unit.tx, step.protocol_id), step


def _check_version(wanted: int | None, version: int, status: str) -> None:
    if wanted is not None and wanted != version:
        raise PreconditionFailed(f"It is at version {version}, not {wanted}; read it again.", status_now=status)


def _check_startable(unit: Unit, protocol: Protocol, step: StepRun) -> None:
    """The guards of every start: protocol open and not paused, nothing else in the worktree, dependencies settled."""
    if not targets(protocol.status, ProtocolTrigger.RUN) or protocol.phase is Phase.AWAITING_PLAN_APPROVAL:
        raise refuse_protocol(protocol, "run a step")
    if protocol.status is ProtocolStatus.BLOCKED:
        _check_repairs(unit, protocol, step)
    if step.phase is Phase.QUEUED:
        raise conflict(step, f"Step {step.step_index} is queued already.", "already-queued", but={"run"})
    everything = steps.of_protocol(unit.tx, protocol.id)
    if missing := missing_dependencies(step, everything):
        message = f"Step {step.step_index} waits for step {', '.join(str(index) for index in missing)}."
        raise conflict(step, message, "dependencies-open", but={"run", "retry"})
    # While it is blocked nothing starts, and another step's job may wait for just this repair.
    busy = progress.executing_job(unit, protocol, but=step) is not None
    if busy and protocol.status is not ProtocolStatus.BLOCKED:
        message = f"Another step of {protocol.protocol_name} is being executed; its branch serves one at a time."
        raise conflict(step, message, "branch-busy", but={"run", "retry", "reject"})


def _check_repairs(unit: Unit, protocol: Protocol, step: StepRun) -> None:
    if protocol.reason not in progress.STEP_CAUSES:
        message = f"{protocol.protocol_name} is blocked ({protocol.reason}): remove the cause, then unblock it."
        raise conflict(protocol, message, "blocked", but={"run_next_step", "retry_latest"})
    failed = [each for each in steps.of_protocol(unit.tx, protocol.id) if each.status is StepStatus.FAILED]
    if failed and step.status is not StepStatus.FAILED:
        message = (
            f"{protocol.protocol_name} is blocked by step {failed[0].step_index}: retry, approve or skip that one."
        )
        raise conflict(protocol, message, "blocked", but={"unblock", "start"})
