"""The streams that pages follow: those of the API, opened by the console's session."""

from litestar import get
from litestar.di import NamedDependency
from litestar.response import Stream

from services.api.auth import ApiRequest
from services.api.desk import Desk
from services.api.feed import Feed, Wanted
from services.api.params import AttemptId, OfProject, OfProtocol
from services.api.routes.stream import (
    After,
    LastEventId,
    OfStep,
    open_stream,
    open_transcript,
    place_of,
)


@get("/stream")
async def follow(  # noqa: PLR0917  Litestar passes by name
    request: ApiRequest,
    desk: NamedDependency[Desk],
    feed: NamedDependency[Feed],
    project_id: OfProject = None,
    protocol_run_id: OfProtocol = None,
    step_run_id: OfStep = None,
    after: After = None,
    last_event_id: LastEventId = None,
) -> Stream:
    """What happens."""
    wanted = Wanted(project_id, protocol_run_id, step_run_id)
    return await open_stream(request.user, desk.database, feed, wanted, place_of(last_event_id, after))


@get("/attempts/{attempt_id:int}/stream")
async def follow_attempt(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    feed: NamedDependency[Feed],
    attempt_id: AttemptId,
    after: After = None,
    last_event_id: LastEventId = None,
) -> Stream:
    """What an agent does."""
    return await open_transcript(request.user, desk, feed, attempt_id, place_of(last_event_id, after) or 0)


ROUTES = [follow, follow_attempt]
