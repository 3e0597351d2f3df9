"""Deliveries: how many the webhook service takes, how fast it answers, and how fast a worker applies them."""

import asyncio
import hashlib
import hmac
import json
import sqlite3
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from secrets import token_hex

import msgspec

from bench import stage
from bench.load import CONNECTIONS, Request
from bench.rows import Row, percentile
from shared.repository.database import Tx, open_database
from shared.schemas.records import Delivery
from shared.schemas.statuses import DeliveryStatus, Provider
from shared.workflow.deliveries import receive_delivery
from shared.workflow.door import Silence, Workflow
from shared.workflow.unit import Caller, Rules
from tests.fakes.deliveries import NOON_MS, Repo, github_workflow_run
from tests.processes.services import Service

SECRET = "bench-webhook-token-0123456789abcdef"
BODY_BYTES = 10_000
SECONDS, ROUNDS = 1.0, 5
RATE, RATE_SECONDS = 100, 5
BACKLOG = 10_000
PATIENCE_S = 300.0
REPO = Repo(41, "orchard/pears")
SHA = "a1" * 20


class Wires:
    """Signed deliveries of 10 kB, no two alike, ready to be written; made ahead, so that making them costs no time."""

    def __init__(self, url: str, event: str = "workflow_run") -> None:
        self._url, self._event, self._numbers, self._mark = url, event, count(), token_hex(4)
        self._ready: deque[bytes] = deque()

    def prepare(self, amount: int) -> None:
        """Have that many at hand."""
        while len(self._ready) < amount:
            self._ready.append(self._made())

    def next(self) -> bytes:
        """One more."""
        return self._ready.popleft() if self._ready else self._made()

    def _made(self) -> bytes:
        number = next(self._numbers)
        body = json.dumps(
            {"action": "completed", "number": f"{self._mark}-{number}", "workflow_run": {"head_sha": SHA}, "pad": ""}
        )
        body = f'{body[:-2]}{"x" * (BODY_BYTES - len(body))}"}}'
        signature = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
        headers = (
            ("content-type", "application/json"),
            ("user-agent", "GitHub-Hookshot/044aadd"),
            ("x-github-event", self._event),
            ("x-github-delivery", f"bench-{self._mark}-{number}"),
            ("x-hub-signature-256", f"sha256={signature}"),
        )
        return Request(self._url, "POST", headers, body.encode()).wire()


