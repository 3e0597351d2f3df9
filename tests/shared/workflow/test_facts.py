"""What the CI says of a commit: facts, the gate, and what becomes of the step and its protocol."""

import itertools
from typing import Any

import pytest

from shared.errors import Category
from shared.schemas.reports import DeliveryDone, Failed
from shared.schemas.statuses import JobKind, Outcome, Phase, ProtocolStatus, Provider, Reason
from shared.workflow.jobs import claim_job, note_commit
from shared.workflow.protocols import cancel_protocol, pause_protocol, resume_protocol, unblock_protocol
from shared.workflow.steps import approve_step, run_qa, run_step
from shared.workflow.unit import Rules
from tests.shared.workflow.forge_ground import FAIL, PASS, REPO, RUNNING, ForgeGround
from tests.shared.workflow.ground import WORKER

CI_FAILED = ("failed", Reason.CI_FAILED, "blocked", Reason.STEP_FAILED)


@pytest.fixture
def ground() -> ForgeGround:
    return ForgeGround()


def stand(ground: ForgeGround, step: Any) -> tuple[Any, ...]:
    now, run = ground.fresh(step), ground.of(step)
    return (now.status, now.reason, run.status, run.reason)


# from fact to status


def test_red_ci_fails_the_step_and_blocks_its_protocol_once_it_is_settled(ground: ForgeGround):
    step = ground.executed_here()
    told = ground.deliver(ground.ci_word(step.head_sha, FAIL))
    assert (told.status, told.effect, told.step_id) == ("applied", "build: fail", step.id)
    assert (ground.ci_state(step), ground.fresh(step).status) == ("pending", "needs_qa")
    job = ground.only_job(step.protocol_id, JobKind.SYNC)
    assert job.run_at == ground.now + 60_000
    story = ground.news(step.protocol_id, lambda: ground.settle(step.protocol_id))
    assert stand(ground, step) == CI_FAILED
    assert story == [
        "gate_updated",
        "ci_failed",
        "step_failed needs_qa>failed",
        "protocol_blocked running>blocked",
    ]


def test_without_a_window_red_is_decided_by_the_delivery(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0)
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    assert stand(ground, step) == CI_FAILED
    assert ground.open_jobs(step.protocol_id) == []


def test_green_ci_is_advice_unless_the_policy_says_more(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0)
    ground.deliver(ground.ci_word(step.head_sha))
    assert (ground.ci_state(step), ground.fresh(step).status) == ("passed", "needs_qa")
    ground.run(run_qa, step.id)
    ground.judge(step)
    assert ground.fresh(step).status == "completed"


def test_required_contexts_that_are_green_count_at_once_and_let_qa_complete(ground: ForgeGround):
    step = ground.executed_here(required_contexts=["build", "lint"])
    assert ground.ci_state(step) == "pending"
    ground.run(run_qa, step.id)
    ground.judge(step)
    ground.deliver(ground.ci_word(step.head_sha))
    assert ground.fresh(step).status == "needs_qa"
    ground.deliver(ground.ci_word(step.head_sha, name="lint"))
    assert (ground.fresh(step).status, ground.of(step).status) == ("completed", "completed")


def test_green_ci_alone_completes_a_step_where_the_policy_says_so(ground: ForgeGround):
    step = ground.executed_here(ci_completes_step=True)
    ground.deliver(ground.ci_word(step.head_sha))
    assert ground.fresh(step).status == "needs_qa"
    ground.settle(step.protocol_id)
    assert stand(ground, step) == ("completed", Reason.GATES_PASSED, "completed", Reason.STEPS_DONE)


@pytest.mark.parametrize("outcome", [Outcome.NO_VERDICT, Outcome.UNKNOWN, Outcome.SOFT_PASS])
def test_what_is_no_verdict_is_shown_and_decides_nothing(ground: ForgeGround, outcome: Outcome):
    step = ground.executed_here(ci_completes_step=True)
    ground.deliver(ground.ci_word(step.head_sha, outcome))
    ground.settle(step.protocol_id)
    assert (ground.ci_state(step), ground.fresh(step).status) == ("inconclusive", "needs_qa")


