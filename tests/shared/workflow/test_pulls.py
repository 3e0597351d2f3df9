"""What becomes of a protocol when its PR is opened, merged, closed or reopened, and when somebody moves its branch."""

import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from shared.errors import Category, Conflict, PreconditionFailed
from shared.schemas.records import Protocol
from shared.schemas.reports import Failed, Lost
from shared.schemas.statuses import JobKind, Phase, ProtocolStatus, Provider, PullState, Reason
from shared.states.protocol import allowed_actions
from shared.workflow.jobs import note_commit
from shared.workflow.protocols import (
    approve_plan,
    cancel_protocol,
    open_pr,
    pause_protocol,
    resume_protocol,
    unblock_protocol,
)
from shared.workflow.pulls import adopt_branch, reset_branch
from shared.workflow.steps import approve_step, cancel_step, run_qa, run_step, skip_step
from tests.shared.workflow.forge_ground import FAIL, REPO, ForgeGround
from tests.shared.workflow.ground import WORKER

STRANGE = "e" * 40
STRANGER = "d" * 40


@pytest.fixture
def ground() -> ForgeGround:
    return ForgeGround()


def stand(ground: ForgeGround, protocol: Protocol) -> tuple[Any, ...]:
    now = ground.protocol(protocol.id)
    return (now.status, now.reason)


# whose PR it is


def test_an_open_pr_of_our_branch_is_taken_as_ours(ground: ForgeGround):
    protocol = ground.planned_here()
    story = ground.news(protocol.id, lambda: ground.deliver(ground.pull_word(protocol)))
    now = ground.protocol(protocol.id)
    assert (now.pr_number, now.pr_state, now.pr_at) == (5, PullState.OPEN, ground.now)
    assert story == ["pr_opened", "delivery_applied"]


@pytest.mark.parametrize(
    "change",
    [
        {"branch": "main"},
        {"base": "release"},
        {"state": PullState.MERGED, "sha": STRANGE},
        {"state": PullState.CLOSED, "sha": None},
    ],
    ids=str,
)
def test_a_pr_that_is_not_ours_changes_nothing(ground: ForgeGround, change: dict[str, Any]):
    protocol = ground.planned_here()
    assert ground.deliver(replace(ground.pull_word(protocol), **change)).status == "ignored"
    assert ground.protocol(protocol.id) == protocol


def test_a_second_pr_of_our_branch_is_not_ours_until_ours_is_closed(ground: ForgeGround):
    protocol = ground.with_pull(ground.planned_here())
    second = ground.pull_word(protocol, number=6)
    assert ground.deliver(second).reason == "other_request"
    ground.deliver(ground.pull_word(protocol, "closed"))
    assert stand(ground, protocol) == ("blocked", Reason.PR_CLOSED)
    ground.deliver(second)
    assert ground.protocol(protocol.id).pr_number == 6
    assert stand(ground, protocol) == ("planned", None)


# merged, closed, reopened


@pytest.mark.parametrize(("provider", "event"), [(Provider.GITHUB, "pr_merged"), (Provider.GITLAB, "mr_merged")])
def test_a_merge_completes_the_protocol_once(provider: Provider, event: str):
    ground = ForgeGround(provider=provider)
    repository = replace(REPO, host=f"{provider}.com")
    step = ground.executed_here(2)
    protocol = ground.of(step)
    ground.deliver(ground.pull_word(protocol), repository=repository)
    ground.wait(1)
    merged = ground.pull_word(protocol, "merged", merge_sha=STRANGE)
    story = ground.news(
        protocol.id, lambda: [ground.deliver(merged, repository=repository, seen=[merged]) for _ in range(2)]
    )
    assert stand(ground, protocol) == ("completed", Reason.MERGED)
    assert story.count(event) == 1
    assert story.count("protocol_completed running>completed") == 1
    assert story.count("step_cancelled needs_qa>cancelled") == 1


