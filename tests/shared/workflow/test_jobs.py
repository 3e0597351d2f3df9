"""Claims, leases, retries and releases: one behaviour each."""

from typing import Any

import msgspec
import pytest

from shared.errors import Category
from shared.repository import jobs
from shared.schemas.policy import LONGEST_SETTLE_S
from shared.schemas.records import StepRun
from shared.schemas.reports import (
    Claim,
    ExecutionDone,
    Failed,
    Lost,
    Stopped,
    Usage,
)
from shared.schemas.statuses import Footing, JobKind, JobState, Phase, ProtocolStatus, Reason
from shared.workflow.endings import backoff_ms
from shared.workflow.jobs import (
    beat,
    claim_job,
    mend_times,
    note_attempt,
    note_branch,
    note_commit,
    note_footing,
    note_salvage,
    release,
)
from shared.workflow.projects import set_up_project
from shared.workflow.protocols import (
    cancel_protocol,
    open_pr,
    pause_protocol,
    run_next_step,
    start_protocol,
)
from shared.workflow.queue import cancel_job, retry_job
from shared.workflow.steps import add_step, cancel_step, reject_step, retry_step, run_qa, run_step
from shared.workflow.sync import queue_sync
from shared.workflow.unit import Rules
from tests.shared.workflow.ground import WORKER, Ground

NETWORK = Failed(category=Category.NETWORK, message="no route", stderr_tail="tail")
AUTH = Failed(category=Category.AUTH, message="log in")
LOST = Lost(message="Its worker is dead.")


@pytest.fixture
def ground() -> Ground:
    return Ground()


def running(ground: Ground, **policy: Any) -> tuple[StepRun, Claim]:
    step = ground.run(run_step, ground.step(ground.planned(**policy), 1).id)
    return step, ground.claim(step.protocol_id)


# claim


def test_a_claim_starts_the_step_and_opens_an_attempt(ground: Ground):
    protocol = ground.planned()
    step = ground.run(run_next_step, protocol.id)
    story = ground.news(protocol.id, lambda: ground.claim(protocol.id))
    assert story == ["step_started pending>running"]
    now, job = ground.fresh(step), ground.only_job(protocol.id)
    assert (now.phase, now.start_sha) == (Phase.EXECUTING, protocol.head_sha)
    assert (job.state, job.attempt, job.token, job.owner) == (JobState.RUNNING, 1, 1, "w1")
    (_, attempt) = ground.attempts(protocol.id)
    assert (attempt.state, attempt.token, attempt.start_sha) == ("running", 1, protocol.head_sha)


def test_a_claim_carries_what_the_worker_needs(ground: Ground):
    step, claim = running(ground)
    assert claim.step == ground.fresh(step)
    assert claim.protocol == ground.of(step)
    assert claim.project is not None
    assert claim.plan is not None
    assert claim.plan.revision == 1
    assert [each.step_index for each in claim.steps] == [1, 2]
    assert claim.attempt is not None


def test_of_two_bells_for_one_dispatch_one_wins(ground: Ground):
    ground.run(run_next_step, ground.planned().id)
    (job,) = ground.rung
    assert ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1") is not None
    assert ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w2") is None
    assert ground.job(job.id).owner == "w1"


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_bell_of_another_dispatch_is_ignored(ground: Ground, wrong: int):
    ground.run(run_next_step, ground.planned().id)
    (job,) = ground.rung
    assert ground.run_as(WORKER, claim_job, job.id, job.dispatch + wrong, "w1") is None
    assert ground.job(job.id) == job


def test_a_bell_for_no_job_is_ignored(ground: Ground):
    assert ground.run_as(WORKER, claim_job, 4711, 1, "w1") is None


def test_what_may_not_start_goes_back_to_the_outbox(ground: Ground):
    protocol = ground.planned()
    ground.run(run_next_step, protocol.id)
    (job,) = ground.rung
    ground.run(pause_protocol, protocol.id)
    assert ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1") is None
    now = ground.job(job.id)
    assert (now.state, now.attempt, now.dispatch, now.dispatched_at) == (JobState.QUEUED, 0, job.dispatch + 1, None)