def test_a_workflow_that_waits_for_an_approval_fails_nothing(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0)
    ground.deliver(ground.ci_word(step.head_sha, Outcome.WAITING_HUMAN))
    gate = ground.ci(step)
    assert gate is not None
    assert (gate.state, stand(ground, step)[::2]) == ("pending", ("needs_qa", "running"))
    assert "waits for a person" in gate.summary


@pytest.mark.parametrize("qa", [False, True])
def test_a_late_running_moves_nothing_back(ground: ForgeGround, qa: bool):
    step = ground.executed_here(ci_settle_s=0, ci_completes_step=not qa)
    ground.deliver(ground.ci_word(step.head_sha))
    if qa:
        ground.run(run_qa, step.id)
        ground.judge(step)
    assert ground.fresh(step).status == "completed"
    ground.wait(5)
    ground.deliver(ground.ci_word(step.head_sha, RUNNING))
    assert stand(ground, step) == ("completed", Reason.GATES_PASSED, "completed", Reason.STEPS_DONE)


def test_green_on_a_step_that_was_never_run_completes_nothing(ground: ForgeGround):
    protocol = ground.planned_here(2, ci_settle_s=0, ci_completes_step=True)
    ground.deliver(ground.ci_word(protocol.head_sha))
    ground.deliver(ground.ci_word(protocol.start_sha))
    assert [ground.step(protocol, index).status for index in (1, 2)] == ["pending", "pending"]
    assert ground.protocol(protocol.id).status is ProtocolStatus.PLANNED


def test_a_check_on_an_older_commit_changes_nothing(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0, auto_fix=1)
    old = step.head_sha
    ground.deliver(ground.ci_word(old, FAIL))
    ground.execute(step)
    ground.wait(1)
    ground.deliver(ground.ci_word(old, PASS))
    ground.deliver(ground.ci_word(old, FAIL, "late"))
    assert (ground.ci_state(step), ground.fresh(step).status) == (None, "needs_qa")


def test_the_first_green_of_several_checks_is_no_verdict(ground: ForgeGround):
    step = ground.executed_here(ci_completes_step=True)
    ground.deliver(ground.ci_word(step.head_sha, RUNNING, "test"))
    ground.deliver(ground.ci_word(step.head_sha, PASS, "lint"))
    ground.wait(3600)
    assert ground.due() == []
    ground.deliver(ground.ci_word(step.head_sha, FAIL, "test"))
    ground.settle(step.protocol_id)
    assert stand(ground, step) == CI_FAILED


def test_a_gate_says_an_event_only_when_it_changes(ground: ForgeGround):
    step = ground.executed_here()
    story = ground.news(
        step.protocol_id,
        lambda: [ground.deliver(ground.ci_word(step.head_sha, RUNNING, name)) for name in ("a", "b", "a")],
    )
    assert story.count("gate_updated") == 1
    gate = ground.ci(step)
    assert gate is not None
    assert [each["name"] for each in gate.evidence["contexts"]] == ["a", "b"]


# when it comes


def test_what_came_before_the_execution_was_accepted_counts(ground: ForgeGround):
    step = ground.step(ground.planned_here(ci_settle_s=0), 1)
    ground.run(run_step, step.id)
    (job,) = ground.open_jobs(step.protocol_id)
    claim = ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
    assert claim is not None
    report = ground.executed_well()
    ground.run_as(WORKER, note_commit, job.id, claim.job.token, report.head_sha or "", report)
    assert ground.deliver(ground.ci_word(report.head_sha, FAIL)).status == "applied"
    assert ground.fresh(step).status == "running"
    ground.end(claim, report)
    assert stand(ground, step) == CI_FAILED


def test_while_paused_red_is_decided_and_a_repair_waits(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0, auto_fix=1)
    ground.run(pause_protocol, step.protocol_id)
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    assert ground.fresh(step).status == "needs_qa"
    ground.run(resume_protocol, step.protocol_id)
    assert (ground.fresh(step).status, ground.fresh(step).repairs) == ("pending", 1)


