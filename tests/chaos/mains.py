"""The three services as the chaos suite starts them: the product's own parts, but with a short pace and bad weather.

    python -m tests.chaos.mains FOLDER worker|api|webhooks

In FOLDER a file `clock` holds by how many milliseconds the wall clock is off, `full` exists while the database may not
grow, and `small` while no file of the worker may grow beyond a few kilobytes.
"""

import asyncio
import contextlib
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from services.api.app import create_app as api_app
from services.webhooks.app import create_app as webhook_app
from services.worker.pace import Pace
from services.worker.service import run_worker
from shared.queue import Queue
from shared.redaction import Redactor
from shared.repository import meta
from shared.repository.database import Database, open_database, wall_clock
from shared.runtime import NETWORK, Runtime, run_service
from shared.security import Vault, load_or_create_key
from shared.settings import Settings
from shared.web.server import announce, serve, stop_on_signals
from shared.workflow import line
from shared.workflow.door import Workflow, rules_of
from shared.workflow.unit import Rules

PACE = Pace(
    beat_s=0.25,
    fence_s=1.0,
    silent_s=1.5,
    again_s=0.1,
    pump_s=0.25,
    look_s=0.4,
    unanswered_s=1.0,
    patience_s=5.0,
    mark_s=1.0,
    sync_s=4.0,
)
# As the pace: minutes of waiting for a quota would leave no time for anything else.
QUOTA_MS = 1500
SHORTEST_QUOTA_MS = 500
MOST_PAGES = 2**30
SMALL_BYTES = 8192
LOOK_S = 0.05


def rules_in_bad_weather(settings: Settings) -> Rules:
    """Those of the settings, but no number of killed workers or of bad answers makes a job give up."""
    return msgspec.structs.replace(rules_of(settings), max_continuations=10_000, max_attempts=10_000)


def clock_of(folder: Path) -> Callable[[], int]:
    """The wall clock, off by what the file says."""
    file = folder / "clock"

    def clock() -> int:
        return wall_clock() + int(file.read_text() or "0")

    return clock


async def weather(folder: Path, name: str, database: Database) -> None:
    """Let disks be full while their files are there."""
    was_full = was_small = False
    while True:
        full, small = (folder / "full").exists(), name == "worker" and (folder / "small").exists()
        if full != was_full:
            # Never below what the file has already: so nothing new fits in.
            pages = 1 if full else MOST_PAGES
            await database._writer.execute_fetchall(f"PRAGMA max_page_count={pages}")
        if small != was_small:
            most = SMALL_BYTES if small else resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        was_full, was_small = full, small
        await asyncio.sleep(LOOK_S)


@contextlib.asynccontextmanager
async def opened(folder: Path, name: str, settings: Settings, redactor: Redactor) -> AsyncIterator[Runtime]:
    """As `open_runtime` does it, with the clock and the rules of here."""
    async with open_database(settings.db_path, clock=clock_of(folder)) as database:
        queue = Queue.from_url(settings.redis_url.reveal(), await database.read(meta.instance))
        key = load_or_create_key(settings.db_path.with_name(settings.db_path.name + ".key"))
        flow = Workflow(database, queue, rules_in_bad_weather(settings))
        blowing = asyncio.create_task(weather(folder, name, database))
        try:
            network = {name: os.environ[name] for name in NETWORK if name in os.environ}
            yield Runtime(settings, redactor, database, queue, Vault(key), flow, network)
        finally:
            blowing.cancel()
            await asyncio.gather(blowing, return_exceptions=True)
            await queue.close()


async def main(folder: Path, name: str, settings: Settings, redactor: Redactor) -> None:
    async with opened(folder, name, settings, redactor) as doors:
        stop = stop_on_signals()
        if name == "worker":
            await run_worker(doors, stop, allow_local=True, bound=announce, pace=PACE)
            return
        create_app, port = (api_app, settings.api_port) if name == "api" else (webhook_app, settings.webhook_port)
        app = create_app(settings, doors.database, doors.flow, doors.queue, doors.vault)
        await serve(app, name=name, host="127.0.0.1", port=port, grace_s=settings.grace_s, stop=stop, bound=announce)


if __name__ == "__main__":
    line.QUOTA_MS, line.SHORTEST_MS = QUOTA_MS, SHORTEST_QUOTA_MS
    where, which = Path(sys.argv[1]), sys.argv[2]
    sys.exit(run_service(lambda settings, redactor: main(where, which, settings, redactor)))
