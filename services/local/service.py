"""All three services in one process, on SQLite and without a Redis server."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from services.api.app import create_app as create_api
from services.webhooks.app import create_app as create_webhooks
from services.worker.service import run_worker
from shared.redaction import Redactor
from shared.runtime import FAKE, Runtime, open_runtime
from shared.safety import effective_host
from shared.settings import PREFIX, Settings
from shared.web.server import serve, stop_on_signals

NAMES = ("api", "webhooks", "worker")


class Addresses(msgspec.Struct, frozen=True):
    """Where the services listen, as URLs without a path."""

    api: str
    webhooks: str
    worker: str


class Local:
    """Services that run: where, and a way to wait for the end of any of them, which comes unasked only by a fault."""

    def __init__(self, addresses: Addresses, tasks: list[asyncio.Task[None]]) -> None:
        self.addresses = addresses
        self._tasks = tasks

    async def ended(self) -> None:
        """Returns when the first service has ended."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)


def local_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with what makes one process enough where nothing else was said."""
    defaults = {"REDIS_URL": FAKE, "ALLOW_LOCAL_REPOS": "true"}
    given = {name: value for name, value in environment.items() if value}
    if f"{PREFIX}REDIS_URL_FILE" in given:
        del defaults["REDIS_URL"]
    return {PREFIX + name: value for name, value in defaults.items()} | given


def login_home(environment: Mapping[str, str]) -> Path:
    """Where a person's own Codex keeps its login."""
    return Path(environment.get("CODEX_HOME") or Path(environment.get("HOME") or "/nonexistent", ".codex"))


def own_login(settings: Settings, environment: Mapping[str, str]) -> Path | None:
    """The folder of the person's own Codex login, when neither a key nor a gateway is set and there is one."""
    if settings.codex_api_key is not None or settings.model_base_url is not None:
        return None
    folder = login_home(environment)
    return folder if (folder / "auth.json").is_file() else None


@asynccontextmanager
async def running(runtime: Runtime, stop: asyncio.Event, *, login_home: Path | None = None) -> AsyncGenerator[Local]:
    """Run all three services for as long as the body runs; `stop` is set on the way out.

    What a service failed of (a taken port is a StartupError) is raised here, on the way in or out.
    """
    bound: dict[str, asyncio.Future[str]] = {name: asyncio.get_running_loop().create_future() for name in NAMES}
    tasks = [
        asyncio.create_task(service, name=f"service {name}")
        for name, service in zip(NAMES, _services(runtime, stop, login_home, bound), strict=True)
    ]
    try:
        if await _all_bound(bound.values(), tasks):
            yield Local(Addresses(*(address.result() for address in bound.values())), tasks)
    finally:
        stop.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _all_bound(addresses: Collection["asyncio.Future[str]"], tasks: Collection["asyncio.Task[None]"]) -> bool:
    """Wait until all services listen; False when one of them ended instead."""
    while not all(address.done() for address in addresses):
        if any(task.done() for task in tasks):
            return False
        waiting = [address for address in addresses if not address.done()]
        await asyncio.wait([*waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    return True


def _services(
    runtime: Runtime, stop: asyncio.Event, login_home: Path | None, bound: Mapping[str, "asyncio.Future[str]"]
) -> tuple[Coroutine[Any, Any, None], ...]:
    settings = runtime.settings
    doors = (runtime.database, runtime.flow, runtime.queue, runtime.vault)
    api, webhooks = create_api(settings, *doors), create_webhooks(settings, *doors)

    def noted(name: str) -> Callable[[str], None]:
        return bound[name].set_result

    return (
        serve(
            api,
            name="api",
            host=effective_host("api", settings),
            port=settings.api_port,
            grace_s=settings.grace_s,
            stop=stop,
            bound=noted("api"),
        ),
        serve(
            webhooks,
            name="webhooks",
            host=effective_host("webhooks", settings),
            port=settings.webhook_port,
            grace_s=settings.grace_s,
            stop=stop,
            bound=noted("webhooks"),
        ),
        run_worker(
            runtime,
            stop,
            allow_local=settings.allow_local_repos or False,
            login_home=login_home,
            bound=noted("worker"),
        ),
    )


async def up(settings: Settings, redactor: Redactor, *, environment: Mapping[str, str]) -> None:
    """Run until SIGTERM or SIGINT, having said where."""
    stop = stop_on_signals()
    async with (
        open_runtime(settings, "local", redactor=redactor) as runtime,
        running(runtime, stop, login_home=own_login(settings, environment)) as local,
    ):
        print(_welcome(settings, local.addresses), flush=True)
        stopping = asyncio.create_task(stop.wait())
        ending = asyncio.create_task(local.ended())
        await asyncio.wait([stopping, ending], return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, ending):
            task.cancel()


def _welcome(settings: Settings, addresses: Addresses) -> str:
    queue = "no Redis" if settings.redis_url.reveal().startswith(FAKE) else "Redis"
    return "\n".join(
        (
            f"DeksdenFlow runs here, with {settings.db_path} and {queue}:",
            f"  console   {addresses.api}/console",
            f"  API       {addresses.api}    {addresses.api}/docs shows every route",
            f"  webhooks  {addresses.webhooks}",
            f"  worker    {addresses.worker}/health/ready",
            f"Ctrl-C stops it: what runs gets {settings.grace_s:g} s to finish; a second Ctrl-C waits for nothing.",
        )
    )