def test_after_the_end_a_fact_changes_nothing_and_says_so(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0)
    ground.run(cancel_protocol, step.protocol_id)
    told = ground.deliver(ground.ci_word(step.head_sha, FAIL))
    assert stand(ground, step)[::2] == ("cancelled", "cancelled")
    assert (told.status, ground.ci_state(step)) == ("applied", None)
    last = ground.events(step.protocol_id)[-1]
    assert (last.event_type, last.metadata["after_terminal"]) == ("delivery_applied", True)


def test_a_delivery_that_cannot_be_read_is_ignored_with_the_reason(ground: ForgeGround):
    ground.deliver(ground.ci_word("a" * 40))
    ground.sql("UPDATE deliveries SET status = 'received'")
    ground.sql("UPDATE jobs SET state = 'queued', finished_at = NULL WHERE kind = 'process_delivery'")
    (job,) = ground.tx.rows("SELECT id, dispatch FROM jobs WHERE kind = 'process_delivery'")
    claim = ground.run_as(WORKER, claim_job, job["id"], job["dispatch"], "w1")
    assert claim is not None
    ground.end(claim, DeliveryDone(said=None, reason="not JSON"))
    assert ground.sql("SELECT status, reason FROM deliveries") == [{"status": "ignored", "reason": "not JSON"}]


def test_red_ci_is_the_reason_of_a_protocol_that_was_blocked_because_qa_could_not_be_run(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0)
    ground.run(run_qa, step.id)
    ground.end(ground.claim(step.protocol_id, JobKind.QA), Failed(category=Category.AUTH, message="no key"))
    assert ground.of(step).reason is Reason.QA_UNAVAILABLE
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    assert stand(ground, step) == CI_FAILED


# recovery


def test_a_green_re_run_on_the_same_commit_heals_the_step_and_its_protocol(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0)
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    ground.wait(1)
    ground.deliver(ground.ci_word(step.head_sha, RUNNING, run_attempt=2))
    assert stand(ground, step) == CI_FAILED
    story = ground.news(step.protocol_id, lambda: ground.deliver(ground.ci_word(step.head_sha, PASS, run_attempt=2)))
    assert stand(ground, step) == ("needs_qa", None, "running", None)
    assert story[:3] == ["gate_updated", "ci_recovered failed>needs_qa", "protocol_unblocked blocked>running"]


def test_a_step_that_failed_for_something_else_is_not_healed_by_the_ci(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0)
    ground.run(run_qa, step.id)
    ground.judge(step, "fail")
    ground.deliver(ground.ci_word(step.head_sha))
    assert stand(ground, step) == ("failed", Reason.QA_FAILED, "blocked", Reason.STEP_FAILED)


def test_red_on_what_is_completed_blocks_and_green_heals(ground: ForgeGround):
    step = ground.executed_here(2, ci_settle_s=0)
    ground.run(approve_step, step.id)
    story = ground.news(step.protocol_id, lambda: ground.deliver(ground.ci_word(step.head_sha, FAIL)))
    assert stand(ground, step) == ("completed", Reason.APPROVED, "blocked", Reason.CI_REGRESSED)
    assert story == ["gate_updated", "ci_regressed running>blocked", "delivery_applied"]
    ground.wait(1)
    ground.deliver(ground.ci_word(step.head_sha, RUNNING))
    assert ground.of(step).status is ProtocolStatus.BLOCKED
    ground.wait(1)
    ground.deliver(ground.ci_word(step.head_sha, PASS))
    assert stand(ground, step)[2:] == ("running", None)


def test_a_regress_is_told_to_a_paused_protocol_when_it_goes_on(ground: ForgeGround):
    step = ground.executed_here(2, ci_settle_s=0)
    ground.run(approve_step, step.id)
    ground.run(pause_protocol, step.protocol_id)
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    assert ground.of(step).reason is Reason.CI_REGRESSED
    assert ground.run(resume_protocol, step.protocol_id).status is ProtocolStatus.BLOCKED
    assert ground.run(unblock_protocol, step.protocol_id).status is ProtocolStatus.RUNNING


