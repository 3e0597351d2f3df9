"""Protocol runs of four steps, driven over REST through whatever happens to the API, and deliveries beside them."""

import asyncio
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from tests.chaos.outside import GITHUB_TOKEN, Place
from tests.worker.git.stage import Origin

TOKEN = "a-token-for-these-tests-0123456789"
SECRET = "a-secret-for-these-tests-0123456789"
STEPS = 4
# At a forge: CI is waited for, a red one is repaired, and for every second run the merge is waited for.
AT_FORGE = {"progression": "auto", "auto_qa_on_ci": True, "auto_fix": 10, "ci_settle_s": 1}
AT_REST = {"completed", "blocked", "failed", "cancelled"}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One protocol run: whose agent it has, and whether its steps were planned or added by hand.

    `told` counts the control actions that were accepted for it, `steps` those that settled a step without its work or
    asked for its work again, by its index. Its branch grew from `base`; `place` is where it lives at a forge.
    """

    number: int
    real: bool
    by_hand: bool
    project_id: int
    protocol_id: int
    branch: str
    origin: Path
    base: str = "main"
    place: Place | None = None
    told: Counter[str] = msgspec.field(default_factory=Counter)
    steps: dict[int, Counter[str]] = msgspec.field(default_factory=dict)
    repairs: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/protocols/{self.protocol_id}"


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

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str | None = None) -> Any:
        """The answer; with `token` as the project's own client."""
        status, answer = await self._ask(method, path, body, token)
        if status >= 400:
            raise AssertionError(f"{method} {path}: {status} {answer}")
        return answer

    async def may(self, path: str, body: dict[str, Any] | None = None) -> bool:
        """Whether the action was accepted; what is too early or too late for it is no error."""
        status, answer = await self._ask("POST", path, body, None)
        if status >= 400 and status not in {404, 409, 412}:
            raise AssertionError(f"POST {path}: {status} {answer}")
        return status < 400

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None, token: str | None) -> tuple[int, Any]:
        headers = {"idempotency-key": uuid4().hex} if method == "POST" else {}
        headers |= {"x-project-token": token} if token else {}
        end = time.monotonic() + self._patience_s
        while True:
            try:
                answer = await self._http.request(method, path, json=body, headers=headers)
            except httpx.TransportError as error:
                said = repr(error)
            else:
                if answer.status_code < 500:
                    return answer.status_code, answer.json() if answer.content else None
                said = answer.text
            if time.monotonic() > end:
                raise Stuck(f"{method} {path} was not answered: {said}")
            await asyncio.sleep(0.1)

    async def begin(self, number: int, folder: Path, *, real: bool, by_hand: bool, place: Place | None = None) -> Run:
        """A new project with an origin of its own, and its run, started by the project's own token."""
        origin = place.repository.origin if place else Origin(folder / "origins" / str(number))
        policy: dict[str, Any] = {"progression": "auto", "auto_qa_after_exec": True}
        if place is None:
            await asyncio.to_thread(origin.commit, {"README.md": f"# Sample {number}\n"})
        else:
            policy = AT_FORGE | {"completion": "merge" if number % 4 < 2 else "steps"}
        project = await self.ask(
            "POST",
            "/projects",
            {
                "name": f"sample-{number}",
                "git_url": place.repository.git_url if place else origin.url,
                "base_branch": "main",
                "policy": policy,
                "default_models": {} if real else dict.fromkeys(("planning", "exec", "qa"), "fake"),
            }
            | ({"ci_provider": place.repository.provider} if place else {}),
        )
        if place is not None:
            await self._connect(project["id"], place)
        protocol = await self.ask("POST", f"/projects/{project['id']}/protocols", {"description": "Four parts."})
        path = f"/protocols/{protocol['id']}"
        if by_hand:
            for step in range(1, STEPS + 1):
                await self.ask("POST", f"{path}/steps", {"step_name": f"Part {step}"})
        await self._start(project["id"], path, {"plan": not by_hand})
        return Run(
            number=number,
            real=real,
            by_hand=by_hand,
            project_id=project["id"],
            protocol_id=protocol["id"],
            branch=protocol["branch"],
            origin=origin.bare,
            base=place.base if place else "main",
            place=place,
        )

    async def _connect(self, project_id: int, place: Place) -> None:
        """Its token, where no setting has it, and its hook; one whose secret was lost on its way is made once more."""
        if place.token != GITHUB_TOKEN:
            await self.ask("PUT", f"/projects/{project_id}/secrets/forge_token", {"value": place.token})
        hooks, body = f"/projects/{project_id}/hooks", {"provider": place.repository.provider}
        made = await self.ask("POST", hooks, body)
        while made["secret"] is None:
            made = await self.ask("POST", hooks, body)
        place.hooked(made["url"], made["secret"])

    async def _start(self, project_id: int, path: str, body: dict[str, Any]) -> None:
        """By a token that is made for it and revoked again; one whose text was lost on its way is made once more."""
        tokens = f"/projects/{project_id}/tokens"
        made = await self.ask("POST", tokens, {"name": "starter"})
        while made["token"] is None:
            made = await self.ask("POST", tokens, {"name": "starter"})
        await self.ask("POST", f"{path}/actions/start", body, token=made["token"])
        # To revoke what is revoked is no error, or it is not found: the first answer may have been lost.
        status, answer = await self._ask("DELETE", f"{tokens}/{made['id']}", None, None)
        if status >= 400 and status not in {404, 409}:
            raise AssertionError(f"DELETE {tokens}: {status} {answer}")

    async def ended(self, run: Run, look: Callable[[Any], Awaitable[bool]]) -> str:
        """Returns the status that the run ended in; every end that nobody asked for is a Stuck.

        `look` is given what the protocol is now, and says whether it may be as it is and wait.
        """
        end, newest = time.monotonic() + self._patience_s, 0
        while True:
            protocol = await self.ask("GET", run.path)
            (last,) = await self.ask("GET", f"{run.path}/events?limit=1")
            if last["id"] != newest:
                end, newest = time.monotonic() + self._patience_s, last["id"]
            wanted = await look(protocol)
            if protocol["status"] == "completed" or (protocol["status"] == "cancelled" and wanted):
                return str(protocol["status"])
            if (protocol["status"] in AT_REST and not wanted) or time.monotonic() > end:
                raise Stuck(await self._story(run, protocol))
            await asyncio.sleep(0.15)

    async def _story(self, run: Run, protocol: Any) -> str:
        events = await self.ask("GET", f"{run.path}/events?limit=40")
        lines = [f"  {e['event_type']} {e['from_status']}→{e['to_status']} {e['metadata']}" for e in reversed(events)]
        steps = [(s["status"], s["phase"], s["reason"]) for s in await self.ask("GET", f"{run.path}/steps")]
        told = "\n".join(lines)
        there = f" at {run.place.repository.url}" if run.place else ""
        head = f"run {run.number}{there} ({dict(run.told)}) is {protocol['status']}/{protocol['reason']}"
        return f"{head}, {steps}:\n{told}"


class Pings:
    """Sends deliveries about nothing, each again until it is acknowledged; `acknowledged` are their keys."""

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
        body = json.dumps({"zen": "Keep it logically awesome.", "hook_id": int(key, 16)}).encode()
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
