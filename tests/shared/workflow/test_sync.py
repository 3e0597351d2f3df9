"""Looking at the forge: queued once, by people, by what only time decides, and for what was not heard of for long."""

from typing import Any

import pytest

from shared.errors import Conflict, NotFound
from shared.schemas.reports import SyncDone
from shared.schemas.statuses import JobKind, Outcome, Reason
from shared.workflow.protocols import cancel_protocol, pause_protocol
from shared.workflow.steps import approve_step
from shared.workflow.sync import queue_sync, sync_due, sync_project, sync_protocol
from shared.workflow.unit import Caller
from tests.shared.workflow.forge_ground import FAIL, PASS, RUNNING, ForgeGround

OLD = 300_000
STRANGE = "e" * 40


@pytest.fixture
def ground() -> ForgeGround:
    return ForgeGround()


def syncs(ground: ForgeGround, protocol_id: int) -> list[int]:
    return [job.run_at - ground.now for job in ground.open_jobs(protocol_id, JobKind.SYNC)]


# queued once


def test_one_that_waits_already_only_comes_sooner(ground: ForgeGround):
    protocol = ground.planned_here()
    for at, expected, rung in ((60, 60, 0), (90, 60, 0), (30, 30, 0), (None, 0, 1), (5, 0, 0)):
        run_at = None if at is None else ground.now + at * 1000
        ground.run(queue_sync, protocol, run_at=run_at)
        assert (syncs(ground, protocol.id), len(ground.rung)) == ([expected * 1000], rung)


def test_one_that_runs_does_not_count(ground: ForgeGround):
    protocol = ground.planned_here()
    ground.run(queue_sync, protocol)
    ground.claim(protocol.id, JobKind.SYNC)
    ground.run(queue_sync, protocol)
    assert len(ground.open_jobs(protocol.id, JobKind.SYNC)) == 2


def test_the_worker_is_told_of_the_steps(ground: ForgeGround):
    step = ground.executed_here(2)
    ground.run(sync_protocol, step.protocol_id)
    claim = ground.claim(step.protocol_id, JobKind.SYNC)
    assert [each.head_sha for each in claim.steps] == [step.head_sha, None]


def test_a_project_is_looked_at_protocol_by_protocol(ground: ForgeGround):
    first, second = ground.planned_here(), ground.planned_here()
    ground.opened(project=ground.home)
    ground.run(cancel_protocol, second.id)
    (job,) = ground.run(sync_project, ground.home.id)
    assert (job.kind, job.protocol_id) == (JobKind.SYNC, first.id)
    assert ground.story(first.id)[-1] == "sync_enqueued"
    with pytest.raises(NotFound):
        ground.run_as(Caller("token", project_id=99), sync_project, ground.home.id)


def test_what_is_over_or_has_no_commit_is_not_looked_at(ground: ForgeGround):
    protocol = ground.opened(project=ground.home)
    with pytest.raises(Conflict, match="no commit yet"):
        ground.run(sync_protocol, protocol.id)
    ground.run(cancel_protocol, protocol.id)
    with pytest.raises(Conflict):
        ground.run(sync_protocol, protocol.id)


# polled


def test_what_waits_for_its_forge_is_polled_when_nothing_was_heard_for_long(ground: ForgeGround):
    step = ground.executed_here()
    assert ground.run(sync_due, OLD) == 1
    assert ground.run(sync_due, OLD) == 0, "one waits"
    ground.end(ground.claim(step.protocol_id, JobKind.SYNC), SyncDone())
    assert ground.run(sync_due, OLD) == 0
    ground.wait(299)
    assert ground.run(sync_due, OLD) == 0
    ground.wait(1)
    assert ground.run(sync_due, OLD) == 1


def test_an_open_pr_is_polled_and_what_waits_for_nothing_is_not(ground: ForgeGround):
    protocol = ground.planned_here()
    assert ground.run(sync_due, OLD) == 0
    ground.with_pull(protocol)
    assert ground.run(sync_due, OLD) == 1
    ground.run(cancel_protocol, protocol.id)
    ground.wait(1000)
    assert ground.run(sync_due, OLD) == 0


