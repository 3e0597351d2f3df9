"""The place for who looks at the console: a sealed cookie, which is good below /console alone, and the forms' token."""

import base64
import binascii
import secrets
from collections.abc import Callable
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.enums import RequestEncodingType
from litestar.types import ASGIApp, Receive, Scope, Send

from services.api.auth import ADMIN, LOCAL_NAMES, MAX_CREDENTIAL_CHARS, SAFE_METHODS, demand_known_host, host_of
from shared.errors import Forbidden, SealError, TooMany, Unauthenticated, WrongMediaType
from shared.repository import tokens
from shared.repository.database import Database, Tx, wall_clock
from shared.schemas.records import Token
from shared.security import Vault, hash_token, same
from shared.settings import Settings
from shared.web.peers import FailureLimit
from shared.workflow.unit import Caller

Connection = ASGIConnection[Any, Any, Any, Any]
ConsoleRequest = Request[Any, Any, Any]

LIFE_S: Final = 12 * 3600
COOKIE: Final = "deksdenflow"
SEALED_FOR: Final = "console session"
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "x-csrf-token"
MAX_COOKIE_CHARS: Final = 2000


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What the cookie holds; `until` in milliseconds since 1970.

    `nobody` has the forms' token alone, for the login, or where none is asked. An administrator's ends with the API
    token (`bound` is its hash), a project's with its token.
    """

    csrf: str
    until: int
    holder: Literal["nobody", "admin", "token"] = "nobody"
    bound: str = ""
    token_id: int = 0
    project_id: int = 0


class Sessions:
    """Opens and seals sessions, and says for whom they stand."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        vault: Vault,
        limit: FailureLimit,
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        token = settings.api_token
        self._admin_hash = None if token is None else hash_token(token.reveal())
        self._public = urlsplit(settings.public_url or "")
        self._names = LOCAL_NAMES | {name for name in [host_of(settings.public_url)] if name}
        self._database = database
        self._vault = vault
        self._limit = limit
        self._clock = clock

    @property
    def asks(self) -> bool:
        """Whether anybody has to log in."""
        return self._admin_hash is not None

    def new(self, **holder: Any) -> Session:
        """A session that begins now."""
        return Session(csrf=secrets.token_urlsafe(24), until=self._clock() + LIFE_S * 1000, **holder)

    def read(self, connection: Connection) -> Session | None:
        """The session of the cookie, if there is one that we sealed and that is not over."""
        text = connection.cookies.get(_cookie_name(secure=self._is_secure(connection)), "")
        if not 0 < len(text) <= MAX_COOKIE_CHARS:
            return None
        try:
            blob = base64.b64decode(text, altchars=b"-_", validate=True)
            session = msgspec.json.decode(self._vault.open(blob, SEALED_FOR), type=Session)
        except (binascii.Error, ValueError, SealError, msgspec.MsgspecError):
            return None
        return session if session.until > self._clock() else None

    def seal(self, session: Session) -> str:
        """The session as the cookie's text."""
        return base64.urlsafe_b64encode(self._vault.seal(msgspec.json.encode(session).decode(), SEALED_FOR)).decode()

    def cookie(self, connection: Connection, session: Session | None) -> Cookie:
        """The cookie of a session; without one, the end of the present one."""
        secure = self._is_secure(connection)
        return Cookie(
            key=_cookie_name(secure=secure),
            value="" if session is None else self.seal(session),
            path="/",
            max_age=0 if session is None else LIFE_S,
            secure=secure,
            httponly=True,
            samesite="strict",
        )

    async def caller(self, connection: Connection, session: Session | None) -> Caller | None:
        """Whom the session stands for; None when that has ended, or nobody has logged in."""
        request_id = connection.scope["state"].get("request_id")
        if session is not None and session.holder == "token":
            live = await self._database.read(tokens.is_live, session.project_id, session.token_id)
            if live:
                return Caller(f"token:{session.token_id}", request_id, session.project_id)
        elif self._admin_hash is None:
            demand_known_host(connection, self._names)
            return Caller(ADMIN, request_id)
        elif session is not None and session.holder == "admin" and same(session.bound, self._admin_hash):
            return Caller(ADMIN, request_id)
        return None

    async def log_in(self, connection: Connection, given: str) -> Session:
        """A session for whoever holds this token; Unauthenticated when nobody does, TooMany after many guesses."""
        given = given.strip()
        if not given:
            raise Unauthenticated("Enter the API token, or the token of a project.")
        if len(given) <= MAX_CREDENTIAL_CHARS:
            digest = hash_token(given)
            if self._admin_hash is not None and same(digest, self._admin_hash):
                return self.new(holder="admin", bound=digest)
            token = await self._database.write(_used, digest)
            if token is not None:
                return self.new(holder="token", token_id=token.id, project_id=token.project_id)
        wait = self._limit.failed(connection.scope["state"].get("peer", ""))
        if wait:
            raise TooMany(f"Too many failed attempts from this address; try again in {wait} s.", retry_after_s=wait)
        raise Unauthenticated("This token is not valid, was revoked or has expired.")

    def demand_own_page(self, connection: Connection) -> None:
        """Refuse what another site's page sends. No page can set these headers; `null` is what our own forms send."""
        site = connection.headers.get("sec-fetch-site")
        origin = connection.headers.get("origin")
        if site is not None:
            own = site in {"same-origin", "none"}
        else:
            ours = {connection.headers.get("host", ""), self._public.netloc}
            own = origin in {None, "null"} or _netloc(origin) in ours
        if not own:
            raise Forbidden("Another site's page may not ask for changes here.", type="foreign-origin")

    def _is_secure(self, connection: Connection) -> bool:
        """Whether a browser keeps a `Secure` cookie from here: over https, and on one's own machine."""
        host = connection.headers.get("host", "")
        return (
            connection.scope["scheme"] == "https"
            or host_of(f"//{host}") in LOCAL_NAMES
            or (self._public.scheme == "https" and host == self._public.netloc)
        )


