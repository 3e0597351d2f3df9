"""Adding, running, judging, retrying, skipping and cancelling steps: one behaviour each."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import Category, Conflict, Invalid, PreconditionFailed
from shared.schemas.records import StepRun
from shared.schemas.reports import Failed, Stopped
from shared.schemas.statuses import JobKind, JobState, Phase, ProtocolStatus, Reason, StepType
from shared.workflow.protocols import pause_protocol, resume_protocol, run_next_step, start_protocol
from shared.workflow.steps import (
    add_step,
    approve_step,
    cancel_step,
    reject_step,
    retry_step,
    run_qa,
    run_step,
    skip_step,
)
from shared.workflow.unit import Rules
from tests.shared.workflow.ground import Ground

AUTH = Failed(category=Category.AUTH, message="log in")


@pytest.fixture
def ground() -> Ground:
    return Ground()


def in_status(ground: Ground, status: str) -> StepRun:
    """The first of two steps, brought to this status by ordinary means."""
    match status:
        case "pending":
            return ground.step(ground.planned(), 1)
        case "running":
            step = ground.run(run_step, ground.step(ground.planned(), 1).id)
            ground.claim(step.protocol_id)
        case "needs_qa":
            step = ground.executed()
        case "failed":
            step = ground.run(run_step, ground.step(ground.planned(), 1).id)
            ground.execute(step, AUTH)
        case "completed":
            step = ground.executed()
            ground.run(approve_step, step.id)
        case _:
            step = ground.run(cancel_step, ground.step(ground.planned(), 1).id)
    return ground.fresh(step)


ALL = ["pending", "running", "needs_qa", "completed", "failed", "cancelled"]


@pytest.mark.parametrize("status", ALL)
@pytest.mark.parametrize(
    ("verb", "more", "allowed"),
    [
        (run_step, {}, {"pending": "pending", "failed": "pending"}),
        (run_qa, {}, {"needs_qa": "needs_qa"}),
        (approve_step, {"reason": "I looked"}, {"needs_qa": "completed", "failed": "completed"}),
        (approve_step, {}, {"needs_qa": "completed"}),
        (reject_step, {"feedback": "no"}, {"needs_qa": "pending"}),
        (retry_step, {}, {"needs_qa": "pending", "failed": "pending"}),
        (skip_step, {"reason": "no need"}, dict.fromkeys(["pending", "needs_qa", "failed"], "completed")),
        (cancel_step, {}, dict.fromkeys(["pending", "running", "needs_qa", "failed"], "cancelled")),
    ],
)
def test_an_action_moves_where_it_may_and_is_refused_elsewhere(
    ground: Ground, status: str, verb: Callable[..., Any], more: dict[str, Any], allowed: dict[str, str]
):
    step = in_status(ground, status)
    if status in allowed:
        assert ground.run(verb, step.id, **more).status == allowed[status]
        return
    with pytest.raises(Conflict) as refused:
        ground.run(verb, step.id, **more)
    assert refused.value.status_now == status
    assert refused.value.allowed_actions is not None
    assert ground.fresh(step) == step


@pytest.mark.parametrize(
    ("status", "verb", "more", "event"),
    [
        ("pending", run_step, {}, "step_enqueued"),
        ("failed", run_step, {}, "step_enqueued failed>pending"),
        ("needs_qa", run_qa, {}, "qa_enqueued"),
        ("needs_qa", approve_step, {}, "step_done needs_qa>completed"),
        ("failed", approve_step, {"reason": "I looked"}, "step_done failed>completed"),
        ("needs_qa", reject_step, {"feedback": "no"}, "step_rejected needs_qa>pending"),
        ("needs_qa", retry_step, {}, "step_retry_enqueued needs_qa>pending"),
        ("failed", retry_step, {}, "step_retry_enqueued failed>pending"),
        ("pending", skip_step, {"reason": "no need"}, "step_skipped pending>completed"),
        ("running", cancel_step, {}, "step_cancelled running>cancelled"),
    ],
)
def test_each_action_writes_its_event(
    ground: Ground, status: str, verb: Callable[..., Any], more: dict[str, Any], event: str
):
    step = in_status(ground, status)
    story = ground.news(step.protocol_id, lambda: ground.run(verb, step.id, **more))
    assert story.count(event) == 1


def test_events_name_who_asked_and_by_which_request(ground: Ground):
    step = ground.executed()
    ground.run(skip_step, step.id, reason="no need")
    event = ground.events(step.protocol_id)[-1]
    assert (event.actor, event.request_id, event.step_id) == ("alice", "req-1", step.id)
    assert event.project_id == ground.of(step).project_id


# add


def test_a_new_step_comes_last_and_revises_the_plan(ground: Ground):
    protocol = ground.planned(2)
    story = ground.news(protocol.id, lambda: ground.run(add_step, protocol.id, step_name="Mend: the Cents!"))
    assert story == ["step_added", "plan_revised"]
    step, now = ground.step(protocol, 3), ground.protocol(protocol.id)
    assert (step.file_name, step.instructions) == ("03-mend-the-cents.md", "Mend: the Cents!")
    assert (now.plan_revision, now.written_revision) == (2, 1)
    assert now.plan_sha is not None
    assert now.plan_sha != protocol.plan_sha


def test_a_step_by_hand_before_the_start_makes_no_accepted_plan(ground: Ground):
    protocol = ground.opened()
    ground.run(add_step, protocol.id, step_name="one")
    assert ground.protocol(protocol.id).plan_sha is None


def test_a_taken_index_is_a_conflict(ground: Ground):
    protocol = ground.planned(2)
    with pytest.raises(Conflict, match="exists already"):
        ground.run(add_step, protocol.id, step_name="x", step_index=2)


@pytest.mark.parametrize("index", [-1, 1000, 10**9])
def test_an_index_out_of_range_is_refused(ground: Ground, index: int):
    protocol = ground.planned(2)
    with pytest.raises(Invalid, match="step_index"):
        ground.run(add_step, protocol.id, step_name="x", step_index=index)


def test_after_the_last_index_there_is_none(ground: Ground):
    protocol = ground.opened()
    ground.run(add_step, protocol.id, step_name="x", step_index=999)
    with pytest.raises(Invalid, match="step_index"):
        ground.run(add_step, protocol.id, step_name="y")


def test_a_dependency_must_exist(ground: Ground):
    protocol = ground.planned(2)
    with pytest.raises(Invalid, match="step 7"):
        ground.run(add_step, protocol.id, step_name="x", depends_on=(1, 7))


def test_no_step_is_added_to_a_plan_that_is_being_made(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    with pytest.raises(Conflict):
        ground.run(add_step, protocol.id, step_name="x")
    ground.run(pause_protocol, protocol.id)
    with pytest.raises(Conflict, match="being planned"):
        ground.run(add_step, protocol.id, step_name="x")


def test_a_step_that_is_added_in_auto_starts_by_itself(ground: Ground):
    protocol = ground.planned(1, progression="auto")
    ground.execute(ground.step(protocol, 1))
    ground.run(run_qa, ground.step(protocol, 1).id)
    ground.run(add_step, protocol.id, step_name="x")
    ground.judge(ground.step(protocol, 1))
    assert ground.step(protocol, 2).phase is Phase.QUEUED


# run


def test_the_first_run_starts_the_protocol(ground: Ground):
    protocol = ground.planned()
    story = ground.news(protocol.id, lambda: ground.run(run_step, ground.step(protocol, 1).id))
    assert story == ["protocol_started planned>running", "step_enqueued"]
    (job,) = ground.rung
    assert (job.kind, job.step_id) == (JobKind.EXECUTE, ground.step(protocol, 1).id)


def test_a_queued_step_is_not_queued_twice(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    with pytest.raises(Conflict, match="queued already"):
        ground.run(run_step, step.id)
    assert len(ground.open_jobs(step.protocol_id)) == 1


def test_a_branch_serves_one_step_at_a_time(ground: Ground):
    step = in_status(ground, "running")
    with pytest.raises(Conflict, match="one at a time"):
        ground.run(run_step, ground.step(ground.of(step), 2).id)


def test_a_parked_step_still_has_the_branch(ground: Ground):
    step = in_status(ground, "running")
    job = ground.only_job(step.protocol_id)
    ground.run(pause_protocol, step.protocol_id, mode="interrupt")
    ground.run(resume_protocol, step.protocol_id)
    assert ground.job(job.id).stop == "park"
    with pytest.raises(Conflict, match="one at a time"):
        ground.run(run_step, ground.step(ground.of(step), 2).id)


def test_a_step_waits_for_those_it_depends_on(ground: Ground):
    protocol = ground.planned(3, after={3: (1, 2)})
    with pytest.raises(Conflict, match="waits for step 1, 2"):
        ground.run(run_step, ground.step(protocol, 3).id)
    ground.run(skip_step, ground.step(protocol, 1).id, reason="no need")
    with pytest.raises(Conflict, match="waits for step 2"):
        ground.run(run_step, ground.step(protocol, 3).id)
    ground.run(cancel_step, ground.step(protocol, 2).id)
    assert ground.run(run_step, ground.step(protocol, 3).id).phase is Phase.QUEUED


def test_nothing_runs_before_the_start(ground: Ground):
    protocol = ground.opened()
    step = ground.run(add_step, protocol.id, step_name="x")
    with pytest.raises(Conflict) as refused:
        ground.run(run_step, step.id)
    assert refused.value.status_now == "pending"


# executed


def test_an_execution_ends_in_needs_qa_with_its_commit(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    report = ground.executed_well(summary="mended", files=2, additions=3, deletions=1)
    ground.execute(step, report)
    now, protocol = ground.fresh(step), ground.of(step)
    assert (now.status, now.phase, now.executions) == ("needs_qa", Phase.AWAITING_GATES, 1)
    assert now.head_sha == protocol.head_sha == protocol.pushed_sha == report.head_sha
    event = ground.events(step.protocol_id)[-1]
    assert event.event_type == "step_completed"
    assert event.metadata["stage"] == "executed"
    assert (event.metadata["sha"], event.metadata["files"]) == (report.head_sha, 2)


def test_what_was_not_pushed_is_not_said_to_be(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    before = ground.of(step).pushed_sha
    ground.execute(step, ground.executed_well(pushed=False))
    assert ground.of(step).pushed_sha == before


def test_a_work_step_without_a_change_has_failed(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    report = ground.executed_well(changed=False, head_sha=None)
    story = ground.news(step.protocol_id, lambda: ground.execute(step, report))
    assert story[-2:] == ["no_changes running>failed", "protocol_blocked running>blocked"]
    assert ground.fresh(step).reason is Reason.NO_CHANGES


@pytest.mark.parametrize("how", ["policy", "setup", "qa"])
def test_a_step_may_change_nothing_where_that_is_allowed(ground: Ground, how: str):
    protocol = ground.planned(1, allow_no_changes=how == "policy")
    kind = StepType.WORK if how == "policy" else StepType(how)
    step = ground.run(add_step, protocol.id, step_name="look", step_type=kind)
    ground.run(run_step, step.id)
    ground.execute(step, ground.executed_well(changed=False, head_sha=None))
    assert (ground.fresh(step).status, ground.fresh(step).head_sha) == ("needs_qa", protocol.head_sha)


def test_a_step_without_any_commit_to_judge_has_failed(ground: Ground):
    protocol = ground.opened(allow_no_changes=True)
    step = ground.run(add_step, protocol.id, step_name="x")
    ground.run(start_protocol, protocol.id, plan=False)
    ground.run(run_step, step.id)
    ground.execute(step, ground.executed_well(changed=False, head_sha=None))
    assert ground.fresh(step).reason is Reason.NO_CHANGES


def test_a_step_that_gave_up_blocks_and_keeps_why(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    ending = Failed(category=Category.AUTH, message="log in", stderr_tail="401")
    story = ground.news(step.protocol_id, lambda: ground.execute(step, ending))
    assert story[-3:] == ["job_failed", "step_failed running>failed", "protocol_blocked running>blocked"]
    failed, *_ = [event for event in ground.events(step.protocol_id) if event.event_type == "job_failed"]
    assert failed.metadata["category"] == "auth"
    assert failed.metadata["message"] == "log in"
    assert failed.metadata["stderr_tail"] == "401"
    assert failed.step_id == step.id


def test_a_branch_that_somebody_moved_blocks_as_diverged(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    story = ground.news(
        step.protocol_id, lambda: ground.execute(step, Failed(category=Category.DIVERGED, message="somebody pushed"))
    )
    assert story[-1] == "diverged running>blocked"
    assert ground.of(step).reason is Reason.DIVERGED


# approve


def test_an_approval_completes_and_is_a_gate_on_the_commit(ground: Ground):
    step = ground.executed(1)
    story = ground.news(step.protocol_id, lambda: ground.run(approve_step, step.id, sha=step.head_sha))
    assert story == [
        "gate_updated",
        "manual_approval",
        "step_done needs_qa>completed",
        "protocol_completed running>completed",
    ]
    assert ground.fresh(step).reason is Reason.APPROVED
    (gate,) = ground.sql("SELECT * FROM gates")
    assert (gate["name"], gate["state"], gate["sha"], gate["actor"]) == ("approval", "passed", step.head_sha, "alice")


def test_an_approval_of_another_commit_is_stale(ground: Ground):
    step = ground.executed(1)
    with pytest.raises(PreconditionFailed, match="look at it again"):
        ground.run(approve_step, step.id, sha="0" * 40)
    assert ground.sql("SELECT * FROM gates") == []


def test_a_failed_step_is_approved_only_with_a_reason(ground: Ground):
    step = in_status(ground, "failed")
    with pytest.raises(Conflict, match="needs a reason"):
        ground.run(approve_step, step.id)
    done = ground.run(approve_step, step.id, reason="done by hand")
    assert done.reason is Reason.OVERRIDDEN
    assert ground.of(step).status is ProtocolStatus.RUNNING


def test_a_red_gate_is_overridden_only_with_a_reason(ground: Ground):
    step = ground.executed(1)
    _ci(ground, step, "failed")
    with pytest.raises(Conflict, match="Open gates: ci"):
        ground.run(approve_step, step.id)
    assert ground.sql("SELECT name FROM gates WHERE name = 'approval'") == []
    assert ground.run(approve_step, step.id, reason="flaky").reason is Reason.OVERRIDDEN


def test_a_required_gate_that_is_not_there_is_named(ground: Ground):
    step = ground.executed(1, required_contexts=["build"])
    with pytest.raises(Conflict, match="Open gates: ci"):
        ground.run(approve_step, step.id)
    _ci(ground, step, "passed")
    assert ground.run(approve_step, step.id).reason is Reason.APPROVED


def test_an_approval_stops_the_qa_that_is_under_way(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    claim = ground.claim(step.protocol_id)
    ground.run(approve_step, step.id)
    assert ground.stopping == [claim.job.id]
    ground.end(claim, ground.verdict(step, "fail"))
    assert ground.fresh(step).status == "completed"
    assert ground.of(step).status is ProtocolStatus.COMPLETED


def test_an_approval_of_a_parked_qa_ends_it(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    claim = ground.claim(step.protocol_id)
    ground.run(pause_protocol, step.protocol_id, mode="interrupt")
    ground.run(approve_step, step.id)
    ground.end(claim, Stopped(message="parked"))
    assert ground.job(claim.job.id).state is JobState.CANCELLED


def test_an_approval_of_something_never_run_is_refused(ground: Ground):
    step = in_status(ground, "pending")
    with pytest.raises(Conflict):
        ground.run(approve_step, step.id, reason="trust me")


# reject and retry


def test_a_rejection_sends_it_back_with_what_was_found(ground: Ground):
    step = ground.executed(1)
    ground.run(reject_step, step.id, feedback="the sign is wrong")
    now = ground.fresh(step)
    assert (now.phase, now.feedback, now.repairs, now.retries) == (Phase.QUEUED, "the sign is wrong", 0, 0)
    ground.execute(step)
    assert ground.fresh(step).feedback is None


def test_a_rejected_commit_that_is_executed_without_a_change_waits_to_be_judged_again(ground: Ground):
    step = ground.executed(1, allow_no_changes=True)
    ground.run(reject_step, step.id, feedback="explain it")
    ground.execute(step, ground.executed_well(changed=False, head_sha=None))
    now = ground.fresh(step)
    assert (now.status, now.head_sha) == ("needs_qa", step.head_sha)
    assert ground.run(approve_step, step.id).status == "completed"


def test_a_retry_counts_apart_from_attempts_and_repairs(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(1), 1).id)
    ground.execute(step, Failed(category=Category.NETWORK, message="no route"))
    ground.wait(60)
    ground.execute(step, AUTH)
    ground.run(retry_step, step.id)
    job = ground.only_job(step.protocol_id)
    assert (job.attempt, job.continuations) == (0, 0)
    now = ground.fresh(step)
    assert (now.retries, now.repairs, now.continuations, now.executions) == (1, 0, 0, 0)


def test_a_retry_can_take_another_model_in_a_new_thread(ground: Ground):
    step = in_status(ground, "failed")
    ground.run(retry_step, step.id, model="gpt-other")
    claim = ground.claim(step.protocol_id)
    assert (claim.model, claim.resume) == ("gpt-other", None)


def test_a_retry_keeps_the_feedback_that_was_not_answered(ground: Ground):
    step = ground.executed(1)
    ground.run(reject_step, step.id, feedback="the sign is wrong")
    ground.execute(step, AUTH)
    ground.run(retry_step, step.id)
    assert ground.fresh(step).feedback == "the sign is wrong"


def test_a_retry_after_red_qa_tells_what_qa_found(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    finding = {"severity": "blocking", "file": "cents.py", "message": "rounds down"}
    ground.judge(step, "fail", findings=(finding,), next_actions=("use Decimal",))
    ground.run(retry_step, step.id)
    told = ground.fresh(step).feedback or ""
    assert "it is a fail" in told
    assert "- blocking: cents.py: rounds down" in told
    assert "- next: use Decimal" in told


def test_own_feedback_goes_before_what_qa_found(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    ground.judge(step, "fail")
    ground.run(retry_step, step.id, feedback="just revert it")
    assert ground.fresh(step).feedback == "just revert it"


def test_a_retry_while_qa_runs_ends_that_qa(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    claim = ground.claim(step.protocol_id)
    ground.run(retry_step, step.id)
    assert ground.stopping == [claim.job.id]
    ground.end(claim, ground.verdict(step))
    assert ground.fresh(step).phase is Phase.QUEUED
    assert ground.sql("SELECT * FROM gates") == []


# skip and cancel


def test_skipping_a_queued_step_takes_its_job_back(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    ground.run(skip_step, step.id, reason="no need")
    assert ground.open_jobs(step.protocol_id) == []


def test_cancelling_a_running_step_stops_its_agent_and_lets_the_next_wait_for_that(ground: Ground):
    step = in_status(ground, "running")
    claim_job_id = ground.only_job(step.protocol_id).id
    ground.run(cancel_step, step.id)
    assert ground.stopping == [claim_job_id]
    ground.run(run_next_step, step.protocol_id)
    assert [job.kind for job in ground.due()] == []


def test_cancelling_a_parked_step_leaves_no_job_behind(ground: Ground):
    step = in_status(ground, "running")
    job = ground.only_job(step.protocol_id)
    ground.run(pause_protocol, step.protocol_id, mode="interrupt")
    ground.run(cancel_step, step.id)
    assert ground.job(job.id).stop == "cancel"


# QA


def test_qa_runs_once_at_a_time(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    for _ in range(2):
        with pytest.raises(Conflict, match="under way"):
            ground.run(run_qa, step.id)
        if ground.fresh(step).phase is Phase.QA_QUEUED:
            ground.claim(step.protocol_id)


def test_a_passing_verdict_completes(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    story = ground.news(step.protocol_id, lambda: ground.judge(step))
    assert story == [
        "qa_started",
        "gate_updated",
        "qa_passed",
        "step_done needs_qa>completed",
        "protocol_completed running>completed",
    ]


def test_a_failing_verdict_fails_the_step_and_blocks(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    story = ground.news(step.protocol_id, lambda: ground.judge(step, "fail"))
    assert story[-3:] == ["qa_failed", "step_failed needs_qa>failed", "protocol_blocked running>blocked"]
    assert ground.fresh(step).reason is Reason.QA_FAILED


def test_a_failing_verdict_is_repaired_as_often_as_the_policy_says(ground: Ground):
    step = ground.executed(1, auto_fix=1)
    ground.run(run_qa, step.id)
    story = ground.news(step.protocol_id, lambda: ground.judge(step, "fail"))
    assert story[-1] == "step_repair_enqueued needs_qa>pending"
    assert ground.fresh(step).repairs == 1
    ground.execute(step)
    ground.run(run_qa, step.id)
    ground.judge(step, "fail")
    assert ground.fresh(step).reason is Reason.QA_FAILED


def test_no_verdict_is_never_a_pass(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    story = ground.news(step.protocol_id, lambda: ground.judge(step, "inconclusive", asks=2))
    assert story[-1] == "qa_inconclusive"
    now = ground.fresh(step)
    assert (now.status, now.phase, now.qa_asks) == ("needs_qa", Phase.INCONCLUSIVE, 2)
    assert ground.of(step).status is ProtocolStatus.RUNNING


def test_an_inconclusive_verdict_can_be_asked_for_again(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    ground.judge(step, "inconclusive")
    ground.run(run_qa, step.id)
    ground.judge(step)
    assert ground.fresh(step).status == "completed"


def test_qa_that_cannot_run_is_never_a_pass_and_blocks(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    ground.end(ground.claim(step.protocol_id), Failed(category=Category.CODEX_MISSING, message="install Codex"))
    now = ground.fresh(step)
    assert (now.status, now.phase, now.reason) == ("needs_qa", Phase.INCONCLUSIVE, Reason.CODEX_MISSING)
    assert ground.of(step).reason is Reason.QA_UNAVAILABLE
    assert ground.sql("SELECT * FROM gates") == []


def test_a_step_that_was_never_run_gets_no_qa(ground: Ground):
    step = in_status(ground, "pending")
    with pytest.raises(Conflict, match="once it was executed"):
        ground.run(run_qa, step.id)


def test_a_verdict_on_an_older_commit_decides_nothing(ground: Ground):
    step = ground.executed(1)
    ground.run(run_qa, step.id)
    claim = ground.claim(step.protocol_id)
    ground.sql("UPDATE step_runs SET head_sha = ? WHERE id = ?", "e" * 40, step.id)
    ground.end(claim, ground.verdict(step))
    assert (ground.fresh(step).status, ground.fresh(step).phase) == ("needs_qa", Phase.AWAITING_GATES)


def test_each_commit_is_judged_by_its_own_gates(ground: Ground):
    step = ground.executed(1, judged_by="qa_and_approval")
    ground.run(run_qa, step.id)
    ground.judge(step)
    assert ground.fresh(step).status == "needs_qa"
    ground.run(retry_step, step.id)
    ground.execute(step)
    ground.run(run_qa, step.id)
    ground.judge(step, "inconclusive")
    assert ground.fresh(step).status == "needs_qa"


# by itself


def test_manual_progression_starts_nothing(ground: Ground):
    step = ground.executed(2)
    ground.run(approve_step, step.id)
    assert ground.open_jobs(step.protocol_id) == []


def test_auto_starts_the_first_step_and_each_next_one_when_the_last_is_settled(ground: Ground):
    protocol = ground.planned(3, progression="auto")
    for index in (1, 2, 3):
        step = ground.step(protocol, index)
        assert step.phase is Phase.QUEUED
        ground.execute(step)
        assert ground.open_jobs(protocol.id) == []
        ground.run(approve_step, step.id)
    assert ground.protocol(protocol.id).status is ProtocolStatus.COMPLETED


def test_auto_until_stops_after_its_step(ground: Ground):
    protocol = ground.planned(3, progression="auto_until:2")
    for index in (1, 2):
        ground.execute(ground.step(protocol, index))
        ground.run(approve_step, ground.step(protocol, index).id)
    assert ground.step(protocol, 3).phase is None
    assert ground.protocol(protocol.id).status is ProtocolStatus.RUNNING


def test_auto_does_not_run_past_a_failed_step(ground: Ground):
    protocol = ground.planned(2, progression="auto")
    ground.execute(ground.step(protocol, 1), AUTH)
    assert ground.open_jobs(protocol.id) == []
    ground.run(skip_step, ground.step(protocol, 1).id, reason="no need")
    assert ground.step(protocol, 2).phase is Phase.QUEUED


def test_qa_follows_each_execution_where_that_is_set(ground: Ground):
    ground.rules = Rules(auto_qa_after_exec=True)
    protocol = ground.planned(2, progression="auto")
    for index in (1, 2):
        ground.execute(ground.step(protocol, index))
        assert [job.kind for job in ground.open_jobs(protocol.id)] == [JobKind.QA]
        ground.judge(ground.step(protocol, index))
    assert ground.protocol(protocol.id).status is ProtocolStatus.COMPLETED


def test_qa_is_queued_by_itself_once_for_each_commit(ground: Ground):
    step = ground.executed(1, auto_qa_after_exec=True, judged_by="qa_and_approval")
    ground.judge(step)
    ground.run(pause_protocol, step.protocol_id)
    ground.run(resume_protocol, step.protocol_id)
    assert ground.open_jobs(step.protocol_id) == []
    ground.run(retry_step, step.id)
    ground.execute(step)
    assert [job.kind for job in ground.open_jobs(step.protocol_id)] == [JobKind.QA]


def _ci(ground: Ground, step: StepRun, state: str) -> None:
    ground.sql(
        "INSERT OR REPLACE INTO gates (step_id, sha, name, state, summary, actor, evidence, updated_at)"
        " VALUES (?, ?, 'ci', ?, 'build', 'github', '{}', 0)",
        step.id,
        step.head_sha,
        state,
    )
