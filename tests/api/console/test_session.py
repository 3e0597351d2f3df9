"""The session: who gets in, by what, for how long, and what a form needs."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from services.api.app import create_app
from services.api.console.door import ROUTES
from services.api.console.session import LIFE_S, SEALED_FOR, Session
from shared.repository.database import wall_clock
from shared.secret import Secret
from shared.security import hash_token
from shared.web.peers import FAILURES_PER_WINDOW
from tests.api.console.conftest import Window
from tests.api.house import ADMIN, TOKEN, House, open_house

NAME = "__Host-deksdenflow"


def sealed(house: House, session: Session) -> str:
    """What the cookie of this session would hold."""
    return base64.urlsafe_b64encode(house.vault.seal(msgspec.json.encode(session).decode(), SEALED_FOR)).decode()


def admins(**changes: object) -> Session:
    """A session of the administrator's that is good."""
    good = Session(csrf="c", until=wall_clock() + 60_000, holder="admin", bound=hash_token(TOKEN))
    return msgspec.structs.replace(good, **changes)


async def test_the_api_token_opens_everything_and_nothing_else_does(window: Window) -> None:
    assert not await window.is_in()
    for wrong in ("", "guess", TOKEN[:-1], "x" * 5000, "\u202e"):
        answer = await window.post("/console/login", token=wrong)
        assert answer.status_code == 401, wrong
        assert "set-cookie" not in answer.headers
        assert wrong not in answer.text or len(wrong) < 6
    await window.log_in()
    assert await window.is_in()


async def test_a_login_takes_a_new_session_and_leads_to_the_wished_page(window: Window) -> None:
    before = await window.csrf()
    answer = await window.post("/console/login", token=TOKEN, next="/console/projects?after=3")
    assert answer.headers["location"] == "/console/projects?after=3"
    assert await window.csrf() != before


@pytest.mark.parametrize(
    "place",
    ["https://evil.example", "//evil.example", "/console\\@evil", "/consolevil", "/docs", "/console/\r\nx: y", ""],
)
async def test_a_login_leads_nowhere_else(window: Window, place: str) -> None:
    answer = await window.post("/console/login", token=TOKEN, next=place)
    assert answer.headers["location"] == "/console"


async def test_a_projects_token_opens_that_project(house: House, window: Window) -> None:
    own, other = await house.project("own"), await house.project("other")
    await window.log_in(await house.project_token(own))
    assert (await window.get(f"/console/projects/{own}")).status_code == 200
    assert (await window.get(f"/console/projects/{other}")).status_code == 404
    assert "other" not in (await window.get("/console/projects")).text.partition("<main")[2]
    assert (await window.get("/console/projects/new")).status_code == 403
    assert (await window.post(f"/console/projects/{other}/actions/setup")).status_code == 404
    assert (await window.post("/console/line/actions/stop")).status_code == 403


async def test_a_session_ends_when_its_projects_token_is_revoked(house: House, window: Window) -> None:
    project = await house.project()
    await window.log_in(await house.project_token(project))
    assert await window.is_in()
    await house.client.delete(f"/projects/{project}/tokens/1", headers=ADMIN)
    assert not await window.is_in()
    assert (await window.post(f"/console/projects/{project}/actions/setup")).status_code == 401


async def test_a_session_ends_when_its_projects_token_expires(house: House, window: Window) -> None:
    project = await house.project()
    ends = datetime.now(UTC) + timedelta(hours=1)
    body = {"name": "short", "expires_at": ends.isoformat()}
    token = await house.client.post(f"/projects/{project}/tokens", json=body, headers=ADMIN)
    await window.log_in(token.json()["token"])
    assert await window.is_in()
    house.clock.ahead_ms = 3_600_001
    assert not await window.is_in()


async def test_a_session_ends_with_the_api_token_that_it_was_begun_with(house: House, window: Window) -> None:
    await window.log_in()
    settings = msgspec.structs.replace(house.settings, api_token=Secret("another-token-since"))
    house.app = create_app(settings, house.database, house.flow, house.queue, house.vault)
    later = Window(house)
    later.http.cookies = window.http.cookies
    assert not await later.is_in()


