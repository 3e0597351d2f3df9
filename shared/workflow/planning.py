"""What becomes of a protocol when its planning ends or gives up."""

from typing import Any

from msgspec.structs import replace

from shared.errors import Category
from shared.repository import protocols, steps
from shared.schemas.records import Job, Protocol, StepRun
from shared.schemas.reports import PlanDone, PlannedStep
from shared.schemas.statuses import EventType, Phase, ProtocolStatus, Reason
from shared.states.protocol import ProtocolTrigger
from shared.workflow import plan_files, pr, progress
from shared.workflow.moves import move_protocol, save_protocol
from shared.workflow.unit import Unit


def begin(unit: Unit, job: Job, attempt_id: int) -> None:
    """A worker claimed the planning."""
    protocol = protocols.expect(unit.tx, job.protocol_id or 0)
    started = save_protocol(unit, replace(protocol, phase=Phase.EXECUTING, reason=None))
    unit.say(EventType.PLANNING_STARTED, started, job=job, attempt_id=attempt_id, attempt=job.attempt)


def done(unit: Unit, job: Job, attempt_id: int | None, report: PlanDone) -> None:
    """The plan is on the branch; the protocol has no other steps. One that was stopped meanwhile learns of it later."""
    protocol = protocols.expect(unit.tx, job.protocol_id or 0)
    protocols.add_plan(unit.tx, report.plan)
    for index, planned in enumerate(report.steps, start=1):
        steps.add(unit.tx, _step(unit, protocol, index, planned))
    waits = protocol.policy.plan_approval
    accepted = replace(
        protocol,
        start_sha=report.start_sha,
        head_sha=report.head_sha,
        pushed_sha=report.head_sha if report.pushed else protocol.pushed_sha,
        plan_revision=report.plan.revision,
        written_revision=report.plan.revision,
        plan_sha=report.plan.sha256,
        feedback=None,
    )
    phase = Phase.AWAITING_PLAN_APPROVAL if waits else None
    facts: dict[str, Any] = {"steps": len(report.steps), "plan_sha": report.plan.sha256, "sha": report.head_sha}
    if protocol.status is not ProtocolStatus.PLANNING:
        saved = save_protocol(unit, replace(accepted, phase=phase))
        unit.say(EventType.PLANNED, saved, job=job, attempt_id=attempt_id, **facts)
        pr.publish_plan(unit, protocol.id)
        return
    moved = move_protocol(unit, accepted, ProtocolTrigger.PLAN_OK, EventType.PLANNED, phase=phase, job=job, **facts)
    pr.publish_plan(unit, protocol.id)
    progress.advance(unit, moved)


def _step(unit: Unit, protocol: Protocol, index: int, planned: PlannedStep) -> StepRun:
    return StepRun(
        id=0,
        protocol_id=protocol.id,
        step_index=index,
        step_name=planned.title,
        step_type=planned.type,
        file_name=plan_files.file_name(index, planned.title),
        instructions=planned.instructions,
        depends_on=planned.depends_on,
        created_at=unit.now,
        updated_at=unit.now,
    )


def wait(unit: Unit, job: Job, phase: Phase, reason: Reason | None) -> None:
    """The planning goes on later by itself."""
    protocol = protocols.expect(unit.tx, job.protocol_id or 0)
    if protocol.status is ProtocolStatus.PLANNING:
        save_protocol(unit, replace(protocol, phase=phase, reason=reason))


def give_up(unit: Unit, job: Job, category: Category, message: str) -> None:
    """No attempt is left, or none would help."""
    protocol = protocols.expect(unit.tx, job.protocol_id or 0)
    facts: dict[str, Any] = {"cause": category.value, "message": message}
    if protocol.status is ProtocolStatus.PLANNING:
        move_protocol(
            unit,
            protocol,
            ProtocolTrigger.PLAN_FAILED,
            EventType.PLANNING_FAILED,
            reason=Reason.PLAN_FAILED,
            job=job,
            **facts,
        )
        return
    noted = progress.remember_cause(unit, protocol, Reason.PLAN_FAILED)
    unit.say(EventType.PLANNING_FAILED, noted, job=job, reason=Reason.PLAN_FAILED, **facts)
