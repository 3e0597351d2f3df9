"""A limit of a forge, through the whole worker: the job waits for as long as the forge says, and no longer."""

from pathlib import Path

import pytest

from shared.repository.database import Row
from shared.workflow.protocols import open_pr
from tests.fakes.forge import Answer
from tests.worker.jobs.at_forge import PULLS, Scene, at_forge

WAIT_S = 1200


async def the_job(scene: Scene) -> Row:
    (row,) = await scene.shop.rows("SELECT * FROM jobs WHERE kind = 'open_pr_job'")
    return row


async def test_a_job_that_a_limit_stopped_is_made_again_when_the_forge_says(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        await scene.execute()
        scene.forge.fault(PULLS["github"], Answer(403, b"", {"retry-after": str(WAIT_S)}), method="POST")
        await scene.shop.call(open_pr, 1)
        await scene.shop.work()
        waiting = await the_job(scene)
        assert (waiting["state"], waiting["category"]) == ("queued", "rate_limited")
        assert waiting["run_at"] - scene.shop.clock() == pytest.approx(WAIT_S * 1000, abs=10_000)
        scene.shop.pass_time(WAIT_S - 30)
        await scene.shop.work()
        assert not scene.repository.pulls
        scene.shop.pass_time(30)
        await scene.shop.work()
        assert ((await the_job(scene))["state"], list(scene.repository.pulls)) == ("succeeded", [1])
