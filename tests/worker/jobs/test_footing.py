"""What the attempt after a lost one finds: a thread and files that belong together, or a reason to start clean."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.worker.codex.leftovers import RUN_VARIABLE
from services.worker.jobs.branch import take_ground
from shared.schemas.reports import Lost, Usage
from shared.schemas.statuses import Footing
from shared.workflow import jobs as verbs
from tests.worker.codex.ground import alive
from tests.worker.git.stage import plain_git
from tests.worker.jobs.ground import begun, claimed
from tests.worker.workshop import Workshop, open_workshop

LINE = b'{"type":"response_item"}\n'
RECORD = "codex_home/sessions/2026/11/22/rollout-2026-11-22T00-00-00-t.jsonl"


async def lost(shop: Workshop) -> Path:
    """An execution whose worker died in the middle of it; gives the record of its thread."""
    lease = await begun(shop, "first")
    folder = shop.doors.agent.folder_of(lease)
    record = folder / RECORD
    record.parent.mkdir(parents=True)
    record.write_bytes(LINE * 2)
    await lease.note_usage(Usage(thread_id="t"), str(folder))
    (shop.worktree / "half.txt").write_text("half")
    assert await shop.runtime.flow.run(lease.caller, verbs.release, lease.job_id, lease.token, Lost(message="dead"))
    return record


async def test_a_lost_attempt_goes_on_in_its_thread_and_files(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await lost(shop)
        ground = await take_ground(shop.doors, await claimed(shop, "second"))
        assert ground.stand.resume is not None
        assert (shop.worktree / "half.txt").exists()
        first, second = await shop.attempts()
        assert (second["resumed_from"], first["salvage"]) == (first["id"], "refs/deksdenflow/salvage/1")
        told = (await shop.event("attempt_continued")).metadata
        assert told == {"how": "resumed", "earlier": 1, "resumed_from": 1, "salvage": first["salvage"]}
        assert plain_git(shop.mirror, "show", f"{first['salvage']}:half.txt") == "half"


async def test_one_that_dies_before_its_agent_spoke_leaves_thread_and_files_to_the_next(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await lost(shop)
        for owner in ("second", "third"):
            lease = await claimed(shop, owner)
            ground = await take_ground(shop.doors, lease)
            assert ground.stand.footing is Footing.LOST
            assert ground.stand.resume is not None
            assert ground.stand.resume.id == 1
            assert await shop.runtime.flow.run(lease.caller, verbs.release, lease.job_id, lease.token, Lost(message=""))


def remove(record: Path, tree: Path) -> None:
    record.unlink()


def tear(record: Path, tree: Path) -> None:
    record.write_bytes(LINE + LINE[:-5])


def tear_after_a_word(record: Path, tree: Path) -> None:
    record.write_bytes(LINE + b"12")


def fill_with_nothing(record: Path, tree: Path) -> None:
    record.write_bytes(LINE + bytes(100))


def empty(record: Path, tree: Path) -> None:
    record.write_bytes(b"")


def commit(record: Path, tree: Path) -> None:
    plain_git(tree, "commit", "--quiet", "--allow-empty", "--message", "behind your back")


def another_branch(record: Path, tree: Path) -> None:
    plain_git(tree, "checkout", "--quiet", "-b", "mine")
    commit(record, tree)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (remove, "thread_gone"),
        (tear, "thread_torn"),
        (tear_after_a_word, "thread_torn"),
        (fill_with_nothing, "thread_torn"),
        (empty, "thread_torn"),
        (commit, "worktree_moved"),
        (another_branch, "worktree_moved"),
    ],
)
async def test_what_does_not_belong_together_is_saved_and_left(
    ground_floor: Path, spoil: Callable[[Path, Path], None], why: str
) -> None:
    async with open_workshop(ground_floor) as shop:
        spoil(await lost(shop), shop.worktree)
        ground = await take_ground(shop.doors, await claimed(shop, "second"))
        assert ground.stand.resume is None
        assert not (shop.worktree / "half.txt").exists()
        assert plain_git(shop.worktree, "rev-parse", "HEAD") == ground.start_sha
        continued = await shop.event("attempt_continued")
        assert (continued.metadata["how"], continued.reason) == ("clean", why)
        (first, second) = await shop.attempts()
        assert plain_git(shop.mirror, "show", f"{first['salvage']}:half.txt") == "half"
        assert second["resumed_from"] is None


async def test_what_still_runs_of_the_earlier_agent_dies_before_its_files_are_looked_at(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await lost(shop)
        lease = await claimed(shop, "second")
        mark = {RUN_VARIABLE: str(shop.doors.agent.marker_of(lease.job_id, lease.token - 1))}
        left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], env=mark)
        await take_ground(shop.doors, lease)
        assert not alive(left.pid)
        left.wait()
