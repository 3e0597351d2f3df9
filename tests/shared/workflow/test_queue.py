"""Jobs that people cancel or repeat: what a job was for decides, by the same tables as every other action."""

from typing import Any

import pytest

from shared.errors import Category, Conflict, NotFound
from shared.repository import deliveries, jobs, notices
from shared.schemas.notices import DEFAULT, NoticeStatus, Notifier, NotifierKind
from shared.schemas.records import Delivery, Job
from shared.schemas.reports import Claim, Failed, Stopped
from shared.schemas.statuses import DeliveryStatus, JobKind, JobState, Phase, ProtocolStatus, Provider, Reason
from shared.workflow.deliveries import receive_delivery
from shared.workflow.jobs import claim_job
from shared.workflow.notices import add_notifier, probe_notifier
from shared.workflow.projects import set_up_project
from shared.workflow.protocols import (
    cancel_protocol,
    open_pr,
    pause_protocol,
    resume_protocol,
    start_protocol,
    unblock_protocol,
)
from shared.workflow.queue import cancel_job, retry_job
from shared.workflow.steps import approve_step, retry_step, run_qa, run_step
from shared.workflow.sync import sync_protocol
from shared.workflow.unit import Caller
from tests.shared.workflow.ground import WORKER, Ground

ALL = tuple(JobKind)
AUTH = Failed(category=Category.AUTH, message="no key")


@pytest.fixture
def ground() -> Ground:
    return Ground()


def queued(ground: Ground, kind: JobKind) -> Job:
    """A queued job of this kind."""
    match kind:
        case JobKind.SETUP:
            return ground.run(set_up_project, ground.project().id)
        case JobKind.DELIVERY:
            ground.run(receive_delivery, a_delivery(ground.project().id))
        case JobKind.PLAN:
            ground.run(start_protocol, ground.opened().id)
        case JobKind.EXECUTE:
            ground.run(run_step, ground.step(ground.planned(), 1).id)
        case JobKind.QA:
            ground.run(run_qa, ground.executed().id)
        case JobKind.OPEN_PR:
            ground.run(open_pr, ground.planned().id)
        case JobKind.SYNC:
            ground.run(sync_protocol, ground.planned().id)
        case JobKind.NOTIFY:
            ground.run(probe_notifier, ground.run(add_notifier, a_notifier()).id)
    (job,) = ground.rung
    return job


def a_delivery(project_id: int) -> Delivery:
    return Delivery(
        id=0,
        provider=Provider.GITHUB,
        hook_id=None,
        delivery_key="k1",
        event="push",
        headers={},
        body=b"{}",
        body_sha256="",
        project_id=project_id,
        protocol_id=None,
        step_id=None,
        status=DeliveryStatus.RECEIVED,
        reason=None,
        effect=None,
        received_at=0,
        applied_at=None,
    )


def a_notifier() -> Notifier:
    return Notifier(
        id=0,
        project_id=None,
        kind=NotifierKind.SLACK,
        key="k",
        host="https://example.org",
        url=b"sealed",
        secret=None,
        events=DEFAULT,
        failures=0,
        failing_since=None,
        created_at=0,
        disabled_at=None,
    )


def claimed(ground: Ground, job: Job) -> Claim:
    now = ground.job(job.id)
    claim = ground.run_as(WORKER, claim_job, now.id, now.dispatch, "w1")
    assert claim is not None
    return claim


def what_it_was_for(ground: Ground, job: Job) -> Any:
    """The status and the reason of what the job worked on."""
    match job.kind:
        case JobKind.EXECUTE:
            step = ground.step(ground.protocol(job.protocol_id or 0), 1)
            return (step.status, step.reason)
        case JobKind.QA:
            step = ground.step(ground.protocol(job.protocol_id or 0), 1)
            return (step.status, step.phase, step.reason)
        case JobKind.PLAN | JobKind.OPEN_PR | JobKind.SYNC:
            protocol = ground.protocol(job.protocol_id or 0)
            return (protocol.status, protocol.reason)
        case JobKind.DELIVERY:
            return deliveries.expect(ground.tx, job.delivery_id or 0).status
        case JobKind.NOTIFY:
            return notices.expect(ground.tx, job.payload["notice"]).status
        case JobKind.SETUP:
            return None


