"""The front of every app: request id, access log, metrics and the headers that every answer has."""

import logging
import time
from http import HTTPStatus
from typing import Any

import structlog
from litestar import Litestar
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from shared.log import request_id_from
from shared.web.metrics import HttpMeter
from shared.web.peers import Peers

_READS = frozenset({"GET", "HEAD"})
_MAX_PATH_CHARS = 200
# A page that needs more than its own style and pictures sets a policy of its own.
_POLICY = b"default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
_FOR_PAGES = (
    (b"content-security-policy", _POLICY + b"; form-action 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

log = structlog.stdlib.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)


def put_front(app: Litestar, *, meter: HttpMeter, peers: Peers) -> Litestar:
    """Put the front before the app's router, so that it sees what finds no route, too."""
    app.asgi_handler = Front(app.asgi_handler, meter=meter, peers=peers)
    return app


class Front:
    """Pure ASGI. Leaves `request_id` and `peer` in the scope's state, and answers HEAD like a GET without its body."""

    def __init__(self, app: ASGIApp, *, meter: HttpMeter, peers: Peers) -> None:
        self._app = app
        self._meter = meter
        self._peers = peers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(scope)
        scope["state"].update(request_id=request_id, peer=self._peers.peer(scope))  # pyright: ignore[reportArgumentType]  a TypedDict is a mapping
        method = scope["method"]
        path = scope["path"]
        bodiless = method == "HEAD"
        if bodiless:
            scope["method"] = "GET"
        status = 500

        async def finish(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_more_headers(message, request_id)]
            elif bodiless and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        tokens = bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, finish)
        finally:
            seconds = time.perf_counter() - began
            template = scope.get("path_template") or "unmatched"
            self._meter.note(method, template, status, seconds)
            _log(scope["state"], method, path, status, seconds)
            reset_contextvars(**tokens)


def _log(state: dict[str, Any], method: str, path: str, status: int, seconds: float) -> None:
    """Changes and refusals are worth a line; reads that went well are for the metrics, and for level DEBUG."""
    level = logging.DEBUG if method in _READS and status < HTTPStatus.BAD_REQUEST else logging.INFO
    if _stdlib_log.isEnabledFor(level):
        log.log(
            level,
            "request",
            method=method,
            path=path[:_MAX_PATH_CHARS],
            status=status,
            ms=round(seconds * 1000, 1),
            peer=state["peer"],
            actor=state.get("actor"),
        )


def _request_id(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return request_id_from(given.decode("latin-1"))


def _more_headers(message: HTTPResponseStartEvent, request_id: str) -> list[tuple[bytes, bytes]]:
    given = dict(message["headers"])
    more = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
    wanted = [(b"cache-control", b"no-store")]
    if given.get(b"content-type", b"").startswith(b"text/html"):
        wanted.extend(_FOR_PAGES)
    return [*more, *((name, value) for name, value in wanted if name not in given)]