def entrance(sessions: Sessions) -> Callable[[ASGIApp], ASGIApp]:
    """Middleware before every page: leaves the session in the scope's state, and the caller as the request's user.

    A route with `opt={"anybody": True}` is for those who have not logged in, too. It is a function, because Litestar
    copies the middleware of a router in depth.
    """

    def before(app: ASGIApp) -> ASGIApp:
        async def entered(scope: Scope, receive: Receive, send: Send) -> None:
            await _admit(sessions, Request(scope, receive))
            await app(scope, receive, send)

        return entered

    return before


async def _admit(sessions: Sessions, request: ConsoleRequest) -> None:
    scope = request.scope
    session = sessions.read(request)
    scope["user"], scope["state"]["session"] = None, session
    unsafe = scope["method"] not in SAFE_METHODS
    if unsafe:
        sessions.demand_own_page(request)
    scope["user"] = caller = await sessions.caller(request, session)
    opt = scope["route_handler"].opt
    if caller is None and not opt.get("anybody"):
        raise Unauthenticated("Log in first: you have not yet, or your session has ended.")
    if unsafe:
        await _demand_token(request, session)
    if caller is not None:
        scope["state"]["actor"] = caller.actor
        if caller.project_id is not None and opt.get("admin"):
            raise Forbidden("This needs the API token; a project token is not enough.")


async def _demand_token(request: ConsoleRequest, session: Session | None) -> None:
    if request.content_type[0] != RequestEncodingType.URL_ENCODED:
        raise WrongMediaType("Forms of the console are sent as application/x-www-form-urlencoded.")
    given = request.headers.get(CSRF_HEADER) or (await request.form()).get(CSRF_FIELD, "")
    if session is None or not isinstance(given, str) or not same(given, session.csrf):
        raise Forbidden("This page is from another session; load it again and repeat what you did.", type="csrf")


def _cookie_name(*, secure: bool) -> str:
    return f"__Host-{COOKIE}" if secure else COOKIE


def _netloc(origin: str | None) -> str | None:
    try:
        return urlsplit(origin or "").netloc
    except ValueError:
        return None


def _used(tx: Tx, digest: str) -> Token | None:
    token = tokens.by_hash(tx, digest)
    if token is not None:
        tokens.touch(tx, token.id, older_than=tx.now)
    return token


def lost_by_strictness(connection: Connection) -> bool:
    """Whether a link on another site led here, for which a browser leaves our strict cookie out."""
    return connection.headers.get("sec-fetch-site") == "cross-site"
