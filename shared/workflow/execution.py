"""What becomes of a step when its execution starts, ends or gives up."""

from msgspec.structs import replace

from shared.errors import Category
from shared.repository import projects, protocols, steps
from shared.schemas.records import Job, Protocol, StepRun
from shared.schemas.reports import ExecutionDone
from shared.schemas.statuses import EventType, JobKind, Phase, Reason, StepStatus, StepType, StopRequest
from shared.states.protocol import ProtocolTrigger
from shared.states.step import StepTrigger
from shared.workflow import facts, pr, progress
from shared.workflow.moves import move_step, save_protocol, save_step
from shared.workflow.unit import Unit


def begin(unit: Unit, job: Job, attempt_id: int) -> StepRun:
    """A worker claimed the execution: the step runs, from the last commit that was accepted on the branch."""
    protocol, step = _of(unit, job)
    started = step.started_at or unit.now
    return move_step(
        unit,
        protocol,
        replace(step, start_sha=protocol.head_sha, started_at=started),
        StepTrigger.CLAIM,
        EventType.STEP_STARTED,
        phase=Phase.EXECUTING,
        job=job,
        attempt_id=attempt_id,
        attempt=job.attempt,
        start_sha=protocol.head_sha,
    )


def done(unit: Unit, job: Job, attempt_id: int | None, report: ExecutionDone) -> None:
    """The agent finished: its commit waits for the gates; without a change the step failed unless that is allowed."""
    protocol, step = _of(unit, job)
    allowed = protocol.policy.allow_no_changes or step.step_type is not StepType.WORK
    head = report.head_sha or protocol.head_sha
    if head is None or not (report.changed or allowed):
        move_step(
            unit,
            protocol,
            replace(step, summary=report.summary),
            StepTrigger.NO_CHANGES,
            EventType.NO_CHANGES,
            reason=Reason.NO_CHANGES,
            job=job,
            attempt_id=attempt_id,
            message="Codex finished without changing a file. Make the instructions clearer and retry, or skip it.",
        )
        _block(unit, protocol, step, Reason.NO_CHANGES)
        return
    pushed = report.head_sha if report.pushed else protocol.pushed_sha
    protocol = save_protocol(unit, replace(protocol, head_sha=head, pushed_sha=pushed))
    executed = replace(
        step, summary=report.summary, feedback=None, head_sha=head, executions=step.executions + 1, qa_asks=0
    )
    if head == step.head_sha:
        steps.drop_gates(unit.tx, step.id, head)
    waiting = move_step(
        unit,
        protocol,
        executed,
        StepTrigger.EXECUTED,
        EventType.STEP_COMPLETED,
        phase=Phase.AWAITING_GATES,
        job=job,
        attempt_id=attempt_id,
        stage="executed",
        sha=head,
        pushed=report.pushed,
        files=report.files,
        additions=report.additions,
        deletions=report.deletions,
        restored=report.restored,
    )
    # The forge may have spoken of the commit before this was told.
    facts.judge_commit(unit, projects.expect(unit.tx, protocol.project_id), head)
    progress.evaluate(unit, protocols.expect(unit.tx, protocol.id), steps.expect(unit.tx, waiting.id))
    progress.advance(unit, protocols.expect(unit.tx, protocol.id))
    pr.publish_plan(unit, protocol.id)


def back_off(unit: Unit, job: Job, reason: Reason | None, *, lost: bool = False) -> None:
    """The execution will be tried again by itself; a lost one is counted apart."""
    _, step = _of(unit, job)
    if step.status is StepStatus.RUNNING:
        save_step(unit, replace(step, phase=Phase.BACKOFF, reason=reason, continuations=step.continuations + lost))


def park(unit: Unit, job: Job) -> None:
    """The execution was stopped and goes on later in the same thread."""
    _, step = _of(unit, job)
    if step.status is StepStatus.RUNNING:
        save_step(unit, replace(step, phase=Phase.PARKED))


def give_up(unit: Unit, job: Job, category: Category, message: str) -> None:
    """No attempt is left, or none would help."""
    protocol, step = _of(unit, job)
    if step.status not in {StepStatus.RUNNING, StepStatus.PENDING}:
        return
    move_step(
        unit,
        protocol,
        step,
        StepTrigger.GAVE_UP,
        EventType.STEP_FAILED,
        reason=Reason(category),
        job=job,
        message=message,
    )
    if category is Category.DIVERGED:
        progress.diverge(unit, protocol, job=job, step_index=step.step_index, message=message)
    else:
        _block(unit, protocol, step, Reason(category))


def _block(unit: Unit, protocol: Protocol, step: StepRun, cause: Reason) -> None:
    progress.block(
        unit, protocol, ProtocolTrigger.STEP_FAILED, Reason.STEP_FAILED, step_index=step.step_index, cause=cause
    )


def note_thread(unit: Unit, job: Job, thread_id: str) -> None:
    """Remember the step's Codex thread as soon as it is known, unless the step has already gone on without this job."""
    if job.kind is JobKind.EXECUTE and job.stop is not StopRequest.CANCEL:
        _, step = _of(unit, job)
        save_step(unit, replace(step, thread_id=thread_id))


def _of(unit: Unit, job: Job) -> tuple[Protocol, StepRun]:
    step = steps.expect(unit.tx, job.step_id or 0)
    return protocols.expect(unit.tx, step.protocol_id), step
