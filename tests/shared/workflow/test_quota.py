"""A quota that is used up parks all work of its credential until there is some again, and costs nobody an attempt."""

from typing import Any

import pytest

from shared.errors import Category
from shared.repository import holds
from shared.schemas.reports import Claim, Failed
from shared.schemas.statuses import AttemptState, JobKind, JobState, Phase, Reason
from shared.workflow.jobs import claim_job
from shared.workflow.line import LONGEST_MS, QUOTA_MS, SHORTEST_MS, lift_ended, resume_line
from shared.workflow.projects import set_up_project
from shared.workflow.protocols import cancel_protocol, run_next_step, start_protocol
from shared.workflow.steps import run_qa, run_step
from shared.workflow.unit import Rules
from tests.shared.workflow.ground import WORKER, Ground

HOUR_MS = 3600 * 1000


@pytest.fixture
def ground() -> Ground:
    return Ground()


def out_of_quota(again_at: int | None = None) -> Failed:
    return Failed(category=Category.QUOTA, message="the quota is used up", again_at=again_at)


def running(ground: Ground) -> Claim:
    return ground.claim(ground.run(run_step, ground.step(ground.planned(), 1).id).protocol_id)


def parked_for(ground: Ground) -> int | None:
    hold = holds.get(ground.tx, ground.rules.credential)
    return None if hold is None or hold.until is None else hold.until - ground.now


def told(ground: Ground, event_type: str) -> list[dict[str, Any]]:
    return ground.sql("SELECT * FROM events WHERE event_type = ? ORDER BY id", event_type)


def test_the_job_stays_queued_and_keeps_its_attempt(ground: Ground):
    claim = running(ground)
    assert claim.protocol is not None
    assert claim.attempt is not None
    story = ground.news(claim.protocol.id, lambda: ground.end(claim, out_of_quota()))
    assert story == ["quota_parked"]
    job = ground.job(claim.job.id)
    assert (job.state, job.attempt, job.continuations, job.category) == (JobState.QUEUED, 0, 0, "quota")
    step = ground.step(ground.protocol(claim.protocol.id), 1)
    assert (step.status, step.phase, step.reason) == ("running", Phase.BACKOFF, Reason.QUOTA)
    assert (step.continuations, step.retries, step.repairs) == (0, 0, 0)
    assert ground.protocol(claim.protocol.id).status == "running"
    attempt = ground.attempts(claim.protocol.id)[-1]
    assert (attempt.state, attempt.category) == (AttemptState.FAILED, "quota")
    (event,) = told(ground, "quota_parked")
    assert (event["reason"], event["attempt_id"], event["job_id"]) == ("quota", claim.attempt.id, job.id)


def test_without_a_named_time_it_waits_for_a_quarter_of_an_hour(ground: Ground):
    claim = running(ground)
    ground.end(claim, out_of_quota())
    assert parked_for(ground) == QUOTA_MS == 15 * 60 * 1000
    ground.wait(899)
    assert ground.due() == []
    ground.wait(1)
    assert [job.id for job in ground.due()] == [claim.job.id]
    assert ground.claim(claim.job.protocol_id or 0).job.attempt == 1


@pytest.mark.parametrize(
    ("named", "waits"),
    [(3 * HOUR_MS, 3 * HOUR_MS), (1, SHORTEST_MS), (-HOUR_MS, SHORTEST_MS), (10**6 * HOUR_MS, LONGEST_MS)],
)
def test_it_waits_for_the_named_time_within_reason(ground: Ground, named: int, waits: int):
    ground.end(running(ground), out_of_quota(ground.now + named))
    assert parked_for(ground) == waits


@pytest.mark.parametrize("kind", [JobKind.PLAN, JobKind.EXECUTE, JobKind.QA])
def test_no_other_job_that_needs_codex_starts_meanwhile(ground: Ground, kind: JobKind):
    match kind:
        case JobKind.PLAN:
            ground.run(start_protocol, ground.opened().id)
        case JobKind.QA:
            ground.run(run_qa, ground.executed().id)
        case _:
            ground.run(run_next_step, ground.planned().id)
    (job,) = ground.rung
    ground.end(running(ground), out_of_quota())
    assert ground.due() == []
    assert ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1") is None
    assert (ground.job(job.id).state, ground.job(job.id).attempt) == (JobState.QUEUED, 0)


def test_what_needs_no_codex_goes_on(ground: Ground):
    ground.end(running(ground), out_of_quota())
    job = ground.run(set_up_project, ground.project().id)
    assert ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1") is not None


def test_another_credential_goes_on(ground: Ground):
    other = ground.run(run_step, ground.step(ground.planned(), 1).id)
    ground.end(running(ground), out_of_quota())
    ground.rules = Rules(credential="key-12345678")
    assert ground.claim(other.protocol_id) is not None


