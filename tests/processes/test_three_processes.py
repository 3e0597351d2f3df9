"""The main job through three processes, one SQLite file and a real Redis server, with the real Codex."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from services.local.samples.sample import SamplePaths, make_sample
from services.local.scripted_model import ScriptedModel, load_script
from tests.fakes.redis_server import RedisServer
from tests.processes.driving import SECRET, ended, events, open_run, post
from tests.processes.services import Service
from tests.worker.git.stage import plain_git


@pytest.fixture
def sample(folder: Path) -> SamplePaths:
    return make_sample(folder / "sample")


@pytest.fixture
async def model(sample: SamplePaths, environment: dict[str, str]) -> AsyncIterator[ScriptedModel]:
    script = msgspec.structs.replace(load_script(sample.script), delay_s=0)
    async with ScriptedModel(script) as playing:
        environment["DEKSDENFLOW_MODEL_BASE_URL"] = playing.base_url
        yield playing


async def test_the_main_job_runs_through_three_processes_and_a_delivery_is_received_meanwhile(
    model: ScriptedModel,
    client: httpx.AsyncClient,
    api: Service,
    environment: dict[str, str],
    folder: Path,
    sample: SamplePaths,
) -> None:
    async with Service("webhooks", environment, folder) as webhooks, Service("worker", environment, folder) as worker:
        path = await open_run(client, sample.origin, progression="auto", auto_qa_after_exec=True)
        await post(client, f"{path}/actions/start")
        body = json.dumps({"zen": "Keep it logically awesome.", "hook_id": 1}).encode()
        headers = {
            "x-github-event": "ping",
            "x-github-delivery": "0b989ba4-242f-11e5-81e1-c7b6966d2516",
            "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
            "content-type": "application/json",
        }
        async with httpx.AsyncClient(base_url=webhooks.url, timeout=20) as forge:
            answers = [await forge.post("/webhooks/github", content=body, headers=headers) for _ in range(2)]
        assert [answer.json()["status"] for answer in answers] == ["received", "duplicate"]
        protocol = await ended(client, path)
        assert protocol["status"] == "completed", await events(client, path)
        subjects = plain_git(sample.origin, "log", "--format=%s", f"main..{protocol['branch']}").splitlines()
        assert [subject.split("[")[-1] for subject in subjects] == [f"protocol-0001/0{step}]" for step in (3, 2, 1, 0)]
        for service in (api, webhooks, worker):
            async with httpx.AsyncClient(base_url=service.url, timeout=20) as session:
                ready = await session.get("/health/ready")
            assert ready.status_code == 200, ready.text
        assert [await service.stop() for service in (worker, webhooks, api)] == [0, 0, 0]
    assert len(model.requests) > 7


async def test_work_is_accepted_while_redis_is_away_and_runs_when_it_is_back(
    model: ScriptedModel,
    client: httpx.AsyncClient,
    environment: dict[str, str],
    folder: Path,
    sample: SamplePaths,
    redis_server: RedisServer,
) -> None:
    async with Service("worker", environment, folder) as worker:
        redis_server.kill9()
        path = await open_run(client, sample.origin)
        await post(client, f"{path}/actions/start")
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert (await client.get("/health/ready")).status_code == 503
        redis_server.start()
        assert (await ended(client, path, among={"planned", "blocked"}))["status"] == "planned"
        assert await worker.stop() == 0
    assert model.requests