def test_a_project_runs_as_many_agents_as_it_may(ground: Ground):
    ground.rules = Rules(project_concurrency=1)
    project = ground.project()
    first, second = (ground.run(start_protocol, ground.opened(project=project).id) for _ in range(2))
    claim = ground.claim(first.id)
    assert [job.protocol_id for job in ground.due()] == []
    job = ground.only_job(second.id)
    assert ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1") is None
    ground.end(claim, ground.plan_done(claim))
    assert [job.protocol_id for job in ground.due()] == [second.id]


def test_another_project_is_not_held_up(ground: Ground):
    ground.rules = Rules(project_concurrency=1)
    ground.claim(ground.run(start_protocol, ground.opened().id).id)
    other = ground.run(start_protocol, ground.opened().id)
    assert [job.protocol_id for job in ground.due()] == [other.id]


def test_a_branch_has_one_writer_even_when_publishing(ground: Ground):
    step, claim = running(ground)
    ground.run(open_pr, step.protocol_id)
    assert ground.due() == []
    ground.end(claim, ground.executed_well())
    assert [job.kind for job in ground.due()] == [JobKind.OPEN_PR]


def test_a_cancelled_writer_has_the_branch_until_it_is_dead(ground: Ground):
    step, claim = running(ground)
    ground.run(cancel_step, step.id)
    ground.run(run_next_step, step.protocol_id)
    assert ground.due() == []
    ground.end(claim, Failed(category=Category.CANCELLED, message="stopped"))
    assert [job.step_id for job in ground.due()] == [ground.step(ground.of(step), 2).id]


def test_the_better_priority_then_the_older_job_is_rung_first(ground: Ground):
    project = ground.project()
    for _ in range(3):
        ground.run(start_protocol, ground.opened(project=project).id)
        ground.wait(1)
    first, second, third = (job.id for job in ground.due())
    ground.sql("UPDATE jobs SET priority = -5 WHERE id = ?", third)
    assert [job.id for job in ground.due()] == [third, first, second]


def test_the_model_comes_from_the_step_then_the_protocol_then_the_project_then_the_settings(ground: Ground):
    ground.rules = Rules(models={"exec": "m-setting", "planning": "m-setting"})
    assert running(ground)[1].model == "m-setting"
    project = ground.project(default_models={"exec": "m-project"})
    protocol = ground.opened(project=project)
    step = ground.run(add_step, protocol.id, step_name="x", model="m-step")
    other = ground.run(add_step, protocol.id, step_name="y")
    ground.run(start_protocol, protocol.id, plan=False)
    ground.run(run_step, other.id)
    claim = ground.claim(protocol.id)
    assert claim.model == "m-project"
    ground.end(claim, ground.executed_well())
    ground.run(run_step, step.id)
    assert ground.claim(protocol.id, JobKind.EXECUTE).model == "m-step"


def test_a_job_that_nobody_wanted_for_too_long_fails_instead_of_running(ground: Ground):
    ground.rules = Rules(queue_timeout_s=60)
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    job = ground.only_job(step.protocol_id)
    ground.wait(61)
    assert ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1") is None
    assert ground.job(job.id).category == "queue_timeout"
    assert ground.fresh(step).reason is Reason.QUEUE_TIMEOUT
    assert ground.of(step).status is ProtocolStatus.BLOCKED
    assert len(ground.attempts(step.protocol_id)) == 1


@pytest.mark.parametrize("kind", [JobKind.PLAN, JobKind.QA, JobKind.OPEN_PR])
def test_the_queue_timeout_of_other_jobs_is_told_too(ground: Ground, kind: JobKind):
    ground.rules = Rules(queue_timeout_s=60)
    match kind:
        case JobKind.PLAN:
            protocol = ground.run(start_protocol, ground.opened().id)
        case JobKind.QA:
            step = ground.executed()
            ground.run(run_qa, step.id)
            protocol = ground.of(step)
        case _:
            protocol = ground.planned()
            ground.run(open_pr, protocol.id)
    job = ground.only_job(protocol.id, kind)
    ground.wait(61)
    assert ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1") is None
    assert ground.protocol(protocol.id).status is ProtocolStatus.BLOCKED


# retries