def test_a_merge_is_believed_without_an_earlier_word_where_its_head_is_ours(ground: ForgeGround):
    protocol = ground.planned_here()
    ground.deliver(ground.pull_word(protocol, "merged"))
    assert stand(ground, protocol) == ("completed", Reason.MERGED)


def test_what_the_forge_says_itself_counts_more_than_the_delivery(ground: ForgeGround):
    protocol = ground.with_pull(ground.planned_here())
    ground.wait(1)
    still_open = ground.pull_word(protocol)
    ground.deliver(ground.pull_word(protocol, "merged"), seen=[still_open])
    assert stand(ground, protocol) == ("planned", None)


def test_a_merge_ends_a_paused_and_a_blocked_protocol_and_stops_their_work(ground: ForgeGround):
    for prepare in (pause, block):
        protocol = ground.with_pull(ground.planned_here(2), number=ground.number + 10)
        claim = running(ground, protocol)
        prepare(ground, protocol)
        ground.wait(1)
        number = ground.protocol(protocol.id).pr_number
        ground.deliver(ground.pull_word(protocol, "merged", number=number))
        assert stand(ground, protocol) == ("completed", Reason.MERGED)
        assert ground.job(claim.job.id).stop == "cancel"
        assert ground.open_jobs(protocol.id, JobKind.OPEN_PR) == [], "the branch may be gone: it is not pushed again"


def pause(ground: ForgeGround, protocol: Protocol) -> None:
    ground.run(pause_protocol, protocol.id)


def block(ground: ForgeGround, protocol: Protocol) -> None:
    ground.deliver(ground.branch_word(protocol, STRANGE), seen=[ground.branch_word(protocol, STRANGE)])


def running(ground: ForgeGround, protocol: Protocol) -> Any:
    ground.run(run_step, ground.step(protocol, 1).id)
    return ground.claim(protocol.id, JobKind.EXECUTE)


def test_a_merge_after_the_end_is_told_and_changes_nothing(ground: ForgeGround):
    protocol = ground.with_pull(ground.planned_here())
    ground.run(cancel_protocol, protocol.id)
    ground.wait(1)
    story = ground.news(protocol.id, lambda: ground.deliver(ground.pull_word(protocol, "merged")))
    assert (stand(ground, protocol), story) == (("cancelled", Reason.OPERATOR), ["pr_merged", "delivery_applied"])
    assert all(event.metadata["after_terminal"] for event in ground.events(protocol.id)[-2:])


def test_a_closed_pr_blocks_and_reopening_heals(ground: ForgeGround):
    protocol = ground.with_pull(ground.planned_here())
    ground.wait(1)
    story = ground.news(protocol.id, lambda: ground.deliver(ground.pull_word(protocol, "closed")))
    assert (stand(ground, protocol), story[0]) == (("blocked", Reason.PR_CLOSED), "pr_closed planned>blocked")
    ground.wait(1)
    story = ground.news(protocol.id, lambda: ground.deliver(ground.pull_word(protocol)))
    assert stand(ground, protocol) == ("planned", None)
    assert story[:2] == ["pr_reopened", "protocol_unblocked blocked>planned"]


def test_a_pr_closed_during_a_pause_is_told_when_it_goes_on_unless_it_was_reopened(ground: ForgeGround):
    protocol = ground.with_pull(ground.planned_here())
    ground.run(pause_protocol, protocol.id)
    ground.deliver(ground.pull_word(protocol, "closed"))
    assert stand(ground, protocol) == ("paused", Reason.PR_CLOSED)
    ground.wait(1)
    ground.deliver(ground.pull_word(protocol))
    assert stand(ground, protocol) == ("paused", Reason.OPERATOR)
    ground.wait(1)
    ground.deliver(ground.pull_word(protocol, "closed"))
    ground.run(resume_protocol, protocol.id)
    assert stand(ground, protocol) == ("blocked", Reason.PR_CLOSED)
    ground.run(unblock_protocol, protocol.id)
    assert stand(ground, protocol) == ("planned", None)


