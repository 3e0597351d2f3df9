"""A day of 24 hours within a minute: leases, backoff, parked quota and what expires, on clocks that the test moves."""

from pathlib import Path

import pytest

from services.worker.pace import PACE, Pace
from shared.errors import Category
from shared.repository import idempotency
from shared.schemas.reports import Failed
from shared.schemas.statuses import JobState, Phase
from shared.workflow import jobs as verbs
from shared.workflow import line
from shared.workflow.jobs import claim_job
from shared.workflow.protocols import run_next_step
from shared.workflow.unit import Caller, Rules
from tests.chaos.mains import PACE as SHORT_PACE
from tests.shared.workflow.ground import WORKER, Ground
from tests.worker.test_reconcile import Scene
from tests.worker.workshop import open_workshop

HOUR_S, DAY_S = 3600, 86_400
NETWORK = Failed(category=Category.NETWORK, message="no route")


@pytest.mark.parametrize("chance", [0.0, 0.37, 0.999_999])
def test_eight_attempts_show_the_whole_backoff_up_to_its_cap(chance: float) -> None:
    ground = Ground(Rules(max_attempts=8, backoff_max_s=60))
    ground.chance = chance
    protocol = ground.planned(1)
    ground.run(run_next_step, protocol.id)
    waits: list[float] = []
    for _ in range(7):
        ground.end(ground.claim(protocol.id), NETWORK)
        job = ground.only_job(protocol.id)
        waits.append((job.run_at - ground.now) / 1000)
        ground.wait(waits[-1] - 0.001)
        assert ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1") is None, "not a millisecond too early"
        ground.wait(0.001)
    assert waits == pytest.approx([most * (0.5 + 0.5 * chance) for most in (2, 4, 8, 16, 32, 60, 60)], abs=0.001)
    claim = ground.claim(protocol.id)
    ground.end(claim, NETWORK)
    assert (ground.job(claim.job.id).state, ground.job(claim.job.id).attempt) == (JobState.FAILED, 8)
    assert ground.protocol(protocol.id).status == "blocked"


async def test_a_lease_lasts_all_day_while_its_heart_beats_and_one_minute_when_it_stands_still(
    ground_floor: Path,
) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        job = await scene.claimed_by("on-another-host")
        # A beat now and then is enough, as long as it comes before the lease is over.
        seldom = PACE.silent_s - 1
        for _ in range(int(DAY_S / seldom)):
            await shop.runtime.flow.run(Caller("w"), verbs.beat, job.id, job.token)
            await scene.reconciler.take_back()
            scene.now += seldom
        await scene.reconciler.take_back()
        assert (await scene.job())["state"] == "running"
        scene.now += PACE.silent_s - seldom + 1
        await scene.reconciler.take_back()
        assert (await scene.job())["state"] == "queued"


def test_a_job_may_wait_for_a_worker_all_day_and_not_a_second_longer() -> None:
    for waited, state in ((DAY_S, JobState.RUNNING), (DAY_S + 1, JobState.FAILED)):
        ground = Ground(Rules(queue_timeout_s=DAY_S))
        protocol = ground.planned(1)
        ground.run(run_next_step, protocol.id)
        job = ground.only_job(protocol.id)
        ground.wait(waited)
        ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
        assert ground.job(job.id).state is state


def test_a_credential_without_quota_is_parked_until_the_time_that_is_named_and_costs_no_attempt() -> None:
    ground = Ground()
    protocol = ground.planned(1)
    ground.run(run_next_step, protocol.id)
    noon = ground.now + 5 * HOUR_S * 1000
    ground.end(ground.claim(protocol.id), Failed(category=Category.QUOTA, message="used up", again_at=noon))
    job = ground.only_job(protocol.id)
    assert (job.state, job.attempt, ground.step(protocol, 1).phase) == (JobState.QUEUED, 0, Phase.BACKOFF)
    for hour in range(5):
        assert ground.due() == [], f"after {hour} hours"
        assert ground.run_as(WORKER, line.lift_ended) == 0
        ground.wait(HOUR_S)
    assert ground.run_as(WORKER, line.lift_ended) == 1
    assert ground.claim(protocol.id).job.attempt == 1


def test_an_answer_is_kept_for_its_time_and_no_longer() -> None:
    ground = Ground()
    keep = {"request_sha256": "0" * 64, "status": 200, "headers": {}, "body": b"{}"}
    for hour in range(24):
        idempotency.keep(ground.tx, "admin", f"key-{hour}", **keep)
        ground.wait(HOUR_S)
    assert idempotency.forget_before(ground.tx, ground.now - 6 * HOUR_S * 1000) == 18
    assert [hour for hour in range(24) if idempotency.find(ground.tx, "admin", f"key-{hour}")] == list(range(18, 24))


@pytest.mark.parametrize("pace", [PACE, SHORT_PACE])
def test_a_worker_fences_itself_before_its_lease_is_over_and_has_beaten_more_than_once(pace: Pace) -> None:
    assert 4 * pace.beat_s <= pace.fence_s < pace.silent_s
