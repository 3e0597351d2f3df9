"""The loop that heals: it rings for what was not heard, and takes back what the dead have left, and nothing else."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Container
from functools import partial
from pathlib import Path

from services.worker.codex.leftovers import RUN_VARIABLE, RunMarker
from services.worker.jobs.footing import save_leftovers
from services.worker.pace import PACE
from services.worker.reconcile import OLD_FILE_S, TIDY_S, Ownership, Reconciler
from shared.errors import Category
from shared.repository import idempotency
from shared.repository.database import Tx
from shared.schemas.records import Job
from shared.schemas.reports import Failed
from shared.schemas.statuses import Provider
from shared.workflow import jobs as verbs
from shared.workflow.protocols import cancel_protocol, run_next_step
from shared.workflow.unit import Caller
from tests.e2e.house import addition, answered, done
from tests.waiting import eventually
from tests.worker.codex.ground import alive
from tests.worker.git.stage import plain_git
from tests.worker.jobs.ground import begun
from tests.worker.workshop import NAME, Workshop, open_workshop

DEAD = "another-worker"


class Scene:
    """A worker that reconciles, an execution that somebody has claimed, and a clock that only goes when it is told."""

    def __init__(self, shop: Workshop, folder: Path, live: Container[int] = ()) -> None:
        self.shop = shop
        self.folder = folder / "workers"
        self.now = 1000.0
        self.ownership = Ownership(self.folder, "me")
        self.reconciler = Reconciler(
            shop.runtime.flow,
            Caller("worker:me"),
            self.ownership,
            live=live,
            marker=shop.doors.agent.marker_of,
            save=partial(save_leftovers, shop.doors),
            monotonic=lambda: self.now,
        )

    async def claimed_by(self, owner: str) -> Job:
        """The step's execution, claimed by this worker."""
        await self.shop.open("Greet")
        await self.shop.call(run_next_step, 1)
        (due,) = await self.shop.due()
        claim = await self.shop.runtime.flow.run(Caller(owner), verbs.claim_job, due.id, due.dispatch, owner)
        assert claim is not None
        return claim.job

    async def job(self) -> dict[str, object]:
        return (await self.shop.jobs("execute_step_job"))[0]


