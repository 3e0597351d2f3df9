"""The one router of the console: its pages behind the entrance, and what is refused there as a page."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from litestar import Request, Response, Router, route
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from services.api.console.pages import Page, Pages, own_place, wants_data
from services.api.console.routes import (
    acting,
    attempts,
    charts,
    deliveries,
    home,
    login,
    project_settings,
    projects,
    queue,
    runs,
    service,
    static,
    steps,
    streams,
)
from services.api.console.routes.service import Own
from services.api.console.session import ConsoleRequest, Sessions, entrance, lost_by_strictness
from shared.errors import NotFound, Unauthenticated
from shared.repository.database import Database
from shared.schemas.problems import Problem
from shared.security import Vault
from shared.settings import Settings
from shared.web.peers import FailureLimit
from shared.web.problems import Handlers, problem_handlers

ROUTES: Sequence[ControllerRouterHandler] = [
    *login.ROUTES,
    *static.ROUTES,
    *streams.ROUTES,
    *acting.ROUTES,
    *home.ROUTES,
    *projects.ROUTES,
    *project_settings.ROUTES,
    *runs.ROUTES,
    *steps.ROUTES,
    *attempts.ROUTES,
    *deliveries.ROUTES,
    *queue.ROUTES,
    *service.ROUTES,
    *charts.ROUTES,
]


def console_router(settings: Settings, database: Database, vault: Vault, limit: FailureLimit, own: Own) -> Router:
    """Everything below /console. The gate of the API leaves it to the entrance."""
    sessions = Sessions(settings, database, vault, limit)
    pages = Pages(sessions)
    return Router(
        "/console",
        route_handlers=[*ROUTES, nothing_here],
        dependencies={
            "pages": Provide(lambda: pages, sync_to_thread=False, use_cache=True),
            "own": Provide(lambda: own, sync_to_thread=False, use_cache=True),
            "sessions": Provide(lambda: sessions, sync_to_thread=False, use_cache=True),
        },
        middleware=[entrance(sessions)],
        exception_handlers=_handlers(pages),
        opt={"open": True},
        include_in_schema=False,
    )


@route("/{rest:path}", http_method=["GET", "POST"], sync_to_thread=False, status_code=404)
def nothing_here(request: Request[Any, Any, Any]) -> Response[None]:
    """A place that the console does not have."""
    raise NotFound(f"{request.scope['path']} is no page of the console.")


def _handlers(pages: Pages) -> Handlers:
    """The table of problems, but for browsers as pages; who has to log in is led there and back."""

    def drawn(
        handler: Callable[[ConsoleRequest, Any], Response[Any]],
    ) -> Callable[[ConsoleRequest, Any], Response[Any]]:
        def show(request: ConsoleRequest, error: Exception) -> Response[Any]:
            if wants_data(request):
                return handler(request, error)
            if isinstance(error, Unauthenticated) and request.method == "GET":
                return _to_login(pages, request)
            answer = handler(request, error)
            problem = msgspec.json.decode(answer.content, type=Problem)
            page = pages.problem(request, problem)
            page.headers.update({name: text for name, text in answer.headers.items() if name == "retry-after"})
            return page

        return show

    return {kind: drawn(handler) for kind, handler in problem_handlers().items()}


def _to_login(pages: Pages, request: ConsoleRequest) -> Page:
    if lost_by_strictness(request):
        return pages.again(request)
    return pages.elsewhere(login.url_for(own_place(str(request.url.path))))
