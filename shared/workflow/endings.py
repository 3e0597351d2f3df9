"""What each ending of a job makes of its row, its attempt and of what it was for."""

import msgspec
from msgspec.structs import replace

from shared.errors import Category
from shared.repository import attempts, jobs
from shared.schemas.notices import NoticeDone
from shared.schemas.records import Job
from shared.schemas.reports import (
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
    SyncDone,
)
from shared.schemas.statuses import DeliveryStatus, EventType, JobKind, JobState, Phase, Reason
from shared.workflow import deliveries, execution, facts, line, notices, planning, publishing, quality
from shared.workflow.unit import Unit


def apply(unit: Unit, job: Job, attempt_id: int | None, ending: Ending) -> None:
    """Take the held job out of `running`, and let what it was for know."""
    if job.kind is JobKind.NOTIFY:
        ending = notices.tried(unit, job, ending)
    match ending:
        case Failed():
            _failed(unit, job, attempt_id, ending)
        case Lost():
            _lost(unit, job, attempt_id, ending)
        case Stopped():
            _parked(unit, job, attempt_id, ending)
        case _:
            _done(unit, job, attempt_id, ending)


def cancel(unit: Unit, job: Job, attempt_id: int | None, ending: Ending) -> None:
    """End a job that was asked to: whatever it brings comes late and changes nothing."""
    jobs.finish(unit.tx, replace(job, state=JobState.CANCELLED, category=Category.CANCELLED.value))
    if isinstance(ending, Failed | Lost | Stopped):
        salvage = _salvage_of(unit, attempt_id)
        unit.say(EventType.ATTEMPT_KILLED, job, attempt_id=attempt_id, ending=word_of(ending), salvage=salvage)
    else:
        unit.say(EventType.LATE_RESULT, job, attempt_id=attempt_id, ending=word_of(ending), token=job.token)


def word_of(ending: Ending) -> str:
    """How a job ended, in one word for the timeline."""
    match ending:
        case Failed():
            return "stopped" if ending.category is Category.CANCELLED else "failed"
        case Lost():
            return "lost"
        case Stopped():
            return "stopped"
        case _:
            return "done"


def _salvage_of(unit: Unit, attempt_id: int | None) -> str | None:
    return None if attempt_id is None else attempts.expect(unit.tx, attempt_id).salvage


def _failed(unit: Unit, job: Job, attempt_id: int | None, ending: Failed) -> None:
    if ending.category is Category.QUOTA and job.kind.runs_codex:
        _out_of_quota(unit, job, attempt_id, ending)
        return
    if ending.category.retryable and job.attempt < job.max_attempts:
        delay_ms = backoff_ms(job.attempt, unit.rules.backoff_max_s, unit.chance())
        if ending.again_at is not None:
            delay_ms = max(delay_ms, ending.again_at - unit.now)
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
        _phase(unit, job, Phase.BACKOFF, Reason(ending.category))
        if ending.category is Category.RATE_LIMITED and job.kind.runs_codex:
            line.park_credential(unit, Reason.RATE_LIMITED, ending.message, unit.now + delay_ms)
        return
    _give_up(unit, job, attempt_id, ending)


def _out_of_quota(unit: Unit, job: Job, attempt_id: int | None, ending: Failed) -> None:
    """No fault of the job: it keeps its attempt, and waits with all others until there is quota again."""
    until = line.park_credential(unit, Reason.QUOTA, ending.message, ending.again_at)
    again = replace(job, attempt=job.attempt - 1)
    _requeue(unit, again, run_at=unit.now, category=ending.category, error=ending.message)
    unit.say(
        EventType.QUOTA_PARKED,
        job,
        attempt_id=attempt_id,
        reason=Reason.QUOTA,
        credential=unit.rules.credential,
        until=line.at(until),
        message=ending.message,
        stderr_tail=ending.stderr_tail,
    )
    _phase(unit, job, Phase.BACKOFF, Reason.QUOTA)


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
        case JobKind.NOTIFY:
            notices.give_up(unit, job, ending.message)
        case JobKind.SETUP | JobKind.SYNC:
            pass


def _lost(unit: Unit, job: Job, attempt_id: int | None, ending: Lost) -> None:
    if job.continuations >= unit.rules.max_continuations:
        message = f"{ending.message} It happened {job.continuations + 1} times; something kills the worker."
        _give_up(unit, job, attempt_id, Failed(category=Category.LOST, message=message))
        return
    again = replace(job, attempt=job.attempt - 1, continuations=job.continuations + 1)
    _requeue(unit, again, run_at=unit.now, category=Category.LOST, error=ending.message)
    unit.say(
        EventType.JOB_LOST,
        job,
        attempt_id=attempt_id,
        message=ending.message,
        continuation=again.continuations,
        salvage=ending.salvage,
    )
    if job.kind is JobKind.EXECUTE:
        execution.back_off(unit, job, Reason.LOST, lost=True)
    else:
        _phase(unit, job, Phase.BACKOFF, Reason.LOST)


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


def _phase(unit: Unit, job: Job, phase: Phase, reason: Reason | None = None) -> None:
    match job.kind:
        case JobKind.EXECUTE if phase is Phase.PARKED:
            execution.park(unit, job)
        case JobKind.EXECUTE:
            execution.back_off(unit, job, reason)
        case JobKind.PLAN:
            planning.wait(unit, job, phase, reason)
        case JobKind.QA:
            quality.wait(unit, job, reason)
        case _:
            pass


def _done(unit: Unit, job: Job, attempt_id: int | None, ending: Ending) -> None:
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
            facts.apply_delivery(unit, job, ending)
        case SyncDone():
            facts.synced(unit, job, ending)
        case NoticeDone():
            pass
        case _:
            raise TypeError(type(ending).__name__)


def _result(ending: Ending) -> dict[str, object]:
    """What the job row keeps of a report; the plan itself has a table of its own."""
    kept = msgspec.to_builtins(ending)
    kept.pop("plan", None)
    kept.pop("steps", None)
    return kept