class Line:
    """One kept-open connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, wire: bytes) -> None:
        """Send one delivery and read its answer; what was not accepted ends the measurement."""
        self._writer.write(wire)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = next((int(each[15:]) for each in head.split(b"\r\n") if each.startswith(b"content-length:")), 0)
        body = await self._reader.readexactly(length)
        if not head.startswith((b"http/1.1 202", b"http/1.1 201")):
            raise RuntimeError(f"{head[:60]!r} {body[:200]!r}")

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def lines_to(url: str, amount: int = CONNECTIONS) -> list[Line]:
    """That many connections."""
    host, port = url.removeprefix("http://").partition("/")[0].split(":")
    return [Line(*await asyncio.open_connection(host, int(port))) for _ in range(amount)]


async def per_second(url: str, wires: Wires, seconds: float) -> float:
    """Deliveries accepted per second."""
    lines = await lines_to(url)
    began = time.perf_counter()
    end = began + seconds

    async def keep_sending(line: Line) -> int:
        sent = 0
        while time.perf_counter() < end:
            await line.send(wires.next())
            sent += 1
        return sent

    sent = sum(await asyncio.gather(*(keep_sending(line) for line in lines)))
    took = time.perf_counter() - began
    for line in lines:
        line.close()
    return sent / took


async def accepted(webhooks: str, bare: str) -> Row:
    """The service beside a bare route that verifies and inserts, in turns."""
    ours, theirs = Wires(f"{webhooks}/webhooks/github"), Wires(f"{bare}/deliveries")
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + 1):
        for place, (url, wires) in enumerate(((webhooks, ours), (bare, theirs))):
            wires.prepare(3000)
            rate = await per_second(url, wires, SECONDS)
            if number > 0:  # the first round warms both up
                rates[place].append(rate)
    ratio = statistics.median(mine / other for mine, other in zip(*rates, strict=True))
    return Row(
        "signed 10 kB deliveries, stored and queued",
        f"{statistics.median(rates[0]):,.0f}/s = {ratio:.0%} of bare",
        f"bare Litestar + aiosqlite, verified and inserted {statistics.median(rates[1]):,.0f}/s",
        "at least 60%",
        ratio >= 0.6,
    )


async def answered(webhooks: str) -> Row:
    """How long the answer takes at a steady rate while no worker runs, from when each delivery was due."""
    wires, waits = Wires(f"{webhooks}/webhooks/github"), list[float]()
    wires.prepare(RATE * RATE_SECONDS)
    lines: asyncio.Queue[Line] = asyncio.Queue()
    for line in await lines_to(webhooks, 4 * CONNECTIONS):
        lines.put_nowait(line)
    began = time.perf_counter() + 0.1

    async def send_at(due: float) -> None:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        line = await lines.get()
        await line.send(wires.next())
        waits.append((time.perf_counter() - due) * 1000)
        lines.put_nowait(line)

    await asyncio.gather(*(send_at(began + number / RATE) for number in range(RATE * RATE_SECONDS)))
    while not lines.empty():
        lines.get_nowait().close()
    p50, p99 = percentile(waits, 0.5), percentile(waits, 0.99)
    figure = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    return Row(f"answer to {RATE} deliveries a second", figure, "no worker runs", "p99 under 50 ms", p99 < 50)


async def applied(folder: Path, environment: dict[str, str]) -> Row:
    """A backlog of CI words about one commit of a step that waits for them, until the last one is settled."""
    path = Path(environment["DEKSDENFLOW_DB_PATH"])
    async with open_database(path) as database:
        await database.write(_scene)
        flow = Workflow(database, Silence(), Rules())
        for first in range(0, BACKLOG, 100):
            numbers = range(first, first + 100)
            await asyncio.gather(*(flow.run(Caller("bench"), receive_delivery, _word(number)) for number in numbers))
    with _looking(path) as left:
        async with Service("worker", environment, folder):
            end = time.monotonic() + PATIENCE_S
            while left() == BACKLOG:
                await asyncio.sleep(0.01)
            began, behind = time.perf_counter(), left()
            while left():
                if time.monotonic() > end:
                    raise TimeoutError(f"{left()} deliveries are left")
                await asyncio.sleep(0.05)
            took = time.perf_counter() - began
    with closing(sqlite3.connect(path)) as db:
        (fine,) = db.execute("SELECT count(*) FROM deliveries WHERE status = 'applied'").fetchone()
    figure = f"{behind / took:,.0f}/s, {took:.0f} s in all"
    return Row(f"backlog of {BACKLOG:,} deliveries, applied", figure, f"{fine:,} about our commit; one worker")


def _scene(tx: Tx) -> None:
    """A project whose protocol run has one step, which waits to be judged."""
    tx.run(
        "INSERT INTO projects (id, name, git_url, base_branch, ci_provider, repository_id, default_models, policy,"
        " created_at, updated_at) VALUES (1, 'bench', 'https://github.com/orchard/pears', 'main', 'github', '41', '{}',"
        " '{}', 0, 0)"
    )
    tx.run(
        "INSERT INTO protocol_runs (id, project_id, number, protocol_name, branch, base_branch, description, status,"
        " policy, start_sha, head_sha, pushed_sha, created_at, updated_at) VALUES (1, 1, 1, '0001-pears', '0001-pears',"
        " 'main', 'd', 'running', '{}', ?1, ?2, ?2, 0, 0)",
        ("0" * 40, SHA),
    )
    tx.run(
        "INSERT INTO step_runs (id, protocol_id, step_index, step_name, step_type, file_name, instructions, depends_on,"
        " status, phase, start_sha, head_sha, created_at, updated_at) VALUES (1, 1, 1, 'One', 'work', '01-one.md', '',"
        " '[]', 'needs_qa', 'awaiting_gates', ?, ?, 0, 0)",
        ("0" * 40, SHA),
    )


def _word(number: int) -> Delivery:
    """One of a hundred workflows, at some point of one of its runs."""
    outcome = ("queued", "in_progress", "success", "failure")[number % 4]
    sent = github_workflow_run(
        REPO,
        branch="0001-pears",
        sha=SHA,
        outcome=outcome,
        run_id=9_000 + number // 400,
        workflow_id=number % 100,
        at=NOON_MS + number * 1000,
    )
    body = msgspec.json.encode(sent.said | {"number": number})
    return Delivery(
        id=0,
        provider=Provider.GITHUB,
        hook_id=None,
        delivery_key=sent.key,
        event=sent.event,
        headers={"content-type": "application/json", "x-github-event": sent.event},
        body=body,
        body_sha256=hashlib.sha256(body).hexdigest(),
        project_id=None,
        protocol_id=None,
        step_id=None,
        status=DeliveryStatus.RECEIVED,
        reason=None,
        effect=None,
        received_at=0,
        applied_at=None,
    )


@contextmanager
def _looking(path: Path) -> Iterator["Left"]:
    """Counts what is still to be applied, by a connection of its own."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as db:
        yield Left(db)


class Left(msgspec.Struct, frozen=True):
    """How many deliveries wait."""

    db: sqlite3.Connection

    def __call__(self) -> int:
        """Their number now."""
        (left,) = self.db.execute("SELECT count(*) FROM deliveries WHERE status = 'received'").fetchone()
        return left


async def measured(folder: Path, redis_url: str) -> list[Row]:
    """The lines of the table."""
    taking, applying = folder / "taking", folder / "applying"
    taking.mkdir()
    applying.mkdir()
    environment = stage.environment(taking, redis_url) | {"DEKSDENFLOW_WEBHOOK_TOKEN": SECRET}
    async with Service("webhooks", environment, taking) as webhooks:
        with stage.bare_server(taking / "bench.sqlite") as bare:
            await stage.listening(bare)
            rate = await accepted(webhooks.url, bare)
        wait = await answered(webhooks.url)
    return [rate, wait, await applied(applying, stage.environment(applying, redis_url))]
