"""Puts the API together from the doors that it is given."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from litestar import Litestar, Request, Response, get, route
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, Contact, SecurityScheme, Tag
from prometheus_client import CollectorRegistry

from services.api import docs
from services.api.auth import Gate
from services.api.body import StrictBody
from services.api.console.door import console_router
from services.api.console.routes.service import Own
from services.api.desk import Desk
from services.api.feed import Feed
from services.api.routes import (
    access,
    attempts,
    attention,
    deliveries,
    events,
    hooks,
    line,
    notifiers,
    projects,
    protocols,
    queues,
    services,
    steps,
    stream,
)
from shared.errors import NotFound
from shared.queue import Queue, end_tasks
from shared.repository.database import Database
from shared.schemas.answers import RootAnswer
from shared.security import Vault
from shared.settings import Settings
from shared.web.front import put_front
from shared.web.health import database_check, health_routes, redis_check
from shared.web.metrics import HttpMeter, metrics_route, new_registry
from shared.web.peers import FailureLimit, Peers
from shared.web.problems import problem_handlers
from shared.workflow.door import Workflow

VERSION = "0.2.0"
MAX_BODY_BYTES = 1_048_576

ROUTES = [
    *projects.ROUTES,
    *access.ROUTES,
    *hooks.ROUTES,
    *protocols.ROUTES,
    *steps.ROUTES,
    *attempts.ROUTES,
    *events.ROUTES,
    *deliveries.ROUTES,
    *queues.ROUTES,
    *line.ROUTES,
    *stream.ROUTES,
    *attention.ROUTES,
    *notifiers.ROUTES,
    *services.ROUTES,
]


def create_app(
    settings: Settings,
    database: Database,
    flow: Workflow,
    queue: Queue,
    vault: Vault,
    *,
    registry: CollectorRegistry | None = None,
) -> Litestar:
    """The API over these doors; who opened them closes them."""
    registry = registry or new_registry()
    document = docs.Document()
    desk = Desk(settings, database, flow, vault)
    feed = Feed(database, queue)
    limit = FailureLimit()
    checks = {"database": database_check(database), "redis": redis_check(queue)}
    app = Litestar(
        route_handlers=[
            root,
            not_here,
            *ROUTES,
            *health_routes(checks),
            metrics_route(registry, settings.api_token),
            *docs.docs_routes(document),
            console_router(settings, database, vault, limit, Own(VERSION, checks)),
        ],
        dependencies={
            "desk": Provide(lambda: desk, sync_to_thread=False, use_cache=True),
            "checks": Provide(lambda: checks, sync_to_thread=False, use_cache=True),
            "feed": Provide(lambda: feed, sync_to_thread=False, use_cache=True),
        },
        lifespan=[_reading(feed)],
        state=State({"feed": feed}),
        middleware=[Gate(settings, database, limit)],
        dto=StrictBody,
        return_dto=None,
        exception_handlers=problem_handlers(),
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
        openapi_config=_openapi_config(document),
        debug=False,
    )
    return put_front(app, meter=HttpMeter(registry), peers=Peers(settings.trusted_proxies))


@contextlib.asynccontextmanager
async def _reading(feed: Feed) -> AsyncGenerator[None]:
    task = asyncio.create_task(feed.run(), name="feed")
    try:
        yield
    finally:
        await end_tasks(task)


@get("/", opt={"open": True}, sync_to_thread=False, tags=["service"])
def root(request: Request[Any, Any, Any]) -> Response[RootAnswer]:
    """Where to go from here; a browser is led to the console."""
    wanted = request.accept.best_match(["application/json", "text/html"])
    answer = RootAnswer(service="api", docs="/docs", openapi="/openapi.json", health="/health")
    if wanted == "text/html":
        return Response(answer, status_code=303, headers={"location": "/console", "vary": "accept"})
    return Response(answer, headers={"vary": "accept"})


@route(
    ["/webhooks", "/webhooks/{rest:path}"],
    http_method=["GET", "POST", "PUT", "PATCH", "DELETE"],
    opt={"open": True},
    include_in_schema=False,
    status_code=404,
    sync_to_thread=False,
)
def not_here(request: Request[Any, Any, Any], desk: NamedDependency[Desk]) -> Response[None]:
    """Deliveries that were sent to the wrong service are told the right one."""
    raise NotFound(f"{request.scope['path']} is {_right_place(desk.settings)}", type="other-service")


def _right_place(settings: Settings) -> str:
    port = f"port {settings.webhook_port}" if settings.webhook_port else "at the port that its log names"
    place = f"answered by the webhook service ({port}, DEKSDENFLOW_WEBHOOK_PORT), not by the API."
    if settings.public_url is None:
        return f"{place} Deliver there, or let a proxy send /webhooks/* there, and set DEKSDENFLOW_PUBLIC_URL to it."
    where = settings.public_url.rstrip("/")
    return f"{place} Deliver to {where}/webhooks/…; if you did, the proxy there must send /webhooks/* to that port."


def _operation_id(handler: HTTPRouteHandler, _method: object, _path: object) -> str:
    return f"{min(handler.tags or {'service'})}_{handler.handler_name}"


def _openapi_config(document: docs.Document) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="DeksdenFlow",
        version=VERSION,
        summary="Runs OpenAI's Codex CLI over git repositories, step by step, and keeps the record.",
        description=docs.INTRODUCTION,
        contact=Contact(name="DeksdenFlow"),
        openapi_router=docs.schema_router(),
        render_plugins=[document],
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", description="The API token: everything."),
                "projectToken": SecurityScheme(
                    type="apiKey",
                    name="X-Project-Token",
                    security_scheme_in="header",
                    description="A project's token: that project.",
                ),
            }
        ),
        security=[{"bearer": []}, {"projectToken": []}],
        tags=[Tag(name=name, description=text) for name, text in docs.TAGS.items()],
    )
