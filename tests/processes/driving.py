"""A protocol run, driven over REST as people do."""

from pathlib import Path
from typing import Any

import httpx

from tests.waiting import eventually

TOKEN = "a-token-for-these-tests-0123456789"
SECRET = "a-secret-for-these-tests-0123456789"
AT_REST = {"completed", "blocked", "failed", "cancelled"}


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any] | None = None) -> Any:
    answer = await client.post(path, json=body or {})
    assert answer.is_success, answer.text
    return answer.json()


async def open_run(client: httpx.AsyncClient, origin: Path, **policy: Any) -> str:
    """The path of a new protocol run on a new project."""
    project = await post(client, "/projects", {"name": origin.stem, "git_url": str(origin), "policy": policy})
    run = await post(client, f"/projects/{project['id']}/protocols", {"description": "Lose no cent"})
    return f"/protocols/{run['id']}"


async def ended(client: httpx.AsyncClient, path: str, *, among: frozenset[str] | set[str] = AT_REST) -> dict[str, Any]:
    """The protocol or step once it has one of these statuses."""

    async def look() -> dict[str, Any] | None:
        found = (await client.get(path)).json()
        return found if found["status"] in among else None

    found = await eventually(look, within=90, every=0.05)
    assert found is not None
    return found


async def events(client: httpx.AsyncClient, path: str, *types: str) -> list[dict[str, Any]]:
    """Oldest first; of these types, or all."""
    answer = (await client.get(f"{path}/events", params={"limit": 500})).json()
    return [event for event in reversed(answer) if not types or event["event_type"] in types]
