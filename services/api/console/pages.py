"""The place where templates become pages, with what each has: policy, session, navigation, static files."""

import hashlib
import mimetypes
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from litestar.datastructures import Cookie

from services.api.console import text
from services.api.console.actions import find_action
from services.api.console.session import ConsoleRequest, Session, Sessions, lost_by_strictness
from shared.errors import Refusal
from shared.repository import events
from shared.repository.database import Tx
from shared.schemas.problems import Problem
from shared.web.problems import problem_of, request_id
from shared.workflow.unit import Caller

FOLDER = Path(__file__).parent
ROOT: Final = "/console"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
THEMES: Final = ("auto", "light", "dark")


class Nav(msgspec.Struct, frozen=True):
    """An entry of the navigation: its words, its place, and the key that leads there after `g`."""

    title: str
    url: str
    key: str
    admin: bool = False


NAV: Final = (
    Nav("Home", ROOT, "h"),
    Nav("Projects", f"{ROOT}/projects", "p"),
    Nav("Deliveries", f"{ROOT}/deliveries", "d"),
    Nav("Queue", f"{ROOT}/queue", "q"),
    Nav("Charts", f"{ROOT}/charts", "c"),
    Nav("Service", f"{ROOT}/service", "s", admin=True),
)

Page = Response[str]


class Asset(msgspec.Struct, frozen=True):
    """A static file; its digest is a part of its address, so that browsers may keep it for ever."""

    name: str
    digest: str
    media_type: str
    body: bytes


class Pages:
    """Draws the pages of one app."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.assets = _assets()

    def show(
        self,
        request: ConsoleRequest,
        template: str,
        *,
        status: int = 200,
        refusal: Refusal | None = None,
        live: str = "",
        **shown: Any,
    ) -> Page:
        """A page, perhaps one that shows a refusal; who has no session yet gets one with it, because forms need it.

        But not in answer to another site, for which the browser may only have left the present one out.
        """
        if refusal is not None:
            status = refusal.http_status
        session: Session | None = request.scope["state"].get("session")
        cookies: list[Cookie] = []
        if session is None:
            if request.method == "GET" and lost_by_strictness(request):
                return self.again(request)
            session = self.sessions.new()
            if status < HTTPStatus.BAD_REQUEST:
                cookies.append(self.sessions.cookie(request, session))
        caller: Caller | None = request.user
        common = {
            "csrf": session.csrf,
            "caller": caller,
            "asks": self.sessions.asks,
            "here": request.scope["path"],
            "back": _place(request),
            "nav": () if caller is None else [each for each in NAV if caller.project_id is None or not each.admin],
            "live": live,
            "problem": problem_of(refusal, request_id(request)) if refusal else None,
            "theme": theme_of(request),
            "keys": request.cookies.get("keys") != "off",
            "now": datetime.now(UTC),
        }
        body = _jinja().get_template(template).render(common | shown)
        return Response(
            body,
            status_code=status,
            media_type="text/html",
            headers={"content-security-policy": POLICY, "cache-control": "no-store"},
            cookies=cookies,
        )

    def problem(self, request: ConsoleRequest, problem: Problem, **more: Any) -> Page:
        """A page that says what was refused, and what is possible instead."""
        return self.show(request, "problem.html", status=problem.status, problem=problem, **more)

    def again(self, request: ConsoleRequest) -> Page:
        """The same page once more, asked for by a page of ours: then the cookie comes along, if there is one."""
        body = _jinja().get_template("again.html").render(theme=theme_of(request))
        return Response(body, media_type="text/html", headers={"content-security-policy": POLICY})

    def elsewhere(self, url: str, *cookies: Cookie) -> Page:
        """Leads to another page, after a form was sent."""
        return Response("", status_code=HTTPStatus.SEE_OTHER, headers={"location": url}, cookies=list(cookies))


def live(tx: Tx, **of: int) -> str:
    """The stream that a page follows, from what this snapshot shows on; `of` narrows: `protocol_run_id=3`."""
    return f"{ROOT}/stream?{urlencode({'after': events.last_id(tx), **of})}"


def own_place(url: object, default: str = ROOT) -> str:
    """The address if it is a page of the console, which a form that was sent may lead to; else the default."""
    if not isinstance(url, str) or not url.isprintable() or "\\" in url:
        return default
    return url if url == ROOT or url.startswith((f"{ROOT}/", f"{ROOT}?")) else default


def theme_of(request: ConsoleRequest) -> str:
    """The theme that was chosen; `auto` follows the system."""
    chosen = request.cookies.get("theme", THEMES[0])
    return chosen if chosen in THEMES else THEMES[0]


def wants_data(request: ConsoleRequest) -> bool:
    """Whether the script asks, or another program, and not a browser that shows what comes."""
    return "text/html" not in request.headers.get("accept", "")


def _place(request: ConsoleRequest) -> str:
    query = request.scope["query_string"].decode("ascii", "replace")
    place = request.scope["path"] + (f"?{query}" if query else "")
    return place if request.scope["method"] == "GET" else ROOT


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(path.name, hashlib.sha256(body).hexdigest()[:16], media_type, body)


@cache
def _assets() -> dict[str, Asset]:
    return {path.name: _asset(path) for path in sorted((FOLDER / "static").iterdir())}


def _asset_url(name: str) -> str:
    return f"{ROOT}/static/{_assets()[name].digest}/{name}"


@cache
def _jinja() -> Environment:
    """One for the process, so that a template is compiled once for all its apps."""
    jinja = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = jinja.filters
    filters.update(
        ago=text.ago,
        as_time=text.as_time,
        count=text.count,
        duration=text.duration,
        markdown=text.markdown,
        inline=text.inline,
        words=text.words,
    )
    tests: dict[str, Any] = jinja.tests
    tests["safe_url"] = text.safe_url
    known: dict[str, Any] = jinja.globals
    known.update(asset=_asset_url, find_action=find_action)
    return jinja
