"""Routes of deliveries: what forges and CI jobs sent, newest first, and what became of it."""

from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from services.api import showing
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page
from services.api.params import DEFAULT_LIMIT, Cursor, DeliveryId, Limit, OfProject, OfProtocol
from shared.redaction import Redactor
from shared.repository import deliveries as table
from shared.repository.database import Tx
from shared.schemas.hook_answers import DeliveryAnswer, DeliveryDetailAnswer
from shared.schemas.requests import Nothing
from shared.schemas.statuses import DeliveryStatus, Provider
from shared.workflow import deliveries, find

TAGS = ["deliveries"]
NOTHING = Nothing()

OfProvider = Annotated[Provider | None, QueryParameter(description="Only those of this sender.")]
OfStatus = Annotated[DeliveryStatus | None, QueryParameter(description="Only those with this status.")]
OfEvent = Annotated[
    str | None, QueryParameter(max_length=100, description="Only those of this event, as its sender named it.")
]


@get("/deliveries", tags=TAGS)
async def list_deliveries(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    *,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    project_id: OfProject = None,
    protocol_run_id: OfProtocol = None,
    provider: OfProvider = None,
    status: OfStatus = None,
    event: OfEvent = None,
) -> Response[list[DeliveryAnswer]]:
    """List the inbound webhooks, newest first; a project token sees its project's."""
    page = Page("deliveries", limit, cursor)
    before, scope = page.before(), request.user.project_id

    def read(tx: Tx) -> list[DeliveryAnswer]:
        rows = table.page(
            tx,
            project_id=find.narrowed(tx, scope, project_id, protocol_run_id),
            protocol_id=protocol_run_id,
            status=status,
            provider=provider,
            event=event,
            before=before,
            limit=limit + 1,
        )
        return [showing.delivery(delivery) for delivery in rows]

    return await desk.list(request, page, read)


@get("/deliveries/{delivery_id:int}", tags=TAGS)
async def read_delivery(
    request: ApiRequest, desk: NamedDependency[Desk], delivery_id: DeliveryId
) -> Response[DeliveryDetailAnswer]:
    """Read one delivery, with what it said and what became of it."""
    scope, redactor = request.user.project_id, Redactor(desk.settings.secrets())
    return await desk.show(lambda tx: showing.delivery_detail(find.delivery(tx, scope, delivery_id), redactor))


@post("/deliveries/{delivery_id:int}/actions/replay", tags=TAGS, status_code=202)
async def replay_delivery(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    delivery_id: DeliveryId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[DeliveryAnswer]:
    """Apply a settled delivery again; what it says is a level, so that twice is the same as once."""
    return await desk.act(
        request, lambda unit: showing.delivery(deliveries.replay_delivery(unit, delivery_id)), status=202
    )


ROUTES = [list_deliveries, read_delivery, replay_delivery]
