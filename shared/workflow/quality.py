"""What becomes of a step when its QA starts, ends or gives up."""

from msgspec.structs import replace

from shared.errors import Category
from shared.repository import protocols, steps
from shared.schemas.records import Job, Protocol, StepRun
from shared.schemas.reports import QaDone
from shared.schemas.statuses import EventType, GateName, GateState, Phase, Reason, StepStatus
from shared.states.protocol import ProtocolTrigger
from shared.states.step import StepTrigger
from shared.workflow import progress
from shared.workflow.gates import set_gate
from shared.workflow.moves import move_step, save_step
from shared.workflow.unit import Unit

_STATES = {"pass": GateState.PASSED, "fail": GateState.FAILED, "inconclusive": GateState.INCONCLUSIVE}


def begin(unit: Unit, job: Job, attempt_id: int) -> StepRun:
    """A worker claimed the QA run."""
    protocol, step = _of(unit, job)
    running = save_step(unit, replace(step, phase=Phase.QA_RUNNING, reason=None))
    unit.say(
        EventType.QA_STARTED, running, project_id=protocol.project_id, job=job, attempt_id=attempt_id, sha=step.head_sha
    )
    return running


def done(unit: Unit, job: Job, attempt_id: int | None, report: QaDone) -> None:
    """A verdict on one commit: the gate is set; it decides only if the step still waits with that commit."""
    protocol, step = _of(unit, job)
    _set_gate(unit, protocol, step, attempt_id, report)
    if step.status is not StepStatus.NEEDS_QA:
        return
    if step.head_sha != report.sha:
        save_step(unit, replace(step, phase=Phase.AWAITING_GATES))
        return
    asked = replace(step, qa_asks=step.qa_asks + report.asks)
    match report.verdict:
        case "inconclusive":
            move_step(
                unit,
                protocol,
                asked,
                StepTrigger.INCONCLUSIVE,
                EventType.QA_INCONCLUSIVE,
                phase=Phase.INCONCLUSIVE,
                reason=Reason.BAD_OUTPUT,
                job=job,
                attempt_id=attempt_id,
                message="QA gave no readable verdict. Read its log, then run QA again, approve or reject.",
            )
        case "pass":
            judged = save_step(unit, replace(asked, phase=Phase.AWAITING_GATES, reason=None))
            unit.say(EventType.QA_PASSED, judged, project_id=protocol.project_id, job=job, attempt_id=attempt_id)
            progress.evaluate(unit, protocol, judged)
        case "fail":
            judged = save_step(unit, replace(asked, phase=Phase.AWAITING_GATES, reason=None))
            unit.say(
                EventType.QA_FAILED,
                judged,
                project_id=protocol.project_id,
                job=job,
                attempt_id=attempt_id,
                summary=report.summary,
            )
            progress.evaluate(unit, protocol, judged)


def give_up(unit: Unit, job: Job, category: Category, message: str) -> None:
    """QA could not be run: never a pass; the step waits for a person and its protocol is blocked."""
    protocol, step = _of(unit, job)
    if step.status is not StepStatus.NEEDS_QA:
        return
    move_step(
        unit,
        protocol,
        step,
        StepTrigger.INCONCLUSIVE,
        EventType.QA_INCONCLUSIVE,
        phase=Phase.INCONCLUSIVE,
        reason=Reason(category),
        job=job,
        message=message,
    )
    progress.block(
        unit,
        protocol,
        ProtocolTrigger.JOB_FAILED,
        Reason.QA_UNAVAILABLE,
        step_index=step.step_index,
        cause=category.value,
    )


def wait(unit: Unit, job: Job, reason: Reason | None) -> None:
    """The QA run goes on later by itself."""
    _, step = _of(unit, job)
    if step.status is StepStatus.NEEDS_QA:
        save_step(unit, replace(step, phase=Phase.QA_QUEUED, reason=reason))


def _set_gate(unit: Unit, protocol: Protocol, step: StepRun, attempt_id: int | None, report: QaDone) -> None:
    set_gate(
        unit,
        protocol,
        step,
        GateName.QA,
        _STATES[report.verdict],
        sha=report.sha,
        summary=report.summary,
        evidence={"findings": report.findings, "next_actions": report.next_actions},
        attempt_id=attempt_id,
    )


def _of(unit: Unit, job: Job) -> tuple[Protocol, StepRun]:
    step = steps.expect(unit.tx, job.step_id or 0)
    return protocols.expect(unit.tx, step.protocol_id), step