async def test_the_job_of_a_dead_worker_is_taken_back_at_once_and_goes_on(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        Ownership(scene.folder, DEAD).close()
        await scene.claimed_by(DEAD)
        await scene.reconciler.take_back()
        job = await scene.job()
        assert (job["state"], job["attempt"], job["continuations"]) == ("queued", 0, 1)
        assert (await shop.attempts())[0]["state"] == "lost"
        lost = await shop.event("job_lost")
        assert DEAD in lost.metadata["message"]
        assert [due.id for due in await shop.due()] == [job["id"]]
        assert (await shop.step()).status == "running"


async def test_the_job_of_a_living_worker_stays_with_it(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        other = Ownership(scene.folder, DEAD)
        await scene.claimed_by(DEAD)
        before = await scene.job()
        for _ in range(3):
            await scene.reconciler.take_back()
            scene.now += PACE.silent_s / 3
        assert await scene.job() == before
        other.close()


async def test_a_worker_that_cannot_be_looked_at_is_dead_when_its_heart_stood_still_for_long_enough(
    ground_floor: Path,
) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        job = await scene.claimed_by("on-another-host")
        await scene.reconciler.take_back()
        scene.now += PACE.silent_s
        await shop.runtime.flow.run(Caller("w"), verbs.beat, job.id, job.token)
        await scene.reconciler.take_back()
        scene.now += PACE.silent_s
        await scene.reconciler.take_back()
        assert (await scene.job())["state"] == "running", "it showed life in between"
        scene.now += 1
        await scene.reconciler.take_back()
        assert (await scene.job())["state"] == "queued"


async def test_what_its_own_worker_has_forgotten_is_taken_back_but_not_at_first_sight(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        await scene.claimed_by("me")
        await scene.reconciler.take_back()
        scene.now += 0.01  # a clock goes on between two lines
        await scene.reconciler.take_back()
        assert (await scene.job())["state"] == "running", "it may have been claimed just now"
        scene.now += PACE.look_s
        await scene.reconciler.take_back()
        assert (await scene.job())["state"] == "queued"


async def test_what_its_own_worker_holds_is_never_taken_back(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor, live={2})
        assert (await scene.claimed_by("me")).id == 2
        for _ in range(3):
            await scene.reconciler.take_back()
            scene.now += PACE.silent_s
        assert (await scene.job())["state"] == "running"


async def test_what_is_left_of_a_dead_workers_agent_is_killed_before_its_job_goes_on(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        Ownership(scene.folder, DEAD).close()
        job = await scene.claimed_by(DEAD)
        mark = {RUN_VARIABLE: str(shop.doors.agent.marker_of(job.id, job.token))}
        left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], env=mark)
        await scene.reconciler.take_back()
        assert (await scene.job())["state"] == "queued"
        assert not alive(left.pid)
        left.wait()


async def test_a_cancelled_job_of_a_dead_worker_ends_as_cancelled(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        Ownership(scene.folder, DEAD).close()
        await scene.claimed_by(DEAD)
        await shop.call(cancel_protocol, 1)
        await scene.reconciler.take_back()
        assert (await scene.job())["state"] == "cancelled"
        assert (await shop.attempts())[0]["state"] == "cancelled"
        assert await shop.event("attempt_killed")


async def test_what_a_dead_worker_had_written_is_saved_though_its_job_was_cancelled(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        Ownership(scene.folder, DEAD).close()
        lease = await begun(shop, DEAD)
        (shop.worktree / "half.txt").write_text("half")
        await shop.call(cancel_protocol, 1)
        assert (await shop.protocol()).status == "cancelled", "at once"
        await scene.reconciler.take_back()
        ref = f"refs/deksdenflow/salvage/{lease.claim.attempt.id if lease.claim.attempt else 0}"
        killed = await shop.event("attempt_killed")
        assert (killed.metadata["ending"], killed.metadata["salvage"]) == ("lost", ref)
        assert (await shop.attempts())[0]["salvage"] == ref
        assert plain_git(shop.mirror, "show", f"{ref}:half.txt") == "half"


async def test_what_cannot_be_saved_does_not_keep_a_job_from_being_taken_back(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        Ownership(scene.folder, DEAD).close()
        await begun(shop, DEAD)
        (shop.mirror / "worktrees" / NAME / "index").unlink()
        await scene.reconciler.take_back()
        assert (await scene.job())["state"] == "queued"
        assert (await shop.event("job_lost")).metadata["salvage"] is None


async def test_a_job_that_kills_its_worker_every_time_is_given_up(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        Ownership(scene.folder, DEAD).close()
        await scene.claimed_by(DEAD)
        await scene.reconciler.take_back()
        for _ in range(5):
            (due,) = await shop.due()
            await shop.runtime.flow.run(Caller(DEAD), verbs.claim_job, due.id, due.dispatch, DEAD)
            await scene.reconciler.take_back()
        assert (await scene.job())["state"] == "failed"
        step = await shop.step()
        assert (step.status, step.reason, step.continuations) == ("failed", "lost", 5)
        assert "something kills the worker" in (await shop.event("step_failed")).metadata["message"]


async def test_one_job_that_cannot_be_taken_back_does_not_keep_the_others(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        Ownership(scene.folder, DEAD).close()
        await scene.claimed_by(DEAD)
        impossible = RunMarker("scope", 1, 1)

        def marker(job_id: int, token: int) -> RunMarker:
            if job_id == 2:
                raise LookupError("2")
            return impossible

        await shop.change("UPDATE jobs SET state = 'running', owner = ?, finished_at = NULL WHERE kind = 'setup'", DEAD)
        reconciler = Reconciler(
            shop.runtime.flow,
            Caller("worker:me"),
            scene.ownership,
            live=(),
            marker=marker,
            save=partial(save_leftovers, shop.doors),
            monotonic=lambda: 0.0,
        )
        await reconciler.take_back()
        assert (await shop.jobs("setup"))[0]["state"] == "queued"
        assert (await scene.job())["state"] == "running"


async def test_a_bell_that_nobody_heard_is_rung_again_for_the_same_dispatch(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        redis = shop.runtime.queue.worker_client()
        await redis.delete(shop.runtime.queue.name)
        before = await scene.job()
        await scene.reconciler.pump()
        assert await redis.zcard(shop.runtime.queue.name) == 0, "it may still be heard"
        shop.pass_time(6)
        await scene.reconciler.pump()
        assert await redis.zcard(shop.runtime.queue.name) == 1
        assert (await scene.job())["dispatch"] == before["dispatch"]
        await redis.aclose(close_connection_pool=True)


async def test_the_pump_looks_again_when_the_next_job_is_due(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        await shop.change("UPDATE jobs SET run_at = ? WHERE state = 'queued'", shop.clock() + 400)
        assert 0.01 <= await scene.reconciler.pump() <= 0.4
        await shop.change("UPDATE jobs SET run_at = ? WHERE state = 'queued'", shop.clock() + 60_000)
        assert await scene.reconciler.pump() == 1.0


async def test_a_round_that_fails_does_not_end_the_loop(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        await shop.change("ALTER TABLE jobs RENAME TO elsewhere")
        looping = asyncio.create_task(scene.reconciler.run())
        await asyncio.sleep(0)
        await shop.change("ALTER TABLE elsewhere RENAME TO jobs")
        scene.reconciler.wake()

        async def ticked() -> bool:
            return scene.reconciler.last_tick > 0

        await eventually(ticked)
        looping.cancel()
        await asyncio.gather(looping, return_exceptions=True)


def test_the_files_of_workers_that_are_long_dead_are_removed_but_for_those_whose_jobs_still_run(
    ground_floor: Path,
) -> None:
    mine, folder = Ownership(ground_floor, "me"), ground_floor
    alive_one = Ownership(folder, "alive")
    for name in ("gone", "needed", "fresh"):
        Ownership(folder, name).close()
    old = time.time() - OLD_FILE_S - 1
    for name in ("me", "alive", "gone", "needed"):
        os.utime(folder / name, (old, old))
    mine.tidy({"needed"})
    assert {file.name for file in folder.iterdir()} == {"me", "alive", "needed", "fresh"}
    mine.close()
    alive_one.close()


def test_a_worker_is_dead_as_soon_as_its_process_is(ground_floor: Path) -> None:
    mine = Ownership(ground_floor, "me")
    program = (
        "import sys, time; from pathlib import Path; from services.worker.reconcile import Ownership;"
        "o = Ownership(Path(sys.argv[1]), 'other'); print('locked', flush=True); time.sleep(300)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(ground_floor)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "locked\n"
        assert not mine.is_dead("other")
        process.kill()
        process.wait()
    assert mine.is_dead("other")
    assert not mine.is_dead("never-seen")
    mine.close()


async def test_what_waited_for_a_quota_is_rung_for_when_its_time_has_come(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)
        job = await scene.claimed_by("me")
        failed = Failed(category=Category.QUOTA, message="used up")
        assert await shop.call(verbs.release, job.id, job.token, failed)
        await scene.reconciler.tidy_up()
        assert not await shop.due()
        shop.pass_time(15 * 60)
        await scene.reconciler.tidy_up()
        assert await shop.events("quota_lifted")
        waiting = await scene.job()
        assert waiting["state"] == "queued"
        assert waiting["dispatched_at"] is not None


async def test_what_waits_for_its_forge_is_looked_at_every_five_minutes(ground_floor: Path) -> None:
    executed = answered("execute step 01", done("greet"), addition("greeting.txt", ["hello"]))
    async with open_workshop(ground_floor, executed) as shop:
        scene = Scene(shop, ground_floor)
        await shop.open("Greet", ci_provider=Provider.GITHUB)
        await scene.reconciler.tidy_up()
        assert await shop.jobs("sync") == [], "there is no commit yet"
        await shop.execute()
        for _ in range(3):
            await scene.reconciler.tidy_up()
        assert len(await shop.jobs("sync")) == 1
        await shop.work()
        shop.pass_time(PACE.sync_s - 1)
        await scene.reconciler.tidy_up()
        assert len(await shop.jobs("sync")) == 1
        shop.pass_time(2)
        await scene.reconciler.tidy_up()
        assert [job["state"] for job in await shop.jobs("sync")] == ["succeeded", "queued"]


async def test_answers_are_forgotten_after_a_day_and_looked_through_once_in_an_hour(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        scene = Scene(shop, ground_floor)

        async def kept() -> list[object]:
            return [row["key"] for row in await shop.rows("SELECT key FROM idempotency_keys ORDER BY key")]

        async def keep(key: str) -> None:
            def write(tx: Tx) -> None:
                idempotency.keep(tx, "s", key, request_sha256="", status=200, headers={}, body=b"")

            await shop.runtime.database.write(write)

        await keep("first")
        shop.pass_time(23 * 3600)
        await keep("second")
        await scene.reconciler.tidy_up()
        assert await kept() == ["first", "second"]
        shop.pass_time(2 * 3600)
        scene.now += TIDY_S - 1
        await scene.reconciler.tidy_up()
        assert await kept() == ["first", "second"]
        scene.now += 1
        await scene.reconciler.tidy_up()
        assert await kept() == ["second"]
