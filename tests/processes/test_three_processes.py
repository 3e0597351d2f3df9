"""The main job through three processes, one SQLite file and a real Redis server, with the real Codex."""

import hashlib
import hmac
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from services.local.samples.sample import SamplePaths, make_sample
from services.local.scripted_model import ScriptedModel, load_script
from tests.fakes.redis_server import RedisServer
from tests.processes.services import Service
from tests.waiting import eventually

TOKEN = "a-token-for-these-tests-0123456789"
SECRET = "a-secret-for-these-tests-0123456789"


@pytest.fixture
def sample(tmp_path: Path) -> SamplePaths:
    return make_sample(tmp_path / "sample")


@pytest.fixture
async def model(sample: SamplePaths) -> AsyncIterator[ScriptedModel]:
    script = msgspec.structs.replace(load_script(sample.script), delay_s=0)
    async with ScriptedModel(script) as playing:
        yield playing


@pytest.fixture
def environment(tmp_path: Path, redis_server: RedisServer, model: ScriptedModel) -> dict[str, str]:
    return {
        "DEKSDENFLOW_REDIS_URL": redis_server.url,
        "DEKSDENFLOW_DB_PATH": str(tmp_path / "deksdenflow.sqlite"),
        "DEKSDENFLOW_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "DEKSDENFLOW_API_TOKEN": TOKEN,
        "DEKSDENFLOW_WEBHOOK_TOKEN": SECRET,
        "DEKSDENFLOW_API_HOST": "127.0.0.1",
        "DEKSDENFLOW_WEBHOOK_HOST": "127.0.0.1",
        "DEKSDENFLOW_WORKER_HOST": "127.0.0.1",
        "DEKSDENFLOW_API_PORT": "0",
        "DEKSDENFLOW_WEBHOOK_PORT": "0",
        "DEKSDENFLOW_WORKER_PORT": "0",
        "DEKSDENFLOW_ALLOW_LOCAL_REPOS": "true",
        "DEKSDENFLOW_MODEL_BASE_URL": model.base_url,
        "DEKSDENFLOW_GRACE_S": "5",
    }


@pytest.fixture
def services(tmp_path: Path, environment: dict[str, str]) -> Iterator[dict[str, Service]]:
    with (
        Service("api", environment, tmp_path) as api,
        Service("webhooks", environment, tmp_path) as webhooks,
        Service("worker", environment, tmp_path) as worker,
    ):
        yield {"api": api, "webhooks": webhooks, "worker": worker}


@pytest.fixture
async def client(services: dict[str, Service]) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=services["api"].url, headers=headers, timeout=10) as session:
        yield session


async def _open_run(client: httpx.AsyncClient, sample: SamplePaths) -> str:
    project = {
        "name": "tabsplit",
        "git_url": str(sample.origin),
        "base_branch": sample.base_branch,
        "policy": {"progression": "auto", "auto_qa_after_exec": True},
    }
    answer = await client.post("/projects", json=project)
    assert answer.status_code == 201, answer.text
    answer = await client.post(f"/projects/{answer.json()['id']}/protocols", json={"description": "Lose no cent"})
    assert answer.status_code == 201, answer.text
    path = f"/protocols/{answer.json()['id']}"
    answer = await client.post(f"{path}/actions/start")
    assert answer.status_code < 300, answer.text
    return path


async def _ended(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    async def ended() -> dict[str, Any] | None:
        protocol = (await client.get(path)).json()
        return protocol if protocol["status"] in {"completed", "blocked", "failed", "cancelled"} else None

    protocol = await eventually(ended, within=90, every=0.1)
    assert protocol is not None
    return protocol


def _subjects(origin: Path, branch: str) -> list[str]:
    log = subprocess.run(
        ["git", "-C", str(origin), "log", "--format=%s", branch], capture_output=True, text=True, check=True
    )
    return log.stdout.splitlines()


async def test_the_main_job_runs_through_three_processes_and_a_delivery_is_received_meanwhile(
    client: httpx.AsyncClient, services: dict[str, Service], sample: SamplePaths
) -> None:
    path = await _open_run(client, sample)
    body = json.dumps({"zen": "Keep it logically awesome.", "hook_id": 1}).encode()
    headers = {
        "x-github-event": "ping",
        "x-github-delivery": "0b989ba4-242f-11e5-81e1-c7b6966d2516",
        "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
        "content-type": "application/json",
    }
    async with httpx.AsyncClient(base_url=services["webhooks"].url, timeout=10) as forge:
        answers = [await forge.post("/webhooks/github", content=body, headers=headers) for _ in range(2)]
    assert [answer.json()["status"] for answer in answers] == ["received", "duplicate"]
    protocol = await _ended(client, path)
    assert protocol["status"] == "completed", (await client.get(f"{path}/events")).text
    assert len([each for each in _subjects(sample.origin, protocol["branch"]) if "[protocol-0001/0" in each]) == 4
    for service in services.values():
        async with httpx.AsyncClient(base_url=service.url, timeout=10) as session:
            ready = await session.get("/health/ready")
        assert ready.status_code == 200, ready.text
    assert [service.stop() for service in services.values()] == [0, 0, 0]


async def test_work_is_accepted_while_redis_is_away_and_runs_when_it_is_back(
    client: httpx.AsyncClient, services: dict[str, Service], sample: SamplePaths, redis_server: RedisServer
) -> None:
    redis_server.kill9()
    path = await _open_run(client, sample)
    assert (await client.get("/health")).json() == {"status": "ok"}
    assert (await client.get("/health/ready")).status_code == 503
    redis_server.start()
    assert (await _ended(client, path))["status"] == "completed"
    assert services["worker"].stop() == 0


async def test_a_killed_worker_costs_nothing_but_time(
    client: httpx.AsyncClient, services: dict[str, Service], sample: SamplePaths
) -> None:
    path = await _open_run(client, sample)

    async def executing() -> bool:
        events = (await client.get(f"{path}/events")).json()
        return any(event["event_type"] == "step_started" for event in events)

    await eventually(executing, within=60)
    services["worker"].kill()
    services["worker"].start()
    protocol = await _ended(client, path)
    assert protocol["status"] == "completed"
    events = (await client.get(f"{path}/events", params={"limit": 500})).json()
    done = [event for event in events if event["event_type"] == "step_completed"]
    assert len(done) == len({event["metadata"]["sha"] for event in done}) == 3
    assert len([each for each in _subjects(sample.origin, protocol["branch"]) if "[protocol-0001/0" in each]) == 4
