"""The worker put together: it runs what is queued, and can be stopped at any moment without losing anything."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from services.worker.reconcile import Ownership
from services.worker.service import run_worker
from shared.errors import StartupError
from shared.workflow import jobs as verbs
from shared.workflow.projects import set_up_project
from shared.workflow.protocols import pause_protocol, resume_protocol, run_next_step
from shared.workflow.unit import Caller
from tests.e2e.house import addition, answered, conversation, done, verdict
from tests.waiting import eventually
from tests.worker.workshop import WAIT, Workshop, open_workshop, until_exists

FIRST = "execute step 01"
HELLO = addition("greeting.txt", ["hello"])


@asynccontextmanager
async def running(shop: Workshop, **settings: object) -> AsyncIterator[asyncio.Event]:
    """A whole worker beside the body, which may stop it by the event."""
    changed = msgspec.structs.replace(shop.runtime.settings, worker_port=0, **settings)
    runtime = msgspec.structs.replace(shop.runtime, settings=changed)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(run_worker(runtime, stop, allow_local=True))
        try:
            yield stop
        finally:
            stop.set()


async def test_a_worker_runs_what_is_queued_and_what_follows_from_it(ground_floor: Path) -> None:
    plays = answered(FIRST, done(), HELLO), answered("qa step 01", verdict())
    async with open_workshop(ground_floor, *plays) as shop:
        await shop.open("Greet", policy={"auto_qa_after_exec": True})
        await shop.call(run_next_step, 1)
        async with running(shop):
            await shop.until("SELECT id FROM protocol_runs WHERE status = 'completed'")


async def test_a_worker_that_is_stopped_parks_its_agent_and_the_next_one_goes_on_in_its_thread(
    ground_floor: Path,
) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, HELLO, WAIT, {"answer": done()})) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        async with running(shop, grace_s=0.5) as stop:
            await until_exists(shop.worktree / "here")
            stop.set()
        (parked,) = await shop.attempts()
        (job,) = await shop.jobs("execute_step_job")
        assert (parked["state"], job["state"], job["attempt"]) == ("parked", "queued", 0)
        assert not shop.agents()
        async with running(shop):
            await shop.until("SELECT id FROM step_runs WHERE status = 'needs_qa'")
        _, resumed = await shop.attempts()
        assert resumed["thread_id"] == parked["thread_id"]
        assert len(shop.subjects()) == 2


async def test_a_job_that_is_nearly_done_may_end_within_the_grace_period(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, HELLO, WAIT, {"answer": done()})) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        async with running(shop, grace_s=40) as stop:
            await until_exists(shop.worktree / "here")
            stop.set()
            shop.go_on()
        assert [attempt["state"] for attempt in await shop.attempts()] == ["succeeded"]


async def test_what_waited_during_a_pause_starts_when_it_is_over(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, answered(FIRST, done(), HELLO)) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        await shop.call(pause_protocol, 1)
        async with running(shop):
            await shop.call(set_up_project, 1)
            await shop.until("SELECT id FROM jobs WHERE kind = 'setup' AND id > 2 AND state = 'succeeded'")
            assert not await shop.attempts()
            await shop.call(resume_protocol, 1)
            await shop.until("SELECT id FROM step_runs WHERE status = 'needs_qa'")


async def test_a_worker_takes_back_what_an_earlier_one_left_and_does_it(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, HELLO, WAIT, {"answer": done()})) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        (due,) = await shop.due()
        Ownership(shop.workspaces / "workers", "dead").close()
        await shop.runtime.flow.run(Caller("dead"), verbs.claim_job, due.id, due.dispatch, "dead")
        async with running(shop):
            await until_exists(shop.worktree / "here")
            shop.go_on()
            await shop.until("SELECT id FROM step_runs WHERE status = 'needs_qa'")
        assert [attempt["state"] for attempt in await shop.attempts()] == ["lost", "succeeded"]


async def test_a_taken_port_ends_the_worker_and_says_so(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            settings = msgspec.structs.replace(shop.runtime.settings, worker_port=port)
            runtime = msgspec.structs.replace(shop.runtime, settings=settings)
            stop = asyncio.Event()
            with pytest.raises(StartupError, match=f"cannot listen on 127.0.0.1:{port}"):
                await run_worker(runtime, stop, allow_local=True)
            assert stop.is_set()


async def test_workspaces_that_cannot_be_made_end_the_worker_in_one_line(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        changed = msgspec.structs.replace(shop.runtime.settings, workspaces_dir=Path("/dev/null/workspaces"))
        runtime = msgspec.structs.replace(shop.runtime, settings=changed)
        with pytest.raises(StartupError, match="DEKSDENFLOW_WORKSPACES_DIR is '/dev/null/workspaces'"):
            await run_worker(runtime, asyncio.Event(), allow_local=True)


async def test_what_dead_workers_left_of_their_looks_is_removed_at_the_start(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await shop.open("Greet")
        async with shop.doors.git.throwaway(1, shop.origin.head("main"), 7) as tree:
            shutil.copytree(tree.path, ground_floor / "files")
            shutil.copytree(tree.git_dir, ground_floor / "git")
        shutil.copytree(ground_floor / "files", tree.path)
        shutil.copytree(ground_floor / "git", tree.git_dir)
        async with running(shop):

            async def gone() -> bool:
                return not tree.path.exists()

            await eventually(gone)
