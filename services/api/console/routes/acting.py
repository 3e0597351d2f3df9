"""Every button: one route for each kind of thing, all by the table of actions."""

from typing import Any

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from services.api.auth import ApiRequest
from services.api.console.actions import ACTIONS, do, find_action
from services.api.console.forms import typed_of
from services.api.console.pages import Page, Pages, own_place, wants_data
from services.api.desk import Desk
from services.api.params import LAST_ID
from shared.errors import Forbidden, NotFound, Refusal
from shared.workflow.unit import Unit


def _route(kind: str) -> HTTPRouteHandler:
    paths = [f"/{kind}/actions/{{name:str}}"] if kind == "line" else [f"/{kind}/{{thing_id:int}}/actions/{{name:str}}"]

    @post(paths, name=f"console_{kind}", status_code=200)
    async def act(
        request: ApiRequest,
        desk: NamedDependency[Desk],
        pages: NamedDependency[Pages],
        name: FromPath[str],
        thing_id: FromPath[int] = 0,
    ) -> Response[Any]:
        action = find_action(kind, name)
        if action is None or not 0 <= thing_id <= LAST_ID:
            raise NotFound(f"There is no action {name} for {kind} {thing_id}.")
        if action.admin and request.user.project_id is not None:
            raise Forbidden("This needs the API token; a project token is not enough.")
        typed = await typed_of(request)

        def verb(unit: Unit) -> object:
            return do(unit, kind, thing_id, name, typed)

        try:
            await desk.flow.run(request.user, verb)
        except Refusal as refusal:
            if wants_data(request):
                raise
            retry = {"kind": kind, "thing_id": thing_id, "name": name, "typed": typed}
            return pages.show(request, "problem.html", refusal=refusal, back=own_place(typed.get("back")), retry=retry)
        return done(request, pages, own_place(typed.get("back")))

    return act


def done(request: ApiRequest, pages: Pages, place: str, *, leave: bool = False) -> Response[Any] | Page:
    """What a form that was accepted is answered with; with `leave` the script goes to that page, too."""
    if wants_data(request):
        return Response({"location": place if leave else None}, media_type="application/json")
    return pages.elsewhere(place)


ROUTES = [_route(kind) for kind in ACTIONS]