@pytest.mark.parametrize(
    ("attempt", "most", "chance", "delay"),
    [
        (1, 60, 0.0, 1000),
        (1, 60, 1.0, 2000),
        (2, 60, 0.5, 3000),
        (5, 60, 0.0, 16000),
        (9, 60, 1.0, 60000),
        (3, 0, 1.0, 0),
    ],
)
def test_the_delay_is_a_random_share_of_a_doubling_that_is_capped(attempt: int, most: float, chance: float, delay: int):
    assert backoff_ms(attempt, most, chance) == delay


def test_a_passing_trouble_is_tried_again_after_the_delay(ground: Ground):
    step, claim = running(ground)
    ground.chance = 0.0
    story = ground.news(step.protocol_id, lambda: ground.end(claim, NETWORK))
    assert story == ["job_retry_scheduled"]
    job = ground.only_job(step.protocol_id)
    assert (job.state, job.attempt, job.run_at, job.category) == (JobState.QUEUED, 1, ground.now + 1000, "network")
    assert ground.fresh(step).phase is Phase.BACKOFF
    event = ground.events(step.protocol_id)[-1]
    assert (event.metadata["delay_s"], event.metadata["stderr_tail"]) == (1.0, "tail")
    assert ground.due() == []
    ground.wait(1)
    assert [job.id for job in ground.due()] == [claim.job.id]


@pytest.mark.parametrize(("told_s", "waits_s"), [(1800, 1800), (3600, 3600), (0.5, 1), (-5, 1)])
def test_a_limit_of_a_forge_is_waited_for_as_long_as_it_says(ground: Ground, told_s: float, waits_s: int):
    ground.chance = 0.0
    protocol = ground.planned()
    ground.run(open_pr, protocol.id)
    again_at = ground.now + round(told_s * 1000)
    limit = Failed(category=Category.RATE_LIMITED, message="come again", again_at=again_at)
    ground.end(ground.claim(protocol.id), limit)
    assert ground.only_job(protocol.id).run_at == ground.now + waits_s * 1000
    assert ground.run(mend_times) == 0
    ground.wait(waits_s - 0.1)
    assert ground.due() == []
    ground.wait(0.1)
    assert len(ground.due()) == 1


def test_an_early_bell_does_not_shorten_the_delay(ground: Ground):
    step, claim = running(ground)
    ground.end(claim, NETWORK)
    job = ground.only_job(step.protocol_id)
    assert ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1") is None
    assert ground.job(job.id).run_at == job.run_at


def test_attempts_are_used_up(ground: Ground):
    step, claim = running(ground)
    for number in (1, 2, 3):
        assert claim.job.attempt == number
        assert [each.number for each in claim.earlier] == list(range(1, number))
        ground.end(claim, NETWORK)
        ground.wait(60)
        if number < 3:
            claim = ground.claim(step.protocol_id)
    assert ground.job(claim.job.id).state is JobState.FAILED
    assert (ground.fresh(step).status, ground.fresh(step).reason) == ("failed", Reason.NETWORK)
    assert ground.of(step).status is ProtocolStatus.BLOCKED
    assert ground.due() == []


@pytest.mark.parametrize("category", [each for each in Category if not each.retryable and each is not Category.QUOTA])
def test_what_no_retry_can_mend_is_not_retried(ground: Ground, category: Category):
    step, claim = running(ground)
    ground.end(claim, Failed(category=category, message="no"))
    # A branch that somebody moved is looked at; nothing else is done.
    assert [job for job in ground.open_jobs(step.protocol_id) if job.kind is not JobKind.SYNC] == []
    assert ground.fresh(step).reason == category
    assert ground.of(step).status is ProtocolStatus.BLOCKED


@pytest.mark.parametrize("category", [each for each in Category if each.retryable])
def test_what_a_retry_may_mend_is_retried(ground: Ground, category: Category):
    step, claim = running(ground)
    ground.end(claim, Failed(category=category, message="again"))
    assert (ground.fresh(step).phase, ground.fresh(step).reason) == (Phase.BACKOFF, category)
    ground.wait(60)
    ground.claim(step.protocol_id)
    assert (ground.fresh(step).phase, ground.fresh(step).reason) == (Phase.EXECUTING, None)