CANCELLED = {
    JobKind.SETUP: None,
    JobKind.PLAN: ("blocked", Reason.PLAN_FAILED),
    JobKind.EXECUTE: ("failed", Reason.CANCELLED),
    JobKind.QA: ("needs_qa", Phase.INCONCLUSIVE, Reason.CANCELLED),
    JobKind.OPEN_PR: ("planned", None),
    JobKind.SYNC: ("planned", None),
    JobKind.DELIVERY: DeliveryStatus.FAILED,
    JobKind.NOTIFY: NoticeStatus.FAILED,
}


@pytest.mark.parametrize("kind", ALL)
def test_a_queued_job_is_cancelled_at_once_and_what_it_was_for_stays_open(ground: Ground, kind: JobKind):
    job = queued(ground, kind)
    cancelled = ground.run(cancel_job, job.id)
    assert (cancelled.state, ground.stopping) == (JobState.CANCELLED, [])
    assert what_it_was_for(ground, job) == CANCELLED[kind]
    (event,) = ground.sql("SELECT * FROM events WHERE event_type = 'job_cancelled'")
    assert (event["actor"], event["reason"], event["job_id"]) == ("alice", "operator", job.id)


@pytest.mark.parametrize("kind", ALL)
def test_a_running_job_is_stopped_and_what_it_was_for_goes_on_without_it(ground: Ground, kind: JobKind):
    claim = claimed(ground, queued(ground, kind))
    asked = ground.run(cancel_job, claim.job.id)
    assert (asked.state, asked.stop, ground.stopping) == (JobState.RUNNING, "cancel", [claim.job.id])
    assert what_it_was_for(ground, claim.job) == CANCELLED[kind]
    ground.end(claim, Failed(category=Category.CANCELLED, message="dead"))
    assert ground.job(claim.job.id).state is JobState.CANCELLED
    assert what_it_was_for(ground, claim.job) == CANCELLED[kind]


@pytest.mark.parametrize("kind", ALL)
def test_a_cancelled_job_can_be_retried(ground: Ground, kind: JobKind):
    job = queued(ground, kind)
    ground.run(cancel_job, job.id)
    again = ground.run(retry_job, job.id)
    assert (again.kind, again.state, again.attempt) == (kind, JobState.QUEUED, 0)
    assert again.id != job.id
    assert [rung.id for rung in ground.rung] == [again.id]
    assert claimed(ground, again).job.id == again.id


@pytest.mark.parametrize("kind", ALL)
def test_a_failed_job_can_be_retried(ground: Ground, kind: JobKind):
    claim = claimed(ground, queued(ground, kind))
    ground.end(claim, AUTH)
    assert ground.job(claim.job.id).state is JobState.FAILED
    again = ground.run(retry_job, claim.job.id)
    assert (again.kind, again.state) == (kind, JobState.QUEUED)
    assert claimed(ground, again).job.id == again.id


def test_retrying_an_execution_is_retrying_its_step(ground: Ground):
    claim = claimed(ground, queued(ground, JobKind.EXECUTE))
    assert claim.step is not None
    ground.end(claim, AUTH)
    story = ground.news(claim.step.protocol_id, lambda: ground.run(retry_job, claim.job.id))
    assert story == ["protocol_unblocked blocked>running", "step_retry_enqueued failed>pending"]
    assert ground.fresh(claim.step).retries == 1


@pytest.mark.parametrize("kind", ALL)
def test_a_job_is_cancelled_once(ground: Ground, kind: JobKind):
    claim = claimed(ground, queued(ground, kind))
    ground.run(cancel_job, claim.job.id)
    with pytest.raises(Conflict, match="being cancelled") as refused:
        ground.run(cancel_job, claim.job.id)
    assert (refused.value.status_now, refused.value.allowed_actions) == ("running", ())


def test_a_job_that_is_being_parked_can_still_be_cancelled(ground: Ground):
    claim = claimed(ground, queued(ground, JobKind.EXECUTE))
    ground.run(pause_protocol, claim.job.protocol_id or 0, mode="interrupt")
    ground.run(cancel_job, claim.job.id)
    ground.end(claim, Stopped(message="dead"))
    assert ground.job(claim.job.id).state is JobState.CANCELLED
    assert what_it_was_for(ground, claim.job) == ("failed", Reason.CANCELLED)


@pytest.mark.parametrize("verb", [cancel_job, retry_job])
def test_a_job_that_succeeded_is_over(ground: Ground, verb: Any):
    step = ground.executed()
    (job,) = ground.sql("SELECT id FROM jobs WHERE step_id = ?", step.id)
    with pytest.raises(Conflict) as refused:
        ground.run(verb, job["id"])
    assert (refused.value.status_now, refused.value.allowed_actions) == ("succeeded", ())


