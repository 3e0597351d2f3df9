"""Coming and going: the login, the logout, and what a browser remembers of its person's wishes."""

from urllib.parse import urlencode

from litestar import get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency

from services.api.console.pages import ROOT, THEMES, Page, Pages, own_place, wants_data
from services.api.console.session import ConsoleRequest, Sessions
from shared.errors import Invalid, TooMany, Unauthenticated

ANYBODY = {"anybody": True}
A_YEAR_S = 365 * 86400


def url_for(place: str) -> str:
    """The login that leads to this page."""
    return f"{ROOT}/login" + ("" if place == ROOT else f"?{urlencode({'next': place})}")


@get("/login", opt=ANYBODY, sync_to_thread=False)
def show_login(request: ConsoleRequest, pages: NamedDependency[Pages]) -> Page:
    """Ask for a token, unless nobody has to log in or somebody has."""
    place = own_place(request.query_params.get("next"))
    if request.user is not None:
        return pages.elsewhere(place)
    return pages.show(request, "login.html", next=place)


@post("/login", opt=ANYBODY)
async def log_in(request: ConsoleRequest, pages: NamedDependency[Pages], sessions: NamedDependency[Sessions]) -> Page:
    """Begin a session, with a new cookie."""
    typed = await request.form()
    place = own_place(typed.get("next"))
    try:
        session = await sessions.log_in(request, str(typed.get("token", "")))
    except (Unauthenticated, TooMany) as refusal:
        if wants_data(request):
            raise
        page = pages.show(request, "login.html", refusal=refusal, next=place)
        if isinstance(refusal, TooMany):
            page.headers["retry-after"] = str(refusal.retry_after_s)
        return page
    return pages.elsewhere(place, sessions.cookie(request, session))


@post("/logout", opt=ANYBODY, sync_to_thread=False)
def log_out(request: ConsoleRequest, pages: NamedDependency[Pages], sessions: NamedDependency[Sessions]) -> Page:
    """End the session."""
    return pages.elsewhere(f"{ROOT}/login", sessions.cookie(request, None))


@post("/wishes", opt=ANYBODY)
async def remember(request: ConsoleRequest, pages: NamedDependency[Pages]) -> Page:
    """Keep the theme, or whether single keys do something."""
    typed = await request.form()
    name, value = next(((key, str(typed[key])) for key in ("theme", "keys") if key in typed), ("", ""))
    if value not in {"theme": THEMES, "keys": ("on", "off")}.get(name, ()):
        raise Invalid("theme: auto, light or dark; keys: on or off.")
    wish = Cookie(key=name, value=value, path=ROOT, max_age=A_YEAR_S, httponly=True, samesite="strict")
    return pages.elsewhere(own_place(typed.get("back")), wish)


ROUTES = [show_login, log_in, log_out, remember]
