"""The line stops all work at once, keeps it over restarts, and lets it go on as if it had not stood still."""

import pytest

from shared.repository import holds
from shared.schemas.records import Job
from shared.schemas.reports import SetupDone, Stopped
from shared.schemas.statuses import JobKind, JobState, Phase
from shared.workflow.jobs import claim_job
from shared.workflow.line import lift_ended, resume_line, stop_line
from shared.workflow.projects import set_up_project
from shared.workflow.protocols import open_pr, run_next_step, start_protocol
from shared.workflow.steps import run_qa, run_step
from shared.workflow.unit import Rules
from tests.shared.workflow.ground import WORKER, Ground


@pytest.fixture
def ground() -> Ground:
    return Ground()


def told(ground: Ground) -> list[tuple[str, str | None]]:
    return [
        (event["event_type"], event["reason"])
        for event in ground.sql("SELECT event_type, reason FROM events WHERE entity = 'line' ORDER BY id")
    ]


def queued(ground: Ground, kind: JobKind) -> Job:
    """A job of this kind that a worker was rung for."""
    match kind:
        case JobKind.SETUP:
            return ground.run(set_up_project, ground.project().id)
        case JobKind.PLAN:
            ground.run(start_protocol, ground.opened().id)
        case JobKind.QA:
            ground.run(run_qa, ground.executed().id)
        case JobKind.OPEN_PR:
            ground.run(open_pr, ground.planned().id)
        case _:
            ground.run(run_next_step, ground.planned().id)
    (job,) = ground.rung
    return job


@pytest.mark.parametrize("kind", [JobKind.SETUP, JobKind.PLAN, JobKind.EXECUTE, JobKind.QA, JobKind.OPEN_PR])
def test_on_a_stopped_line_no_job_starts_and_none_is_rung_for(ground: Ground, kind: JobKind):
    job = queued(ground, kind)
    ground.run(stop_line)
    assert ground.due() == []
    assert ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1") is None
    now = ground.job(job.id)
    assert (now.state, now.attempt, now.dispatched_at) == (JobState.QUEUED, 0, None)
    assert ground.due() == []


@pytest.mark.parametrize("kind", [JobKind.SETUP, JobKind.PLAN, JobKind.EXECUTE, JobKind.QA, JobKind.OPEN_PR])
def test_a_resumed_line_rings_at_once_and_the_job_starts(ground: Ground, kind: JobKind):
    job = queued(ground, kind)
    ground.run(stop_line)
    ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
    ground.run(resume_line)
    assert [rung.id for rung in ground.rung] == [job.id]
    (rung,) = ground.rung
    assert ground.run_as(WORKER, claim_job, rung.id, rung.dispatch, "w1") is not None


def test_work_can_be_asked_for_while_the_line_is_stopped(ground: Ground):
    protocol = ground.planned()
    ground.run(stop_line)
    step = ground.run(run_next_step, protocol.id)
    assert ground.due() == []
    ground.run(resume_line)
    assert [job.step_id for job in ground.rung] == [step.id]


def test_what_runs_may_finish_and_what_follows_waits(ground: Ground):
    step = ground.step(ground.planned(progression="auto", judged_by="qa_or_approval", auto_qa_after_exec=True), 1)
    claim = ground.claim(step.protocol_id, JobKind.EXECUTE)
    ground.run(stop_line)
    assert ground.stopping == []
    ground.end(claim, ground.executed_well())
    assert ground.fresh(step).phase is Phase.QA_QUEUED
    assert ground.due() == []


def test_with_interrupt_the_agents_are_parked_and_go_on_in_their_thread(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    claim = ground.claim(step.protocol_id)
    ground.run(stop_line, interrupt=True)
    assert ground.stopping == [claim.job.id]
    assert ground.job(claim.job.id).stop == "park"
    ground.end(claim, Stopped(message="stopped"))
    assert ground.fresh(step).phase is Phase.PARKED
    assert ground.due() == []
    ground.run(resume_line)
    again = ground.claim(step.protocol_id)
    assert (again.job.attempt, ground.fresh(step).phase) == (1, Phase.EXECUTING)


def test_with_interrupt_a_job_without_an_agent_is_let_finish(ground: Ground):
    job = ground.run(set_up_project, ground.project().id)
    claim = ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
    assert claim is not None
    ground.run(stop_line, interrupt=True)
    assert ground.job(job.id).stop is None
    ground.end(claim, SetupDone(base_sha=ground.sha(), default_branch="main"))
    assert ground.job(job.id).state is JobState.SUCCEEDED


def test_a_second_stop_may_interrupt_what_the_first_let_run(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    claim = ground.claim(step.protocol_id)
    ground.run(stop_line)
    ground.run(stop_line, interrupt=True)
    assert ground.stopping == [claim.job.id]
    ground.run(stop_line, interrupt=True)
    assert (ground.stopping, len(told(ground))) == ([], 2)


def test_stopping_and_resuming_twice_is_the_same_as_once(ground: Ground):
    for verb in (stop_line, stop_line, resume_line, resume_line):
        ground.run(verb)
    assert told(ground) == [("line_stopped", "operator"), ("line_resumed", "operator")]
    assert holds.in_force(ground.tx) == []


def test_a_stopped_line_needs_no_worker_to_stay_stopped_and_no_time_ends_it(ground: Ground):
    job = queued(ground, JobKind.EXECUTE)
    ground.run(stop_line)
    for hours in (24 * 365, -24 * 730):
        ground.wait(hours * 3600)
        assert ground.run(lift_ended) == 0
        assert ground.run_as(WORKER, claim_job, job.id, ground.job(job.id).dispatch, "w1") is None


def test_the_time_on_a_stopped_line_is_no_waiting_for_a_worker(ground: Ground):
    ground.rules = Rules(queue_timeout_s=60)
    job = queued(ground, JobKind.EXECUTE)
    ground.run(stop_line)
    ground.wait(3600)
    ground.run(resume_line)
    ground.wait(59)
    now = ground.job(job.id)
    assert ground.run_as(WORKER, claim_job, job.id, now.dispatch, "w1") is not None


def test_a_backoff_goes_on_while_the_line_is_stopped(ground: Ground):
    job = queued(ground, JobKind.EXECUTE)
    ground.sql("UPDATE jobs SET run_at = ? WHERE id = ?", ground.now + 5000, job.id)
    ground.run(stop_line)
    ground.run(resume_line)
    assert ground.rung == []
    ground.wait(5)
    assert [due.id for due in ground.due()] == [job.id]
