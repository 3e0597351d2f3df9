"""Questions to the API, as a measurement asks them."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx


async def ask(client: httpx.AsyncClient, method: str, path: str, body: object = None) -> Any:
    """The decoded answer; anything but a success ends the run."""
    answer = await client.request(method, path, json=body)
    if answer.is_error:
        raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json()


async def until(check: Callable[[Any], bool], client: httpx.AsyncClient, path: str) -> Any:
    """The first answer that the check accepts, within half a minute."""
    for _ in range(1500):
        answer = await ask(client, "GET", path)
        if check(answer):
            return answer
        await asyncio.sleep(0.02)
    raise TimeoutError(path)
