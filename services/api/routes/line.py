"""Routes of the line, which is all work together: stop it, resume it, look at it."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from services.api import showing
from services.api.auth import ApiRequest
from services.api.desk import Desk
from shared.schemas.answers import LineAnswer
from shared.schemas.requests import Nothing, StopLine
from shared.workflow import line
from shared.workflow.unit import Unit

TAGS = ["queue"]
ADMIN = {"admin": True}
NOTHING, STOP = Nothing(), StopLine()


@get("/line", tags=TAGS, opt=ADMIN)
async def read_line(desk: NamedDependency[Desk]) -> Response[LineAnswer]:
    """Tell whether jobs start, and what holds them up."""
    return await desk.show(showing.line)


@post("/line/actions/stop", tags=TAGS, opt=ADMIN, status_code=200)
async def stop_line(
    request: ApiRequest, desk: NamedDependency[Desk], data: JSONBody[StopLine] = STOP
) -> Response[LineAnswer]:
    """Start no job of any project until somebody resumes; what runs may finish, or is parked."""

    def verb(unit: Unit) -> LineAnswer:
        line.stop_line(unit, interrupt=data.interrupt)
        return showing.line(unit.tx)

    return await desk.act(request, verb)


@post("/line/actions/resume", tags=TAGS, opt=ADMIN, status_code=200)
async def resume_line(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[LineAnswer]:
    """Let jobs start again, also those that wait for a quota."""

    def verb(unit: Unit) -> LineAnswer:
        line.resume_line(unit)
        return showing.line(unit.tx)

    return await desk.act(request, verb)


ROUTES = [read_line, stop_line, resume_line]