def test_planning_is_retried_too(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    ground.end(ground.claim(protocol.id), NETWORK)
    assert ground.protocol(protocol.id).phase is Phase.BACKOFF
    ground.wait(60)
    ground.plan(protocol.id)
    assert ground.protocol(protocol.id).status is ProtocolStatus.PLANNED


def test_qa_is_retried_too(ground: Ground):
    step = ground.executed()
    ground.run(run_qa, step.id)
    ground.end(ground.claim(step.protocol_id), NETWORK)
    assert ground.fresh(step).phase is Phase.QA_QUEUED
    ground.wait(60)
    ground.judge(step)
    assert ground.fresh(step).status == "completed"


def test_a_clock_that_was_set_back_holds_nothing_up(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    ground.wait(-3600)
    assert ground.due() == []
    assert ground.run(mend_times) == 1
    assert [job.step_id for job in ground.due()] == [step.id]


def test_a_backoff_is_no_sign_of_a_clock_that_was_set_back(ground: Ground):
    ground.rules, ground.chance = Rules(backoff_max_s=60, max_attempts=9), 1.0
    step, claim = running(ground)
    ground.sql("UPDATE jobs SET attempt = 7 WHERE id = ?", claim.job.id)
    ground.end(claim, NETWORK)
    assert ground.run(mend_times) == 0
    assert ground.only_job(step.protocol_id).run_at == ground.now + 60_000


def test_a_sync_may_wait_until_the_ci_is_settled(ground: Ground):
    protocol = ground.planned()
    job = ground.run(queue_sync, protocol, run_at=ground.now + LONGEST_SETTLE_S * 1000)
    assert (ground.rung, ground.run(mend_times), ground.due()) == ([], 0, [])
    ground.wait(-3600)
    assert ground.run(mend_times) == 1
    assert [due.id for due in ground.due()] == [job.id]


@pytest.mark.parametrize(("back_s", "made_due"), [(4, 0), (65, 1)])
def test_a_sync_does_not_wait_for_the_time_that_a_clock_was_set_back_by(ground: Ground, back_s: int, made_due: int):
    protocol = ground.planned()
    job = ground.run(queue_sync, protocol, run_at=ground.now + 1000)
    ground.wait(-back_s)
    assert ground.run(mend_times) == made_due
    assert [due.id for due in ground.due()] == [job.id] * made_due


def test_a_retry_does_not_wait_for_the_time_that_a_clock_was_set_back_by(ground: Ground):
    step, claim = running(ground)
    ground.end(claim, NETWORK)
    ground.wait(-65)
    assert ground.run(mend_times) == 1
    assert [due.step_id for due in ground.due()] == [step.id]


# lost


def test_a_lost_job_goes_on_at_once_and_costs_no_attempt(ground: Ground):
    step, claim = running(ground)
    story = ground.news(step.protocol_id, lambda: ground.end(claim, LOST))
    assert story == ["job_lost"]
    job = ground.only_job(step.protocol_id)
    assert (job.attempt, job.continuations, job.category) == (0, 1, "lost")
    assert ground.fresh(step).continuations == 1
    assert ground.attempts(step.protocol_id)[-1].state == "lost"
    assert ground.due() != []


def test_a_job_that_kills_its_workers_ends(ground: Ground):
    ground.rules = Rules(max_continuations=2)
    step, claim = running(ground)
    for _ in range(2):
        ground.end(claim, LOST)
        claim = ground.claim(step.protocol_id)
    ground.end(claim, LOST)
    assert ground.fresh(step).reason is Reason.LOST
    assert "3 times" in (ground.job(claim.job.id).error or "")


def test_lost_planning_and_qa_go_on(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    ground.end(ground.claim(protocol.id), LOST)
    ground.plan(protocol.id)
    step = ground.run(run_next_step, protocol.id)
    ground.execute(step)
    ground.run(run_qa, step.id)
    ground.end(ground.claim(protocol.id), LOST)
    ground.judge(step)
    assert ground.fresh(step).status == "completed"


def test_lost_and_failed_attempts_are_counted_apart(ground: Ground):
    step, claim = running(ground)
    ground.end(claim, LOST)
    claim = ground.claim(step.protocol_id)
    ground.end(claim, NETWORK)
    job = ground.only_job(step.protocol_id)
    assert (job.attempt, job.continuations) == (1, 1)


# late and stale


@pytest.mark.parametrize(
    "ending",
    [
        NETWORK,
        AUTH,
        Stopped(message="parked"),
        ExecutionDone(summary="x", changed=True, head_sha="a" * 40, pushed=True),
    ],
)
def test_a_late_result_changes_nothing_and_is_recorded(ground: Ground, ending: Any):
    step, claim = running(ground)
    ground.end(claim, LOST)
    again = ground.claim(step.protocol_id)
    before = ground.fresh(step)
    answers: list[bool] = []
    story = ground.news(step.protocol_id, lambda: answers.append(ground.end(claim, ending)))
    assert (story, answers) == (["late_result"], [False])
    assert ground.fresh(step) == before
    assert ground.job(again.job.id).token == again.job.token


def test_a_result_given_twice_counts_once(ground: Ground):
    step, claim = running(ground)
    report = ground.executed_well()
    assert ground.end(claim, report)
    assert not ground.end(claim, report)
    assert ground.fresh(step).executions == 1


def test_two_observers_of_one_death_are_one(ground: Ground):
    step, claim = running(ground)
    assert ground.end(claim, LOST)
    assert not ground.end(claim, LOST)
    assert ground.only_job(step.protocol_id).continuations == 1


def test_a_stale_token_can_write_nothing(ground: Ground):
    step, claim = running(ground)
    ground.end(claim, LOST)
    ground.claim(step.protocol_id)
    stale = (claim.job.id, claim.job.token)
    assert ground.run_as(WORKER, beat, *stale) is None
    assert not ground.run_as(WORKER, note_attempt, *stale, Usage(thread_id="t"))
    assert not ground.run_as(WORKER, note_commit, *stale, "a" * 40, ground.executed_well())
    assert claim.plan is not None
    assert ground.run_as(WORKER, note_branch, *stale, "a" * 40, "b" * 40, claim.plan) is None
    assert ground.fresh(step).thread_id is None


def test_a_beat_shows_life_and_hears_the_stop(ground: Ground):
    step, claim = running(ground)
    alive = ground.run_as(WORKER, beat, claim.job.id, claim.job.token)
    assert alive is not None
    assert (alive.heartbeat, alive.stop) == (1, None)
    ground.run(pause_protocol, step.protocol_id, mode="interrupt")
    stopping = ground.run_as(WORKER, beat, claim.job.id, claim.job.token)
    assert stopping is not None
    assert stopping.stop == "park"


def test_a_cancelled_job_may_not_commit_or_push_any_more(ground: Ground):
    step, claim = running(ground)
    ground.run(cancel_protocol, step.protocol_id)
    held = (claim.job.id, claim.job.token)
    assert not ground.run_as(WORKER, note_commit, *held, "a" * 40, ground.executed_well())
    assert claim.plan is not None
    assert ground.run_as(WORKER, note_branch, *held, "a" * 40, "b" * 40, claim.plan) is None


def test_a_cancelled_execution_does_not_lend_its_thread_to_the_step(ground: Ground):
    step, claim = running(ground)
    ground.run(cancel_step, step.id)
    assert ground.run_as(WORKER, note_attempt, claim.job.id, claim.job.token, Usage(thread_id="t"))
    assert ground.fresh(step).thread_id is None
    assert ground.attempts(step.protocol_id)[-1].thread_id == "t"


# what is kept


def test_usage_is_kept_as_it_becomes_known_and_never_falls(ground: Ground):
    step, claim = running(ground)
    held = (claim.job.id, claim.job.token)
    ground.run_as(WORKER, note_attempt, *held, Usage(thread_id="t", prompt_sha256="p", input_tokens=100), "/attempts/1")
    ground.end(claim, NETWORK, Usage(input_tokens=90, output_tokens=5, exit_code=1))
    attempt = ground.attempts(step.protocol_id)[-1]
    assert (attempt.thread_id, attempt.prompt_sha256, attempt.directory) == ("t", "p", "/attempts/1")
    assert (attempt.input_tokens, attempt.output_tokens, attempt.exit_code) == (100, 5, 1)
    assert (attempt.state, attempt.category, attempt.error, attempt.stderr_tail) == (
        "failed",
        "network",
        "no route",
        "tail",
    )
    assert ground.fresh(step).thread_id == "t"


def test_a_commit_is_known_to_the_attempt_that_comes_after_a_crash(ground: Ground):
    step, claim = running(ground)
    report = ground.executed_well(summary="mended")
    assert ground.run_as(WORKER, note_commit, claim.job.id, claim.job.token, report.head_sha, report)
    ground.end(claim, LOST)
    (earlier,) = ground.claim(step.protocol_id).earlier
    assert earlier.head_sha == report.head_sha
    assert msgspec.convert(earlier.result, ExecutionDone) == report


def test_a_commit_that_was_cancelled_on_its_way_is_taken_by_who_asks_for_the_same_again(ground: Ground):
    step, claim = running(ground)
    report = ground.executed_well()
    assert ground.run_as(WORKER, note_commit, claim.job.id, claim.job.token, report.head_sha, report)
    ground.run(cancel_job, claim.job.id)
    ground.end(claim, report)
    assert ground.fresh(step).head_sha is None
    ground.run(retry_job, claim.job.id)
    again = ground.claim(step.protocol_id)
    assert [each.head_sha for each in again.earlier] == [report.head_sha]
    assert again.footing is Footing.COMMITTED


@pytest.mark.parametrize("cut_off", ["cancelled", "lost"])
def test_a_commit_is_taken_also_after_one_that_was_cut_off_while_it_took_it(ground: Ground, cut_off: str):
    step, claim = running(ground)
    report = ground.executed_well()
    assert ground.run_as(WORKER, note_commit, claim.job.id, claim.job.token, report.head_sha, report)
    ground.end(claim, LOST)
    if cut_off == "cancelled":
        claim = ground.claim(step.protocol_id)
    ground.run(cancel_job, claim.job.id)
    if cut_off == "cancelled":
        ground.end(claim, Stopped(message="killed"))
    ground.run(retry_job, claim.job.id)
    again = ground.claim(step.protocol_id)
    assert [each.head_sha for each in again.earlier] == [report.head_sha]
    assert again.footing is Footing.COMMITTED


def test_a_commit_of_a_planning_is_taken_also_after_one_that_was_cut_off_while_it_took_it(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    claim = ground.claim(protocol.id)
    report = ground.plan_done(claim)
    assert ground.run_as(WORKER, note_commit, claim.job.id, claim.job.token, report.head_sha, report)
    ground.end(claim, LOST)
    claim = ground.claim(protocol.id)
    ground.run(cancel_job, claim.job.id)
    ground.end(claim, Stopped(message="killed"))
    ground.run(retry_job, claim.job.id)
    again = ground.claim(protocol.id)
    assert [each.head_sha for each in again.earlier] == [report.head_sha]


def test_a_commit_that_was_cancelled_is_given_up_where_something_else_is_asked_for(ground: Ground):
    step, claim = running(ground)
    report = ground.executed_well()
    assert ground.run_as(WORKER, note_commit, claim.job.id, claim.job.token, report.head_sha, report)
    ground.run(cancel_job, claim.job.id)
    ground.end(claim, report)
    ground.run(retry_step, step.id, feedback="Not like that.")
    assert ground.claim(step.protocol_id).earlier == ()


def test_a_branch_that_was_written_is_where_the_attempt_starts(ground: Ground):
    protocol = ground.planned()
    ground.run(add_step, protocol.id, step_name="x")
    ground.run(run_next_step, protocol.id)
    claim = ground.claim(protocol.id)
    assert claim.plan is not None
    noted = ground.run_as(WORKER, note_branch, claim.job.id, claim.job.token, "a" * 40, "b" * 40, claim.plan)
    assert noted is not None
    assert (noted.head_sha, noted.written_revision, noted.start_sha) == ("b" * 40, 2, protocol.start_sha)
    assert ground.step(protocol, 1).start_sha == "b" * 40
    assert ground.attempts(protocol.id)[-1].start_sha == "b" * 40


def test_the_row_of_a_finished_job_keeps_its_result_without_the_plan(ground: Ground):
    protocol = ground.planned()
    (row,) = ground.sql("SELECT result FROM jobs WHERE kind = 'plan_protocol_job'")
    assert protocol.head_sha in row["result"]
    assert "plan_md" not in row["result"]


# threads


def test_a_repair_goes_on_in_the_thread_that_made_the_commit(ground: Ground):
    step, claim = running(ground)
    report = ground.executed_well()
    held = (claim.job.id, claim.job.token)
    ground.run_as(WORKER, note_attempt, *held, Usage(thread_id="t", input_tokens=7))
    ground.run_as(WORKER, note_commit, *held, report.head_sha, report)
    ground.end(claim, report)
    ground.run(reject_step, step.id, feedback="the sign is wrong")
    again = ground.claim(step.protocol_id)
    assert again.resume is not None
    assert again.resume.thread_id == "t"
    assert again.used.input_tokens == 7


def cut_off(ground: Ground, ending: Any = LOST) -> StepRun:
    """A step whose agent was cut off in its thread."""
    step, claim = running(ground)
    ground.run_as(WORKER, note_attempt, claim.job.id, claim.job.token, Usage(thread_id="t"), "/attempts/1")
    ground.end(claim, ending)
    return step


@pytest.mark.parametrize(("ending", "footing"), [(LOST, Footing.LOST), (Stopped(message="stop"), Footing.PARKED)])
def test_an_attempt_that_was_cut_off_goes_on_in_its_thread(ground: Ground, ending: Any, footing: Footing):
    step = cut_off(ground, ending)
    again = ground.claim(step.protocol_id)
    assert again.resume is not None
    assert (again.footing, again.resume.thread_id, again.before) == (footing, "t", again.resume)


@pytest.mark.parametrize(
    ("change", "footing"),
    [
        ("UPDATE attempts SET thread_id = NULL", Footing.NO_THREAD),
        ("UPDATE attempts SET model = 'other'", Footing.OTHER_MODEL),
        (f"UPDATE protocol_runs SET head_sha = '{'e' * 40}'", Footing.BRANCH_MOVED),
        ("UPDATE jobs SET continuations = 5", Footing.TOO_OFTEN),
        ("UPDATE attempts SET state = 'failed'", Footing.FAILED),
        ('UPDATE attempts SET head_sha = start_sha, result = \'{"summary": ""}\'', Footing.COMMITTED),
    ],
)
def test_a_lost_attempt_is_not_gone_on_with_when(ground: Ground, change: str, footing: Footing):
    step = cut_off(ground)
    ground.sql(change)
    again = ground.claim(step.protocol_id)
    assert (again.footing, again.resume) == (footing, None)


def test_files_that_another_job_has_had_since_are_not_gone_on_with(ground: Ground):
    step = cut_off(ground)
    other = ground.sql("SELECT id FROM jobs WHERE protocol_id = ? AND kind = 'plan_protocol_job'", step.protocol_id)[0]
    ground.sql(
        "INSERT INTO attempts (job_id, project_id, protocol_id, kind, number, token, state, started_at, finished_at)"
        " SELECT ?1, project_id, protocol_id, 'plan_protocol_job', 9, 9, 'lost', started_at, started_at FROM attempts"
        " WHERE job_id = ?1",
        other["id"],
    )
    again = ground.claim(step.protocol_id)
    assert (again.footing, again.resume) == (Footing.WORKTREE_USED, None)


def test_a_lost_planning_starts_anew_because_it_leaves_nothing(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    claim = ground.claim(protocol.id)
    ground.run_as(WORKER, note_attempt, claim.job.id, claim.job.token, Usage(thread_id="t"), "/attempts/1")
    ground.end(claim, LOST)
    again = ground.claim(protocol.id)
    assert (again.footing, again.resume) == (Footing.READS_ONLY, None)


def test_the_timeline_says_whether_an_attempt_goes_on_and_why(ground: Ground):
    step = cut_off(ground)
    again = ground.claim(step.protocol_id)
    held = (again.job.id, again.job.token)
    assert again.resume is not None
    assert ground.run_as(WORKER, note_salvage, *held, again.resume.id, "refs/salvage/1")
    assert ground.run_as(WORKER, note_footing, *held, Footing.LOST, again.resume.id)
    told = ground.events(step.protocol_id)[-1]
    assert (told.event_type, told.reason, told.metadata["how"]) == ("attempt_continued", "lost", "resumed")
    assert told.metadata["salvage"] == "refs/salvage/1"
    assert ground.attempts(step.protocol_id)[-1].resumed_from == again.resume.id
    ground.end(again, LOST)
    assert not ground.run_as(WORKER, note_footing, *held, Footing.LOST, again.resume.id), "who lost the lease"
    assert not ground.run_as(WORKER, note_salvage, *held, again.resume.id, "refs/salvage/2")


def test_an_attempt_whose_job_was_cancelled_is_not_told_to_go_on(ground: Ground):
    step = cut_off(ground)
    again = ground.claim(step.protocol_id)
    ground.run(cancel_protocol, step.protocol_id)
    assert not ground.run_as(WORKER, note_footing, again.job.id, again.job.token, Footing.LOST, None)
    assert "attempt_continued" not in {each.event_type for each in ground.events(step.protocol_id)}


@pytest.mark.parametrize("how", [{"fresh": True}, {"model": "other"}])
def test_a_fresh_retry_or_another_model_gets_a_new_thread(ground: Ground, how: dict[str, Any]):
    step, claim = running(ground)
    report = ground.executed_well()
    held = (claim.job.id, claim.job.token)
    ground.run_as(WORKER, note_attempt, *held, Usage(thread_id="t"))
    ground.run_as(WORKER, note_commit, *held, report.head_sha, report)
    ground.end(claim, report)
    ground.run(retry_step, step.id, **how)
    assert ground.claim(step.protocol_id).resume is None


def test_a_parked_thread_is_left_when_the_branch_went_on_without_it(ground: Ground):
    step, claim = running(ground)
    ground.run_as(WORKER, note_attempt, claim.job.id, claim.job.token, Usage(thread_id="t"))
    ground.end(claim, Stopped(message="the worker stops"))
    ground.sql("UPDATE protocol_runs SET head_sha = ? WHERE id = ?", "e" * 40, step.protocol_id)
    assert ground.claim(step.protocol_id).resume is None


def test_a_worker_that_stops_hands_its_job_back_without_a_loss(ground: Ground):
    step, claim = running(ground)
    story = ground.news(step.protocol_id, lambda: ground.end(claim, Stopped(message="the worker stops")))
    assert story == ["job_parked"]
    job = ground.only_job(step.protocol_id)
    assert (job.state, job.attempt, job.continuations) == (JobState.QUEUED, 0, 0)
    assert [each.id for each in ground.due()] == [job.id]


def test_an_attempt_that_adopted_a_commit_is_known_by_it(ground: Ground):
    step, claim = running(ground)
    report = ground.executed_well()
    ground.run_as(WORKER, note_commit, claim.job.id, claim.job.token, report.head_sha, report)
    ground.end(claim, LOST)
    ground.end(ground.claim(step.protocol_id), report)
    assert ground.attempts(step.protocol_id)[-1].head_sha == report.head_sha
    ground.run(run_qa, step.id)
    assert claim.attempt is not None
    assert ground.claim(step.protocol_id).judged_from == claim.attempt.start_sha


# QA sees all of the step's work


def test_qa_is_judged_from_where_the_step_began(ground: Ground):
    protocol = ground.planned()
    step = ground.run(run_next_step, protocol.id)
    for _ in range(2):
        claim = ground.claim(protocol.id)
        report = ground.executed_well()
        ground.run_as(WORKER, note_commit, claim.job.id, claim.job.token, report.head_sha, report)
        ground.end(claim, report)
        if _ == 0:
            ground.run(reject_step, step.id, feedback="no")
    ground.run(run_qa, step.id)
    assert ground.claim(protocol.id).judged_from == protocol.head_sha


# other jobs


def test_a_failed_setup_can_be_queued_again(ground: Ground):
    project = ground.project()
    ground.run(set_up_project, project.id)
    (job,) = ground.rung
    claim = ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
    assert claim is not None
    ground.end(claim, AUTH)
    ground.run(set_up_project, project.id)
    (again,) = ground.rung
    last = jobs.last_setup(ground.tx, project.id)
    assert last is not None
    assert (last["id"], last["state"]) == (again.id, again.state)


def test_a_setup_that_is_done_says_so(ground: Ground):
    ground.project()
    assert [row["event_type"] for row in ground.sql("SELECT event_type FROM events ORDER BY id")] == [
        "project_registered",
        "setup_enqueued",
        "setup_done",
    ]


def test_releasing_a_job_that_was_never_claimed_is_late(ground: Ground):
    ground.run(run_next_step, ground.planned().id)
    (job,) = ground.rung
    assert not ground.run_as(WORKER, release, job.id, 0, AUTH)
    assert not ground.run_as(WORKER, release, 4711, 1, AUTH)
    assert ground.job(job.id).state is JobState.QUEUED