async def test_a_session_ends_after_twelve_hours(house: House, window: Window) -> None:
    window.http.cookies.set(NAME, sealed(house, admins()), domain="localhost.local")
    assert await window.is_in()
    window.http.cookies.set(NAME, sealed(house, admins(until=wall_clock() - 1)), domain="localhost.local")
    assert not await window.is_in()
    assert LIFE_S == 12 * 3600


@pytest.mark.parametrize("text", ["", "x", "é", "A" * 3000, "AAAA" * 20, "%00"])
async def test_a_cookie_that_is_none_of_ours_is_none(house: House, text: str) -> None:
    cookie = f"{NAME}={text}".encode()
    answer = await Window(house).http.get("/console", headers=[(b"cookie", cookie)])
    assert answer.status_code == 303


async def test_a_session_that_was_sealed_for_something_else_is_none(house: House, window: Window) -> None:
    text = msgspec.json.encode(admins()).decode()
    foreign = base64.urlsafe_b64encode(house.vault.seal(text, "project:1:forge_token")).decode()
    window.http.cookies.set(NAME, foreign, domain="localhost.local")
    assert not await window.is_in()


async def test_the_cookie_has_every_guard(window: Window) -> None:
    answer = await window.get("/console/login")
    name, _, rest = answer.headers["set-cookie"].partition("=")
    flags = {part.strip().lower() for part in rest.split(";")[1:]}
    assert name == NAME
    assert flags == {"secure", "httponly", "samesite=strict", "path=/", f"max-age={LIFE_S}"}


async def test_over_plain_http_elsewhere_the_cookie_is_not_secure_since_browsers_would_drop_it(house: House) -> None:
    window = Window(house, "http://flow.lan:8000")
    answer = await window.get("/console/login")
    assert answer.headers["set-cookie"].startswith("deksdenflow=")
    assert "secure" not in answer.headers["set-cookie"].lower().split(";")
    await window.log_in()
    assert await window.is_in()


async def test_behind_a_proxy_with_https_the_cookie_is_secure(tmp_path: Path) -> None:
    async with open_house(tmp_path, public_url="https://flow.example") as house:
        answer = await Window(house, "http://flow.example").get("/console/login")
        assert answer.headers["set-cookie"].startswith(NAME)


async def test_the_cookie_is_good_below_the_console_alone(house: House, inside: Window) -> None:
    await house.project()
    for path in ("/projects", "/events", "/line", "/metrics", "/events/stream"):
        assert (await inside.get(path)).status_code == 401, path


async def test_who_logs_out_is_out(inside: Window) -> None:
    answer = await inside.post("/console/logout")
    assert answer.headers["location"] == "/console/login"
    assert not await inside.is_in()


async def test_guesses_are_limited_for_each_address_and_for_both_doors_together(house: House, window: Window) -> None:
    csrf = await window.csrf()
    for _ in range(FAILURES_PER_WINDOW - 1):
        assert (await window.post("/console/login", token="guess", csrf=csrf)).status_code == 401
    wrong = {"authorization": "Bearer guess"}
    assert (await house.client.get("/projects", headers=wrong)).status_code == 401
    refused = await window.post("/console/login", token="guess", csrf=csrf)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert (await house.client.get("/projects", headers=wrong)).status_code == 429
    await window.log_in()
    assert await window.is_in()


def changing() -> list[str]:
    """Every path below /console that takes a form."""
    found = [
        path
        for handler in ROUTES
        for path in getattr(handler, "paths", ())
        if "POST" in {str(method) for method in getattr(handler, "http_methods", ())}
    ]
    filled = [path.replace("{name:str}", "setup") for path in found]
    return sorted(path.replace("{thing_id:int}", "1").replace("{project_id:int}", "1") for path in filled)