def test_a_regress_that_healed_during_the_pause_is_forgotten(ground: ForgeGround):
    step = ground.executed_here(2, ci_settle_s=0)
    ground.run(approve_step, step.id)
    ground.run(pause_protocol, step.protocol_id)
    for outcome in (FAIL, PASS):
        ground.deliver(ground.ci_word(step.head_sha, outcome))
        ground.wait(1)
    assert ground.run(resume_protocol, step.protocol_id).status is ProtocolStatus.RUNNING


def test_red_on_an_older_commit_is_no_regress_where_the_branch_is_green(ground: ForgeGround):
    step = ground.executed_here(2, ci_settle_s=0)
    ground.run(approve_step, step.id)
    after = ground.step(ground.of(step), 2)
    ground.run(run_step, after.id)
    ground.execute(after)
    ground.deliver(ground.ci_word(ground.fresh(after).head_sha))
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    assert ground.of(step).status is ProtocolStatus.RUNNING


def test_who_overrode_red_ci_is_not_stopped_by_it_again(ground: ForgeGround):
    step = ground.executed_here(2, ci_settle_s=0)
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    ground.run(approve_step, step.id, reason="the runner is broken")
    ground.wait(1)
    ground.deliver(ground.ci_word(step.head_sha, RUNNING))
    ground.wait(1)
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    assert stand(ground, step) == ("completed", Reason.OVERRIDDEN, "running", None)


# QA on CI


@pytest.mark.parametrize("after_exec", [False, True])
def test_green_ci_has_the_commit_judged_once(after_exec: bool):
    ground = ForgeGround(Rules(auto_qa_on_ci=True, auto_qa_after_exec=after_exec))
    step = ground.executed_here(ci_settle_s=0)
    for attempt in (1, 2, 3):
        ground.deliver(ground.ci_word(step.head_sha, PASS, run_attempt=attempt))
        ground.deliver(ground.ci_word(step.head_sha, PASS, "lint", run_attempt=attempt))
    ground.end(ground.claim(step.protocol_id, JobKind.QA), ground.verdict(ground.fresh(step), "inconclusive", asks=2))
    ground.deliver(ground.ci_word(step.head_sha, PASS, run_attempt=4))
    assert ground.open_jobs(step.protocol_id) == []
    assert len(ground.sql("SELECT id FROM jobs WHERE kind = 'run_quality_job'")) == 1


def test_green_while_paused_has_it_judged_when_it_goes_on():
    ground = ForgeGround(Rules(auto_qa_on_ci=True))
    step = ground.executed_here(ci_settle_s=0)
    ground.run(pause_protocol, step.protocol_id)
    ground.deliver(ground.ci_word(step.head_sha))
    assert ground.open_jobs(step.protocol_id) == []
    ground.run(resume_protocol, step.protocol_id)
    assert ground.fresh(step).phase is Phase.QA_QUEUED


def test_red_ci_has_nothing_judged():
    ground = ForgeGround(Rules(auto_qa_on_ci=True))
    step = ground.executed_here(ci_settle_s=0)
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    assert ground.open_jobs(step.protocol_id) == []


# repairs


def test_a_red_commit_is_repaired_once_with_what_the_ci_says(ground: ForgeGround):
    step = ground.executed_here(auto_fix=2)
    word = ground.ci_word(step.head_sha, FAIL)
    ground.deliver(word)
    ground.settle(step.protocol_id, logs={word.context: "AssertionError: 1 != 2"})
    now = ground.fresh(step)
    assert (now.status, now.phase, now.repairs, now.repaired_sha) == ("pending", Phase.QUEUED, 1, step.head_sha)
    for part in ("failed: build", "https://ci/build", "AssertionError: 1 != 2"):
        assert part in (now.feedback or "")
    ground.execute(step)
    second = ground.fresh(step)
    ground.deliver(ground.ci_word(second.head_sha, FAIL))
    ground.settle(step.protocol_id)
    assert ground.fresh(step).repairs == 2
    ground.execute(step)
    third = ground.fresh(step)
    word = ground.ci_word(third.head_sha, FAIL)
    ground.deliver(word)
    ground.settle(step.protocol_id, logs={word.context: "x" * 20_000})
    assert stand(ground, step) == CI_FAILED
    gate = ground.ci(step)
    assert gate is not None
    assert gate.evidence["logs"] == {word.context: "x" * 8192}


