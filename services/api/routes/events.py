"""Routes of events: what happened, newest first."""

from litestar import Response, get
from litestar.di import NamedDependency

from services.api import showing
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page
from services.api.params import DEFAULT_LIMIT, Cursor, Limit, OfProject, ProtocolId
from shared.repository import events as table
from shared.repository.database import Tx
from shared.schemas.answers import EventAnswer
from shared.workflow import find

TAGS = ["events"]


@get("/events", tags=TAGS)
async def list_events(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    project_id: OfProject = None,
) -> Response[list[EventAnswer]]:
    """List what happened, newest first; a project token sees its project's."""
    page = Page("events", limit, cursor)
    before, scope = page.before(), request.user.project_id

    def read(tx: Tx) -> list[EventAnswer]:
        wanted = find.narrowed(tx, scope, project_id)
        if wanted is None:
            rows = table.of_all(tx, before=before, limit=limit + 1)
        else:
            rows = table.of_project(tx, wanted, before=before, limit=limit + 1)
        show = showing.event_names(tx)
        return [show(event) for event in rows]

    return await desk.list(request, page, read)


@get("/protocols/{protocol_id:int}/events", tags=TAGS)
async def list_protocol_events(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response[list[EventAnswer]]:
    """List what happened to a protocol and its steps, newest first."""
    page = Page("protocol-events", limit, cursor)
    before, scope = page.before(), request.user.project_id

    def read(tx: Tx) -> list[EventAnswer]:
        find.protocol(tx, scope, protocol_id)
        show = showing.event_names(tx)
        return [show(event) for event in table.of_protocol(tx, protocol_id, before=before, limit=limit + 1)]

    return await desk.list(request, page, read)


ROUTES = [list_events, list_protocol_events]
