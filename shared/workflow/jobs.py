"""Verbs of the worker on job rows: claim, beat, note, and `release`, the only way out of `running`."""

import msgspec
from msgspec.structs import replace

from shared.errors import Category
from shared.repository import attempts, jobs, projects, protocols, steps
from shared.schemas.records import Attempt, Job, Plan, Project, Protocol, StepRun
from shared.schemas.reports import (
    Claim,
    DeliveryDone,
    Ending,
    ExecutionDone,
    Failed,
    Lost,
    PlanDone,
    PublishDone,
    QaDone,
    SetupDone,
    Stopped,
    Usage,
)
from shared.schemas.statuses import (
    AttemptState,
    DeliveryStatus,
    EventType,
    JobKind,
    JobState,
    Phase,
    ProtocolStatus,
    StopRequest,
)
from shared.workflow import deliveries, execution, planning, publishing, quality
from shared.workflow.moves import save_protocol
from shared.workflow.unit import Unit

_READY: dict[JobKind, frozenset[ProtocolStatus]] = {
    JobKind.PLAN: frozenset({ProtocolStatus.PLANNING}),
    JobKind.EXECUTE: frozenset({ProtocolStatus.RUNNING}),
    JobKind.QA: frozenset({ProtocolStatus.RUNNING}),
    JobKind.OPEN_PR: frozenset(
        {ProtocolStatus.PLANNED, ProtocolStatus.RUNNING, ProtocolStatus.BLOCKED, ProtocolStatus.COMPLETED}
    ),
}
_ROLES = {JobKind.PLAN: "planning", JobKind.EXECUTE: "exec", JobKind.QA: "qa"}


def claim_job(unit: Unit, job_id: int, dispatch: int, owner: str) -> Claim | None:
    """Take the job if this dispatch is the newest and everything allows it to start; None when there is nothing to do.

    What may not start now goes back to the outbox under a new dispatch, to be rung for when a place is free.
    """
    job = jobs.get(unit.tx, job_id)
    if job is None or job.state is not JobState.QUEUED or job.dispatch != dispatch:
        return None
    protocol = None if job.protocol_id is None else protocols.expect(unit.tx, job.protocol_id)
    if job.run_at > unit.now or not _may_start(unit, job, protocol):
        jobs.requeue(unit.tx, replace(job, dispatched_at=None))
        return None
    claimed = jobs.claim(unit.tx, job_id, dispatch, owner)
    if claimed is None:
        return None
    waited = unit.now - job.run_at
    if job.attempt == 0 and waited > unit.rules.queue_timeout_s * 1000:
        message = f"The job waited {waited // 1000} s for a worker, longer than DEKSDENFLOW_QUEUE_TIMEOUT_S allows."
        release(unit, job_id, claimed.token, Failed(category=Category.QUEUE_TIMEOUT, message=message))
        return None
    return _begin(unit, claimed, protocol)


def _may_start(unit: Unit, job: Job, protocol: Protocol | None) -> bool:
    if protocol is not None and protocol.status not in _READY[job.kind]:
        return False
    if job.kind.writes_branch and protocol is not None and jobs.writer_of(unit.tx, protocol.id) is not None:
        return False
    if job.kind.runs_codex and job.project_id is not None:
        return jobs.running_of_project(unit.tx, job.project_id) < unit.rules.project_concurrency
    return True


def _begin(unit: Unit, job: Job, protocol: Protocol | None) -> Claim:
    project = None if job.project_id is None else projects.get(unit.tx, job.project_id)
    if project is None or protocol is None or not job.kind.runs_codex:
        plan = None if protocol is None else protocols.plan(unit.tx, protocol.id, protocol.plan_revision)
        return Claim(job=job, project=project, protocol=protocol, plan=plan)
    step = None if job.step_id is None else steps.expect(unit.tx, job.step_id)
    earlier = tuple(attempts.of_job(unit.tx, job.id))
    model = _model(unit, job, project, protocol, step)
    start = step.head_sha if job.kind is JobKind.QA and step else protocol.head_sha
    attempt = attempts.open_for(unit.tx, job, start_sha=start, model=model)
    match job.kind:
        case JobKind.EXECUTE:
            step = execution.begin(unit, job, attempt.id)
        case JobKind.QA:
            step = quality.begin(unit, job, attempt.id)
        case _:
            planning.begin(unit, job, attempt.id)
    resume = _to_resume(unit, job, step, earlier, model)
    return Claim(
        job=job,
        project=project,
        protocol=protocols.expect(unit.tx, protocol.id),
        step=step,
        steps=tuple(steps.of_protocol(unit.tx, protocol.id)),
        plan=protocols.plan(unit.tx, protocol.id, protocol.plan_revision),
        attempt=attempt,
        earlier=earlier,
        resume=resume,
        used=_used(unit, resume),
        judged_from=_judged_from(unit, step) if job.kind is JobKind.QA else None,
        model=model,
    )


