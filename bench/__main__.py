"""Measures DeksdenFlow on this machine and prints tables: `make bench`, or a part of it by `make bench ARGS=pages`."""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from bench import deliveries, news, pages, queues, stage, step
from bench.calls import ask, until
from bench.load import Request, compared
from bench.rows import Row
from tests.fakes.redis_server import RedisServer
from tests.processes.services import Service

SECONDS, ROUNDS = 1.0, 5
WAKES, STARTS = 60, 12


@asynccontextmanager
async def three_services(folder: Path, redis_url: str) -> AsyncIterator[dict[str, Service]]:
    """API, webhooks and worker as processes."""
    environment = stage.environment(folder, redis_url)
    async with (
        Service("api", environment, folder) as api,
        Service("webhooks", environment, folder) as webhooks,
        Service("worker", environment, folder) as worker,
    ):
        yield {"api": api, "webhooks": webhooks, "worker": worker}


async def reads_and_writes(folder: Path, api: str) -> list[Row]:
    """The API's routes beside bare ones on the same database, in turns, each asked by the same headers."""
    with stage.bare_server(folder / "bench.sqlite") as bare:
        await stage.listening(bare)
        reads = await compared(
            [
                Request(f"{api}/projects/1", headers=stage.AUTHORIZED),
                Request(f"{bare}/projects/1", headers=stage.AUTHORIZED),
            ],
            SECONDS,
            ROUNDS,
        )
        body = b'{"description": "bench"}'
        writes = await compared(
            [
                Request(f"{api}/projects/1/protocols", "POST", stage.AUTHORIZED, body),
                Request(f"{bare}/runs", "POST", stage.AUTHORIZED, body),
            ],
            SECONDS / 2,
            ROUNDS,
        )
    rows: list[Row] = []
    for what, (ours, theirs), target in (("GET /projects/1", reads, 0.6), ("POST /projects/1/protocols", writes, None)):
        ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
        rows.append(
            Row(
                what,
                f"{statistics.median(ours):,.0f}/s = {ratio:.0%} of bare",
                f"bare Litestar + aiosqlite {statistics.median(theirs):,.0f}/s",
                "" if target is None else f"at least {target:.0%}",
                None if target is None else ratio >= target,
            )
        )
    return rows


async def wake_ups(client: httpx.AsyncClient) -> Row:
    """From the API's transaction to the claim's, of jobs that come one by one to an idle worker."""
    waits: list[int] = []
    for _ in range(WAKES):
        job = await ask(client, "POST", "/projects/1/actions/setup")
        done = await until(lambda each: each["status"] == "succeeded", client, f"/queues/jobs/{job['id']}")
        waits.append(_ms(done["started_at"]) - _ms(done["created_at"]))
    p50, worst = statistics.median(waits), sorted(waits)[int(len(waits) * 0.99)]
    return Row("job wake-up, transaction to claim", f"p50 {p50:.0f} ms, p99 {worst} ms", "", "p50 under 3 ms", p50 < 3)


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def agent_starts(client: httpx.AsyncClient, folder: Path) -> Row:
    """From the POST that runs a step to the first instruction of the agent's process."""
    waits: list[float] = []
    notes = folder / "starts"
    for number in range(STARTS):
        run = await ask(client, "POST", "/projects/1/protocols", {"description": f"start {number}"})
        step = await ask(client, "POST", f"/protocols/{run['id']}/steps", {"step_name": "One", "step_type": "work"})
        await ask(client, "POST", f"/protocols/{run['id']}/actions/start", {"plan": False})
        before = len(notes.read_text().splitlines()) if notes.exists() else 0
        began = time.time_ns()
        await ask(client, "POST", f"/steps/{step['id']}/actions/run")
        await until(lambda each: each["status"] == "failed", client, f"/steps/{step['id']}")
        waits.append((int(notes.read_text().splitlines()[before]) - began) / 1e6)
    return Row(
        "POST run → agent process",
        f"median {statistics.median(waits):.0f} ms, worst {max(waits):.0f} ms",
        "with a new worktree, the plan's commit, and the supervisor",
    )


def memory(services: dict[str, Service]) -> list[Row]:
    """Resident memory after the load."""
    rows: list[Row] = []
    for name, service in services.items():
        text = Path(f"/proc/{service.pid}/status").read_text()
        kib = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:"))
        rows.append(Row(f"memory of {name}", f"{kib / 1024:.0f} MB", "", "under 120 MB", kib < 120 * 1024))
    return rows


