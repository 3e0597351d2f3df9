"""A worker that is killed while it publishes: the next one finds the PR and the comment, and makes no second one."""

from pathlib import Path

import httpx
import pytest

from services.local.scripted_model import ScriptedModel, parse_script
from tests.e2e.house import addition, answered, done
from tests.fakes.forge import FakeForge
from tests.processes.driving import ended, events, post
from tests.processes.services import Service
from tests.waiting import eventually

TOKEN = "forge-canary-4410aa87"
EXECUTED = answered("execute step 01", done("greet"), addition("greeting.txt", ["hello"]))
DEADLY = ("branch_published", "pull_looked_for", "pull_opened", "pull_commented")


@pytest.mark.parametrize("provider", ["github", "gitlab"])
async def test_a_worker_that_dies_at_any_point_of_publishing_leaves_one_pr_and_one_comment(
    provider: str, client: httpx.AsyncClient, environment: dict[str, str], folder: Path
) -> None:
    async with (
        ScriptedModel(parse_script({"conversations": [EXECUTED]})) as model,
        FakeForge(folder / "forge") as forge,
    ):
        repository = forge.repository(provider, f"{provider}.com", "acme/pears", token=TOKEN)
        environment |= forge.environment
        environment |= {"DEKSDENFLOW_MODEL_BASE_URL": model.base_url, f"DEKSDENFLOW_{provider.upper()}_TOKEN": TOKEN}
        body = {"name": "pears", "git_url": repository.git_url, "policy": {"open_pr": "asked"}}
        project = await post(client, "/projects", body)
        run = await post(client, f"/projects/{project['id']}/protocols", {"description": "Greet"})
        path = f"/protocols/{run['id']}"
        step = await post(client, f"{path}/steps", {"step_name": "Greet"})
        await post(client, f"{path}/actions/start", {"plan": False})
        await post(client, f"{path}/actions/run_next_step")
        worker = Service("worker", environment, folder)
        async with worker:
            await ended(client, f"/steps/{step['id']}", among={"needs_qa", "failed"})
            await worker.stop()
        job = await post(client, f"{path}/actions/open_pr")
        for point in DEADLY:
            await worker.start(FAILPOINT=point)
            assert await worker.ended() == -9, worker.log.read_text()
        async with worker:

            async def is_published() -> bool:
                return bool(await events(client, path, "branch_pushed"))

            await eventually(is_published, within=30)
        (pull,) = repository.pulls.values()
        assert (pull.draft, len(pull.comments)) == (True, 1)
        lost = [event for event in await events(client, path, "job_lost") if event["job_id"] == job["id"]]
        assert len(lost) == len(DEADLY)
        assert len(await events(client, path, "pr_opened")) == 1
        found = (await client.get(path)).json()
        assert (found["pr_number"], found["pr_state"], found["status"]) == (pull.number, "open", "running")
        assert TOKEN not in worker.log.read_text()
