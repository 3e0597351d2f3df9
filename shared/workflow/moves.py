"""The two places where a status is written: each looks into its table, compares the version and appends the event."""

from collections.abc import Collection
from typing import Any

from msgspec.structs import replace

from shared.errors import Conflict, PreconditionFailed
from shared.repository import jobs, protocols, steps
from shared.schemas.records import Job, Protocol, StepRun
from shared.schemas.statuses import EventType, JobKind, JobState, Phase, ProtocolStatus, Reason, StopRequest
from shared.states import protocol as protocol_table
from shared.states import step as step_table
from shared.states.protocol import ProtocolTrigger
from shared.states.step import StepTrigger
from shared.workflow import pr
from shared.workflow.unit import Unit

# To come into one of these or to leave it is news for who reads the PR.
_TOLD_IN_PR = frozenset({ProtocolStatus.BLOCKED, ProtocolStatus.COMPLETED})


def refuse_protocol(protocol: Protocol, wanted: str) -> Conflict:
    """The refusal of an action in the protocol's present status."""
    allowed = protocol_table.allowed_actions(protocol.status, protocol.phase, protocol.reason)
    ways = f"Possible now: {', '.join(allowed)}." if allowed else "It is over and nothing can change it."
    name = protocol.protocol_name
    message = f"Protocol {name} is {protocol.status}, which does not allow to {wanted}. {ways}"
    return Conflict(message, status_now=protocol.status, allowed_actions=allowed)


def refuse_step(step: StepRun, wanted: str) -> Conflict:
    """The refusal of an action in the step's present status."""
    allowed = step_table.allowed_actions(step.status, step.phase)
    ways = f"Possible now: {', '.join(allowed)}." if allowed else "It is settled and nothing can change it."
    message = f"Step {step.step_index} is {step.status}, which does not allow to {wanted}. {ways}"
    return Conflict(message, status_now=step.status, allowed_actions=allowed)


def conflict(about: Protocol | StepRun, message: str, kind: str, *, but: Collection[str] = ()) -> Conflict:
    """A refusal for more than the status: `kind` is the problem's type, `but` the actions that are refused with it."""
    if isinstance(about, Protocol):
        allowed = protocol_table.allowed_actions(about.status, about.phase, about.reason)
    else:
        allowed = step_table.allowed_actions(about.status)
    left = [action for action in allowed if action not in but]
    return Conflict(message, type=kind, status_now=about.status, allowed_actions=left)


def save_protocol(unit: Unit, protocol: Protocol) -> Protocol:
    """Write what changed beside the status."""
    saved = protocols.save(unit.tx, protocol)
    if saved is None:
        raise PreconditionFailed(f"Protocol {protocol.protocol_name} changed meanwhile; read it again.")
    return saved


def save_step(unit: Unit, step: StepRun) -> StepRun:
    """Write what changed beside the status."""
    saved = steps.save(unit.tx, step)
    if saved is None:
        raise PreconditionFailed(f"Step {step.step_index} changed meanwhile; read it again.")
    return saved


def move_protocol(
    unit: Unit,
    protocol: Protocol,
    trigger: ProtocolTrigger,
    event: EventType,
    *,
    to: ProtocolStatus | None = None,
    phase: Phase | None = None,
    reason: Reason | None = None,
    job: Job | None = None,
    **metadata: Any,
) -> Protocol:
    """Move the protocol by its table; `to` chooses where the trigger has several targets. Refuses what it rules out."""
    targets = protocol_table.targets(protocol.status, trigger)
    if to is None and len(targets) == 1:
        to = targets[0]
    if to is None or to not in targets:
        raise refuse_protocol(protocol, trigger.replace("_", " "))
    ended = unit.now if to.terminal else None
    moved = save_protocol(unit, replace(protocol, status=to, phase=phase, reason=reason, finished_at=ended))
    change = (protocol.status, to) if to is not protocol.status else None
    unit.say(event, moved, moved=change, reason=reason, job=job, **metadata)
    if to.terminal:
        _end(unit, moved)
    if change is not None and _TOLD_IN_PR & {protocol.status, to}:
        pr.keep_up(unit, moved.id)
    return moved


def move_step(
    unit: Unit,
    protocol: Protocol,
    step: StepRun,
    trigger: StepTrigger,
    event: EventType,
    *,
    phase: Phase | None = None,
    reason: Reason | None = None,
    job: Job | None = None,
    attempt_id: int | None = None,
    **metadata: Any,
) -> StepRun:
    """Move the step by its table, with what `step` has changed beside its status. Refuses what the table rules out."""
    to = step_table.target(step.status, trigger)
    if to is None:
        raise refuse_step(step, trigger.replace("_", " "))
    ended = unit.now if to.settled else None
    moved = save_step(unit, replace(step, status=to, phase=phase, reason=reason, finished_at=ended))
    change = (step.status, to) if to is not step.status else None
    unit.say(
        event,
        moved,
        project_id=protocol.project_id,
        moved=change,
        reason=reason,
        job=job,
        attempt_id=attempt_id,
        **metadata,
    )
    if to.settled and not protocol.status.terminal:
        pr.keep_up(unit, protocol.id)
    return moved


def stop_job(unit: Unit, job: Job, stop: StopRequest) -> None:
    """End a queued job at once; ask the worker of a running one to stop."""
    if job.state is JobState.QUEUED and stop is StopRequest.CANCEL:
        jobs.finish(unit.tx, replace(job, state=JobState.CANCELLED))
    elif job.state is JobState.RUNNING and job.stop is not stop:
        jobs.ask_to_stop(unit.tx, job.id, stop)
        unit.stopping.append(job.id)


def stop_step_job(unit: Unit, step: StepRun) -> None:
    """Stop whatever still works on the step; its late result will change nothing."""
    job = jobs.open_of_step(unit.tx, step.id)
    if job is not None:
        stop_job(unit, job, StopRequest.CANCEL)


def _end(unit: Unit, protocol: Protocol) -> None:
    """What every terminal status brings with it: no open step, and no job but the publishing of what is done."""
    for step in steps.of_protocol(unit.tx, protocol.id):
        if not step.status.settled:
            move_step(
                unit,
                protocol,
                step,
                StepTrigger.PROTOCOL_ENDED,
                EventType.STEP_CANCELLED,
                reason=Reason.PROTOCOL_ENDED,
            )
    done = protocol.status is ProtocolStatus.COMPLETED and protocol.reason is Reason.STEPS_DONE
    for job in jobs.open_of_protocol(unit.tx, protocol.id):
        if not (done and job.kind is JobKind.OPEN_PR):
            stop_job(unit, job, StopRequest.CANCEL)
