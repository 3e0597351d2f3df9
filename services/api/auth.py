"""The place for who may ask: the administrator's bearer, a project's token, or anybody on a machine of their own."""

from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.types import ASGIApp, Receive, Scope, Send

from shared.errors import Forbidden, TooMany, Unauthenticated
from shared.failpoints import fp
from shared.repository import tokens
from shared.repository.database import Database, Tx
from shared.schemas.records import Token
from shared.security import hash_token, same
from shared.settings import Settings
from shared.web.peers import FailureLimit
from shared.workflow.unit import Caller

ApiRequest = Request[Caller, str, State]
Connection = ASGIConnection[Any, Any, Any, Any]

ADMIN = "admin"
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TOUCH_EVERY_MS = 10 * 60 * 1000
# Nothing that is longer can be one of our tokens.
MAX_CREDENTIAL_CHARS = 512


class Gate:
    """Stands before every route that is not `opt={"open": True}`; leaves the `Caller` as the request's user.

    It is middleware: Litestar copies a handler for each guard of each request, and a route could not do without it.

    A route with `opt={"admin": True}` is closed to project tokens. A project token narrows the caller to its project,
    beside a valid bearer too. Other projects' things are not found, which the verbs and reads see to.
    """

    def __init__(self, settings: Settings, database: Database, limit: FailureLimit | None = None) -> None:
        token = settings.api_token
        self._admin_hash = None if token is None else hash_token(token.reveal())
        self._names = LOCAL_NAMES | {name for name in [host_of(settings.public_url)] if name}
        self._database = database
        self._limit = limit or FailureLimit()

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """Put the gate before an app."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            await self._admit(ASGIConnection(scope))
            await app(scope, receive, send)

        return guarded

    async def _admit(self, connection: Connection) -> None:
        """Let the caller in, or raise the refusal."""
        opt = connection.scope["route_handler"].opt
        if opt.get("open"):
            return
        state = connection.scope["state"]
        caller = await self._caller(connection, state.get("request_id"))
        connection.scope["user"] = caller
        state["actor"] = caller.actor
        if caller.project_id is not None and opt.get("admin"):
            _refuse_project_token(connection, caller.project_id)

    async def _caller(self, connection: Connection, request_id: str | None) -> Caller:
        bearer = connection.headers.get("authorization")
        project_token = connection.headers.get("x-project-token")
        if bearer is not None and self._admin_hash is not None and not self._is_admin(bearer):
            raise self._failure(connection, "The bearer is not valid.")
        if project_token is not None:
            return await self._project_caller(connection, project_token, request_id)
        if self._admin_hash is None:
            self._demand_this_machine(connection)
        elif bearer is None:
            raise self._failure(
                connection, "Send the API token as `Authorization: Bearer …`, or a project's as `X-Project-Token`.", 0
            )
        return Caller(actor=ADMIN, request_id=request_id)

    def _is_admin(self, bearer: str) -> bool:
        scheme, _, given = bearer.partition(" ")
        given = given.strip()
        return (
            scheme.lower() == "bearer"
            and len(given) <= MAX_CREDENTIAL_CHARS
            and same(hash_token(given), self._admin_hash or "")
        )

    async def _project_caller(self, connection: Connection, given: str, request_id: str | None) -> Caller:
        token: Token | None = None
        if 0 < len(given) <= MAX_CREDENTIAL_CHARS:
            token, stale = await self._database.read(_find_token, hash_token(given))
            if token is not None and stale:
                await self._database.write(_touch, token.id)
                fp("token_touched")
        if token is None:
            raise self._failure(connection, "The project token is not valid, was revoked or has expired.")
        return Caller(actor=f"token:{token.id}", request_id=request_id, project_id=token.project_id)

    def _failure(self, connection: Connection, detail: str, weight: int = 1) -> Unauthenticated | TooMany:
        """The refusal; a request without any credential does not count as a guess (`weight` 0)."""
        wait = self._limit.failed(connection.scope["state"].get("peer", "")) if weight else 0
        if wait:
            return TooMany("Too many failed attempts from this address.", retry_after_s=wait)
        return Unauthenticated(detail)

    def _demand_this_machine(self, connection: Connection) -> None:
        """Without an API token only this machine's own programs are let in.

        A page of somebody else's, open in a browser here, reaches us under a name of its own (DNS rebinding), or
        sends a form across: both show in headers that no page can set.
        """
        demand_known_host(connection, self._names)
        if connection.scope["method"] in SAFE_METHODS:  # pyright: ignore[reportGeneralTypeIssues]  an HTTP scope
            return
        origin = connection.headers.get("origin")
        foreign = origin is not None and host_of(origin) not in self._names
        if foreign or connection.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
            raise Forbidden("Another site's page may not ask for changes here.", type="foreign-origin")


def _refuse_project_token(connection: Connection, project_id: int) -> None:
    asked = connection.path_params.get("project_id")
    if asked is None or asked == project_id:
        raise Forbidden("This needs the API token; a project token is not enough.")
    # Another project: the handler finds nothing.


def demand_known_host(connection: Connection, names: frozenset[str]) -> None:
    """Refuse a host name that is none of ours, under which a foreign page may have reached us (DNS rebinding)."""
    name = host_of(f"//{connection.headers.get('host', '')}")
    if name not in names:
        raise Forbidden(
            f"The host name {name!r} is not known here; without DEKSDENFLOW_API_TOKEN only this machine is served.",
            type="unknown-host",
        )


def host_of(url: str | None) -> str:
    """The host name in a URL; empty when there is none."""
    try:
        return urlsplit(url or "").hostname or ""
    except ValueError:
        return ""


def _find_token(tx: Tx, token_hash: str) -> tuple[Token | None, bool]:
    token = tokens.by_hash(tx, token_hash)
    stale = token is not None and (token.last_used_at or 0) < tx.now - TOUCH_EVERY_MS
    return token, stale


def _touch(tx: Tx, token_id: int) -> None:
    tokens.touch(tx, token_id, older_than=tx.now - TOUCH_EVERY_MS)