def test_a_red_commit_that_the_repair_left_as_it_was_is_not_repaired_again(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0, auto_fix=5, allow_no_changes=True)
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    ground.execute(step, ground.executed_well(changed=False, head_sha=step.head_sha))
    assert stand(ground, step) == CI_FAILED
    assert ground.fresh(step).repairs == 1


def test_a_log_stays_with_its_red_context_and_goes_when_that_is_green(ground: ForgeGround):
    step = ground.executed_here()
    word = ground.ci_word(step.head_sha, FAIL)
    ground.deliver(word)
    ground.settle(step.protocol_id, logs={word.context: "boom", "status:other": "not asked for"})
    ground.deliver(ground.ci_word(step.head_sha, PASS, "docs"))
    ground.settle(step.protocol_id)
    gate = ground.ci(step)
    assert gate is not None
    assert gate.evidence["logs"] == {word.context: "boom"}
    ground.deliver(ground.ci_word(step.head_sha, PASS))
    ground.settle(step.protocol_id)
    gate = ground.ci(step)
    assert gate is not None
    assert (gate.state, "logs" in gate.evidence) == ("passed", False)


# the repository


def test_a_repository_is_learned_from_the_forge_and_facts_go_with_it():
    ground = ForgeGround(repository_id=None)
    step = ground.executed_here()
    ground.deliver(ground.ci_word(step.head_sha))
    assert ground.sql("SELECT repository_id FROM facts") == [{"repository_id": ""}]
    ground.settle(step.protocol_id, repository=REPO)
    assert ground.sql("SELECT repository_id FROM projects") == [{"repository_id": "7"}]
    assert ground.sql("SELECT repository_id FROM facts") == [{"repository_id": "7"}]
    assert ground.ci_state(step) == "passed"
    assert ground.sql("SELECT count(*) AS n FROM events WHERE event_type = 'repository_learned'") == [{"n": 1}]


def test_a_ci_report_counts_like_a_delivery():
    ground = ForgeGround()
    step = ground.executed_here(ci_settle_s=0)
    word = ground.ci_word(step.head_sha, FAIL, scope="ci", context="ci:build")
    told = ground.deliver(word, provider=Provider.CI, repository=None, protocol_id=step.protocol_id)
    assert (told.status, stand(ground, step)) == ("applied", CI_FAILED)


def test_a_delivery_that_could_not_be_applied_is_failed(ground: ForgeGround):
    ground.run(cancel_protocol, ground.executed_here().protocol_id)
    ground.deliver(ground.ci_word("a" * 40))
    ground.sql("UPDATE deliveries SET status = 'received'")
    ground.sql("UPDATE jobs SET state = 'queued', finished_at = NULL WHERE kind = 'process_delivery'")
    (job,) = ground.tx.rows("SELECT id, dispatch FROM jobs WHERE kind = 'process_delivery'")
    claim = ground.run_as(WORKER, claim_job, job["id"], job["dispatch"], "w1")
    assert claim is not None
    ground.end(claim, Failed(category=Category.CONFIG, message="no"))
    assert ground.sql("SELECT status FROM deliveries") == [{"status": "failed"}]


def test_every_order_of_red_and_green_of_two_contexts_ends_the_same(ground: ForgeGround):
    ends: set[str] = set()
    said = [(FAIL, "a", 1), (PASS, "a", 2), (RUNNING, "b", 1), (PASS, "b", 1)]
    for order in itertools.permutations(said):
        step = ground.executed_here(ci_completes_step=True)
        for outcome, name, attempt in order:
            ground.deliver(ground.ci_word(step.head_sha, outcome, name, run_attempt=attempt, at=0))
            ground.wait(1)
        ground.settle(step.protocol_id)
        ends.add(f"{ground.ci_state(step)} {stand(ground, step)}")
    assert len(ends) == 1, ends
