"""The place for how the other two services are: asked on this host alone, by the addresses of the settings."""

import asyncio
from typing import Final, Literal

import httpx
import msgspec

from shared.errors import UNREADABLE
from shared.safety import effective_host
from shared.settings import PREFIX, Settings
from shared.web.health import Check, Readiness

PATIENCE_S: Final = 1.0
MAX_BYTES: Final = 65_536
HERE: Final = {
    "0.0.0.0": "127.0.0.1",  # noqa: S104  looked up, not bound to
    "127.0.0.1": "127.0.0.1",
    "localhost": "127.0.0.1",
    "::": "[::1]",
    "::1": "[::1]",
}


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a service: `unknown` where it cannot be asked from here, and `note` says why."""

    name: str
    state: Literal["ready", "unready", "unknown"]
    asked: str | None = None
    note: str = ""
    checks: dict[str, Check] = {}


async def neighbours(settings: Settings) -> list[Neighbour]:
    """The webhook service and the worker, asked at once."""
    ports = {"webhooks": settings.webhook_port, "worker": settings.worker_port}
    return list(await asyncio.gather(*(_ask(name, port, settings) for name, port in ports.items())))


async def _ask(name: str, port: int, settings: Settings) -> Neighbour:
    listens: Literal["webhooks", "worker"] = "webhooks" if name == "webhooks" else "worker"
    host = HERE.get(effective_host(listens, settings))
    variable = "WEBHOOK" if name == "webhooks" else "WORKER"
    if port == 0:
        return Neighbour(
            name=name,
            state="unknown",
            note=f"It took a free port ({PREFIX}{variable}_PORT is 0), which this service is not told.",
        )
    if host is None:
        note = f"It listens on another address ({PREFIX}{variable}_HOST); only this host is asked from here."
        return Neighbour(name=name, state="unknown", note=note)
    url = f"http://{host}:{port}/health/ready"
    try:
        found = await _readiness(url)
    except (httpx.HTTPError, TimeoutError, *UNREADABLE):
        note = "Nothing of ours answers there. In a container or on a host of its own it is asked there."
        return Neighbour(name=name, state="unknown", asked=url, note=note)
    return Neighbour(name=name, state=found.status, asked=url, checks=found.checks)


async def _readiness(url: str) -> Readiness:
    async with (
        asyncio.timeout(PATIENCE_S),
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client,
        client.stream("GET", url) as answer,
    ):
        body = b""
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > MAX_BYTES:
                raise msgspec.DecodeError("too long")
    return msgspec.json.decode(body, type=Readiness)
