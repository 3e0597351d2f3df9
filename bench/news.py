"""Event to browser: how long an event takes to every open stream while a run is busy."""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from pathlib import Path

import httpx
import msgspec

from bench import stage, step
from bench.calls import ask, until
from bench.load import Request
from bench.rows import Row, percentile
from tests.processes.services import Service

STREAMS = 200
RUNS, AT_ONCE = 12, 2
TARGET_MS = 100


class Told(msgspec.Struct, frozen=True):
    """Of an event what is measured by: its own time is that of its transaction, which is before its commit."""

    created_at: datetime


class Listener:
    """One stream, kept open as a browser keeps it; `heard` are times in nanoseconds since 1970, and what came then."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, bytes]] = []
        self.open = asyncio.Event()

    async def listen(self, url: str, after: int) -> None:
        """What comes after that event, until cancelled."""
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(Request(f"{url}/events/stream?after={after}", headers=stage.AUTHORIZED).wire())
            while line := await reader.readline():
                if line.startswith(b"data: "):
                    self.heard.append((time.time_ns(), line))
                elif line.startswith(b"retry: "):
                    self.open.set()
        finally:
            writer.close()

    def waits(self) -> list[float]:
        """How long each event was on its way, in milliseconds."""
        return [at / 1e6 - _ms(line.removeprefix(b"data: ")) for at, line in self.heard]


def _ms(data: bytes) -> float:
    return msgspec.json.decode(data, type=Told).created_at.timestamp() * 1000


async def measured(folder: Path, redis_url: str) -> list[Row]:
    """The lines of the table."""
    environment = stage.environment(folder, redis_url) | {"DEKSDENFLOW_MAX_ATTEMPTS": "3"}
    answer = msgspec.json.encode(msgspec.json.encode(step.ANSWER).decode()).decode()
    Path(environment["DEKSDENFLOW_CODEX_BIN"]).write_text(step.STUB % (answer, folder / "spans"))
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(Service("api", environment, folder))
        await stack.enter_async_context(Service("worker", environment, folder))
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=api.url, headers=dict(stage.AUTHORIZED), timeout=30)
        )
        project = {"name": "bench", "git_url": str(stage.make_repository(folder)), "base_branch": "main"}
        await ask(client, "POST", "/projects", project)
        await until(lambda jobs: all(job["status"] == "succeeded" for job in jobs), client, "/queues/jobs")
        listeners = [Listener() for _ in range(STREAMS)]
        (newest,) = await ask(client, "GET", "/events?limit=1")
        tasks = [asyncio.create_task(each.listen(api.url, newest["id"])) for each in listeners]
        async with asyncio.timeout(30):
            await asyncio.gather(*(each.open.wait() for each in listeners))
        places = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(_busy(client, number, places) for number in range(RUNS)))
        await _until_all_heard(listeners)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    return [_row(listeners)]


async def _busy(client: httpx.AsyncClient, number: int, places: asyncio.Semaphore) -> None:
    """A run with one step, from its opening to the commit of its agent."""
    async with places:
        run = await ask(client, "POST", "/projects/1/protocols", {"description": f"news {number}"})
        one = await ask(client, "POST", f"/protocols/{run['id']}/steps", {"step_name": "One", "step_type": "work"})
        await ask(client, "POST", f"/protocols/{run['id']}/actions/start", {"plan": False})
        await ask(client, "POST", f"/steps/{one['id']}/actions/run")
        done = await until(lambda each: each["status"] in {"needs_qa", "failed"}, client, f"/steps/{one['id']}")
        if done["status"] == "failed":
            raise RuntimeError(f"the step failed: {await ask(client, 'GET', '/queues/jobs?limit=1')}")


async def _until_all_heard(listeners: list[Listener]) -> None:
    async with asyncio.timeout(10):
        while len({len(each.heard) for each in listeners}) > 1:
            await asyncio.sleep(0.05)


def _row(listeners: list[Listener]) -> Row:
    waits = [wait for each in listeners for wait in each.waits()]
    p50, p99 = statistics.median(waits), percentile(waits, 0.99)
    events = len(listeners[0].heard)
    return Row(
        f"event to browser, {STREAMS} streams open",
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms",
        f"{events} events of {RUNS} runs, {AT_ONCE} at once, to each stream; from before their commit",
        f"p50 under {TARGET_MS} ms",
        p50 < TARGET_MS,
    )
