"""The whole house in the test's process, a scripted model for the real Codex, and a client that asks as people do."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import codex_cli_bin
import httpx
import msgspec

from services.local.demo.check import agent_processes
from services.local.scripted_model import Script, ScriptedModel, parse_script
from services.local.service import local_environment, running
from shared.redaction import Redactor
from shared.runtime import open_runtime
from shared.settings import load_settings
from tests.waiting import eventually

CODEX = Path(codex_cli_bin.bundled_codex_path())
PATIENCE_S = 60.0
UNDER_WAY = {"queued", "executing", "backoff", "parked", "qa_queued", "qa_running"}
QUICK = {
    "API_PORT": "0",
    "WEBHOOK_PORT": "0",
    "WORKER_PORT": "0",
    "GRACE_S": "1",
    "BACKOFF_MAX_S": "0",
    "STEP_TIMEOUT_S": "60",
    "MAX_ATTEMPTS": "2",
}


class House:
    """What runs: its API, the address of its webhooks, the model that it asks, and where it keeps its work."""

    def __init__(self, http: httpx.AsyncClient, webhooks: str, model: ScriptedModel, workspaces: Path) -> None:
        self.http = http
        self.webhooks = webhooks
        self.model = model
        self.workspaces = workspaces

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = await self.http.post(path, json=body or {})
        assert answer.is_success, answer.text
        return answer.json()

    async def register(self, origin: Path, **fields: Any) -> int:
        """The id of the project, once its setup job is over."""
        project = await self.post("/projects", {"name": origin.name, "git_url": str(origin), **fields})

        async def is_over() -> bool:
            events = await self.get("/events", project_id=project["id"])
            return bool({event["event_type"] for event in events} & {"setup_done", "job_failed"})

        await eventually(is_over, within=PATIENCE_S)
        return project["id"]

    async def planned(self, project_id: int, description: str = "Do it.", **fields: Any) -> dict[str, Any]:
        """A protocol run after its planning, however that ended."""
        run = await self.post(f"/projects/{project_id}/protocols", {"description": description, **fields})
        await self.post(f"/protocols/{run['id']}/actions/start")
        return await self.at_rest(run["id"])

    async def with_steps(self, project_id: int, *names: str) -> dict[str, Any]:
        """A protocol run that needs no planning: its steps are added by hand."""
        run = await self.post(f"/projects/{project_id}/protocols", {"description": "By hand."})
        for name in names:
            await self.post(f"/protocols/{run['id']}/steps", {"step_name": name})
        return await self.post(f"/protocols/{run['id']}/actions/start", {"plan": False})

    async def at_rest(self, protocol_id: int) -> dict[str, Any]:
        """The protocol run once nothing of it is queued or running any more."""

        async def is_at_rest() -> dict[str, Any] | None:
            run = await self.get(f"/protocols/{protocol_id}")
            steps = await self.steps(protocol_id)
            busy = run["status"] == "planning" or any(step["phase"] in UNDER_WAY for step in steps)
            return None if busy else run

        found = await eventually(is_at_rest, within=PATIENCE_S, every=0.05)
        assert found is not None
        return found

    async def steps(self, protocol_id: int) -> list[dict[str, Any]]:
        return await self.get(f"/protocols/{protocol_id}/steps")

    async def execute(self, step_id: int) -> dict[str, Any]:
        """The step after one execution, however that ended."""
        step = await self.post(f"/steps/{step_id}/actions/run")
        await self.at_rest(step["protocol_run_id"])
        return await self.get(f"/steps/{step_id}")

    async def judge(self, step_id: int) -> dict[str, Any]:
        """The step after one QA run, however that ended."""
        step = await self.post(f"/steps/{step_id}/actions/run_qa")
        await self.at_rest(step["protocol_run_id"])
        return await self.get(f"/steps/{step_id}")

    async def finish(self, protocol_id: int) -> dict[str, Any]:
        """The protocol run after every step was executed and judged in its order."""
        for step in await self.steps(protocol_id):
            assert (await self.execute(step["id"]))["status"] == "needs_qa"
            assert (await self.judge(step["id"]))["status"] == "completed"
        return await self.get(f"/protocols/{protocol_id}")

    async def events(self, protocol_id: int) -> list[dict[str, Any]]:
        """Oldest first."""
        return (await self.get(f"/protocols/{protocol_id}/events", limit=500))[::-1]

    async def event(self, protocol_id: int, event_type: str) -> dict[str, Any]:
        """The newest event of this type."""
        of_type = [event for event in await self.events(protocol_id) if event["event_type"] == event_type]
        assert of_type, f"there is no {event_type} among {[e['event_type'] for e in await self.events(protocol_id)]}"
        return of_type[-1]


@asynccontextmanager
async def open_house(folder: Path, *conversations: dict[str, Any], **settings: str) -> AsyncIterator[House]:
    """A house that is closed at the end, with no process of an agent left."""
    script: Script = parse_script({"conversations": list(conversations)})
    workspaces = folder / "workspaces"
    async with ScriptedModel(script) as model:
        chosen = {
            **QUICK,
            "DB_PATH": str(folder / "house.sqlite"),
            "WORKSPACES_DIR": str(workspaces),
            "MODEL_BASE_URL": model.base_url,
            "CODEX_SANDBOX": "required" if sandbox_works() else "off",
            **settings,
        }
        environment = local_environment({f"DEKSDENFLOW_{name}": value for name, value in chosen.items()})
        read = load_settings(environment, allow_fake=True)
        async with (
            open_runtime(read, "local", redactor=Redactor(read.secrets())) as runtime,
            running(runtime, asyncio.Event()) as local,
            httpx.AsyncClient(base_url=local.addresses.api, timeout=20) as http,
        ):
            yield House(http, local.addresses.webhooks, model, workspaces)
            assert not agent_processes(workspaces), "an agent still runs although nothing is under way"
    assert not agent_processes(workspaces), "an agent outlived the house"


@cache
def sandbox_works() -> bool:
    """Whether this machine allows what Codex needs for its sandbox."""
    with TemporaryDirectory() as home:
        probe = [CODEX, "sandbox", "--", "/bin/true"]  # there is no PATH
        return subprocess.run(probe, env={"CODEX_HOME": home}, capture_output=True, check=False).returncode == 0


# What the scripts of these tests are made of.


def plan(*titles: str, **changes: Any) -> dict[str, Any]:
    """A plan as the model answers it: one work step after the other."""
    steps = [
        {"title": title, "type": "work", "instructions": f"Do this: {title}.", "depends_on": [number] if number else []}
        for number, title in enumerate(titles)
    ]
    return {"summary": "A plan.", "plan_md": "# Plan", "context_md": "# Context", "steps": steps} | changes


def done(subject: str = "do it", kind: str = "feat") -> dict[str, Any]:
    """The report of an execution."""
    return {
        "summary": "It is done.",
        "commit_type": kind,
        "commit_scope": "",
        "commit_subject": subject,
        "notes": "",
    }


def verdict(word: str = "pass") -> dict[str, Any]:
    """A judgement."""
    return {"summary": f"It is a {word}.", "findings": [], "next_actions": [], "verdict": word}


def conversation(request: str, *turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What is said in a thread whose prompt makes this request, such as `plan` or `execute step 01`."""
    return {"name": request, "match": {"prompt": rf"^DeksdenFlow request: {request}\b"}, "turns": list(turns), **more}


def answered(request: str, answer: dict[str, Any], *before: dict[str, Any]) -> dict[str, Any]:
    """A thread that ends in this answer."""
    return conversation(request, *before, {"answer": answer})


def addition(path: str, lines: Sequence[str]) -> dict[str, Any]:
    """A turn that adds a file by a patch."""
    body = "\n".join(f"+{line}" for line in lines)
    return {"patch": f"*** Begin Patch\n*** Add File: {path}\n{body}\n*** End Patch"}


def replaced(value: Any, **changes: Any) -> Any:
    """A copy of plain data with some keys changed."""
    return msgspec.json.decode(msgspec.json.encode(value)) | changes