def test_a_closed_pr_does_not_hide_that_the_branch_was_moved(ground: ForgeGround):
    protocol = ground.with_pull(ground.planned_here())
    block(ground, protocol)
    ground.deliver(ground.pull_word(protocol, "closed"))
    assert stand(ground, protocol) == ("blocked", Reason.DIVERGED)
    assert ground.protocol(protocol.id).pr_state is PullState.CLOSED


def test_a_plan_that_waits_for_its_approval_still_does_after_the_pr_was_closed_and_reopened(ground: ForgeGround):
    protocol = ground.with_pull(ground.planned_here(plan_approval=True))
    for state in ("closed", "open"):
        ground.wait(1)
        ground.deliver(ground.pull_word(protocol, state))
    now = ground.protocol(protocol.id)
    assert (now.status, now.phase) == (ProtocolStatus.PLANNED, Phase.AWAITING_PLAN_APPROVAL)
    assert ground.run(approve_plan, protocol.id).phase is None


def test_words_about_one_pr_end_the_same_in_any_order(ground: ForgeGround):
    ends: set[str] = set()
    for order in itertools.permutations(range(4)):
        protocol = ground.planned_here()
        number = 100 + ground.number
        states = [("open", 1), ("closed", 2), ("open", 3), ("merged", 4)]
        words = [ground.pull_word(protocol, state, at=ground.now + at, number=number) for state, at in states]
        for index in (*order, order[1]):
            ground.deliver(words[index])
        now = ground.protocol(protocol.id)
        ends.add(f"{now.status} {now.reason} {now.pr_state} {ground.story(protocol.id).count('pr_merged')}")
    assert ends == {"completed merged merged 1"}


@pytest.mark.parametrize("last", ["closed", "open"])
def test_the_newest_word_counts_and_not_the_last_to_come(ground: ForgeGround, last: str):
    other = "open" if last == "closed" else "closed"
    protocol = ground.with_pull(ground.planned_here())
    ground.deliver(ground.pull_word(protocol, last, at=ground.now + 20))
    ground.deliver(ground.pull_word(protocol, other, at=ground.now + 10))
    assert ground.protocol(protocol.id).pr_state == last


def test_with_completion_by_merge_the_merge_is_waited_for(ground: ForgeGround):
    step = ground.executed_here(completion="merge")
    protocol = ground.with_pull(ground.of(step))
    ground.run(approve_step, step.id)
    assert ground.protocol(protocol.id).phase is Phase.AWAITING_MERGE
    ground.wait(1)
    ground.deliver(ground.pull_word(protocol, "merged"))
    assert stand(ground, protocol) == ("completed", Reason.MERGED)
    assert ground.fresh(step).status == "completed"


# the branch


@pytest.mark.parametrize("whose", ["head_sha", "start_sha", None])
def test_a_move_to_a_commit_of_ours_or_a_deletion_changes_nothing(ground: ForgeGround, whose: str | None):
    protocol = ground.planned_here()
    word = ground.branch_word(protocol, getattr(protocol, whose) if whose else None)
    told = ground.deliver(word, seen=[word])
    assert (told.status, told.effect) == ("applied", "nothing new")
    assert ground.protocol(protocol.id) == protocol


def test_a_push_of_a_stranger_is_believed_when_the_origin_was_looked_at(ground: ForgeGround):
    protocol = ground.planned_here()
    ground.deliver(ground.branch_word(protocol, STRANGE))
    assert ground.protocol(protocol.id) == protocol
    ground.deliver(ground.branch_word(protocol, STRANGE), seen=[ground.branch_word(protocol, protocol.head_sha)])
    assert ground.protocol(protocol.id) == protocol
    told = ground.deliver(ground.branch_word(protocol, STRANGE), seen=[ground.branch_word(protocol, STRANGER)])
    assert (told.effect, ground.protocol(protocol.id).diverged_sha) == ("diverged", STRANGER)
    assert stand(ground, protocol) == ("blocked", Reason.DIVERGED)
    again = ground.deliver(ground.branch_word(protocol, STRANGER), seen=[ground.branch_word(protocol, STRANGER)])
    assert (again.effect, ground.story(protocol.id).count("diverged planned>blocked")) == ("nothing new", 1)


