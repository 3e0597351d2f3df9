"""Deliveries: what they say is looked at again where a mistake would be dear, and counts where it cannot be."""

from pathlib import Path

import pytest

from tests.fakes import deliveries
from tests.fakes.deliveries import Sent
from tests.fakes.forge import Answer
from tests.worker.jobs.at_forge import Scene, at_forge
from tests.worker.workshop import NAME


def merged(scene: Scene, sha: str) -> Sent:
    """A delivery that says that PR 1 was merged."""
    pull = {"number": 1, "branch": NAME, "sha": sha, "base": "main", "at": scene.repository.now()}
    if scene.repository.provider == "gitlab":
        return deliveries.gitlab_merge_request(
            scene.repository.told, **pull, action="merge", state="merged", merge_sha="e" * 40
        )
    return deliveries.github_pull_request(
        scene.repository.told, **pull, action="closed", merged=True, merge_sha="e" * 40
    )


@pytest.mark.parametrize("provider", ["github", "gitlab"])
async def test_a_merge_that_the_forge_knows_nothing_of_completes_nothing(
    provider: str, ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge(provider, ground_floor, monkeypatch) as scene:
        sha = await scene.execute()
        await scene.publish()
        kept = await scene.receive(merged(scene, sha))
        assert kept["status"] == "applied"
        protocol = await scene.shop.protocol()
        assert (protocol.status, protocol.pr_state) == ("running", "open")


async def test_a_merge_counts_when_the_forge_does_not_let_us_look(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        sha = await scene.execute()
        await scene.publish()
        scene.forge.fault("api.github.com", Answer(401), times=99)
        await scene.receive(merged(scene, sha))
        assert (await scene.shop.protocol()).status == "completed"


async def test_a_forge_that_is_down_for_a_moment_is_asked_again(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        sha = await scene.execute()
        await scene.publish()
        scene.forge.fault("api.github.com", Answer(502), times=2)
        await scene.receive(merged(scene, sha))
        assert len(await scene.shop.events("job_retry_scheduled")) == 2
        assert (await scene.shop.protocol()).status == "running", "the third look found it open"


async def test_a_push_that_is_over_already_is_no_divergence(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        sha = await scene.execute()
        await scene.receive(deliveries.github_push(scene.repository.told, branch=NAME, before=sha, after="f" * 40))
        assert (await scene.shop.protocol()).status == "running"
        theirs = scene.repository.commit({"theirs.txt": "x"}, branch=NAME)
        await scene.receive(deliveries.github_push(scene.repository.told, branch=NAME, before=sha, after=theirs))
        protocol = await scene.shop.protocol()
        assert (protocol.status, protocol.reason, protocol.diverged_sha) == ("blocked", "diverged", theirs)


async def test_what_cannot_be_read_is_ignored_with_the_reason(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        await scene.execute()
        kept = await scene.receive(Sent(provider="github", event="push", said={"ref": 7}))
        assert kept["status"] == "ignored"
        assert kept["reason"]
        assert not await scene.shop.events("job_failed")
