"""The hold on a job: it hears what it is asked, outlasts a busy database, and gives way in time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.worker.lease import Lease
from services.worker.pace import PACE
from shared.errors import Category, JobError
from shared.schemas.reports import Usage
from shared.schemas.statuses import StopRequest
from shared.workflow import jobs as verbs
from shared.workflow.protocols import cancel_protocol, pause_protocol, run_next_step
from tests.waiting import eventually
from tests.worker.workshop import Workshop, open_workshop


async def held(shop: Workshop) -> Lease:
    """The lease of an execution that nobody works on."""
    await shop.open("Greet")
    await shop.call(run_next_step, 1)
    (due,) = await shop.due()
    claim = await shop.runtime.flow.run(shop.worker.caller, verbs.claim_job, due.id, due.dispatch, shop.worker.owner)
    assert claim is not None
    return Lease(shop.runtime.flow, shop.worker.caller, claim)


async def stopped(lease: Lease) -> None:
    async with asyncio.timeout(10):
        await lease.stop.wait()


@pytest.mark.parametrize(("mode", "why"), [("cancel", StopRequest.CANCEL), ("interrupt", StopRequest.PARK)])
async def test_a_poked_lease_hears_at_once_what_it_is_asked_to_stop_for(
    ground_floor: Path, mode: str, why: StopRequest
) -> None:
    async with open_workshop(ground_floor) as shop:
        lease = await held(shop)
        async with lease.kept():
            if mode == "cancel":
                await shop.call(cancel_protocol, 1)
            else:
                await shop.call(pause_protocol, 1, mode="interrupt")
            lease.poke()
            await stopped(lease)
        assert lease.why is why
        with pytest.raises(JobError, match="asked to stop") as caught:
            lease.check()
        assert caught.value.category is Category.CANCELLED


async def test_a_lease_that_is_lost_stops_without_a_reason_and_lets_nothing_be_noted(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        lease = await held(shop)
        await shop.change("UPDATE jobs SET token = token + 1")
        before = await shop.attempts()
        with pytest.raises(JobError, match="somebody else"):
            await lease.note_usage(Usage(thread_id="t"), "somewhere")
        assert (lease.stop.is_set(), lease.why) == (True, None)
        with pytest.raises(JobError, match="asked to stop"):
            await lease.confirm()
        assert await shop.attempts() == before


async def test_every_beat_is_seen_in_the_database(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        lease = await held(shop)
        async with lease.kept():
            lease.poke()
            await shop.until("SELECT id FROM jobs WHERE heartbeat = 1")
        await lease.confirm()
        assert (await shop.jobs("execute_step_job"))[0]["heartbeat"] == 2


async def test_a_note_waits_for_a_database_that_is_busy(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        lease = await held(shop)
        async with shop.locked_database():
            noting = asyncio.create_task(lease.note_usage(Usage(thread_id="t"), "somewhere"))
            _, pending = await asyncio.wait({noting}, timeout=0.3)
            assert pending
        async with asyncio.timeout(10):
            await noting
        assert (await shop.attempts())[0]["thread_id"] == "t"


async def test_a_note_does_not_wait_any_more_once_the_job_must_stop(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        lease = await held(shop)
        lease.park()
        async with shop.locked_database():
            with pytest.raises(JobError, match="asked to stop"):
                await lease.note_usage(Usage(thread_id="t"), "somewhere")


async def test_a_beat_that_the_database_has_no_time_for_is_no_reason_to_stop(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        lease = await held(shop)
        async with lease.kept():
            with capture_logs() as told:
                async with shop.locked_database():
                    lease.poke()
                    await eventually(_logged(told, "no_heartbeat"))
            lease.poke()
            await shop.until("SELECT id FROM jobs WHERE heartbeat = 1")
            assert not lease.stop.is_set()


async def test_who_cannot_show_life_for_long_parks_before_another_may_take_the_job(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        lease = await held(shop)
        lease._shown_at = time.monotonic() - PACE.fence_s
        async with lease.kept(), shop.locked_database():
            lease.poke()
            await stopped(lease)
        assert lease.why is StopRequest.PARK


async def test_a_beat_that_fails_in_a_way_that_nobody_knows_is_told_and_not_the_last(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        lease = await held(shop)
        (before,) = await shop.jobs("execute_step_job")
        async with lease.kept():
            with capture_logs() as told:
                await shop.change("UPDATE jobs SET payload = '[]'")
                lease.poke()
                await eventually(_logged(told, "heartbeat_failed"))
            await shop.change("UPDATE jobs SET payload = ?", before["payload"])
            await shop.call(cancel_protocol, 1)
            lease.poke()
            await stopped(lease)
        assert lease.why is StopRequest.CANCEL


def _logged(told: Sequence[Mapping[str, Any]], event: str) -> Callable[[], Awaitable[bool]]:
    async def logged() -> bool:
        return any(entry["event"] == event for entry in told)

    return logged