def test_a_pr_whose_head_is_a_strangers_tells_of_the_branch_too(ground: ForgeGround):
    protocol = ground.with_pull(ground.planned_here())
    ground.wait(1)
    ground.deliver(ground.pull_word(protocol, sha=STRANGE), seen=[ground.branch_word(protocol, STRANGE)])
    assert stand(ground, protocol) == ("blocked", Reason.DIVERGED)


@pytest.mark.parametrize("choice", ["adopt", "reset"])
def test_what_a_cancelled_steps_attempt_had_pushed_is_adopted_or_given_up_by_a_person(ground: ForgeGround, choice: str):
    protocol = ground.planned_here(2)
    claim = running(ground, protocol)
    head, pushed = ground.protocol(protocol.id).head_sha, ground.branch_word(protocol, STRANGE)
    assert ground.run_as(WORKER, note_commit, claim.job.id, claim.job.token, STRANGE, ground.executed_well())
    ground.end(claim, Lost(message="dead"))
    ground.run(cancel_step, claim.step.id)
    ground.deliver(pushed, seen=[pushed])
    assert stand(ground, protocol) == ("running", None)
    ground.run(open_pr, protocol.id)
    ground.end(ground.claim(protocol.id, JobKind.OPEN_PR), Failed(category=Category.DIVERGED, message="not there"))
    assert stand(ground, protocol) == ("blocked", Reason.DIVERGED)
    ground.sync(protocol.id, ground.branch_word(protocol, head))
    assert ground.protocol(protocol.id).diverged_sha is None
    ground.sync(protocol.id, pushed)
    assert ground.protocol(protocol.id).diverged_sha == STRANGE
    if choice == "adopt":
        assert ground.run(adopt_branch, protocol.id, STRANGE).head_sha == STRANGE
    else:
        assert ground.run(reset_branch, protocol.id).payload == {"reset": STRANGE}
        ground.publish(protocol.id)
    assert stand(ground, protocol) == ("running", None)


def test_only_a_diverged_protocol_is_adopted_or_reset(ground: ForgeGround):
    protocol = ground.planned_here()
    for verb, more in ((adopt_branch, [STRANGE]), (reset_branch, [])):
        with pytest.raises(Conflict) as refused:
            ground.run(verb, protocol.id, *more)
        assert not {"adopt", "reset"} & set(refused.value.allowed_actions)
    block(ground, protocol)
    now = ground.protocol(protocol.id)
    assert {"adopt", "reset"} <= set(allowed_actions(now.status, now.phase, now.reason))


def test_what_somebody_else_pushed_is_adopted_and_judged_anew(ground: ForgeGround):
    step = ground.executed_here(2, ci_settle_s=0, auto_qa_after_exec=True)
    claim = ground.claim(step.protocol_id, JobKind.QA)
    ground.deliver(ground.ci_word(step.head_sha))
    block(ground, ground.of(step))
    ground.run(adopt_branch, step.protocol_id, STRANGE)
    now, run = ground.fresh(step), ground.of(step)
    assert (run.status, run.head_sha, run.pushed_sha, run.diverged_sha) == ("running", STRANGE, STRANGE, None)
    assert (now.status, now.head_sha, now.phase) == ("needs_qa", STRANGE, Phase.QA_QUEUED)
    assert (ground.job(claim.job.id).stop, ground.ci_state(step)) == ("cancel", None)
    (adopted,) = [event for event in ground.events(run.id) if event.event_type == "branch_adopted"]
    assert (adopted.actor, adopted.metadata) == ("alice", {"sha": STRANGE, "before": step.head_sha})
    assert ground.only_job(run.id, JobKind.SYNC).run_at == ground.now
    ground.deliver(ground.ci_word(STRANGE, FAIL))
    assert (ground.fresh(step).status, ground.fresh(step).reason) == ("failed", Reason.CI_FAILED)