def _model(unit: Unit, job: Job, project: Project, protocol: Protocol, step: StepRun | None) -> str:
    """Whom to ask: the step's model, then the protocol's, the project's default for this role, and the setting."""
    role = _ROLES[job.kind]
    asked = step.model if step is not None and job.kind is JobKind.EXECUTE else None
    return asked or protocol.model or project.default_models.get(role) or unit.rules.models.get(role, "")


def _to_resume(unit: Unit, job: Job, step: StepRun | None, earlier: tuple[Attempt, ...], model: str) -> Attempt | None:
    """The attempt whose Codex thread fits the worktree: a parked one, or the one that made the last commit."""
    if earlier and earlier[-1].state is AttemptState.PARKED and earlier[-1].thread_id:
        return earlier[-1]
    if earlier or job.kind is not JobKind.EXECUTE or step is None or step.thread_id is None or step.executions == 0:
        return None
    for attempt in attempts.of_thread(unit.tx, step.thread_id):
        fits = attempt.state is AttemptState.SUCCEEDED and attempt.head_sha == step.start_sha and attempt.model == model
        if fits and attempt.kind is JobKind.EXECUTE:
            return attempt
    return None


def _used(unit: Unit, resume: Attempt | None) -> Usage:
    """What a thread has used so far: Codex counts on from there."""
    if resume is None or resume.thread_id is None:
        return Usage()
    talked = attempts.of_thread(unit.tx, resume.thread_id)
    return Usage(
        thread_id=resume.thread_id,
        input_tokens=sum(attempt.input_tokens for attempt in talked),
        cached_input_tokens=sum(attempt.cached_input_tokens for attempt in talked),
        output_tokens=sum(attempt.output_tokens for attempt in talked),
        reasoning_output_tokens=sum(attempt.reasoning_output_tokens for attempt in talked),
    )


def _judged_from(unit: Unit, step: StepRun | None) -> str | None:
    """The commit that the step's first accepted execution began at, so that QA sees all of its work."""
    if step is None:
        return None
    accepted = attempts.first_accepted(unit.tx, step.id)
    return accepted.start_sha if accepted else step.start_sha


def beat(unit: Unit, job_id: int, token: int) -> Job | None:
    """Show life; None when the lease is lost: then everything of it must die and nothing more be written."""
    return jobs.beat(unit.tx, job_id, token)


def note_attempt(unit: Unit, job_id: int, token: int, usage: Usage, directory: str | None = None) -> bool:
    """Keep what is known of the live attempt so far; False when the lease is lost."""
    attempt = attempts.live(unit.tx, job_id)
    if jobs.held(unit.tx, job_id, token) is None or attempt is None:
        return False
    attempts.save(unit.tx, _with_usage(replace(attempt, directory=directory or attempt.directory), usage))
    if usage.thread_id is not None:
        execution.note_thread(unit, job_id, token, usage.thread_id)
    return True


def note_commit(unit: Unit, job_id: int, token: int, sha: str, report: PlanDone | ExecutionDone) -> bool:
    """Keep the commit and the report before anything is pushed, so that a later attempt adopts instead of repeating."""
    attempt = attempts.live(unit.tx, job_id)
    if jobs.held(unit.tx, job_id, token) is None or attempt is None:
        return False
    attempts.save(unit.tx, replace(attempt, head_sha=sha, result=msgspec.to_builtins(report)))
    return True


def note_branch(unit: Unit, job_id: int, token: int, start_sha: str, head_sha: str, plan: Plan) -> Protocol | None:
    """The branch was made or the plan's newest revision was written on it; None when the lease is lost."""
    job = jobs.held(unit.tx, job_id, token)
    if job is None or job.protocol_id is None:
        return None
    protocol = protocols.expect(unit.tx, job.protocol_id)
    noted = replace(
        protocol, start_sha=protocol.start_sha or start_sha, head_sha=head_sha, written_revision=plan.revision
    )
    saved = save_protocol(unit, noted)
    if job.step_id is not None:
        steps.save(unit.tx, replace(steps.expect(unit.tx, job.step_id), start_sha=head_sha))
    attempt = attempts.live(unit.tx, job_id)
    if attempt is not None:
        attempts.save(unit.tx, replace(attempt, start_sha=head_sha))
    unit.say(EventType.PLAN_WRITTEN, saved, job=job, revision=plan.revision, sha=head_sha, plan_sha=plan.sha256)
    return saved


