"""Setting a project up: its mirror, its base branch, and whose repository it is."""

from pathlib import Path

import pytest

from shared.workflow.projects import set_up_project
from tests.fakes.forge import Answer
from tests.worker.jobs.at_forge import at_forge
from tests.worker.workshop import open_workshop


async def test_setting_up_clones_the_repository_and_tells_its_base_and_default_branch(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await shop.open("Greet")
        event = await shop.event("setup_done")
        assert event.metadata == {"base_sha": shop.origin.head("main"), "default_branch": "main"}
        assert shop.mirror.is_dir()


async def test_a_repository_that_is_gone_fails_the_setup_and_says_so(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await shop.open("Greet")
        shop.origin.bare.rename(ground_floor / "elsewhere.git")
        await shop.call(set_up_project, 1)
        for _ in range(3):
            await shop.work()
            shop.pass_time(60)
        failed = await shop.event("job_failed")
        assert failed.metadata["kind"] == "setup"
        assert "origin.git" in failed.metadata["message"]


async def test_with_a_token_the_repository_is_known_by_its_id_from_then_on(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("gitlab", ground_floor, monkeypatch) as scene:
        await scene.execute()
        assert (await scene.shop.rows("SELECT repository_id FROM projects")) == [
            {"repository_id": str(scene.repository.id)}
        ]
        assert (await scene.shop.event("repository_learned")).metadata["name"] == "acme/pears"


async def test_a_forge_that_does_not_answer_fails_no_setup_and_is_named(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        scene.forge.fault("api.github.com", Answer(503), times=99)
        await scene.execute()
        event = await scene.shop.event("setup_done")
        assert "503" in event.metadata["note"]
        assert not await scene.shop.events("repository_learned", "job_failed")