def test_a_step_that_the_ci_failed_recovers_on_the_fix_that_somebody_pushed(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0)
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    block(ground, ground.of(step))
    ground.run(adopt_branch, step.protocol_id, STRANGE)
    assert stand(ground, ground.of(step)) == ("blocked", Reason.STEP_FAILED)
    ground.deliver(ground.ci_word(STRANGE))
    assert (ground.fresh(step).status, ground.of(step).status) == ("needs_qa", "running")


def test_completed_steps_stay_when_a_branch_is_adopted(ground: ForgeGround):
    step = ground.executed_here(2)
    ground.run(approve_step, step.id)
    before = ground.fresh(step)
    block(ground, ground.of(step))
    ground.run(adopt_branch, step.protocol_id, STRANGE)
    assert ground.fresh(step) == before


@pytest.mark.parametrize(("verb", "more"), [(adopt_branch, [STRANGE]), (reset_branch, [])])
def test_the_branch_is_left_alone_while_something_of_ours_writes_on_it(ground: ForgeGround, verb: Any, more: list[str]):
    protocol = ground.planned_here()
    running(ground, protocol)
    block(ground, protocol)
    with pytest.raises(Conflict, match="still works") as refused:
        ground.run(verb, protocol.id, *more)
    assert refused.value.type == "branch-busy"


def test_a_branch_is_reset_from_just_the_commit_that_was_seen(ground: ForgeGround):
    protocol = ground.planned_here()
    block(ground, protocol)
    job = ground.run(reset_branch, protocol.id)
    assert (job.kind, job.payload) == (JobKind.OPEN_PR, {"reset": STRANGE})
    assert stand(ground, protocol) == ("blocked", Reason.DIVERGED)
    with pytest.raises(Conflict, match="being reset already"):
        ground.run(reset_branch, protocol.id)
    ground.publish(protocol.id)
    assert stand(ground, protocol) == ("planned", None)
    assert ground.protocol(protocol.id).diverged_sha is None


def test_a_reset_takes_the_place_of_a_push_that_could_only_fail(ground: ForgeGround):
    protocol = ground.planned_here()
    ground.run(open_pr, protocol.id)
    block(ground, protocol)
    job = ground.run(reset_branch, protocol.id)
    assert [each.id for each in ground.open_jobs(protocol.id, JobKind.OPEN_PR)] == [job.id]


def test_a_reset_that_found_another_commit_leaves_it_diverged(ground: ForgeGround):
    protocol = ground.planned_here()
    block(ground, protocol)
    ground.run(reset_branch, protocol.id)
    ground.end(ground.claim(protocol.id, JobKind.OPEN_PR), Failed(category=Category.DIVERGED, message="moved again"))
    assert stand(ground, protocol) == ("blocked", Reason.DIVERGED)


# publishing by itself


def published(ground: ForgeGround, protocol: Protocol) -> int:
    """How many publish jobs wait; they are done, and leave a PR open."""
    waiting = ground.open_jobs(protocol.id, JobKind.OPEN_PR)
    for _ in waiting:
        ground.wait(1)
        ground.publish(protocol.id, pull=ground.pull_word(ground.protocol(protocol.id), draft=True), comment="c1")
    return len(waiting)


def test_the_plan_opens_the_pr_and_each_settled_step_and_the_end_bring_it_up_to_date(ground: ForgeGround):
    protocol = ground.planned_here(2, open_pr="planned")
    assert published(ground, protocol) == 1
    now = ground.protocol(protocol.id)
    assert (now.pr_number, now.pr_state, now.pr_comment) == (5, PullState.OPEN, "c1")
    step = ground.step(protocol, 1)
    ground.run(run_step, step.id)
    ground.execute(step)
    assert published(ground, protocol) == 1
    ground.run(approve_step, step.id)
    ground.run(skip_step, ground.step(protocol, 2).id, reason="no need")
    assert stand(ground, protocol) == ("completed", Reason.STEPS_DONE)
    assert published(ground, protocol) == 1, "one that waits tells it all"


