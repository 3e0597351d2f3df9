"""Verbs on jobs that people call: what a job was for decides what its end or its repetition means."""

from shared.errors import Category, Conflict
from shared.repository import jobs
from shared.schemas.records import Job
from shared.schemas.statuses import DeliveryStatus, EventType, JobKind, Reason, StopRequest
from shared.states.job import allowed_actions
from shared.workflow import (
    deliveries,
    execution,
    find,
    notices,
    planning,
    projects,
    protocols,
    pulls,
    quality,
    steps,
    sync,
)
from shared.workflow.moves import stop_job
from shared.workflow.unit import Unit


def cancel_job(unit: Unit, job_id: int) -> Job:
    """End a queued job now, have a running one stopped; what it was for stays open, as if it had failed for good.

    So a step fails, a planning blocks its protocol, and QA gives no verdict; each can be retried. To end the step or
    the protocol itself, cancel that.
    """
    job = find.job(unit.tx, unit.caller.project_id, job_id)
    if "cancel" not in allowed_actions(job.state, job.stop):
        raise _refusal(job, "cancel it")
    stop_job(unit, job, StopRequest.CANCEL)
    unit.say(EventType.JOB_CANCELLED, job, reason=Reason.OPERATOR, kind=job.kind)
    message = f"Job {job_id} was cancelled by {unit.caller.actor}. Retry it, or what it was for, to go on."
    match job.kind:
        case JobKind.EXECUTE:
            execution.give_up(unit, job, Category.CANCELLED, message)
        case JobKind.PLAN:
            planning.give_up(unit, job, Category.CANCELLED, message)
        case JobKind.QA:
            quality.give_up(unit, job, Category.CANCELLED, message)
        case JobKind.DELIVERY:
            deliveries.settle_delivery(unit, job.delivery_id or 0, DeliveryStatus.FAILED, message)
        case JobKind.NOTIFY:
            notices.give_up(unit, job, message)
        case JobKind.SETUP | JobKind.OPEN_PR | JobKind.SYNC:
            pass
    return jobs.expect(unit.tx, job_id)


def retry_job(unit: Unit, job_id: int) -> Job:
    """Do what a failed or cancelled job was for once more, by the action that stands for it; gives the new job."""
    job = find.job(unit.tx, unit.caller.project_id, job_id)
    if "retry" not in allowed_actions(job.state, job.stop):
        raise _refusal(job, "retry it")
    newest = jobs.newest_like(unit.tx, job)
    if newest.id != job_id:
        message = f"Job {newest.id} has taken the place of job {job_id}; it is {newest.state}."
        raise Conflict(message, type="superseded", status_now=job.state, allowed_actions=())
    _do_again(unit, job)
    return jobs.newest_like(unit.tx, job)


def _do_again(unit: Unit, job: Job) -> None:
    match job.kind:
        case JobKind.EXECUTE:
            steps.retry_step(unit, job.step_id or 0)
        case JobKind.PLAN:
            protocols.start_protocol(unit, job.protocol_id or 0)
        case JobKind.QA:
            steps.run_qa(unit, job.step_id or 0)
        case JobKind.OPEN_PR if "reset" in job.payload:
            pulls.reset_branch(unit, job.protocol_id or 0)
        case JobKind.OPEN_PR:
            protocols.open_pr(unit, job.protocol_id or 0)
        case JobKind.SETUP:
            projects.set_up_project(unit, job.project_id or 0)
        case JobKind.SYNC if "trigger" in job.payload:
            sync.trigger_ci(unit, job.protocol_id or 0, **job.payload["trigger"])
        case JobKind.SYNC:
            sync.sync_protocol(unit, job.protocol_id or 0)
        case JobKind.NOTIFY:
            notices.retry_job(unit, job)
        case JobKind.DELIVERY:
            deliveries.replay_delivery(unit, job.delivery_id or 0)


def _refusal(job: Job, wanted: str) -> Conflict:
    allowed = allowed_actions(job.state, job.stop)
    ending = job.stop is StopRequest.CANCEL
    state = "being cancelled" if ending else str(job.state)
    over = "Wait until it has ended." if ending else "It is done and nothing can change it."
    ways = f"Possible now: {', '.join(allowed)}." if allowed else over
    message = f"Job {job.id} is {state}, which does not allow to {wanted}. {ways}"
    return Conflict(message, status_now=job.state, allowed_actions=allowed)