def reading() -> list[str]:
    """Every other path below /console, but those that everybody may see."""
    found = [
        path
        for handler in ROUTES
        for path in getattr(handler, "paths", ())
        if "GET" in {str(method) for method in getattr(handler, "http_methods", ())} and not handler.opt.get("anybody")
    ]
    return sorted({_filled(path) for path in found})


def _filled(path: str) -> str:
    for part in ("project", "protocol", "step", "attempt", "delivery", "job"):
        path = path.replace(f"{{{part}_id:int}}", "1")
    return path


@pytest.mark.parametrize("path", changing())
async def test_no_form_is_taken_without_its_token(house: House, inside: Window, path: str) -> None:
    await house.executed(await house.project())
    before = await house.rows("SELECT count(*) AS n FROM events")
    for csrf in ("", "guess", "é"):
        answer = await inside.post(f"/console{path}", csrf=csrf, name="x", git_url="https://github.com/a/b")
        assert (answer.status_code, "another session" in answer.text) == (403, True)
    other = await Window(house).csrf()
    assert (await inside.post(f"/console{path}", csrf=other)).status_code == 403
    assert await house.rows("SELECT count(*) AS n FROM events") == before


@pytest.mark.parametrize("path", changing())
async def test_no_form_is_taken_from_another_sites_page(house: House, inside: Window, path: str) -> None:
    await house.executed(await house.project())
    before = await house.rows("SELECT count(*) AS n FROM events")
    foreign: list[dict[str, str]] = [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "https://localhost"},
        {"origin": "https://evil.example"},
        {"origin": "https://localhost:444"},
        {"origin": "https://["},
    ]
    for headers in foreign:
        answer = await inside.post(f"/console{path}", headers=headers)
        assert (answer.status_code, "Another site" in answer.text) == (403, True), headers
        assert "set-cookie" not in answer.headers
        stranger = await Window(house).post(f"/console{path}", headers=headers, csrf="")  # a strict cookie is left out
        assert (stranger.status_code, "set-cookie" in stranger.headers) == (403, False)
    assert await house.rows("SELECT count(*) AS n FROM events") == before


@pytest.mark.parametrize("media", ["application/json", "text/plain", "multipart/form-data; boundary=x"])
async def test_a_form_comes_as_forms_do(inside: Window, media: str) -> None:
    token = await inside.csrf()
    headers = {"content-type": media, "x-csrf-token": token}
    answer = await inside.http.post("/console/line/actions/stop", content=b"{}", headers=headers)
    assert answer.status_code == 415


@pytest.mark.parametrize("path", reading())
async def test_without_a_session_every_page_leads_to_the_login_and_every_stream_is_refused(
    house: House, window: Window, path: str
) -> None:
    await house.executed(await house.project())
    page = await window.get(f"/console{path}")
    assert page.status_code == 303
    assert page.headers["location"].startswith("/console/login")
    data = await window.get(f"/console{path}", accept="text/event-stream")
    assert (data.status_code, data.headers["content-type"]) == (401, "application/problem+json")


@pytest.mark.parametrize("path", ["/console", "/console/projects", "/console/login"])
async def test_a_link_from_another_site_is_followed_once_more_by_a_page_of_ours(window: Window, path: str) -> None:
    answer = await window.get(path, **{"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in answer.text
    assert "set-cookie" not in answer.headers


async def test_on_ones_own_machine_nobody_logs_in_but_forms_need_their_token(open_at_home: House) -> None:
    window = Window(open_at_home, "https://127.0.0.1:8000")
    assert await window.is_in()
    assert (await window.get("/console/login")).status_code == 303
    fields = {"name": "shop", "git_url": "https://github.com/acme/shop"}
    assert (await window.post("/console/projects/new", csrf="guess", **fields)).status_code == 403
    assert (await window.post("/console/projects/new", **fields)).status_code == 303


async def test_on_ones_own_machine_no_other_name_is_served(open_at_home: House) -> None:
    answer = await Window(open_at_home, "http://rebound.example").get("/console")
    assert answer.status_code == 403
    assert "is not known here" in answer.text