async def long_lists(folder: Path, redis_url: str) -> list[Row]:
    """Lists of 50 out of 100 rows and out of 100,000, in turns."""
    urls: list[str] = []
    servers: list[Service] = []
    try:
        for rows in (100, 100_000):
            own = folder / str(rows)
            own.mkdir()
            environment = stage.environment(own, redis_url)
            async with stage.grown_database(Path(environment["DEKSDENFLOW_DB_PATH"]), rows):
                server = Service("api", environment, own)
                await server.start()
            servers.append(server)
            urls.append(server.url)
        table: list[Row] = []
        for path in ("/events?limit=50", "/protocols/1/events?limit=50", "/queues/jobs?limit=50"):
            requests = [Request(url + path, headers=stage.AUTHORIZED) for url in urls]
            short, long = await compared(requests, SECONDS / 2, ROUNDS)
            ratio = statistics.median(many / few for many, few in zip(long, short, strict=True))
            figure = f"{statistics.median(long):,.0f}/s = {ratio:.0%}"
            beside = f"with 100 rows {statistics.median(short):,.0f}/s"
            table.append(Row(f"GET {path} of 100,000", figure, beside, "at least 80%", ratio >= 0.8))
        return table
    finally:
        for server in servers:
            await server.stop()


async def measure() -> list[Row]:
    """Everything, in the order of the table."""
    with tempfile.TemporaryDirectory() as name, RedisServer() as redis:
        folder = Path(name)
        headers = dict(stage.AUTHORIZED)
        async with three_services(folder, redis.url) as services:
            async with httpx.AsyncClient(base_url=services["api"].url, headers=headers, timeout=30) as client:
                project = {"name": "bench", "git_url": str(stage.make_repository(folder)), "base_branch": "main"}
                await ask(client, "POST", "/projects", project)
                await until(lambda jobs: all(job["status"] == "succeeded" for job in jobs), client, "/queues/jobs")
                wakes = await wake_ups(client)
                starts = await agent_starts(client, folder)
                rates = await reads_and_writes(folder, services["api"].url)
            used = memory(services)
        lists = await long_lists(folder, redis.url)
        own = folder / "step"
        own.mkdir()
        overhead = await step.measured(own, redis.url)
        inbound = folder / "deliveries"
        inbound.mkdir()
        hooks = await deliveries.measured(inbound, redis.url)
        told = folder / "news"
        told.mkdir()
        streams = await news.measured(told, redis.url)
    return [*rates, *hooks, *streams, *lists, wakes, starts, *overhead, *used]


def shown(console: Console, title: str, rows: list[Row]) -> bool:
    """Print one table; False when a target in it was missed."""
    table = Table("what", "figure", "beside", "target", "", title=title, title_justify="left")
    marks = {True: "[green]✔[/]", False: "[red]✘[/]", None: ""}
    for row in rows:
        table.add_row(row.what, row.figure, row.beside, row.target, marks[row.fine])
    console.print(table)
    return all(row.fine is not False for row in rows)


def services() -> list[Row]:
    """The table of the services."""
    return asyncio.run(measure())


def queue() -> list[Row]:
    """The table of the queue."""
    with RedisServer() as redis:
        return queues.compared(redis.url, queues.installed())


def paints() -> list[Row]:
    """The table of the console's pages."""
    with tempfile.TemporaryDirectory() as name, RedisServer() as redis:
        return asyncio.run(pages.measured(Path(name), redis.url))


PARTS: dict[str, Callable[[], list[Row]]] = {"services": services, "queues": queue, "pages": paints}


def main(wanted: Sequence[str]) -> int:
    """Print the tables of these parts, or of all; the exit code tells whether the targets were met."""
    if unknown := set(wanted) - set(PARTS):
        sys.stderr.write(f"There is no part {', '.join(sorted(unknown))}, but {', '.join(PARTS)}.\n")
        return 2
    console = Console(width=max(Console().width, 140))
    fine: list[bool] = []
    for name in wanted or PARTS:
        with console.status(f"measuring {name}, up to four minutes…"):
            rows = PARTS[name]()
        fine.append(shown(console, name, rows))
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