def test_planning_and_qa_show_why_they_wait(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    ground.end(ground.claim(protocol.id), out_of_quota())
    planning = ground.protocol(protocol.id)
    assert (planning.status, planning.phase, planning.reason) == ("planning", Phase.BACKOFF, Reason.QUOTA)
    ground.wait(900)
    ground.plan(protocol.id)
    assert ground.protocol(protocol.id).reason is None
    step = ground.run(run_next_step, protocol.id)
    ground.execute(step)
    ground.run(run_qa, step.id)
    ground.end(ground.claim(protocol.id), out_of_quota())
    waiting = ground.fresh(step)
    assert (waiting.status, waiting.phase, waiting.reason) == ("needs_qa", Phase.QA_QUEUED, Reason.QUOTA)
    ground.wait(900)
    ground.judge(step)
    assert ground.fresh(step).status == "completed"


def test_it_may_happen_more_often_than_there_are_attempts(ground: Ground):
    claim = running(ground)
    for _ in range(7):
        ground.end(claim, out_of_quota())
        ground.wait(900)
        claim = ground.claim(claim.job.protocol_id or 0)
        assert claim.job.attempt == 1
    ground.end(claim, ground.executed_well())
    assert claim.step is not None
    assert ground.fresh(claim.step).status == "needs_qa"


def test_the_later_of_two_named_times_counts(ground: Ground):
    first, second = running(ground), running(ground)
    ground.end(first, out_of_quota(ground.now + 3 * HOUR_MS))
    ground.end(second, out_of_quota())
    assert parked_for(ground) == 3 * HOUR_MS
    assert len(told(ground, "quota_parked")) == 2


def test_when_the_time_has_come_it_is_told_and_all_are_rung_for(ground: Ground):
    claim = running(ground)
    other = ground.run(start_protocol, ground.opened().id)
    ground.end(claim, out_of_quota())
    assert ground.run_as(WORKER, lift_ended) == 0
    ground.wait(900)
    assert ground.run_as(WORKER, lift_ended) == 1
    assert {job.protocol_id for job in ground.rung} == {claim.job.protocol_id, other.id}
    assert [event["entity"] for event in told(ground, "quota_lifted")] == ["line"]
    assert ground.run_as(WORKER, lift_ended) == 0


def test_an_operator_can_lift_it(ground: Ground):
    claim = running(ground)
    ground.end(claim, out_of_quota(ground.now + 24 * HOUR_MS))
    ground.run(resume_line)
    assert [job.id for job in ground.rung] == [claim.job.id]
    assert ground.claim(claim.job.protocol_id or 0) is not None
    (event,) = told(ground, "quota_lifted")
    assert (event["actor"], event["reason"]) == ("alice", "quota")


def test_a_parked_job_can_be_cancelled(ground: Ground):
    claim = running(ground)
    ground.end(claim, out_of_quota())
    ground.run(cancel_protocol, claim.job.protocol_id or 0)
    assert ground.job(claim.job.id).state is JobState.CANCELLED


def test_the_time_without_quota_is_no_waiting_for_a_worker(ground: Ground):
    ground.rules = Rules(queue_timeout_s=60)
    waiting = ground.run(start_protocol, ground.opened().id)
    ground.end(running(ground), out_of_quota())
    ground.wait(900 + 59)
    assert ground.claim(waiting.id) is not None


def test_a_clock_that_was_set_back_does_not_park_for_ever(ground: Ground):
    claim = running(ground)
    ground.end(claim, out_of_quota())
    ground.wait(-24 * 3600)
    assert holds.in_force(ground.tx) == []
    assert ground.run(lift_ended) == 1


def test_being_asked_to_slow_down_slows_all_down_and_costs_an_attempt(ground: Ground):
    other = ground.run(run_step, ground.step(ground.planned(), 1).id)
    claim = running(ground)
    ground.chance = 0.0
    ground.end(claim, Failed(category=Category.RATE_LIMITED, message="slow down"))
    assert ground.job(claim.job.id).attempt == 1
    assert ground.due() == []
    assert parked_for(ground) == 1000
    ground.wait(1)
    assert {job.protocol_id for job in ground.due()} == {claim.job.protocol_id, other.protocol_id}
    assert told(ground, "quota_parked") == []
    assert ground.run(lift_ended) == 1
    assert told(ground, "quota_lifted") == []


def test_a_slow_down_does_not_shorten_the_wait_for_quota(ground: Ground):
    first, second = running(ground), running(ground)
    ground.end(first, out_of_quota())
    ground.end(second, Failed(category=Category.RATE_LIMITED, message="slow down"))
    assert parked_for(ground) == QUOTA_MS
