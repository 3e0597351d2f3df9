"""The place where a process opens its doors: logs, database, queue, vault and workflow, in the order that they need."""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec
from fakeredis import FakeServer

from shared import failpoints, log
from shared.errors import StartupError
from shared.queue import Queue
from shared.redaction import Redactor
from shared.repository import meta
from shared.repository.database import Database, open_database
from shared.safety import Service, require_for
from shared.security import Vault, load_or_create_key
from shared.settings import Settings, load_settings
from shared.workflow.door import Workflow, rules_of

EXIT_CONFIG = 2
FAKE = "fakeredis://"
# How this machine reaches others: its proxies, and the authorities that it trusts beside the usual ones.
NETWORK = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Runtime(msgspec.Struct, frozen=True):
    """The doors of one process; closed by who opened them. `network` are the variables of NETWORK that are set."""

    settings: Settings
    redactor: Redactor
    database: Database
    queue: Queue
    vault: Vault
    flow: Workflow
    network: Mapping[str, str] = {}


@asynccontextmanager
async def open_runtime(settings: Settings, service: Service, *, redactor: Redactor) -> AsyncGenerator[Runtime]:
    """Open everything that `service` needs; StartupError says in one line why it cannot start."""
    require_for(service, settings)
    async with open_database(settings.db_path) as database:
        queue = _queue(settings, await database.read(meta.instance))
        key = settings.secret_key or load_or_create_key(settings.db_path.with_name(settings.db_path.name + ".key"))
        redactor.learn(key.reveal())
        try:
            await queue.ping()
            flow = Workflow(database, queue, rules_of(settings))
            yield Runtime(settings, redactor, database, queue, Vault(key), flow, _network(os.environ))
        finally:
            await queue.close()


def _network(environment: Mapping[str, str]) -> dict[str, str]:
    given = {name: environment.get(name) or environment.get(name.lower()) for name in NETWORK}
    return {name: value for name, value in given.items() if value}


def _queue(settings: Settings, instance: str) -> Queue:
    url = settings.redis_url.reveal()
    return Queue.from_fake(FakeServer(), instance) if url.startswith(FAKE) else Queue.from_url(url, instance)


def take_no_arguments(module: str, about: str) -> None:
    """Answer `--help`, and end with 2 at any other argument: a service is told everything by its environment."""
    program = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=about,
        epilog="It takes no arguments: the settings come from the environment, and deploy/SETTINGS.md lists them.",
    )
    program.parse_args()


def run_service(
    main: Callable[[Settings, Redactor], Awaitable[None]],
    *,
    environment: Mapping[str, str] | None = None,
    allow_fake: bool = False,
) -> int:
    """Read the settings, set the logs up and run `main`; a StartupError is one line on stderr and exit code 2."""
    try:
        settings = load_settings(os.environ if environment is None else environment, allow_fake=allow_fake)
        redactor = Redactor(settings.secrets())
        log.configure(level=settings.log_level, as_json=settings.log_json, redactor=redactor)
        failpoints.arm(settings.failpoint)
        # What was imported stays to the end: looking at it in each full collection would make requests wait.
        gc.freeze()
        asyncio.run(_awaited(main(settings, redactor)))
    except StartupError as error:
        sys.stderr.write(f"deksdenflow: {log.on_one_line(str(error))}\n")
        return EXIT_CONFIG
    return 0


async def _awaited(work: Awaitable[None]) -> None:
    await work