@pytest.mark.parametrize("kind", ALL)
def test_an_open_job_is_not_retried_and_a_closed_one_is_not_cancelled(ground: Ground, kind: JobKind):
    job = queued(ground, kind)
    with pytest.raises(Conflict, match="Possible now: cancel") as refused:
        ground.run(retry_job, job.id)
    assert refused.value.allowed_actions == ("cancel",)
    ground.run(cancel_job, job.id)
    with pytest.raises(Conflict, match="Possible now: retry") as refused:
        ground.run(cancel_job, job.id)
    assert refused.value.allowed_actions == ("retry",)


def test_a_job_that_a_newer_one_has_followed_is_not_repeated(ground: Ground):
    claim = claimed(ground, queued(ground, JobKind.EXECUTE))
    assert claim.step is not None
    ground.end(claim, AUTH)
    ground.run(retry_step, claim.step.id)
    ground.execute(claim.step)
    with pytest.raises(Conflict, match="taken the place") as refused:
        ground.run(retry_job, claim.job.id)
    assert refused.value.type == "superseded"
    assert ground.fresh(claim.step).status == "needs_qa"


def test_the_step_has_the_last_word_about_a_retry(ground: Ground):
    claim = claimed(ground, queued(ground, JobKind.EXECUTE))
    assert claim.step is not None
    ground.end(claim, AUTH)
    ground.run(approve_step, claim.step.id, reason="did it by hand")
    with pytest.raises(Conflict) as refused:
        ground.run(retry_job, claim.job.id)
    assert refused.value.status_now == "completed"


def test_the_protocol_has_the_last_word_about_a_retry(ground: Ground):
    claim = claimed(ground, queued(ground, JobKind.PLAN))
    ground.end(claim, AUTH)
    ground.run(cancel_protocol, claim.job.protocol_id or 0)
    with pytest.raises(Conflict) as refused:
        ground.run(retry_job, claim.job.id)
    assert refused.value.status_now == "cancelled"


def test_what_a_cancelled_job_still_brings_changes_nothing(ground: Ground):
    claim = claimed(ground, queued(ground, JobKind.EXECUTE))
    ground.run(cancel_job, claim.job.id)
    ground.run(retry_step, claim.job.step_id or 0)
    (again,) = ground.rung
    assert ground.due() == [], "the worktree is not free yet"
    ground.end(claim, ground.executed_well())
    assert (ground.job(claim.job.id).state, ground.job(again.id).state) == (JobState.CANCELLED, JobState.QUEUED)
    assert [job.id for job in ground.due()] == [again.id]


def test_a_planning_that_is_being_cancelled_is_no_planning(ground: Ground):
    claim = claimed(ground, queued(ground, JobKind.PLAN))
    protocol_id = claim.job.protocol_id or 0
    ground.run(cancel_job, claim.job.id)
    assert ground.run(unblock_protocol, protocol_id).status is ProtocolStatus.PENDING
    ground.run(start_protocol, protocol_id)
    assert ground.due() == [], "the worktree is not free yet"
    ground.end(claim, ground.plan_done(claim))
    ground.plan(protocol_id)
    assert ground.protocol(protocol_id).status is ProtocolStatus.PLANNED


@pytest.mark.parametrize("kind", [JobKind.PLAN, JobKind.EXECUTE, JobKind.QA])
def test_a_job_cancelled_while_paused_is_told_when_it_goes_on(ground: Ground, kind: JobKind):
    job = queued(ground, kind)
    ground.run(pause_protocol, job.protocol_id or 0)
    ground.run(cancel_job, job.id)
    assert ground.run(resume_protocol, job.protocol_id or 0).status is ProtocolStatus.BLOCKED
    assert ground.run(retry_job, job.id).state is JobState.QUEUED


@pytest.mark.parametrize("verb", [cancel_job, retry_job])
def test_another_projects_job_does_not_exist(ground: Ground, verb: Any):
    job = queued(ground, JobKind.EXECUTE)
    stranger = Caller("token:9", project_id=ground.project().id)
    with pytest.raises(NotFound):
        ground.run_as(stranger, verb, job.id)
    assert jobs.expect(ground.tx, job.id).state is JobState.QUEUED
