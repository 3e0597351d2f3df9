"""A worker that dies or is stopped at the worst moment: nothing is lost, nothing is done twice, nothing is left."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.local.demo.check import agent_processes
from services.local.scripted_model import ScriptedModel, parse_script
from tests.e2e.house import addition, answered, conversation, done
from tests.processes.driving import ended, events, open_run, post
from tests.processes.services import Service
from tests.waiting import eventually
from tests.worker.git.stage import Origin, plain_git
from tests.worker.workshop import WAIT, until_exists

BRANCH = "0001-lose-no-cent"
SALVAGE = "refs/deksdenflow/salvage"
KILLED = -9
ONE = {"command": "echo one > one.txt"}
HELLO = addition("greeting.txt", ["hello"])


@pytest.fixture
def origin(folder: Path) -> Origin:
    origin = Origin(folder / "theirs")
    origin.commit({"README.md": "# Sample\n"})
    return origin


@pytest.fixture
def workspaces(folder: Path) -> Path:
    return folder / "workspaces"


Stage = Callable[..., AbstractAsyncContextManager[tuple[ScriptedModel, Service]]]


@pytest.fixture
def stage(environment: dict[str, str], folder: Path) -> Stage:
    """A model that plays these conversations, and a running worker that asks it."""

    @asynccontextmanager
    async def play(*conversations: dict[str, Any]) -> AsyncIterator[tuple[ScriptedModel, Service]]:
        async with ScriptedModel(parse_script({"conversations": list(conversations)})) as model:
            environment["DEKSDENFLOW_MODEL_BASE_URL"] = model.base_url
            async with Service("worker", environment, folder) as worker:
                yield model, worker

    return play


async def one_step(client: httpx.AsyncClient, origin: Origin) -> tuple[str, str]:
    """The paths of a run whose one step is queued, and of that step."""
    path = await open_run(client, origin.bare)
    step = await post(client, f"{path}/steps", {"step_name": "Greet"})
    await post(client, f"{path}/actions/start", {"plan": False})
    await post(client, f"{path}/actions/run_next_step")
    return path, f"/steps/{step['id']}"


async def killed_at_work(worker: Service, workspaces: Path) -> None:
    """Kill the worker while its agent is in its `WAIT`; both are gone then."""
    await at_work(workspaces)
    assert agent_processes(workspaces)
    await worker.kill()
    await eventually(_nobody_works(workspaces), within=30)


def committed(origin: Origin) -> list[str]:
    """The files on the branch at the origin."""
    return plain_git(origin.bare, "ls-tree", "-r", "--name-only", BRANCH).splitlines()


def salvaged(workspaces: Path) -> list[str]:
    return plain_git(workspaces / "repos" / "1.git", "for-each-ref", "--format=%(refname)", SALVAGE).splitlines()


async def test_a_worker_that_is_killed_takes_its_agent_along_and_the_next_one_goes_on_at_once(
    stage: Stage, client: httpx.AsyncClient, origin: Origin, workspaces: Path
) -> None:
    async with stage(conversation("execute step 01", ONE, WAIT, HELLO, {"answer": done()})) as (_, worker):
        path, step_path = await one_step(client, origin)
        await killed_at_work(worker, workspaces)
        await worker.start()
        step = await ended(client, step_path, among={"needs_qa", "failed"})
        assert await worker.stop() == 0
    assert step["status"] == "needs_qa", worker.log.read_text()
    assert len(await events(client, path, "step_completed")) == 1
    (lost,) = await events(client, path, "job_lost")
    assert "is dead" in lost["metadata"]["message"]
    cut_off, resumed = (await client.get(f"{step_path}/attempts")).json()
    assert (cut_off["status"], resumed["status"]) == ("lost", "succeeded")
    assert resumed["thread_id"] == cut_off["thread_id"]
    assert resumed["resumed_from"] == cut_off["id"]
    assert len(plain_git(origin.bare, "log", "--format=%s", f"main..{BRANCH}").splitlines()) == 2, "the plan, the step"
    assert {"one.txt", "greeting.txt"} <= set(committed(origin)), "what it had before, and what it did then"
    assert "cut off" in (workspaces / "attempts" / str(resumed["id"]) / "prompt.md").read_text()
    (continued,) = await events(client, path, "attempt_continued")
    assert (continued["reason"], continued["metadata"]["how"]) == ("lost", "resumed")
    (ref,) = salvaged(workspaces)
    assert ref == f"{SALVAGE}/{cut_off['id']}" == cut_off["salvage"] == continued["metadata"]["salvage"]
    assert plain_git(workspaces / "repos" / "1.git", "show", f"{ref}:one.txt") == "one"


async def test_a_thread_whose_record_was_torn_when_its_worker_died_is_left_and_the_step_begun_anew(
    stage: Stage, client: httpx.AsyncClient, origin: Origin, workspaces: Path
) -> None:
    first = conversation("execute step 01", ONE, WAIT, {"answer": done()})
    first["match"]["nth"] = 1
    async with stage(first, answered("execute step 01", done(), HELLO)) as (_, worker):
        path, step_path = await one_step(client, origin)
        await killed_at_work(worker, workspaces)
        (record,) = workspaces.glob("attempts/*/codex_home/sessions/**/rollout-*.jsonl")
        record.write_bytes(record.read_bytes()[:-7])
        await worker.start()
        step = await ended(client, step_path, among={"needs_qa", "failed"})
        assert await worker.stop() == 0
    assert step["status"] == "needs_qa", worker.log.read_text()
    (continued,) = await events(client, path, "attempt_continued")
    assert (continued["reason"], continued["metadata"]["how"]) == ("thread_torn", "clean")
    lost, clean = (await client.get(f"{step_path}/attempts")).json()
    assert lost["thread_id"] != clean["thread_id"]
    assert clean["resumed_from"] is None
    assert "one.txt" not in committed(origin)
    assert "greeting.txt" in committed(origin)
    (ref,) = salvaged(workspaces)
    assert plain_git(workspaces / "repos" / "1.git", "show", f"{ref}:one.txt") == "one"


async def test_a_worker_that_dies_around_its_commit_makes_it_once_and_asks_codex_no_more_than_it_must(
    stage: Stage, client: httpx.AsyncClient, origin: Origin, workspaces: Path
) -> None:
    async with stage(answered("execute step 01", done(), HELLO)) as (model, worker):
        assert await worker.stop() == 0
        path, step_path = await one_step(client, origin)

        await worker.start(FAILPOINT="execution_committed")
        assert await worker.ended() == KILLED
        assert not origin.head(BRANCH)
        asked = len(model.requests)

        await worker.start(FAILPOINT="execution_noted")  # the commit that nobody knew of is saved, and made again
        assert await worker.ended() == KILLED
        assert len(salvaged(workspaces)) == 1
        assert not origin.head(BRANCH)
        assert len(model.requests) == 2 * asked

        await worker.start(FAILPOINT="execution_pushed")  # the commit that was noted is adopted, and pushed
        assert await worker.ended() == KILLED
        pushed = origin.head(BRANCH)
        assert pushed

        await worker.start()  # and so it is when nothing was left but to tell of the push
        step = await ended(client, step_path, among={"needs_qa", "failed"})
        assert await worker.stop() == 0
        assert len(model.requests) == 2 * asked
    assert (step["status"], step["head_sha"]) == ("needs_qa", pushed), worker.log.read_text()
    assert origin.head(BRANCH) == pushed
    assert plain_git(origin.bare, "log", "--format=%s", f"main..{BRANCH}").splitlines() == [
        "feat: do it [protocol-0001/01]",
        "docs(protocol): plan revision 1 [protocol-0001/00]",
    ]
    assert len(await events(client, path, "step_completed")) == 1
    assert len(await events(client, path, "job_lost")) == 3


async def test_a_worker_that_is_asked_to_stop_parks_its_agent_and_the_next_one_goes_on_in_its_thread(
    stage: Stage, client: httpx.AsyncClient, origin: Origin, workspaces: Path
) -> None:
    async with stage(conversation("execute step 01", ONE, WAIT, HELLO, {"answer": done()})) as (_, worker):
        path, step_path = await one_step(client, origin)
        await at_work(workspaces)
        assert await worker.stop() == 0
        assert not agent_processes(workspaces)
        await worker.start()
        step = await ended(client, step_path, among={"needs_qa", "failed"})
        assert await worker.stop() == 0
    assert step["status"] == "needs_qa", worker.log.read_text()
    parked, resumed = (await client.get(f"{step_path}/attempts")).json()
    assert (parked["status"], resumed["status"]) == ("parked", "succeeded")
    assert parked["thread_id"] == resumed["thread_id"]
    assert len(await events(client, path, "step_completed")) == 1
    assert plain_git(origin.bare, "show", f"{BRANCH}:one.txt") == "one"


async def at_work(workspaces: Path) -> None:
    """Returns when the agent is in its `WAIT`."""
    await until_exists(workspaces / "worktrees" / "1" / BRANCH / "here")


def _nobody_works(workspaces: Path) -> Callable[[], Awaitable[bool]]:
    async def nobody() -> bool:
        return not agent_processes(workspaces)

    return nobody
