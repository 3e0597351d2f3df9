"""Protocol runs of four steps, driven over REST through whatever happens to the API, and deliveries beside them."""

import asyncio
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from tests.worker.git.stage import Origin

TOKEN = "a-token-for-these-tests-0123456789"
SECRET = "a-secret-for-these-tests-0123456789"
STEPS = 4
AT_REST = {"completed", "blocked", "failed", "cancelled"}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One protocol run: whose agent it has, and whether its steps were planned or added by hand."""

    number: int
    real: bool
    by_hand: bool
    project_id: int
    protocol_id: int
    branch: str
    origin: Path


class Stuck(AssertionError):
    """A run that did not come to its end in time; the text is what the database says of it."""


class Caller:
    """Asks until it is answered: with the same Idempotency-Key, as a client does that wants no second project."""

    def __init__(self, base_url: str, patience_s: float) -> None:
        headers = {"authorization": f"Bearer {TOKEN}"}
        self._http = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=10)
        self._patience_s = patience_s

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"idempotency-key": uuid4().hex} if method == "POST" else {}
        end = time.monotonic() + self._patience_s
        while True:
            try:
                answer = await self._http.request(method, path, json=body, headers=headers)
            except httpx.TransportError as error:
                said = repr(error)
            else:
                if answer.is_success:
                    return answer.json()
                said = answer.text
                if answer.status_code < 500:
                    raise AssertionError(f"{method} {path}: {answer.status_code} {said}")
            if time.monotonic() > end:
                raise Stuck(f"{method} {path} was not answered: {said}")
            await asyncio.sleep(0.1)

    async def begin(self, number: int, folder: Path, *, real: bool, by_hand: bool) -> Run:
        """A new project with an origin of its own, and its run, started."""
        origin = Origin(folder / "origins" / str(number))
        await asyncio.to_thread(origin.commit, {"README.md": f"# Sample {number}\n"})
        project = await self.ask(
            "POST",
            "/projects",
            {
                "name": f"sample-{number}",
                "git_url": origin.url,
                "base_branch": "main",
                "policy": {"progression": "auto", "auto_qa_after_exec": True},
                "default_models": {} if real else dict.fromkeys(("planning", "exec", "qa"), "fake"),
            },
        )
        protocol = await self.ask("POST", f"/projects/{project['id']}/protocols", {"description": "Four parts."})
        path = f"/protocols/{protocol['id']}"
        if by_hand:
            for step in range(1, STEPS + 1):
                await self.ask("POST", f"{path}/steps", {"step_name": f"Part {step}"})
            await self.ask("POST", f"{path}/actions/start", {"plan": False})
        else:
            await self.ask("POST", f"{path}/actions/start")
        return Run(
            number=number,
            real=real,
            by_hand=by_hand,
            project_id=project["id"],
            protocol_id=protocol["id"],
            branch=protocol["branch"],
            origin=origin.bare,
        )

    async def ended(self, run: Run) -> None:
        """Returns when the run is completed; every other end, and a run of which nothing new is told, is a Stuck."""
        path = f"/protocols/{run.protocol_id}"
        end, newest = time.monotonic() + self._patience_s, 0
        while True:
            protocol = await self.ask("GET", path)
            (last,) = await self.ask("GET", f"{path}/events?limit=1")
            if last["id"] != newest:
                end, newest = time.monotonic() + self._patience_s, last["id"]
            if protocol["status"] == "completed":
                return
            if protocol["status"] in AT_REST or time.monotonic() > end:
                events = await self.ask("GET", f"{path}/events?limit=40")
                told = "\n".join(
                    f"  {e['event_type']} {e['from_status']}→{e['to_status']} {e['metadata']}" for e in reversed(events)
                )
                steps = [(s["status"], s["phase"], s["reason"]) for s in await self.ask("GET", f"{path}/steps")]
                raise Stuck(f"run {run.number} is {protocol['status']}/{protocol['reason']}, {steps}:\n{told}")
            await asyncio.sleep(0.15)


class Forge:
    """Sends deliveries, each again until it is acknowledged; `acknowledged` are their keys."""

    def __init__(self, base_url: str) -> None:
        self.acknowledged: list[str] = []
        self._http = httpx.AsyncClient(base_url=base_url, timeout=5)

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, every_s: float) -> None:
        """Until cancelled."""
        while True:
            await self._deliver(uuid4().hex)
            await asyncio.sleep(every_s)

    async def _deliver(self, key: str) -> None:
        body = json.dumps({"zen": "Keep it logically awesome.", "hook_id": 1}).encode()
        headers = {
            "x-github-event": "ping",
            "x-github-delivery": key,
            "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
            "content-type": "application/json",
        }
        while True:
            try:
                answer = await self._http.post("/webhooks/github", content=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            if answer.is_success:
                self.acknowledged.append(key)
                return
            if answer.status_code < 500:
                raise AssertionError(answer.text)
            await asyncio.sleep(0.1)
