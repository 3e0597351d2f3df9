"""The place for `/health`, which says that the process lives, and `/health/ready`, which says whether it can work."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Literal

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Meta

from shared.queue import Queue
from shared.repository import meta
from shared.repository.database import Database

PATIENCE_S = 2.0


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of one thing that the service depends on."""

    ok: bool
    detail: Annotated[str | None, Meta(description="What is wrong and what to do, or a fact worth knowing.")] = None


class Health(msgspec.Struct, frozen=True):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True):
    """Whether the service can do its work, with the state of everything that it depends on."""

    status: Literal["ready", "unready"]
    checks: dict[str, Check]


CheckNow = Callable[[], Awaitable[Check]]


def health_routes(checks: Mapping[str, CheckNow]) -> list[HTTPRouteHandler]:
    """`GET /health` and `GET /health/ready`; both open to everybody, so a check's detail must name no secret."""

    @get("/health", opt={"open": True}, sync_to_thread=False, tags=["service"])
    def health() -> Health:
        """Liveness: the process answers."""
        return Health()

    @get(
        "/health/ready",
        opt={"open": True},
        tags=["service"],
        responses={503: ResponseSpec(Readiness, description="Something that the service depends on does not work.")},
    )
    async def ready() -> Response[Readiness]:
        """Readiness: everything that the service depends on works."""
        found = await readiness(checks)
        return Response(found, status_code=200 if found.status == "ready" else 503)

    return [health, ready]


async def readiness(checks: Mapping[str, CheckNow]) -> Readiness:
    """The state of everything, asked at once."""
    states = await asyncio.gather(*(_bounded(check) for check in checks.values()))
    fine = all(check.ok for check in states)
    return Readiness(status="ready" if fine else "unready", checks=dict(zip(checks, states, strict=True)))


def database_check(database: Database) -> CheckNow:
    """The database answers, and has this release's newest migration (older and newer ones do not open)."""

    async def check() -> Check:
        return Check(ok=True, detail=f"migration {await database.read(meta.migration)}")

    return check


def redis_check(queue: Queue) -> CheckNow:
    """Redis answers; without it jobs wait in the database."""

    async def check() -> Check:
        if await queue.ping():
            return Check(ok=True, detail="there is none; the queue is inside of this process" if queue.inside else None)
        return Check(ok=False, detail="Redis does not answer; work is accepted and waits in the database")

    return check


async def _bounded(check: CheckNow) -> Check:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await check()
    except TimeoutError:
        return Check(ok=False, detail=f"no answer within {PATIENCE_S:g} s")
    except Exception as error:  # noqa: BLE001  whatever a check fails of is what readiness is asked for
        return Check(ok=False, detail=type(error).__name__)
