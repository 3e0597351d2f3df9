"""Opening, starting, pausing, resuming, unblocking and ending a protocol run: one behaviour each."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import Category, Conflict, Invalid, NotFound, PreconditionFailed
from shared.schemas.policy import Policy
from shared.schemas.records import Protocol
from shared.schemas.reports import Failed, Lost, PublishDone, Stopped, Usage
from shared.schemas.statuses import JobKind, JobState, Phase, ProtocolStatus, Reason
from shared.workflow.jobs import note_attempt
from shared.workflow.protocols import (
    approve_plan,
    cancel_protocol,
    fail_protocol,
    open_pr,
    open_protocol,
    pause_protocol,
    reject_plan,
    resume_protocol,
    retry_latest,
    run_next_step,
    start_protocol,
    unblock_protocol,
)
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
from shared.workflow.unit import Caller, Rules
from tests.shared.workflow.ground import WORKER, Ground

AUTH = Failed(category=Category.AUTH, message="log in")


@pytest.fixture
def ground() -> Ground:
    return Ground()


def in_status(ground: Ground, status: str) -> Protocol:
    """A protocol that has come to this status by ordinary means."""
    match status:
        case "pending":
            return ground.opened()
        case "planning":
            return ground.run(start_protocol, ground.opened().id)
        case "planned":
            return ground.planned()
        case "running":
            return ground.of(ground.executed())
        case "paused":
            return ground.run(pause_protocol, ground.of(ground.executed()).id)
        case "blocked":
            return blocked(ground)
        case "failed":
            return ground.run(fail_protocol, blocked(ground).id, reason="hopeless")
        case "cancelled":
            return ground.run(cancel_protocol, ground.planned().id)
        case _:
            step = ground.executed(1)
            ground.run(approve_step, step.id)
            return ground.of(step)


def blocked(ground: Ground, count: int = 2) -> Protocol:
    """Blocked by its first step, which failed."""
    step = ground.step(ground.planned(count), 1)
    ground.run(run_step, step.id)
    ground.execute(step, AUTH)
    return ground.of(step)


ALL = ["pending", "planning", "planned", "running", "paused", "blocked", "failed", "cancelled", "completed"]


# which action in which status


@pytest.mark.parametrize("status", ALL)
@pytest.mark.parametrize(
    ("verb", "more", "allowed"),
    [
        (start_protocol, {}, {"pending": "planning", "planned": "planning"}),
        (pause_protocol, {}, dict.fromkeys(["planning", "planned", "running", "blocked"], "paused")),
        (resume_protocol, {}, {"paused": "running"}),
        (cancel_protocol, {}, dict.fromkeys(ALL[:6], "cancelled")),
        (fail_protocol, {"reason": "no"}, {"blocked": "failed"}),
        (run_next_step, {}, {"planned": "running", "running": "running", "blocked": "running"}),
        (retry_latest, {}, {"blocked": "running"}),
        (unblock_protocol, {}, {}),
        (approve_plan, {}, {}),
        (reject_plan, {"feedback": "no"}, {}),
        (open_pr, {}, {"planned": "planned", "running": "running", "blocked": "blocked", "completed": "completed"}),
    ],
)
def test_an_action_moves_where_it_may_and_is_refused_elsewhere(
    ground: Ground, status: str, verb: Callable[..., Any], more: dict[str, Any], allowed: dict[str, str]
):
    protocol = in_status(ground, status)
    if status in allowed:
        ground.run(verb, protocol.id, **more)
        assert ground.protocol(protocol.id).status == allowed[status]
        return
    with pytest.raises((Conflict, NotFound)) as refused:
        ground.run(verb, protocol.id, **more)
    assert ground.protocol(protocol.id) == protocol
    if isinstance(refused.value, Conflict):
        assert refused.value.status_now == status


@pytest.mark.parametrize("status", ALL)
def test_a_refusal_names_the_status_and_what_would_be_allowed(ground: Ground, status: str):
    protocol = in_status(ground, status)
    with pytest.raises(Conflict) as refused:
        ground.run(approve_plan, protocol.id)
    assert refused.value.status_now == status
    for action in refused.value.allowed_actions or ():
        assert action in str(refused.value)


# open


def test_a_name_is_the_next_number_and_a_slug(ground: Ground):
    project = ground.project()
    first = ground.opened(project=project)
    second = ground.opened(project=project)
    assert (first.protocol_name, second.protocol_name) == ("0001-mend-the-cents", "0002-mend-the-cents")
    assert first.branch == "0001-mend-the-cents"


def test_numbers_go_on_after_the_highest_one(ground: Ground):
    project = ground.project()
    ground.opened("0041-by-hand", project)
    assert ground.opened(project=project).number == 42


@pytest.mark.parametrize("name", ["", "x", "1-a", "0000-a", "0001", "0001-A", "0001-a/../b", "0001-a b", "00001-a"])
def test_a_name_that_is_no_name_is_refused(ground: Ground, name: str):
    project = ground.project()
    with pytest.raises(Invalid):
        ground.opened(name, project)
    assert ground.sql("SELECT id FROM protocol_runs") == []


@pytest.mark.parametrize("name", ["0001-first", "0001-other"])
def test_a_taken_name_or_number_is_a_conflict(ground: Ground, name: str):
    project = ground.project()
    ground.opened("0001-first", project)
    with pytest.raises(Conflict, match="already has"):
        ground.opened(name, project)


def test_a_protocol_is_born_pending_whatever_the_caller_wishes(ground: Ground):
    protocol = ground.opened()
    assert protocol.status is ProtocolStatus.PENDING
    with pytest.raises(TypeError):
        ground.run(open_protocol, protocol.project_id, protocol_name=None, description="", status="banana")  # type: ignore[call-arg]
    with pytest.raises(Exception, match="CHECK constraint failed"):
        ground.sql("UPDATE protocol_runs SET status = 'banana'")


def test_it_keeps_the_policy_that_it_was_opened_with(ground: Ground):
    ground.rules = Rules(auto_qa_after_exec=True)
    project = ground.project(policy=Policy(auto_fix=2))
    protocol = ground.opened(project=project, progression="auto")
    assert protocol.policy.auto_fix == 2
    assert protocol.policy.progression == "auto"
    assert protocol.policy.auto_qa_after_exec is True
    ground.rules = Rules(auto_qa_after_exec=False)
    assert ground.protocol(protocol.id).policy.auto_qa_after_exec is True


def test_a_word_of_the_policy_beats_the_setting(ground: Ground):
    ground.rules = Rules(auto_qa_after_exec=True)
    assert ground.opened(auto_qa_after_exec=False).policy.auto_qa_after_exec is False


def test_a_policy_that_is_none_is_refused_by_name(ground: Ground):
    with pytest.raises(Invalid, match=r"policy.*colour"):
        ground.opened(colour="red")


# scope and versions

SCOPED: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (start_protocol, {}),
    (approve_plan, {}),
    (reject_plan, {"feedback": "x"}),
    (pause_protocol, {}),
    (resume_protocol, {}),
    (unblock_protocol, {}),
    (cancel_protocol, {}),
    (fail_protocol, {"reason": "x"}),
    (run_next_step, {}),
    (retry_latest, {}),
    (open_pr, {}),
    (add_step, {"step_name": "x"}),
]
ON_STEPS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (run_step, {}),
    (run_qa, {}),
    (approve_step, {}),
    (reject_step, {"feedback": "x"}),
    (retry_step, {}),
    (skip_step, {"reason": "x"}),
    (cancel_step, {}),
]


@pytest.mark.parametrize(("verb", "more"), SCOPED)
def test_somebody_elses_protocol_does_not_exist(ground: Ground, verb: Callable[..., Any], more: dict[str, Any]):
    protocol = ground.planned()
    stranger = Caller("token:other", project_id=protocol.project_id + 1)
    with pytest.raises(NotFound) as theirs:
        ground.run_as(stranger, verb, protocol.id, **more)
    with pytest.raises(NotFound) as nobodys:
        ground.run(verb, 4711, **more)
    assert str(theirs.value).replace(str(protocol.id), "N") == str(nobodys.value).replace("4711", "N")


@pytest.mark.parametrize(("verb", "more"), ON_STEPS)
def test_somebody_elses_step_does_not_exist(ground: Ground, verb: Callable[..., Any], more: dict[str, Any]):
    protocol = ground.planned()
    stranger = Caller("token:other", project_id=protocol.project_id + 1)
    with pytest.raises(NotFound):
        ground.run_as(stranger, verb, ground.step(protocol, 1).id, **more)
    with pytest.raises(NotFound):
        ground.run(verb, 4711, **more)


@pytest.mark.parametrize(("verb", "more"), SCOPED)
def test_a_stale_version_of_a_protocol_is_refused(ground: Ground, verb: Callable[..., Any], more: dict[str, Any]):
    protocol = ground.planned()
    with pytest.raises(PreconditionFailed):
        ground.run(verb, protocol.id, version=protocol.version - 1, **more)
    assert ground.protocol(protocol.id) == protocol


@pytest.mark.parametrize(("verb", "more"), ON_STEPS)
def test_a_stale_version_of_a_step_is_refused(ground: Ground, verb: Callable[..., Any], more: dict[str, Any]):
    step = ground.executed()
    with pytest.raises(PreconditionFailed):
        ground.run(verb, step.id, version=step.version - 1, **more)
    assert ground.fresh(step) == step


def test_the_present_version_is_accepted_and_grows_by_one(ground: Ground):
    protocol = ground.planned()
    paused = ground.run(pause_protocol, protocol.id, version=protocol.version)
    assert paused.version == protocol.version + 1


# start and plan


def test_start_queues_the_planning(ground: Ground):
    protocol = ground.opened()
    assert ground.news(protocol.id, lambda: ground.run(start_protocol, protocol.id)) == [
        "planning_enqueued pending>planning"
    ]
    job = ground.only_job(protocol.id)
    assert (job.kind, job.state) == (JobKind.PLAN, JobState.QUEUED)
    assert [rung.id for rung in ground.rung] == [job.id]
    assert (job.actor, job.request_id) == ("alice", "req-1")


def test_start_on_paused_is_refused_and_says_resume(ground: Ground):
    protocol = in_status(ground, "paused")
    with pytest.raises(Conflict) as refused:
        ground.run(start_protocol, protocol.id)
    assert refused.value.allowed_actions == ("resume", "cancel")
    assert ground.open_jobs(protocol.id, JobKind.PLAN) == []


def test_a_plan_brings_its_steps_and_its_hash(ground: Ground):
    protocol = ground.opened()
    ground.run(start_protocol, protocol.id)
    claim = ground.claim(protocol.id)
    done = ground.plan_done(claim, 3, after={3: (1, 2)})
    assert ground.news(protocol.id, lambda: ground.end(claim, done)) == ["planned planning>planned"]
    planned = ground.protocol(protocol.id)
    assert planned.plan_sha == done.plan.sha256
    assert planned.start_sha == done.start_sha
    assert planned.head_sha == planned.pushed_sha == done.head_sha
    assert (planned.plan_revision, planned.written_revision) == (1, 1)
    assert [ground.step(planned, index).file_name for index in (1, 2, 3)] == [f"0{n}-step-{n}.md" for n in (1, 2, 3)]
    assert ground.step(planned, 3).depends_on == (1, 2)


def test_planning_again_forgets_the_steps_of_the_old_plan_at_once(ground: Ground):
    protocol = ground.planned(3)
    ground.run(start_protocol, protocol.id)
    assert ground.sql("SELECT id FROM step_runs") == []
    ground.plan(protocol.id, 1)
    again = ground.protocol(protocol.id)
    assert again.plan_revision == 2
    assert len(ground.sql("SELECT id FROM step_runs")) == 1


def test_planning_again_is_refused_once_a_step_was_run(ground: Ground):
    protocol = in_status(ground, "running")
    ground.run(pause_protocol, protocol.id)
    with pytest.raises(Conflict):
        ground.run(start_protocol, protocol.id)
    protocol = blocked(ground)
    with pytest.raises(Conflict, match="already run"):
        ground.run(start_protocol, protocol.id)


def test_planning_again_is_refused_once_a_step_was_skipped(ground: Ground):
    protocol = ground.planned(2)
    ground.run(skip_step, ground.step(protocol, 1).id, reason="no need")
    with pytest.raises(Conflict, match="already run or settled"):
        ground.run(start_protocol, protocol.id)


def test_a_failed_plan_blocks_and_can_be_started_again(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    claim = ground.claim(protocol.id)
    story = ground.news(protocol.id, lambda: ground.end(claim, AUTH))
    assert story == ["job_failed", "planning_failed planning>blocked"]
    assert ground.protocol(protocol.id).reason is Reason.PLAN_FAILED
    ground.run(start_protocol, protocol.id)
    ground.plan(protocol.id)
    assert ground.protocol(protocol.id).status is ProtocolStatus.PLANNED


def test_a_failed_second_plan_can_be_started_again_too(ground: Ground):
    protocol = ground.planned()
    ground.run(start_protocol, protocol.id)
    ground.end(ground.claim(protocol.id), AUTH)
    assert ground.run(start_protocol, protocol.id).status is ProtocolStatus.PLANNING


def test_unblocking_a_failed_plan_goes_back_to_pending(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    ground.end(ground.claim(protocol.id), AUTH)
    assert ground.run(unblock_protocol, protocol.id).status is ProtocolStatus.PENDING


def test_steps_by_hand_are_a_plan_without_planning(ground: Ground):
    protocol = ground.opened()
    for name in ("one", "two"):
        ground.run(add_step, protocol.id, step_name=name)
    assert ground.news(protocol.id, lambda: ground.run(start_protocol, protocol.id, plan=False)) == [
        "planned pending>planned"
    ]
    assert ground.open_jobs(protocol.id) == []
    assert ground.protocol(protocol.id).plan_sha is not None


def test_planning_over_steps_by_hand_is_refused(ground: Ground):
    protocol = ground.opened()
    ground.run(add_step, protocol.id, step_name="one")
    with pytest.raises(Conflict, match="added by hand"):
        ground.run(start_protocol, protocol.id)


def test_a_start_without_planning_and_without_steps_is_refused(ground: Ground):
    protocol = ground.opened()
    with pytest.raises(Conflict, match="no steps"):
        ground.run(start_protocol, protocol.id, plan=False)


def test_steps_by_hand_help_after_a_failed_plan(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    ground.end(ground.claim(protocol.id), AUTH)
    ground.run(add_step, protocol.id, step_name="by hand")
    assert ground.run(start_protocol, protocol.id, plan=False).status is ProtocolStatus.PLANNED


def test_steps_by_hand_that_are_all_skipped_complete_at_the_start(ground: Ground):
    protocol = ground.opened()
    step = ground.run(add_step, protocol.id, step_name="one")
    ground.run(skip_step, step.id, reason="no need")
    assert ground.protocol(protocol.id).status is ProtocolStatus.PENDING
    assert ground.run(start_protocol, protocol.id, plan=False).status is ProtocolStatus.COMPLETED


def test_a_blocked_protocol_with_a_plan_is_not_started_over(ground: Ground):
    protocol = blocked(ground)
    with pytest.raises(Conflict, match="its plan already"):
        ground.run(start_protocol, protocol.id, plan=False)


def test_a_plan_waits_for_its_approval(ground: Ground):
    protocol = ground.planned(plan_approval=True, progression="auto")
    assert (protocol.status, protocol.phase) == (ProtocolStatus.PLANNED, Phase.AWAITING_PLAN_APPROVAL)
    assert ground.open_jobs(protocol.id) == []
    for verb, thing in ((run_next_step, protocol.id), (run_step, ground.step(protocol, 1).id)):
        with pytest.raises(Conflict) as refused:
            ground.run(verb, thing)
        assert "approve_plan" in (refused.value.allowed_actions or ())


def test_an_approved_plan_goes_on_by_itself(ground: Ground):
    protocol = ground.planned(plan_approval=True, progression="auto")
    story = ground.news(protocol.id, lambda: ground.run(approve_plan, protocol.id))
    assert story == ["plan_approved", "protocol_started planned>running", "step_enqueued"]


def test_a_rejected_plan_is_made_anew_with_the_feedback(ground: Ground):
    protocol = ground.planned(plan_approval=True)
    rejected = ground.run(reject_plan, protocol.id, feedback="too long")
    assert (rejected.status, rejected.feedback) == (ProtocolStatus.PLANNING, "too long")
    assert ground.claim(protocol.id).protocol == ground.protocol(protocol.id)
    job = ground.only_job(protocol.id)
    claim_steps = ground.sql("SELECT id FROM step_runs")
    assert (job.kind, claim_steps) == (JobKind.PLAN, [])


def test_the_feedback_is_forgotten_with_the_next_plan(ground: Ground):
    protocol = ground.planned(plan_approval=True)
    ground.run(reject_plan, protocol.id, feedback="too long")
    ground.plan(protocol.id)
    assert ground.protocol(protocol.id).feedback is None


def test_a_rejected_plan_that_fails_is_not_revived_by_unblocking(ground: Ground):
    protocol = ground.planned(plan_approval=True)
    ground.run(reject_plan, protocol.id, feedback="too long")
    ground.end(ground.claim(protocol.id), AUTH)
    assert ground.run(unblock_protocol, protocol.id).status is ProtocolStatus.PENDING


def test_the_approval_is_still_waited_for_after_a_pause(ground: Ground):
    protocol = ground.planned(plan_approval=True)
    ground.run(pause_protocol, protocol.id)
    resumed = ground.run(resume_protocol, protocol.id)
    assert (resumed.status, resumed.phase) == (ProtocolStatus.PLANNED, Phase.AWAITING_PLAN_APPROVAL)


# pause and resume


def test_pause_right_after_run_starts_nothing(ground: Ground):
    protocol = ground.planned()
    step = ground.run(run_next_step, protocol.id)
    ground.run(pause_protocol, protocol.id)
    assert ground.due() == []
    with pytest.raises(AssertionError, match="not given out"):
        ground.claim(protocol.id)
    assert ground.fresh(step).phase is Phase.QUEUED
    assert ground.protocol(protocol.id).status is ProtocolStatus.PAUSED


def test_a_drained_execution_counts_but_does_not_end_the_pause(ground: Ground):
    protocol = ground.planned(auto_qa_after_exec=True, progression="auto")
    step = ground.step(protocol, 1)
    claim = ground.claim(protocol.id)
    ground.run(pause_protocol, protocol.id)
    ground.end(claim, ground.executed_well())
    assert ground.fresh(step).status == "needs_qa"
    assert ground.protocol(protocol.id).status is ProtocolStatus.PAUSED
    assert ground.open_jobs(protocol.id) == []


def test_what_the_pause_held_back_starts_when_it_goes_on(ground: Ground):
    protocol = ground.planned(auto_qa_after_exec=True, progression="auto")
    claim = ground.claim(protocol.id)
    ground.run(pause_protocol, protocol.id)
    ground.end(claim, ground.executed_well())
    ground.run(resume_protocol, protocol.id)
    assert [job.kind for job in ground.open_jobs(protocol.id)] == [JobKind.QA]


def test_an_interrupt_asks_live_agents_to_park_and_leaves_queued_ones(ground: Ground):
    protocol = ground.planned()
    step = ground.run(run_next_step, protocol.id)
    claim = ground.claim(protocol.id)
    ground.run(pause_protocol, protocol.id, mode="interrupt")
    assert ground.stopping == [claim.job.id]
    assert ground.job(claim.job.id).stop == "park"
    ground.end(claim, Stopped(message="parked"))
    assert ground.fresh(step).phase is Phase.PARKED
    assert ground.job(claim.job.id).attempt == 0
    assert ground.attempts(protocol.id)[-1].state == "parked"


def test_a_parked_agent_goes_on_in_its_thread(ground: Ground):
    protocol = ground.planned()
    ground.run(run_next_step, protocol.id)
    claim = ground.claim(protocol.id)
    ground.run_as(WORKER, note_attempt, claim.job.id, claim.job.token, Usage(thread_id="thread-1"))
    ground.run(pause_protocol, protocol.id, mode="interrupt")
    ground.end(claim, Stopped(message="parked"))
    ground.run(resume_protocol, protocol.id)
    assert [job.id for job in ground.rung] == [claim.job.id]
    again = ground.claim(protocol.id)
    assert again.resume is not None
    assert again.resume.id == (claim.attempt.id if claim.attempt else 0)
    assert again.job.attempt == 1


def test_resume_never_runs_blindly_it_recomputes(ground: Ground):
    for status in ("planning", "planned", "running", "blocked"):
        protocol = in_status(ground, status)
        ground.run(pause_protocol, protocol.id)
        assert ground.run(resume_protocol, protocol.id).status == status


def test_resume_rings_again_for_what_waited(ground: Ground):
    protocol = ground.planned()
    ground.run(run_next_step, protocol.id)
    before = ground.only_job(protocol.id)
    ground.run(pause_protocol, protocol.id)
    ground.wait(30)
    ground.run(resume_protocol, protocol.id)
    after = ground.only_job(protocol.id)
    assert [job.dispatch for job in ground.rung] == [after.dispatch] == [before.dispatch + 1]


def test_a_backoff_is_waited_out_after_a_resume(ground: Ground):
    protocol = ground.planned()
    ground.run(run_next_step, protocol.id)
    ground.end(ground.claim(protocol.id), Failed(category=Category.NETWORK, message="no route"))
    ground.run(pause_protocol, protocol.id)
    ground.run(resume_protocol, protocol.id)
    assert ground.rung == []
    assert ground.due() == []
    ground.wait(2)
    assert [job.id for job in ground.due()] == [ground.only_job(protocol.id).id]


def test_a_long_pause_is_no_wait_for_a_worker(ground: Ground):
    ground.rules = Rules(queue_timeout_s=60)
    protocol = ground.planned()
    ground.run(run_next_step, protocol.id)
    ground.run(pause_protocol, protocol.id)
    ground.wait(3600)
    ground.run(resume_protocol, protocol.id)
    assert ground.claim(protocol.id).attempt is not None


def test_a_plan_that_ends_during_a_pause_is_there_after_it(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened(progression="auto").id)
    claim = ground.claim(protocol.id)
    ground.run(pause_protocol, protocol.id)
    ground.end(claim, ground.plan_done(claim))
    assert ground.protocol(protocol.id).status is ProtocolStatus.PAUSED
    assert ground.run(resume_protocol, protocol.id).status is ProtocolStatus.RUNNING


def test_a_plan_that_fails_during_a_pause_blocks_after_it(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    claim = ground.claim(protocol.id)
    ground.run(pause_protocol, protocol.id)
    ground.end(claim, AUTH)
    resumed = ground.run(resume_protocol, protocol.id)
    assert (resumed.status, resumed.reason) == (ProtocolStatus.BLOCKED, Reason.PLAN_FAILED)


def test_a_paused_planning_goes_on_as_planning(ground: Ground):
    protocol = in_status(ground, "planning")
    ground.run(pause_protocol, protocol.id)
    assert ground.due() == []
    resumed = ground.run(resume_protocol, protocol.id)
    assert (resumed.status, resumed.phase) == (ProtocolStatus.PLANNING, Phase.QUEUED)
    assert [job.kind for job in ground.rung] == [JobKind.PLAN]


def test_a_step_that_fails_during_a_pause_blocks_after_it(ground: Ground):
    protocol = ground.planned()
    ground.run(run_next_step, protocol.id)
    claim = ground.claim(protocol.id)
    ground.run(pause_protocol, protocol.id)
    ground.end(claim, AUTH)
    assert ground.protocol(protocol.id).status is ProtocolStatus.PAUSED
    resumed = ground.run(resume_protocol, protocol.id)
    assert (resumed.status, resumed.reason) == (ProtocolStatus.BLOCKED, Reason.STEP_FAILED)


def test_steps_that_are_all_settled_during_a_pause_complete_after_it(ground: Ground):
    step = ground.executed(1)
    ground.run(pause_protocol, step.protocol_id)
    ground.run(approve_step, step.id)
    assert ground.of(step).status is ProtocolStatus.PAUSED
    story = ground.news(step.protocol_id, lambda: ground.run(resume_protocol, step.protocol_id))
    assert story == ["resumed paused>running", "protocol_completed running>completed"]


@pytest.mark.parametrize("category", [Category.AUTH, Category.DIVERGED])
def test_a_pause_does_not_make_a_cause_forgotten(ground: Ground, category: Category):
    protocol = in_status(ground, "running")
    ground.run(open_pr, protocol.id)
    ground.end(ground.claim(protocol.id, JobKind.OPEN_PR), Failed(category=category, message="no"))
    was = ground.protocol(protocol.id)
    assert was.status is ProtocolStatus.BLOCKED
    ground.run(pause_protocol, protocol.id)
    now = ground.run(resume_protocol, protocol.id)
    assert (now.status, now.reason) == (ProtocolStatus.BLOCKED, was.reason)


def test_a_publishing_that_fails_during_a_pause_blocks_after_it(ground: Ground):
    protocol = in_status(ground, "running")
    ground.run(open_pr, protocol.id)
    claim = ground.claim(protocol.id, JobKind.OPEN_PR)
    ground.run(pause_protocol, protocol.id)
    ground.end(claim, AUTH)
    assert ground.run(resume_protocol, protocol.id).reason is Reason.PUBLISH_FAILED


def test_a_repair_that_falls_due_in_a_pause_is_made_after_it(ground: Ground):
    step = ground.executed(1, auto_fix=1)
    ground.run(run_qa, step.id)
    claim = ground.claim(step.protocol_id)
    ground.run(pause_protocol, step.protocol_id)
    ground.end(claim, ground.verdict(step, "fail"))
    assert ground.fresh(step).status == "needs_qa"
    ground.run(resume_protocol, step.protocol_id)
    now = ground.fresh(step)
    assert (now.status, now.phase, now.repairs) == ("pending", Phase.QUEUED, 1)
    assert now.feedback is not None
    assert "it is a fail" in now.feedback


# blocked, and out of it


def test_what_blocked_is_over_as_soon_as_its_step_is(ground: Ground):
    for verb, more in (
        (retry_step, {}),
        (run_step, {}),
        (approve_step, {"reason": "I looked"}),
        (skip_step, {"reason": "no need"}),
        (cancel_step, {}),
    ):
        protocol = blocked(ground)
        ground.run(verb, ground.step(protocol, 1).id, **more)
        assert ground.protocol(protocol.id).status is ProtocolStatus.RUNNING


def test_a_blocked_protocol_whose_steps_are_all_approved_completes(ground: Ground):
    protocol = blocked(ground, 1)
    story = ground.news(protocol.id, lambda: ground.run(approve_step, ground.step(protocol, 1).id, reason="seen"))
    assert story[-1] == "protocol_completed blocked>completed"


def test_unblocking_does_not_help_against_a_failed_step(ground: Ground):
    protocol = blocked(ground)
    with pytest.raises(Conflict, match="still failed"):
        ground.run(unblock_protocol, protocol.id)


def test_behind_a_failed_publishing_a_failed_step_comes_to_light_and_can_be_retried(ground: Ground):
    protocol = ground.planned()
    step = ground.run(run_next_step, protocol.id)
    ground.run(open_pr, protocol.id)
    publishing = ground.claim(protocol.id, JobKind.OPEN_PR)
    ground.run(pause_protocol, protocol.id)
    ground.end(publishing, AUTH)
    assert ground.run(resume_protocol, protocol.id).reason is Reason.PUBLISH_FAILED
    ground.run(unblock_protocol, protocol.id)
    ground.execute(step, AUTH)
    ground.run(open_pr, protocol.id)
    ground.run(pause_protocol, protocol.id)
    ground.run(resume_protocol, protocol.id)
    assert ground.protocol(protocol.id).reason is Reason.STEP_FAILED
    assert ground.run(retry_latest, protocol.id).phase is Phase.QUEUED


def test_unblocking_another_cause_leaves_it_blocked_by_its_failed_step(ground: Ground):
    step = ground.executed(2)
    other = ground.step(ground.of(step), 2)
    ground.run(run_step, other.id)
    claim = ground.claim(step.protocol_id, JobKind.EXECUTE)
    ground.end(claim, Failed(category=Category.DIVERGED, message="somebody pushed"))
    was = ground.of(step)
    assert (was.status, was.reason) == (ProtocolStatus.BLOCKED, Reason.DIVERGED)
    with pytest.raises(Conflict, match="remove the cause"):
        ground.run(retry_step, other.id)
    now = ground.run(unblock_protocol, step.protocol_id)
    assert (now.status, now.reason) == (ProtocolStatus.BLOCKED, Reason.STEP_FAILED)
    assert ground.run(retry_step, other.id).phase is Phase.QUEUED


def test_a_failed_publishing_is_over_when_it_succeeds(ground: Ground):
    protocol = in_status(ground, "running")
    ground.run(open_pr, protocol.id)
    ground.end(ground.claim(protocol.id, JobKind.OPEN_PR), AUTH)
    assert ground.protocol(protocol.id).reason is Reason.PUBLISH_FAILED
    ground.run(open_pr, protocol.id)
    claim = ground.claim(protocol.id, JobKind.OPEN_PR)
    story = ground.news(protocol.id, lambda: ground.end(claim, _published()))
    assert story == ["branch_pushed", "protocol_unblocked blocked>running"]


def test_a_failed_publishing_is_over_when_somebody_says_so(ground: Ground):
    protocol = in_status(ground, "running")
    ground.run(open_pr, protocol.id)
    ground.end(ground.claim(protocol.id, JobKind.OPEN_PR), AUTH)
    assert ground.run(unblock_protocol, protocol.id).status is ProtocolStatus.RUNNING


def test_qa_that_cannot_run_blocks_until_somebody_judges(ground: Ground):
    for verb, more in (
        (approve_step, {}),
        (skip_step, {"reason": "no"}),
        (retry_step, {}),
        (run_qa, {}),
        (reject_step, {"feedback": "no"}),
        (cancel_step, {}),
    ):
        step = ground.executed()
        ground.run(run_qa, step.id)
        ground.end(ground.claim(step.protocol_id, JobKind.QA), AUTH)
        assert ground.of(step).reason is Reason.QA_UNAVAILABLE
        ground.run(verb, step.id, **more)
        assert ground.of(step).status is ProtocolStatus.RUNNING, verb


def test_settling_another_step_does_not_make_unavailable_qa_available(ground: Ground):
    step = ground.executed(3)
    ground.run(run_qa, step.id)
    ground.end(ground.claim(step.protocol_id, JobKind.QA), AUTH)
    ground.run(skip_step, ground.step(ground.of(step), 3).id, reason="no need")
    assert ground.of(step).reason is Reason.QA_UNAVAILABLE


def test_of_two_failed_steps_the_second_blocks_again_when_the_first_is_done(ground: Ground):
    step = ground.executed(2)
    other = ground.step(ground.of(step), 2)
    ground.run(run_step, other.id)
    ground.run(run_qa, step.id)
    qa, execution = ground.claim(step.protocol_id, JobKind.QA), ground.claim(step.protocol_id, JobKind.EXECUTE)
    ground.end(qa, ground.verdict(step, "fail"))
    ground.end(execution, AUTH)
    ground.run(retry_step, other.id)
    ground.execute(other)
    story = ground.news(step.protocol_id, lambda: ground.run(approve_step, other.id))
    assert story[-1] == "protocol_blocked running>blocked"


def test_while_blocked_the_failed_step_can_be_retried_though_another_waits_in_backoff(ground: Ground):
    step = ground.executed(2)
    other = ground.step(ground.of(step), 2)
    ground.run(run_step, other.id)
    ground.run(run_qa, step.id)
    qa, execution = ground.claim(step.protocol_id, JobKind.QA), ground.claim(step.protocol_id, JobKind.EXECUTE)
    ground.end(qa, ground.verdict(step, "fail"))
    ground.end(execution, Failed(category=Category.NETWORK, message="no route"))
    assert ground.of(step).status is ProtocolStatus.BLOCKED
    ground.wait(60)
    assert ground.due() == []
    ground.run(retry_step, step.id)
    assert {job.step_id for job in ground.rung} == {step.id, other.id}


def test_retry_latest_takes_the_lowest_failed_step_the_one_that_others_wait_for(ground: Ground):
    step = ground.executed(2)
    other = ground.step(ground.of(step), 2)
    ground.run(run_step, other.id)
    ground.run(run_qa, step.id)
    qa, execution = ground.claim(step.protocol_id, JobKind.QA), ground.claim(step.protocol_id, JobKind.EXECUTE)
    ground.end(execution, AUTH)
    ground.end(qa, ground.verdict(step, "fail"))
    assert ground.run(retry_latest, step.protocol_id).step_index == 1


def test_retry_latest_without_a_failed_step_finds_none(ground: Ground):
    protocol = in_status(ground, "running")
    with pytest.raises(NotFound, match="no failed step"):
        ground.run(retry_latest, protocol.id)


def test_run_next_step_mends_before_it_goes_on(ground: Ground):
    protocol = ground.planned(2)
    second = ground.step(protocol, 2)
    ground.run(run_step, second.id)
    ground.execute(second, AUTH)
    assert ground.run(run_next_step, protocol.id).step_index == 2


def test_run_next_step_says_when_there_is_none(ground: Ground):
    step = ground.executed(1)
    with pytest.raises(Conflict, match="no step that waits"):
        ground.run(run_next_step, step.protocol_id)


# the end


@pytest.mark.parametrize("status", ALL[:6])
def test_cancel_ends_everything_from_every_open_status(ground: Ground, status: str):
    protocol = in_status(ground, status)
    story = ground.news(protocol.id, lambda: ground.run(cancel_protocol, protocol.id))
    assert story[0] == f"cancelled {status}>cancelled"
    assert set(story[1:]) <= {
        f"step_cancelled {each}>cancelled" for each in ("pending", "running", "needs_qa", "failed")
    }
    assert ground.open_jobs(protocol.id) == []


def test_cancel_stops_the_live_agent_and_ignores_what_it_still_says(ground: Ground):
    protocol = ground.planned()
    step = ground.run(run_next_step, protocol.id)
    claim = ground.claim(protocol.id)
    ground.run(cancel_protocol, protocol.id)
    assert ground.stopping == [claim.job.id]
    assert ground.job(claim.job.id).state is JobState.RUNNING
    story = ground.news(protocol.id, lambda: ground.end(claim, ground.executed_well()))
    assert story == ["late_result"]
    assert ground.fresh(step).status == "cancelled"
    assert ground.protocol(protocol.id).status is ProtocolStatus.CANCELLED
    assert ground.attempts(protocol.id)[-1].state == "cancelled"


@pytest.mark.parametrize(
    ("ending", "word"),
    [
        (Failed(category=Category.CANCELLED, message="stopped"), "stopped"),
        (Failed(category=Category.NETWORK, message="away"), "failed"),
        (Stopped(message="parked"), "stopped"),
        (Lost(message="dead", salvage="refs/salvage/1"), "lost"),
    ],
)
def test_a_cancelled_agent_is_confirmed_dead_by_an_event(ground: Ground, ending: Failed | Lost | Stopped, word: str):
    protocol = ground.planned()
    ground.run(run_next_step, protocol.id)
    claim = ground.claim(protocol.id)
    ground.run(cancel_protocol, protocol.id)
    assert ground.news(protocol.id, lambda: ground.end(claim, ending)) == ["attempt_killed"]
    told = ground.events(protocol.id)[-1].metadata
    assert told == {"ending": word, "salvage": "refs/salvage/1" if word == "lost" else None}
    assert ground.job(claim.job.id).state is JobState.CANCELLED


def test_cancel_during_planning_ignores_the_plan(ground: Ground):
    protocol = in_status(ground, "planning")
    claim = ground.claim(protocol.id)
    ground.run(cancel_protocol, protocol.id)
    ground.end(claim, ground.plan_done(claim))
    assert ground.protocol(protocol.id).status is ProtocolStatus.CANCELLED
    assert ground.sql("SELECT id FROM step_runs") == []


@pytest.mark.parametrize("status", ["cancelled", "completed", "failed"])
@pytest.mark.parametrize(("verb", "more"), ON_STEPS)
def test_no_step_of_an_ended_protocol_can_be_touched(
    ground: Ground, status: str, verb: Callable[..., Any], more: dict[str, Any]
):
    protocol = in_status(ground, status)
    with pytest.raises(Conflict):
        ground.run(verb, ground.step(protocol, 1).id, **more)
    with pytest.raises(Conflict):
        ground.run(add_step, protocol.id, step_name="late")


def test_fail_is_for_a_blocked_protocol_and_final(ground: Ground):
    protocol = blocked(ground)
    story = ground.news(protocol.id, lambda: ground.run(fail_protocol, protocol.id, reason="hopeless"))
    assert story == [
        "protocol_failed blocked>failed",
        "step_cancelled failed>cancelled",
        "step_cancelled pending>cancelled",
    ]
    assert ground.events(protocol.id)[-3].metadata["why"] == "hopeless"


def test_steps_that_are_all_cancelled_cancel_their_protocol(ground: Ground):
    protocol = ground.planned(2)
    for index in (1, 2):
        ground.run(cancel_step, ground.step(protocol, index).id)
    now = ground.protocol(protocol.id)
    assert (now.status, now.reason) == (ProtocolStatus.CANCELLED, Reason.STEPS_CANCELLED)


def test_one_completed_step_among_cancelled_ones_completes_it(ground: Ground):
    protocol = ground.planned(2)
    ground.run(skip_step, ground.step(protocol, 1).id, reason="no need")
    ground.run(cancel_step, ground.step(protocol, 2).id)
    assert ground.protocol(protocol.id).reason is Reason.STEPS_DONE


def test_with_completion_by_merge_an_open_pr_is_waited_for(ground: Ground):
    step = ground.executed(1, completion="merge")
    ground.sql("UPDATE protocol_runs SET pr_number = 7, pr_state = 'open' WHERE id = ?", step.protocol_id)
    story = ground.news(step.protocol_id, lambda: ground.run(approve_step, step.id))
    assert story[-1] == "awaiting_merge"
    now = ground.of(step)
    assert (now.status, now.phase) == (ProtocolStatus.RUNNING, Phase.AWAITING_MERGE)


def test_without_a_pr_completion_by_merge_completes_with_the_steps(ground: Ground):
    step = ground.executed(1, completion="merge")
    ground.run(approve_step, step.id)
    assert ground.of(step).status is ProtocolStatus.COMPLETED


def test_waiting_for_the_merge_survives_a_pause(ground: Ground):
    step = ground.executed(1, completion="merge")
    ground.sql("UPDATE protocol_runs SET pr_number = 7, pr_state = 'open' WHERE id = ?", step.protocol_id)
    ground.run(approve_step, step.id)
    ground.run(pause_protocol, step.protocol_id)
    assert ground.run(resume_protocol, step.protocol_id).phase is Phase.AWAITING_MERGE


def test_a_new_step_ends_the_wait_for_the_merge(ground: Ground):
    step = ground.executed(1, completion="merge")
    ground.sql("UPDATE protocol_runs SET pr_number = 7, pr_state = 'open' WHERE id = ?", step.protocol_id)
    ground.run(approve_step, step.id)
    ground.run(add_step, step.protocol_id, step_name="one more")
    assert ground.of(step).phase is None


# publishing


def test_what_has_no_commit_is_not_published(ground: Ground):
    protocol = ground.opened()
    ground.run(add_step, protocol.id, step_name="one")
    ground.run(start_protocol, protocol.id, plan=False)
    with pytest.raises(Conflict, match="no commit yet"):
        ground.run(open_pr, protocol.id)


def test_publishing_is_queued_once(ground: Ground):
    protocol = ground.planned()
    ground.run(open_pr, protocol.id)
    with pytest.raises(Conflict, match="published already"):
        ground.run(open_pr, protocol.id)


def test_publishing_goes_on_after_completion(ground: Ground):
    step = ground.executed(1)
    ground.run(open_pr, step.protocol_id)
    ground.run(approve_step, step.id)
    assert ground.of(step).status is ProtocolStatus.COMPLETED
    claim = ground.claim(step.protocol_id, JobKind.OPEN_PR)
    story = ground.news(step.protocol_id, lambda: ground.end(claim, _published()))
    assert story == ["branch_pushed"]


def test_publishing_that_fails_after_completion_changes_no_status(ground: Ground):
    step = ground.executed(1)
    ground.run(open_pr, step.protocol_id)
    ground.run(approve_step, step.id)
    claim = ground.claim(step.protocol_id, JobKind.OPEN_PR)
    assert ground.news(step.protocol_id, lambda: ground.end(claim, AUTH)) == ["job_failed"]


def test_publishing_is_cancelled_with_its_protocol(ground: Ground):
    protocol = ground.planned()
    ground.run(open_pr, protocol.id)
    ground.run(cancel_protocol, protocol.id)
    assert ground.open_jobs(protocol.id) == []


def _published() -> PublishDone:
    return PublishDone(sha="f" * 40, pushed=True, note="pushed")


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, 2**63, -(2**63) - 1, 10**40])
def test_a_number_that_no_row_can_have_is_not_found(ground: Ground, number: int):
    for verb in (pause_protocol, run_next_step, run_step, cancel_step):
        with pytest.raises(NotFound):
            ground.run(verb, number)


def test_every_conflict_tells_the_status_and_what_would_be_allowed():
    met: list[tuple[Conflict, str]] = []
    for status in ALL:
        ground = Ground()  # each verb looks at the whole database
        for verb, more in [*SCOPED, (start_protocol, {"plan": False})]:
            protocol = in_status(ground, status)
            try:
                ground.run(verb, protocol.id, **more)
            except Conflict as refused:
                met.append((refused, status))
            except NotFound:
                pass
    assert {"wrong-status", "already-run", "step-failed", "no-steps"} <= {refused.type for refused, _ in met}
    for refused, status in met:
        assert refused.status_now == status
        assert refused.allowed_actions is not None


def test_while_a_failed_step_blocks_no_other_is_run_or_judged(ground: Ground):
    step = ground.executed(3)
    other = ground.step(ground.of(step), 2)
    ground.run(run_step, other.id)
    ground.execute(other, AUTH)
    for verb, thing in ((run_step, ground.step(ground.of(step), 3)), (retry_step, step)):
        with pytest.raises(Conflict, match="blocked by step 2") as refused:
            ground.run(verb, thing.id)
        assert "retry_latest" in (refused.value.allowed_actions or ())
    with pytest.raises(Conflict, match="blocked"):
        ground.run(run_qa, step.id)
    assert ground.run(approve_step, step.id).status == "completed"


def test_a_branch_that_diverged_during_a_pause_blocks_after_it(ground: Ground):
    protocol = in_status(ground, "running")
    ground.run(open_pr, protocol.id)
    claim = ground.claim(protocol.id, JobKind.OPEN_PR)
    ground.run(pause_protocol, protocol.id)
    story = ground.news(protocol.id, lambda: ground.end(claim, Failed(category=Category.DIVERGED, message="pushed")))
    assert story == ["job_failed", "diverged"]
    assert ground.run(resume_protocol, protocol.id).reason is Reason.DIVERGED


def test_a_publishing_that_succeeds_during_a_pause_is_no_cause_after_it(ground: Ground):
    protocol = in_status(ground, "running")
    ground.run(open_pr, protocol.id)
    ground.end(ground.claim(protocol.id, JobKind.OPEN_PR), AUTH)
    ground.run(open_pr, protocol.id)
    claim = ground.claim(protocol.id, JobKind.OPEN_PR)
    ground.run(pause_protocol, protocol.id)
    ground.end(claim, _published())
    assert ground.run(resume_protocol, protocol.id).status is ProtocolStatus.RUNNING


def test_a_step_that_is_run_ends_the_wait_for_the_merge(ground: Ground):
    protocol = ground.planned(1, completion="merge", progression="auto")
    step = ground.step(protocol, 1)
    ground.execute(step)
    ground.sql("UPDATE protocol_runs SET pr_number = 7, pr_state = 'open' WHERE id = ?", step.protocol_id)
    ground.run(approve_step, step.id)
    ground.run(add_step, step.protocol_id, step_name="one more")
    now = ground.of(step)
    assert (now.phase, len(ground.open_jobs(now.id, JobKind.EXECUTE))) == (None, 1)


def test_the_reason_of_a_block_follows_what_is_left_of_it(ground: Ground):
    step = ground.executed(2)
    other = ground.step(ground.of(step), 2)
    ground.run(run_step, other.id)
    ground.run(run_qa, step.id)
    qa, execution = ground.claim(step.protocol_id, JobKind.QA), ground.claim(step.protocol_id, JobKind.EXECUTE)
    ground.end(qa, AUTH)
    ground.end(execution, AUTH)
    assert ground.of(step).reason is Reason.QA_UNAVAILABLE
    ground.run(approve_step, step.id)
    assert ground.of(step).reason is Reason.STEP_FAILED


def test_skipping_the_last_step_of_a_plan_that_was_never_run_waits_for_the_merge_too(ground: Ground):
    protocol = ground.planned(1, completion="merge")
    ground.sql("UPDATE protocol_runs SET pr_number = 7, pr_state = 'open' WHERE id = ?", protocol.id)
    ground.run(skip_step, ground.step(protocol, 1).id, reason="no need")
    assert ground.protocol(protocol.id).phase is Phase.AWAITING_MERGE