def release(unit: Unit, job_id: int, token: int, ending: Ending, usage: Usage | None = None) -> bool:
    """Take a job out of `running`, for worker and reconciler alike; False when the token is stale.

    A late result changes nothing and is recorded.
    """
    job = jobs.held(unit.tx, job_id, token)
    if job is None:
        late = jobs.get(unit.tx, job_id)
        if late is not None and not isinstance(ending, Lost):
            unit.say(EventType.LATE_RESULT, late, ending=type(ending).__name__, token=token)
        return False
    attempt = _close_attempt(unit, job, ending, usage)
    attempt_id = attempt.id if attempt else None
    if job.stop is StopRequest.CANCEL:
        _cancelled(unit, job, attempt_id, ending)
        return True
    match ending:
        case Failed():
            _failed(unit, job, attempt_id, ending)
        case Lost():
            _lost(unit, job, attempt_id, ending)
        case Stopped():
            _parked(unit, job, attempt_id, ending)
        case _:
            _apply(unit, job, attempt_id, ending)
    return True


def _with_usage(attempt: Attempt, usage: Usage) -> Attempt:
    return replace(
        attempt,
        thread_id=usage.thread_id or attempt.thread_id,
        prompt_sha256=usage.prompt_sha256 or attempt.prompt_sha256,
        exit_code=attempt.exit_code if usage.exit_code is None else usage.exit_code,
        input_tokens=max(usage.input_tokens, attempt.input_tokens),
        cached_input_tokens=max(usage.cached_input_tokens, attempt.cached_input_tokens),
        output_tokens=max(usage.output_tokens, attempt.output_tokens),
        reasoning_output_tokens=max(usage.reasoning_output_tokens, attempt.reasoning_output_tokens),
    )


def _close_attempt(unit: Unit, job: Job, ending: Ending, usage: Usage | None) -> Attempt | None:
    attempt = attempts.live(unit.tx, job.id)
    if attempt is None:
        return None
    closed = _with_usage(attempt, usage or Usage())
    match ending:
        case _ if job.stop is StopRequest.CANCEL:
            closed = replace(closed, state=AttemptState.CANCELLED)
        case Failed():
            closed = replace(
                closed,
                state=AttemptState.FAILED,
                category=ending.category.value,
                error=ending.message,
                stderr_tail=ending.stderr_tail,
            )
        case Lost():
            closed = replace(closed, state=AttemptState.LOST, category=Category.LOST.value, error=ending.message)
        case Stopped():
            closed = replace(closed, state=AttemptState.PARKED)
        case _:
            closed = replace(closed, state=AttemptState.SUCCEEDED, result=msgspec.to_builtins(ending))
    attempts.save(unit.tx, closed)
    return closed


def _cancelled(unit: Unit, job: Job, attempt_id: int | None, ending: Ending) -> None:
    jobs.finish(unit.tx, replace(job, state=JobState.CANCELLED, category=Category.CANCELLED.value))
    unit.say(EventType.ATTEMPT_KILLED, job, attempt_id=attempt_id, ending=type(ending).__name__)
    if not isinstance(ending, Failed | Lost | Stopped):
        unit.say(EventType.LATE_RESULT, job, attempt_id=attempt_id, ending=type(ending).__name__, token=job.token)


def _failed(unit: Unit, job: Job, attempt_id: int | None, ending: Failed) -> None:
    if ending.category.retryable and job.attempt < job.max_attempts:
        delay_ms = backoff_ms(job.attempt, unit.rules.backoff_max_s, unit.chance())
        _requeue(unit, job, run_at=unit.now + delay_ms, category=ending.category, error=ending.message)
        unit.say(
            EventType.JOB_RETRY_SCHEDULED,
            job,
            attempt_id=attempt_id,
            reason=ending.category.value,
            attempt=job.attempt,
            of=job.max_attempts,
            delay_s=delay_ms / 1000,
            message=ending.message,
            stderr_tail=ending.stderr_tail,
        )
        _phase(unit, job, Phase.BACKOFF)
        return
    _give_up(unit, job, attempt_id, ending)


