"""Looking at the forge: what a lost delivery would have told, and the logs of red jobs."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.worker.jobs.sync import LOG_BYTES, tail
from shared.errors import Conflict
from shared.workflow.sync import sync_protocol, trigger_ci
from tests.fakes.forge import Answer
from tests.worker.jobs.at_forge import TOKEN, Scene, at_forge
from tests.worker.workshop import NAME

LOG = "\n".join(
    [
        *(f"2026-11-22T10:00:00.{number:07d}Z line {number}" for number in range(2000)),
        f"2026-11-22T10:00:01.0000000Z \x1b[31mthe token is {TOKEN}\x1b[0m",
        "2026-11-22T10:00:01.0000001Z AssertionError: 3 pears",
    ]
)


async def synced(scene: Scene) -> dict[str, Any]:
    """The result of a sync that somebody asked for."""
    await scene.shop.call(sync_protocol, 1)
    await scene.work()
    job = (await scene.shop.jobs("sync"))[-1]
    assert job["state"] == "succeeded", job["error"]
    return json.loads(job["result"])


@pytest.mark.parametrize("provider", ["github", "gitlab"])
async def test_what_nobody_delivered_is_found_with_the_end_of_the_red_log(
    provider: str, ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge(provider, ground_floor, monkeypatch) as scene:
        sha = await scene.execute()
        scene.repository.ci(sha, "failure", branch=NAME, log=LOG)
        result = await synced(scene)
        (log,) = result["logs"].values()
        assert log.endswith("the token is ***\nAssertionError: 3 pears")
        assert log.startswith("line ")
        assert len(log.encode()) <= LOG_BYTES
        (gate,) = await scene.shop.rows("SELECT * FROM gates WHERE name = 'ci'")
        assert gate["state"] == "failed"
        assert "3 pears" in gate["evidence"]
        step = await scene.shop.step()
        assert (step.status, step.reason) == ("failed", "ci_failed")


async def test_a_log_that_is_gone_takes_nothing_from_the_verdict(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        sha = await scene.execute()
        scene.repository.ci(sha, "failure", branch=NAME, log=LOG)
        scene.forge.fault(r"/logs$", Answer(403), times=99)
        assert (await synced(scene))["logs"] == {}
        assert (await scene.shop.step()).reason == "ci_failed"


async def test_a_branch_that_a_stranger_moved_is_found_without_a_token(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        await scene.execute()
        theirs = scene.repository.commit({"theirs.txt": "x"}, branch=NAME)
        scene.forge.fault("api.github.com", Answer(401), times=99)
        result = await synced(scene)
        assert "forge_token" in result["note"]
        assert (await scene.shop.protocol()).diverged_sha == theirs


async def test_a_forge_that_is_down_is_asked_again_and_then_passed_over(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("gitlab", ground_floor, monkeypatch) as scene:
        await scene.execute()
        scene.forge.fault("/api/v4", Answer(503), times=99)
        assert "503" in (await synced(scene))["note"]
        assert len(await scene.shop.events("job_retry_scheduled")) == 2
        assert not await scene.shop.events("job_failed")


async def test_ci_is_asked_for_once_although_the_forge_fails_before(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("gitlab", ground_floor, monkeypatch) as scene:
        await scene.execute()
        scene.forge.fault("/api/v4", Answer(502), times=1)
        await scene.shop.call(trigger_ci, 1, workflow=None, inputs={"SUITE": "long"})
        await scene.work()
        assert len(scene.repository.dispatched) == 1
        event = await scene.shop.event("ci_triggered")
        assert event.metadata["url"].startswith(scene.repository.url)


async def test_without_a_forge_no_ci_is_asked_for_and_it_is_said_what_that_needs(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("gitlab", ground_floor, monkeypatch) as scene:
        await scene.execute()
        await scene.shop.change("UPDATE projects SET ci_provider = NULL")
        with pytest.raises(Conflict, match="set its ci_provider to github or gitlab"):
            await scene.shop.call(trigger_ci, 1, workflow=None, inputs={})
        await scene.shop.change("UPDATE projects SET git_url = '/srv/a.git'")
        with pytest.raises(Conflict, match="has no forge: its repository is on this machine"):
            await scene.shop.call(trigger_ci, 1, workflow=None, inputs={})


async def test_ci_that_cannot_be_asked_for_fails_and_says_why(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        await scene.execute()
        scene.forge.fault(r"/dispatches", Answer(404), times=99)
        await scene.shop.call(trigger_ci, 1, workflow="none.yml", inputs={})
        await scene.work()
        failed = await scene.shop.event("job_failed")
        assert failed.metadata["kind"] == "sync"
        assert not await scene.shop.events("ci_triggered")


@pytest.mark.parametrize(
    ("log", "room", "left"),
    [
        ("a\nb\nc", 100, "a\nb\nc"),
        ("one\ntwo\nthree", 9, "three"),
        ("one\ntwo\nthree", 0, ""),
        ("äöü\nß", 4, "ß"),
        ("a line that is far too long", 9, ""),
        ("\x1b[1;31mred\x1b[0m\r\nplain\x07", 100, "red\nplain"),
        ("2026-11-22T10:00:00.1234567Z said", 100, "said"),
        ("", 100, ""),
        ("broken \ud800 half", 100, "broken ? half"),
    ],
)
def test_the_end_of_a_log_has_whole_lines_and_nothing_but_text(log: str, room: int, left: str) -> None:
    assert tail(log, room) == left
