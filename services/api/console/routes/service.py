"""The service: how everything is that work depends on, and the settings without their secrets."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency

from services.api.auth import ApiRequest
from services.api.console import access_forms
from services.api.console.forms import Typed, typed_of
from services.api.console.pages import ROOT, Page, Pages, wants_data
from services.api.console.routes.project_settings import told
from services.api.desk import LAST_ID, Desk
from services.api.neighbours import neighbours
from services.api.routes.notifiers import add_notifier
from shared.errors import Refusal
from shared.repository import attempts, holds, jobs
from shared.repository.database import Tx
from shared.runtime import FAKE
from shared.secret import Secret
from shared.settings import PREFIX, VARIABLES, Settings
from shared.web.health import CheckNow, readiness

ADMIN: Final = {"admin": True}


class Own(msgspec.Struct, frozen=True):
    """What this service says of itself: its version and the checks of its readiness."""

    version: str
    checks: Mapping[str, CheckNow]


class Shown(msgspec.Struct, frozen=True):
    """A setting as it may be shown."""

    name: str
    value: str
    source: str
    meaning: str


@get(["/service", "/service/notifiers"], opt=ADMIN)
async def show_service(
    request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages], own: NamedDependency[Own]
) -> Page:
    """Health of all services, who is told of all projects, and the settings."""
    return await _page(request, desk, pages, own)


@post("/service/notifiers", opt=ADMIN, status_code=200)
async def tell_somebody(
    request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages], own: NamedDependency[Own]
) -> Response[Any]:
    """Have somebody told of all projects; a webhook's signing secret is shown in this answer only."""
    typed = await typed_of(request)
    try:
        made = await desk.flow.run(
            request.user, lambda unit: add_notifier(unit, desk, access_forms.notifier(typed), None)
        )
    except Refusal as refusal:
        if wants_data(request):
            raise
        return await _page(request, desk, pages, own, typed, refusal)
    return pages.show(request, "made.html", part="notifiers", place=f"{ROOT}/service", made=made)


async def _page(
    request: ApiRequest, desk: Desk, pages: Pages, own: Own, tried: Typed | None = None, refusal: Refusal | None = None
) -> Page:
    def read(tx: Tx) -> dict[str, Any]:
        newest = attempts.page(tx, project_id=None, state=None, before=LAST_ID, limit=1)
        ended = jobs.page(tx, project_id=None, state="succeeded", before=LAST_ID, limit=1)
        return {
            "running": jobs.running(tx),
            "lag": jobs.oldest_due(tx),
            "held": bool(holds.in_force(tx)),
            "last_attempt": newest[0].started_at if newest else None,
            "last_job": ended[0].finished_at if ended else None,
            **told(tx, None),
        }

    others, own_state, found = await asyncio.gather(
        neighbours(desk.settings), readiness(own.checks), desk.database.read(read)
    )
    return pages.show(
        request,
        "service.html",
        own=own_state,
        version=own.version,
        others=others,
        settings=shown_settings(desk.settings),
        refusal=refusal,
        at="notifiers" if refusal else "",
        tried=tried or {},
        back=f"{ROOT}/service",
        **found,
    )


def shown_settings(settings: Settings) -> Sequence[Shown]:
    """Every setting with what it is now and whence; of a secret only whether it is set."""
    return [
        Shown(PREFIX + variable.name, _value(value), _source(value, variable.default), variable.meaning)
        for field, variable in VARIABLES.items()
        for value in [getattr(settings, field)]
    ]


def _value(value: object) -> str:
    match value:
        case Secret() if value.reveal().startswith(FAKE):
            return "no Redis: the queue is inside of this process"
        case Secret():
            return "set, not shown"
        case None | ():
            return "–"
        case bool():
            return "true" if value else "false"
        case tuple():
            return ", ".join(str(each) for each in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  texts
        case _:
            return str(value)


def _source(value: object, default: object) -> str:
    if isinstance(value, Secret) and value.file is not None:
        return f"file {value.file}"
    return "default" if value == default else "set"


ROUTES = [show_service, tell_somebody]