@pytest.mark.parametrize("prepare", ["ci_failed", "ci_regressed", "paused"])
def test_what_only_the_forge_can_heal_is_polled_too(ground: ForgeGround, prepare: str):
    step = ground.executed_here(2, ci_settle_s=0)
    if prepare == "ci_regressed":
        ground.run(approve_step, step.id)
    if prepare == "paused":
        ground.run(pause_protocol, step.protocol_id)
    else:
        ground.deliver(ground.ci_word(step.head_sha, FAIL))
    assert ground.run(sync_due, OLD) == 1


def test_a_project_without_a_forge_is_not_polled(ground: ForgeGround):
    ground.executed(1)
    assert ground.run(sync_due, OLD) == 0


# what is seen


def test_a_lost_delivery_only_delays(ground: ForgeGround):
    step = ground.executed_here(ci_completes_step=True)
    ground.deliver(ground.ci_word(step.head_sha, RUNNING))
    ground.wait(1)
    ground.sync(step.protocol_id, ground.ci_word(step.head_sha, PASS))
    assert (ground.ci_state(step), syncs(ground, step.protocol_id)) == ("pending", [60_000])
    ground.settle(step.protocol_id, ground.ci_word(step.head_sha, PASS, at=ground.now))
    assert ground.fresh(step).status == "completed"


def test_a_merge_that_nobody_delivered_is_seen(ground: ForgeGround):
    protocol = ground.with_pull(ground.planned_here())
    ground.wait(1)
    ground.sync(protocol.id, ground.pull_word(protocol, "merged"))
    now = ground.protocol(protocol.id)
    assert (now.status, now.reason) == ("completed", Reason.MERGED)


def test_a_branch_that_somebody_moved_is_seen(ground: ForgeGround):
    protocol = ground.planned_here()
    ground.sync(protocol.id, ground.branch_word(protocol, STRANGE))
    assert ground.protocol(protocol.id).reason is Reason.DIVERGED


def test_what_is_not_ours_is_not_taken_from_a_poll_either(ground: ForgeGround):
    step = ground.executed_here()
    protocol = ground.of(step)
    strangers: list[Any] = [
        ground.ci_word(STRANGE, FAIL),
        ground.pull_word(protocol, "merged", sha=STRANGE, number=9),
        ground.pull_word(protocol, branch="main"),
    ]
    ground.sync(protocol.id, *strangers)
    assert (ground.of(step), ground.sql("SELECT id FROM facts")) == (protocol, [])


def test_only_news_are_told(ground: ForgeGround):
    step = ground.executed_here()
    ground.sync(step.protocol_id)
    assert "synced" not in ground.story(step.protocol_id)
    ground.sync(step.protocol_id, note="no token")
    ground.sync(step.protocol_id, ground.ci_word(step.head_sha))
    told = [event.metadata for event in ground.events(step.protocol_id) if event.event_type == "synced"]
    assert told == [{"news": 1}]


def test_a_sync_that_comes_too_early_waits_for_the_rest_of_the_window(ground: ForgeGround):
    step = ground.executed_here()
    ground.deliver(ground.ci_word(step.head_sha, FAIL))
    ground.wait(30)
    ground.sync(step.protocol_id)
    assert (ground.fresh(step).status, syncs(ground, step.protocol_id)) == ("needs_qa", [30_000])
    ground.settle(step.protocol_id, seconds=30)
    assert ground.fresh(step).status == "failed"


def test_what_never_gets_a_verdict_surfaces(ground: ForgeGround):
    step = ground.executed_here(required_contexts=["build"])
    ground.deliver(ground.ci_word(step.head_sha, Outcome.NO_VERDICT))
    assert ground.ci_state(step) == "pending"
    ground.settle(step.protocol_id)
    assert (ground.ci_state(step), ground.fresh(step).status) == ("inconclusive", "needs_qa")
