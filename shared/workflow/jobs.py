"""Verbs of the worker on job rows: claim, beat, note, and `release`, the only way out of `running`."""

import msgspec
from msgspec.structs import replace

from shared.errors import Category
from shared.repository import attempts, jobs, protocols, steps
from shared.schemas.policy import LONGEST_SETTLE_S
from shared.schemas.records import Attempt, Job, Plan, Protocol
from shared.schemas.reports import Claim, Ending, ExecutionDone, Failed, Lost, PlanDone, Stopped, Usage
from shared.schemas.statuses import AttemptState, EventType, Footing, JobKind, JobState, StopRequest
from shared.states.protocol import READY
from shared.workflow import claims, endings, execution, line
from shared.workflow.moves import save_protocol, save_step
from shared.workflow.unit import Unit

CLOCK_SLACK_MS = 5_000


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
    waited = line.waited_ms(unit, job)
    if job.attempt == 0 and job.kind is not JobKind.NOTIFY and waited > unit.rules.queue_timeout_s * 1000:
        message = (
            f"The job waited {waited // 1000} s for a worker, longer than DEKSDENFLOW_QUEUE_TIMEOUT_S allows. Start"
            " more workers, or raise that setting or DEKSDENFLOW_WORKER_CONCURRENCY; then retry."
        )
        release(unit, job_id, claimed.token, Failed(category=Category.QUEUE_TIMEOUT, message=message))
        return None
    return claims.begin(unit, claimed, protocol)


def _may_start(unit: Unit, job: Job, protocol: Protocol | None) -> bool:
    if protocol is not None and protocol.status not in READY[job.kind]:
        return False
    if not line.may_start(unit, job) or (job.kind is JobKind.NOTIFY and jobs.is_sending(unit.tx)):
        return False
    if job.kind.writes_branch and protocol is not None and jobs.writer_of(unit.tx, protocol.id) is not None:
        return False
    if job.kind.runs_codex and job.project_id is not None:
        return jobs.running_of_project(unit.tx, job.project_id) < unit.rules.project_concurrency
    return True


def mend_times(unit: Unit) -> int:
    """Make due what no backoff puts off so far, or what comes from a time that is still to come. Gives how many.

    Either was queued before the clock was set back. A sync may also wait until the CI of a commit is settled, and any
    job that speaks to a forge as long as that says: an hour at most, either of them.
    """
    future = unit.now + CLOCK_SLACK_MS
    latest = future + round(unit.rules.backoff_max_s * 1000)
    return jobs.make_due(unit.tx, latest, latest + LONGEST_SETTLE_S * 1000, future)


def beat(unit: Unit, job_id: int, token: int) -> Job | None:
    """Show life; None when the lease is lost: then everything of it must die and nothing more be written."""
    return jobs.beat(unit.tx, job_id, token)


def note_attempt(unit: Unit, job_id: int, token: int, usage: Usage, directory: str | None = None) -> bool:
    """Keep what is known of the live attempt so far; False when the lease is lost."""
    job, attempt = jobs.held(unit.tx, job_id, token), attempts.live(unit.tx, job_id)
    if job is None or attempt is None:
        return False
    attempts.save(unit.tx, _with_usage(replace(attempt, directory=directory or attempt.directory), usage))
    if usage.thread_id is not None and usage.thread_id != attempt.thread_id:
        execution.note_thread(unit, job, usage.thread_id)
    return True


def note_footing(unit: Unit, job_id: int, token: int, footing: Footing, resumed_from: int | None) -> bool:
    """Keep what the live attempt stands on; False when the lease is lost, or the job was cancelled."""
    job, attempt = jobs.held(unit.tx, job_id, token), attempts.live(unit.tx, job_id)
    if job is None or job.stop is StopRequest.CANCEL or attempt is None:
        return False
    attempts.save(unit.tx, replace(attempt, resumed_from=resumed_from))
    earlier = attempts.before(unit.tx, attempt)
    unit.say(
        EventType.ATTEMPT_CONTINUED,
        job,
        attempt_id=attempt.id,
        reason=footing,
        how=footing.how,
        earlier=earlier.id if earlier else None,
        resumed_from=resumed_from,
        salvage=earlier.salvage if earlier else None,
    )
    return True