def test_a_block_and_its_end_are_told_in_the_pr(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0)
    protocol = ground.with_pull(ground.of(step))
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    assert published(ground, protocol) == 1
    ground.wait(1)
    ground.deliver(ground.ci_word(step.head_sha))
    assert published(ground, protocol) == 1


def test_a_branch_that_was_moved_is_not_pushed_for_the_pr(ground: ForgeGround):
    protocol = ground.with_pull(ground.planned_here())
    block(ground, protocol)
    assert published(ground, protocol) == 0


@pytest.mark.parametrize(("open_pr", "planned", "done"), [("planned", 1, 0), ("steps_done", 0, 1), ("asked", 0, 0)])
def test_when_the_pr_is_opened_is_the_policys(ground: ForgeGround, open_pr: str, planned: int, done: int):
    step = ground.step(ground.planned_here(open_pr=open_pr), 1)
    protocol = ground.of(step)
    assert len(ground.open_jobs(protocol.id, JobKind.OPEN_PR)) == planned
    if planned:
        ground.publish(protocol.id)
    ground.run(run_step, step.id)
    ground.execute(step)
    ground.run(approve_step, step.id)
    assert len(ground.open_jobs(protocol.id, JobKind.OPEN_PR)) == done


@pytest.mark.parametrize("project", [{"git_url": "https://example.org/x/y"}, {}])
def test_without_a_forge_nothing_is_published_by_itself(ground: ForgeGround, project: dict[str, Any]):
    plain = ground.project("plain", **project)
    step = ground.step(ground.planned(1, project=plain), 1)
    ground.run(run_step, step.id)
    ground.execute(step)
    ground.run(approve_step, step.id)
    assert ground.open_jobs(step.protocol_id) == []


@pytest.mark.parametrize("open_pr", ["planned", "steps_done"])
def test_without_a_token_completion_by_merge_completes_with_the_steps(ground: ForgeGround, open_pr: str):
    step = ground.step(ground.planned_here(open_pr=open_pr, completion="merge"), 1)
    ground.run(run_step, step.id)
    ground.execute(step)
    ground.run(approve_step, step.id)
    assert ground.of(step).phase is Phase.AWAITING_MERGE
    ground.publish(step.protocol_id, note="no token", pushed=True)
    assert stand(ground, ground.of(step)) == ("completed", Reason.STEPS_DONE)


def test_a_pr_is_said_to_be_ready_once(ground: ForgeGround):
    step = ground.executed_here(open_pr="planned", completion="merge")
    protocol = ground.of(step)
    ground.publish(protocol.id, pull=ground.pull_word(protocol, draft=True))
    ground.run(run_qa, step.id)
    ground.judge(step)
    for at in (1, 2):
        if at == 2:
            ground.run(open_pr, protocol.id)
        ground.publish(protocol.id, pull=ground.pull_word(protocol, at=ground.now + at))
    assert ground.story(protocol.id).count("pr_ready") == 1
    assert ground.story(protocol.id).count("pr_opened") == 1


def test_only_what_was_seen_there_is_adopted(ground: ForgeGround):
    step = ground.executed_here()
    block(ground, ground.of(step))
    with pytest.raises(PreconditionFailed, match=STRANGE):
        ground.run(adopt_branch, step.protocol_id, STRANGER)
    assert stand(ground, ground.of(step)) == ("blocked", Reason.DIVERGED)


def test_a_divergence_that_only_the_push_found_is_looked_at_before_it_is_adopted(ground: ForgeGround):
    step = ground.executed_here()
    ground.run(open_pr, step.protocol_id)
    claim = ground.claim(step.protocol_id, JobKind.OPEN_PR)
    ground.end(claim, Failed(category=Category.DIVERGED, message="It moved."))
    with pytest.raises(PreconditionFailed, match="sync"):
        ground.run(adopt_branch, step.protocol_id, STRANGE)
    assert ground.only_job(step.protocol_id, JobKind.SYNC).run_at == ground.now
