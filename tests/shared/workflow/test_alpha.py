"""Where the first alpha broke its word, the right way round: one test for each of its defects that the verbs decide."""

import pytest

from shared.errors import Category, Conflict, NotFound
from shared.repository.database import sqlite3
from shared.schemas.reports import Failed
from shared.schemas.statuses import EventType, JobKind, JobState, Phase, ProtocolStatus, StepStatus
from shared.workflow.protocols import (
    cancel_protocol,
    fail_protocol,
    pause_protocol,
    resume_protocol,
    retry_latest,
    run_next_step,
    start_protocol,
)
from shared.workflow.steps import approve_step, cancel_step, reject_step, retry_step, run_qa, run_step
from shared.workflow.unit import Caller
from tests.shared.workflow.ground import Ground

AUTH = Failed(category=Category.AUTH, message="log in")
NETWORK = Failed(category=Category.NETWORK, message="no route")


@pytest.fixture
def ground() -> Ground:
    return Ground()


def test_d1_a_plan_that_fails_leaves_no_steps_behind(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    ground.end(ground.claim(protocol.id), AUTH)
    assert ground.protocol(protocol.id).status is ProtocolStatus.BLOCKED
    assert ground.sql("SELECT id FROM step_runs") == []


def test_d2_what_was_just_created_can_be_started(ground: Ground):
    assert ground.run(start_protocol, ground.opened().id).status is ProtocolStatus.PLANNING


def test_d4_a_failing_execution_is_retried_by_us_then_blocks_with_an_event(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    for attempt in (1, 2, 3):
        ground.wait(60)
        assert [job.step_id for job in ground.due()] == [step.id]
        ground.execute(step, NETWORK)
        assert ground.sql("SELECT attempt FROM jobs WHERE step_id = ?", step.id) == [{"attempt": attempt}]
    assert ground.fresh(step).status is StepStatus.FAILED
    assert ground.of(step).status is ProtocolStatus.BLOCKED
    (failed,) = [event for event in ground.events(step.protocol_id) if event.event_type is EventType.JOB_FAILED]
    assert (failed.step_id, failed.metadata["attempts"]) == (step.id, 3)


def test_d5_a_pause_right_after_a_run_is_still_a_pause_after_the_job(ground: Ground):
    protocol = ground.planned()
    step = ground.run(run_next_step, protocol.id)
    claim = ground.claim(protocol.id)
    ground.run(pause_protocol, protocol.id)
    ground.end(claim, ground.executed_well())
    assert ground.protocol(protocol.id).status is ProtocolStatus.PAUSED
    assert ground.fresh(step).status is StepStatus.NEEDS_QA


def test_d6_a_step_that_was_never_executed_cannot_be_completed_by_evidence(ground: Ground):
    step = ground.step(ground.planned(), 1)
    for verb, more in ((approve_step, {"reason": "green"}), (run_qa, {})):
        with pytest.raises(Conflict):
            ground.run(verb, step.id, **more)
    assert ground.fresh(step).status is StepStatus.PENDING


def test_d8_qa_of_a_step_that_was_never_run_is_refused_and_without_codex_nothing_passes(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    ground.end(ground.claim(step.protocol_id), Failed(category=Category.CODEX_MISSING, message="install Codex"))
    assert ground.fresh(step).status is StepStatus.NEEDS_QA
    assert ground.of(step).status is ProtocolStatus.BLOCKED


def test_d9_no_step_of_a_cancelled_protocol_runs(ground: Ground):
    protocol = ground.planned()
    ground.run(cancel_protocol, protocol.id)
    with pytest.raises(Conflict):
        ground.run(run_step, ground.step(protocol, 1).id)
    assert ground.protocol(protocol.id).status is ProtocolStatus.CANCELLED


def test_d9_a_completed_protocol_cannot_be_cancelled(ground: Ground):
    step = ground.executed(1)
    ground.run(approve_step, step.id)
    with pytest.raises(Conflict):
        ground.run(cancel_protocol, step.protocol_id)
    assert ground.of(step).status is ProtocolStatus.COMPLETED


def test_d10_a_cancelled_step_cannot_be_approved(ground: Ground):
    step = ground.step(ground.planned(), 1)
    ground.run(cancel_step, step.id)
    with pytest.raises(Conflict):
        ground.run(approve_step, step.id, reason="please")


def test_d10_a_blocked_protocol_whose_steps_are_all_approved_completes(ground: Ground):
    protocol = ground.planned(2)
    for index in (1, 2):
        step = ground.run(run_step, ground.step(protocol, index).id)
        ground.execute(step, AUTH)
        assert ground.protocol(protocol.id).status is ProtocolStatus.BLOCKED
        ground.run(approve_step, step.id, reason="done by hand")
    assert ground.protocol(protocol.id).status is ProtocolStatus.COMPLETED


def test_d11_start_on_paused_is_refused_and_plans_nothing(ground: Ground):
    protocol = ground.planned()
    ground.run(pause_protocol, protocol.id)
    with pytest.raises(Conflict):
        ground.run(start_protocol, protocol.id)
    assert ground.open_jobs(protocol.id, JobKind.PLAN) == []


def test_d11_a_blocked_protocol_has_a_way_out_and_a_refusal_names_it(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    ground.execute(step, AUTH)
    with pytest.raises(Conflict) as refused:
        ground.run(resume_protocol, step.protocol_id)
    assert "retry_latest" in (refused.value.allowed_actions or ())
    assert ground.run(retry_latest, step.protocol_id).phase is Phase.QUEUED


def test_d12_the_protocol_of_another_project_does_not_exist(ground: Ground):
    protocol = ground.planned()
    with pytest.raises(NotFound):
        ground.run_as(Caller("token", project_id=protocol.project_id + 1), pause_protocol, protocol.id)


def test_d19_no_other_word_becomes_a_status(ground: Ground):
    ground.planned()
    for table in ("protocol_runs", "step_runs"):
        with pytest.raises(sqlite3.IntegrityError):
            ground.sql(f"UPDATE {table} SET status = 'banana'")


def test_d20_what_no_retry_can_mend_is_tried_once(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    ground.execute(step, AUTH)
    assert ground.sql("SELECT attempt, state FROM jobs WHERE step_id = ?", step.id) == [
        {"attempt": 1, "state": JobState.FAILED}
    ]


def test_h3_with_auto_progression_the_next_step_starts_by_itself(ground: Ground):
    protocol = ground.planned(2, progression="auto")
    ground.execute(ground.step(protocol, 1))
    ground.run(approve_step, ground.step(protocol, 1).id)
    assert ground.step(protocol, 2).phase is Phase.QUEUED


def test_h4_cancel_reaches_the_job_and_the_agent(ground: Ground):
    protocol = ground.planned()
    ground.run(run_next_step, protocol.id)
    claim = ground.claim(protocol.id)
    ground.run(cancel_protocol, protocol.id)
    assert ground.stopping == [claim.job.id]
    ground.end(claim, ground.executed_well())
    assert ground.protocol(protocol.id).status is ProtocolStatus.CANCELLED
    assert ground.job(claim.job.id).state is JobState.CANCELLED


def test_h5_resume_goes_back_to_planning_when_it_was_planning(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    ground.run(pause_protocol, protocol.id)
    assert ground.run(resume_protocol, protocol.id).status is ProtocolStatus.PLANNING
    assert len(ground.open_jobs(protocol.id)) == 1


def test_h7_failed_is_reached_by_a_persons_word(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    ground.execute(step, AUTH)
    assert ground.run(fail_protocol, step.protocol_id, reason="hopeless").status is ProtocolStatus.FAILED


def test_h10_attempts_repairs_retries_and_continuations_never_mix(ground: Ground):
    step = ground.executed(1, auto_fix=1)
    ground.run(run_qa, step.id)
    ground.judge(step, "fail")
    ground.execute(step, NETWORK)
    ground.wait(60)
    ground.execute(step)
    ground.run(retry_step, step.id)
    ground.execute(step)
    ground.run(reject_step, step.id, feedback="no")
    now = ground.fresh(step)
    assert (now.executions, now.repairs, now.retries, now.continuations) == (3, 1, 1, 0)


def test_h11_the_lowest_failed_step_is_retried(ground: Ground):
    step = ground.executed(2)
    other = ground.step(ground.of(step), 2)
    ground.run(run_step, other.id)
    ground.run(run_qa, step.id)
    qa, execution = ground.claim(step.protocol_id, JobKind.QA), ground.claim(step.protocol_id, JobKind.EXECUTE)
    ground.end(qa, ground.verdict(step, "fail"))
    ground.end(execution, AUTH)
    assert ground.run(retry_latest, step.protocol_id).step_index == 1


def test_h15_the_event_of_an_execution_says_that_it_is_just_executed(ground: Ground):
    step = ground.executed()
    (event,) = [each for each in ground.events(step.protocol_id) if each.event_type is EventType.STEP_COMPLETED]
    assert (event.metadata["stage"], event.to_status) == ("executed", "needs_qa")


def test_h17_an_execution_that_changes_nothing_fails(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    ground.execute(step, ground.executed_well(changed=False, head_sha=None))
    assert ground.fresh(step).status is StepStatus.FAILED


def test_m10_every_move_has_an_event_with_its_actor_and_request(ground: Ground):
    protocol = ground.planned()
    ground.run(run_next_step, protocol.id)
    ground.run(cancel_protocol, protocol.id)
    moves = [event for event in ground.events(protocol.id) if event.from_status is not None]
    assert all(event.actor for event in moves)
    assert all(event.request_id == "req-1" for event in moves if event.actor == "alice")