def note_salvage(unit: Unit, job_id: int, token: int, attempt_id: int, ref: str) -> bool:
    """Keep where the files of an attempt were saved; False when the lease is lost."""
    if jobs.held(unit.tx, job_id, token) is None:
        return False
    attempts.note_salvage(unit.tx, attempt_id, ref)
    return True


def note_commit(unit: Unit, job_id: int, token: int, sha: str, report: PlanDone | ExecutionDone) -> bool:
    """Keep the commit and the report before anything is pushed, so that a later attempt adopts instead of repeating.

    False when the lease is lost, or the job was cancelled: then nothing may be pushed.
    """
    job, attempt = jobs.held(unit.tx, job_id, token), attempts.live(unit.tx, job_id)
    if job is None or job.stop is StopRequest.CANCEL or attempt is None:
        return False
    attempts.save(unit.tx, replace(attempt, head_sha=sha, result=msgspec.to_builtins(report)))
    return True


def note_branch(unit: Unit, job_id: int, token: int, start_sha: str, head_sha: str, plan: Plan) -> Protocol | None:
    """The branch was made or the plan's newest revision was written on it; None as `note_commit` gives False."""
    job = jobs.held(unit.tx, job_id, token)
    if job is None or job.protocol_id is None or job.stop is StopRequest.CANCEL:
        return None
    protocol = protocols.expect(unit.tx, job.protocol_id)
    noted = replace(
        protocol, start_sha=protocol.start_sha or start_sha, head_sha=head_sha, written_revision=plan.revision
    )
    saved = save_protocol(unit, noted)
    if job.step_id is not None:
        save_step(unit, replace(steps.expect(unit.tx, job.step_id), start_sha=head_sha))
    attempt = attempts.live(unit.tx, job_id)
    if attempt is not None:
        attempts.save(unit.tx, replace(attempt, start_sha=head_sha))
    unit.say(EventType.PLAN_WRITTEN, saved, job=job, revision=plan.revision, sha=head_sha, plan_sha=plan.sha256)
    return saved


def note_unkilled(unit: Unit, job_id: int, token: int, message: str) -> None:
    """What a lost worker had started could not be ended: say so once, until the job is taken back."""
    if jobs.note_unkilled(unit.tx, job_id, token, message):
        unit.say(EventType.KILL_UNCONFIRMED, jobs.expect(unit.tx, job_id), message=message)


def release(unit: Unit, job_id: int, token: int, ending: Ending, usage: Usage | None = None) -> bool:
    """Take a job out of `running`, for worker and reconciler alike; False when the token is stale.

    A late result changes nothing and is recorded.
    """
    job = jobs.held(unit.tx, job_id, token)
    if job is None:
        late = jobs.get(unit.tx, job_id)
        if late is not None and not isinstance(ending, Lost):
            unit.say(EventType.LATE_RESULT, late, ending=endings.word_of(ending), token=token)
        return False
    attempt = _close_attempt(unit, job, ending, usage)
    attempt_id = attempt.id if attempt else None
    if job.stop is StopRequest.CANCEL:
        endings.cancel(unit, job, attempt_id, ending)
        return True
    endings.apply(unit, job, attempt_id, ending)
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
    if isinstance(ending, Lost) and ending.salvage is not None:
        attempts.note_salvage(unit.tx, attempt.id, ending.salvage)
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
        case PlanDone() | ExecutionDone():
            head = ending.head_sha or closed.head_sha
            closed = replace(closed, state=AttemptState.SUCCEEDED, head_sha=head, result=msgspec.to_builtins(ending))
        case _:
            closed = replace(closed, state=AttemptState.SUCCEEDED, result=msgspec.to_builtins(ending))
    attempts.save(unit.tx, closed)
    return closed
