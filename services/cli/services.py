"""Commands that run here: the services, the demo, and the migration of the database."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Never

from cyclopts import App, Parameter
from rich.text import Text

from services.cli.desk import new_console
from services.cli.ending import CommandError, Exit
from services.cli.options import HERE, Called
from services.cli.rest import as_json
from shared.repository import meta
from shared.repository.database import open_database
from shared.settings import PREFIX, Settings, load_settings

ROOT = Path(__file__).parents[2]


def register(app: App) -> None:
    """Put the commands into the program."""
    for command in (up, demo, api, worker, webhooks, migrate):
        app.command(command, group=HERE)


def up(*, caller: Called) -> Never:
    """Run API, webhooks and worker in one process until Ctrl-C, on SQLite alone."""
    _become(caller.environment, "services.local", "up")


def demo(
    *,
    keep: Annotated[
        bool, Parameter(negative="", show_default=False, help="Leave everything running afterwards.")
    ] = False,
    real: Annotated[
        bool, Parameter(negative="", show_default=False, help="Ask a real model, with your own login or key.")
    ] = False,
    model: Annotated[str | None, Parameter(help="The model to ask.")] = None,
    caller: Called,
) -> Never:
    """Run the main job on a sample repository, and check what came of it."""
    named = [] if model is None else ["--model", model]
    _become(caller.environment, "services.local", "demo", *["--keep"] * keep, *["--real"] * real, *named)


def api(*, caller: Called) -> Never:
    """Run the REST API until SIGTERM or Ctrl-C; deploy/SETTINGS.md lists its settings."""
    _become(caller.environment, "services.api")


def worker(*, caller: Called) -> Never:
    """Run a worker, which does the jobs, until SIGTERM or Ctrl-C."""
    _become(caller.environment, "services.worker")


def webhooks(*, caller: Called) -> Never:
    """Run the service that forges deliver their webhooks to, until SIGTERM or Ctrl-C."""
    _become(caller.environment, "services.webhooks")


def is_here(room: str) -> bool:
    """Whether this installation has the room; each container image has its own service's alone."""
    return importlib.util.find_spec(room) is not None


def _become(environment: Mapping[str, str], room: str, *words: str) -> Never:
    """Put the service in the place of this process, so that signals and exit codes are its own."""
    if not is_here(room):
        raise CommandError(Exit.UNREACHABLE, f"{room} is not part of this installation; run it where it is")
    sys.stdout.flush()
    command = [sys.executable, "-P", "-m", room, *words]
    os.execve(sys.executable, command, {**environment, "PYTHONPATH": str(ROOT)})  # noqa: S606  the same Python


async def migrate(
    *,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON instead of text.")] = False,
    caller: Called,
) -> None:
    """Make the database, or bring it to this release; the services do so too when they start."""
    settings = local_settings(caller.environment)
    async with open_database(settings.db_path, readers=1) as database:
        found = {"database": str(database.path), "migration": await database.read(meta.migration)}
    if json:
        sys.stdout.write(f"{as_json(found)}\n")
    else:
        new_console(caller).print(Text(f"{found['database']} is at migration {found['migration']}"), soft_wrap=True)


def local_settings(environment: Mapping[str, str]) -> Settings:
    """The settings of a command that needs no Redis, also where none is set; StartupError as for a service."""
    from shared.runtime import FAKE  # noqa: PLC0415  it brings the queue's library, for which no help is to wait

    names = {f"{PREFIX}REDIS_URL", f"{PREFIX}REDIS_URL_FILE"}
    given = {name: value for name, value in environment.items() if value}
    return load_settings(given if names & given.keys() else {**given, f"{PREFIX}REDIS_URL": FAKE}, allow_fake=True)
