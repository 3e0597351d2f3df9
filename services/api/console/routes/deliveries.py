"""Deliveries: what forges and CI jobs sent, and one of them with all that it said."""

import asyncio
from typing import Any, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from services.api import showing
from services.api.auth import ApiRequest
from services.api.console import hearing
from services.api.console.filters import choice, number, offered, query
from services.api.console.pages import ROOT, Page, Pages, live
from services.api.desk import LAST_ID, Desk
from services.api.params import DeliveryId
from shared.redaction import Redactor
from shared.repository import deliveries as table
from shared.repository.database import Tx
from shared.repository.labels import labels
from shared.schemas.statuses import DeliveryStatus, Provider
from shared.workflow import find

SHOWN: Final = 50


@get("/deliveries")
async def list_deliveries(  # noqa: PLR0917  Litestar passes by name
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    provider: FromQuery[str] = "",
    status: FromQuery[str] = "",
    event: FromQuery[str] = "",
    project_id: FromQuery[str] = "",
    before: FromQuery[str] = "",
) -> Page:
    """What came in, newest first."""
    scope = request.user.project_id
    of_provider, of_status = choice("provider", provider, Provider), choice("status", status, DeliveryStatus)
    of_project, place = number("project_id", project_id), number("before", before)

    def read(tx: Tx) -> dict[str, Any]:
        seen = find.narrowed(tx, scope, of_project)
        rows = table.page(
            tx,
            project_id=seen,
            protocol_id=None,
            status=of_status,
            provider=of_provider,
            event=event.strip() or None,
            before=place or LAST_ID,
            limit=SHOWN + 1,
        )
        rows, more = rows[:SHOWN], len(rows) > SHOWN
        narrowed = {"provider": provider, "status": status, "event": event, "project_id": project_id}
        return {
            "deliveries": [showing.delivery(each) for each in rows],
            "labels": labels(tx, {each.project_id for each in rows}, {each.protocol_id for each in rows}, ()),
            "filters": narrowed,
            "projects": offered(tx, scope),
            "older": f"{ROOT}/deliveries{query(**narrowed, before=rows[-1].id)}" if more else None,
            "live": live(tx),
        }

    found = await desk.database.read(read)
    return pages.show(
        request,
        "deliveries.html",
        outcome=hearing.outcome,
        statuses=list(DeliveryStatus),
        first=place is None,
        **found,
    )


@get("/deliveries/{delivery_id:int}")
async def show_delivery(
    request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages], delivery_id: DeliveryId
) -> Page:
    """One delivery: what it said, and what became of it."""
    scope, redactor = request.user.project_id, Redactor(desk.settings.secrets())

    def read(tx: Tx) -> dict[str, Any]:
        shown = showing.delivery_detail(find.delivery(tx, scope, delivery_id), redactor)
        return {
            "delivery": shown,
            "labels": labels(tx, [shown.project_id], [shown.protocol_id], [shown.step_id]),
            "live": live(tx),
        }

    found = await desk.database.read(read)
    shown = found["delivery"]
    body = None if shown.body is None else await asyncio.to_thread(hearing.pretty, shown.body)
    return pages.show(request, "delivery.html", body=body, outcome=hearing.outcome(shown), **found)


ROUTES = [list_deliveries, show_delivery]