def backoff_ms(attempt: int, most_s: float, chance: float) -> int:
    """The wait after failed attempt `attempt`: min(most, 2^n) s times a random share between a half and one."""
    return round(min(most_s, 2.0**attempt) * (0.5 + 0.5 * chance) * 1000)


def _give_up(unit: Unit, job: Job, attempt_id: int | None, ending: Failed) -> None:
    failed = replace(job, state=JobState.FAILED, category=ending.category.value, error=ending.message)
    jobs.finish(unit.tx, failed)
    unit.say(
        EventType.JOB_FAILED,
        job,
        attempt_id=attempt_id,
        reason=ending.category.value,
        kind=job.kind,
        category=ending.category.value,
        message=ending.message,
        stderr_tail=ending.stderr_tail,
        attempts=job.attempt,
    )
    match job.kind:
        case JobKind.EXECUTE:
            execution.give_up(unit, job, ending.category, ending.message)
        case JobKind.PLAN:
            planning.give_up(unit, job, ending.category, ending.message)
        case JobKind.QA:
            quality.give_up(unit, job, ending.category, ending.message)
        case JobKind.OPEN_PR:
            publishing.not_published(unit, job, ending.category, ending.message)
        case JobKind.DELIVERY:
            deliveries.settle_delivery(unit, job.delivery_id or 0, DeliveryStatus.FAILED, ending.message)
        case JobKind.SETUP:
            pass


def _lost(unit: Unit, job: Job, attempt_id: int | None, ending: Lost) -> None:
    if job.continuations >= unit.rules.max_continuations:
        message = f"{ending.message} It happened {job.continuations + 1} times; something kills the worker."
        _give_up(unit, job, attempt_id, Failed(category=Category.LOST, message=message))
        return
    again = replace(job, attempt=job.attempt - 1, continuations=job.continuations + 1)
    _requeue(unit, again, run_at=unit.now, category=Category.LOST, error=ending.message)
    unit.say(EventType.JOB_LOST, job, attempt_id=attempt_id, message=ending.message, continuation=again.continuations)
    if job.kind is JobKind.EXECUTE:
        execution.continue_after_loss(unit, job)
    else:
        _phase(unit, job, Phase.BACKOFF)


def _parked(unit: Unit, job: Job, attempt_id: int | None, ending: Stopped) -> None:
    again = replace(job, attempt=job.attempt - 1)
    _requeue(unit, again, run_at=unit.now, category=None, error=None)
    unit.say(EventType.JOB_PARKED, job, attempt_id=attempt_id, message=ending.message)
    _phase(unit, job, Phase.PARKED)


def _requeue(unit: Unit, job: Job, *, run_at: int, category: Category | None, error: str | None) -> None:
    waiting = replace(
        job, run_at=run_at, dispatched_at=None, category=category.value if category else None, error=error
    )
    jobs.requeue(unit.tx, waiting)


def _phase(unit: Unit, job: Job, phase: Phase) -> None:
    match job.kind:
        case JobKind.EXECUTE:
            (execution.park if phase is Phase.PARKED else execution.back_off)(unit, job)
        case JobKind.PLAN:
            planning.wait(unit, job, phase)
        case JobKind.QA:
            quality.wait(unit, job)
        case _:
            pass


def _apply(unit: Unit, job: Job, attempt_id: int | None, ending: Ending) -> None:
    done = replace(job, state=JobState.SUCCEEDED, category=None, error=None, result=_result(ending))
    jobs.finish(unit.tx, done)
    match ending:
        case ExecutionDone():
            execution.done(unit, job, attempt_id, ending)
        case PlanDone():
            planning.done(unit, job, attempt_id, ending)
        case QaDone():
            quality.done(unit, job, attempt_id, ending)
        case PublishDone():
            publishing.published(unit, job, ending)
        case SetupDone():
            publishing.set_up(unit, job, ending)
        case DeliveryDone():
            deliveries.settle_delivery(unit, job.delivery_id or 0, ending.status, ending.reason)
        case _:
            raise TypeError(type(ending).__name__)


def _result(ending: Ending) -> dict[str, object]:
    """What the job row keeps of a report; the plan itself has a table of its own."""
    kept = msgspec.to_builtins(ending)
    kept.pop("plan", None)
    kept.pop("steps", None)
    return kept
