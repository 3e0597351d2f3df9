"""Who may ask for what: every route, with every kind of credential."""

from pathlib import Path

import httpx
import pytest
from litestar.handlers import HTTPRouteHandler

from services.api.openapi import handlers_of
from shared.secret import Secret
from tests.api.house import ADMIN, TOKEN, House, open_house

OPEN = {
    "/",
    "/health",
    "/health/ready",
    "/schema",
    "/schema/openapi.json",
    "/schema/{path}",
    "/docs",
    "/docs/style.css",
    "/openapi.json",
}
# Closed to project tokens: what gives access, and what changes the rules.
ADMIN_ONLY = {
    ("POST", "/projects"),
    ("PATCH", "/projects/{project_id}"),
    ("POST", "/projects/{project_id}/tokens"),
    ("GET", "/projects/{project_id}/tokens"),
    ("DELETE", "/projects/{project_id}/tokens/{token_id}"),
    ("PUT", "/projects/{project_id}/secrets/{name}"),
    ("GET", "/projects/{project_id}/secrets"),
    ("DELETE", "/projects/{project_id}/secrets/{name}"),
    ("POST", "/projects/{project_id}/hooks"),
    ("GET", "/projects/{project_id}/hooks"),
    ("DELETE", "/projects/{project_id}/hooks/{hook_id}"),
    ("POST", "/projects/{project_id}/hooks/{hook_id}/actions/rotate"),
    ("POST", "/projects/{project_id}/webhook_test"),
    ("POST", "/projects/{project_id}/notifiers"),
    ("GET", "/projects/{project_id}/notifiers"),
    ("POST", "/notifiers"),
    ("GET", "/notifiers"),
    ("DELETE", "/notifiers/{notifier_id}"),
    ("POST", "/notifiers/{notifier_id}/actions/test"),
    ("GET", "/notifiers/{notifier_id}/deliveries"),
    ("POST", "/notifiers/{notifier_id}/deliveries/{notice_id}/actions/retry"),
    ("GET", "/services"),
    ("GET", "/line"),
    ("POST", "/line/actions/stop"),
    ("POST", "/line/actions/resume"),
}
# Lists that are narrowed to the token's project instead of being closed.
NARROWED = {
    "/projects",
    "/attempts",
    "/protocols",
    "/attention",
    "/deliveries",
    "/events",
    "/events/stream",
    "/queues",
    "/queues/jobs",
}
BODIES = {
    "/projects": {"name": "new", "git_url": "https://github.com/a/b"},
    "/projects/{project_id}/protocols": {"description": "x"},
    "/projects/{project_id}/tokens": {"name": "x"},
    "/projects/{project_id}/hooks": {"provider": "github"},
    "/projects/{project_id}/secrets/{name}": {"value": "x"},
    "/protocols/{protocol_id}/steps": {"step_name": "x"},
    "/protocols/{protocol_id}/actions/reject_plan": {"feedback": "x"},
    "/protocols/{protocol_id}/actions/fail": {"reason": "x"},
    "/protocols/{protocol_id}/actions/adopt": {"sha": "d" * 40},
    "/protocols/{protocol_id}/actions/trigger_ci": {"workflow": "ci.yml"},
    "/steps/{step_id}/actions/reject": {"feedback": "x"},
    "/steps/{step_id}/actions/skip": {"reason": "x"},
    "/notifiers": {"kind": "slack", "url": "https://example.org/x"},
    "/projects/{project_id}/notifiers": {"kind": "webhook", "url": "https://example.org/x"},
    "/attention/{item_id}/actions/resolve": {"action": "approve"},
}


def routes(house: House) -> list[tuple[str, str]]:
    """Every method and path of the app but those that answer everybody, the other service's, and the console's own."""
    found = [(method.upper(), path) for path, method, _ in handlers_of(house.app)]
    elsewhere = ("/webhooks", "/console")
    shut = [(method, path) for method, path in found if path not in OPEN and not path.startswith(elsewhere)]
    return [(method, path) for method, path in shut if method != "OPTIONS" and path != "/metrics"]


async def scene(house: House) -> dict[str, int | str]:
    """A project with one of everything; gives the ids by the names in paths."""
    project = await house.project()
    await house.project_token(project)
    protocol, step = await house.executed(project)
    await house.client.put(f"/projects/{project}/secrets/forge_token", json={"value": "v"}, headers=ADMIN)
    await house.client.post(f"/projects/{project}/hooks", json={"provider": "github"}, headers=ADMIN)
    delivery = await house.delivery(project_id=project, protocol_id=protocol)
    slack = {"kind": "slack", "url": "https://example.org/x"}
    await house.client.post(f"/projects/{project}/notifiers", json=slack, headers=ADMIN)
    return {
        "project_id": project,
        "protocol_id": protocol,
        "step_id": step,
        "attempt_id": 1,
        "job_id": 1,
        "token_id": 1,
        "hook_id": 1,
        "delivery_id": delivery,
        "item_id": f"s{step}.review",
        "notifier_id": 1,
        "notice_id": 1,
        "name": "forge_token",
    }


async def ask(
    house: House, method: str, path: str, ids: dict[str, int | str], headers: dict[str, str]
) -> httpx.Response:
    """A request whose body is fine, so that nothing but the credential can be refused."""
    body = BODIES.get(path, {}) if method in {"POST", "PATCH", "PUT"} else None
    return await house.client.request(method, path.format(**ids), json=body, headers={"if-match": "*", **headers})


async def test_without_a_credential_nothing_but_the_open_pages_answers(house: House) -> None:
    ids = await scene(house)
    for method, path in routes(house):
        answer = await ask(house, method, path, ids, {})
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in OPEN - {"/schema/{path}"}:
        assert (await house.client.get(path)).status_code in {200, 503}, path


async def test_another_projects_token_finds_nothing(house: House) -> None:
    ids = await scene(house)
    foreign = {"x-project-token": await house.project_token(await house.project("other"))}
    for method, path in routes(house):
        answer = await ask(house, method, path, ids, foreign)
        if path in NARROWED and method == "GET":
            assert answer.status_code == 200, (method, path)
            assert "dark-theme" not in answer.text
        elif path == "/projects" or path.startswith(("/line", "/notifiers", "/services")):
            assert answer.status_code == 403
        else:
            assert answer.status_code == 404, (method, path)


async def test_a_projects_token_opens_its_project_but_not_its_doors(house: House) -> None:
    ids = await scene(house)
    own = {"x-project-token": await house.project_token(int(ids["project_id"]))}
    for method, path in routes(house):
        answer = await ask(house, method, path, ids, own)
        if (method, path) in ADMIN_ONLY:
            assert answer.status_code == 403, (method, path)
        else:
            assert answer.status_code not in {401, 403}, (method, path)


async def test_the_administrator_is_never_refused_for_want_of_rights(house: House) -> None:
    ids = await scene(house)
    for method, path in routes(house):
        answer = await ask(house, method, path, ids, ADMIN)
        assert answer.status_code not in {401, 403}, (method, path)


async def test_what_is_admin_only_is_marked_so(house: House) -> None:
    def marked(handler: HTTPRouteHandler) -> bool:
        return bool(handler.opt.get("admin"))

    found = {
        (method.upper(), path)
        for path, method, handler in handlers_of(house.app)
        if marked(handler) and not path.startswith("/console")
    }
    assert {each for each in found if each[0] != "OPTIONS"} == ADMIN_ONLY


async def test_lists_show_a_token_its_own_project_only(house: House) -> None:
    ids = await scene(house)
    await house.protocol(await house.project("other"))
    own = {"x-project-token": await house.project_token(int(ids["project_id"]))}
    assert [each["id"] for each in (await house.client.get("/projects", headers=own)).json()] == [ids["project_id"]]
    for path in ("/events?limit=500", "/queues/jobs", "/attempts", "/deliveries", "/protocols"):
        rows = (await house.client.get(path, headers=own)).json()
        assert rows
        assert {row.get("project_id", ids["project_id"]) for row in rows} == {ids["project_id"]}, path
    asked = await house.client.get(f"/events?project_id={int(ids['project_id']) + 1}", headers=own)
    assert asked.status_code == 404


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"bearer{TOKEN}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer " + "x" * 9000,
        "Bearer é",
    ],
)
async def test_a_bearer_that_is_not_the_token_is_refused(house: House, given: str) -> None:
    answer = await house.client.get("/projects", headers=[(b"authorization", given.encode("latin-1"))])
    assert answer.status_code == 401


@pytest.mark.parametrize("given", ["", "dfp_", "dfp_" + "x" * 43, "x" * 9000, "é"])
async def test_a_project_token_that_is_not_one_is_refused(house: House, given: str) -> None:
    answer = await house.client.get("/projects", headers=[(b"x-project-token", given.encode("latin-1"))])
    assert answer.status_code == 401


async def test_beside_a_wrong_bearer_a_project_token_does_not_help(house: House) -> None:
    headers = {"x-project-token": await house.project_token(await house.project()), "authorization": "Bearer no"}
    assert (await house.client.get("/projects", headers=headers)).status_code == 401


async def test_a_project_token_narrows_the_administrator(house: House) -> None:
    token = await house.project_token(await house.project())
    await house.project("other")
    seen = await house.client.get("/projects", headers=ADMIN | {"x-project-token": token})
    assert [each["name"] for each in seen.json()] == ["shop"]


async def test_a_revoked_token_opens_nothing(house: House) -> None:
    project = await house.project()
    headers = {"x-project-token": await house.project_token(project)}
    assert (await house.client.get("/projects", headers=headers)).status_code == 200
    assert (await house.client.delete(f"/projects/{project}/tokens/1", headers=ADMIN)).status_code == 204
    assert (await house.client.get("/projects", headers=headers)).status_code == 401


async def test_an_expired_token_opens_nothing(house: House) -> None:
    project = await house.project()
    body = {"name": "short", "expires_at": "2999-01-01T00:00:00Z"}
    made = await house.client.post(f"/projects/{project}/tokens", json=body, headers=ADMIN)
    headers = {"x-project-token": made.json()["token"]}
    assert (await house.client.get("/projects", headers=headers)).status_code == 200
    house.clock.ahead_ms = 1000 * 365 * 24 * 3600 * 1000
    assert (await house.client.get("/projects", headers=headers)).status_code == 401


async def test_the_use_of_a_token_is_remembered(house: House) -> None:
    project = await house.project()
    headers = {"x-project-token": await house.project_token(project)}
    await house.client.get("/projects", headers=headers)
    (token,) = (await house.client.get(f"/projects/{project}/tokens", headers=ADMIN)).json()
    assert token["last_used_at"] is not None


async def test_events_name_who_acted_and_the_request(house: House) -> None:
    project = await house.project()
    headers = {"x-project-token": await house.project_token(project), "x-request-id": "from-ci-7"}
    await house.client.post(f"/projects/{project}/protocols", json={"description": "x"}, headers=headers)
    (event, *_) = (await house.client.get("/events", headers=ADMIN)).json()
    assert (event["actor"], event["request_id"]) == ("token:1", "from-ci-7")


async def test_too_many_failures_are_told_to_wait_and_a_valid_token_still_works(house: House) -> None:
    answers = [await house.client.get("/projects", headers={"authorization": "Bearer no"}) for _ in range(25)]
    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429
    assert 0 < int(answers[-1].headers["retry-after"]) <= 61
    assert (await house.client.get("/projects", headers=ADMIN)).status_code == 200


async def test_a_forwarded_address_counts_only_behind_a_trusted_proxy(tmp_path: Path) -> None:
    async with open_house(tmp_path, trusted_proxies=("127.0.0.0/8",)) as house:
        wrong = {"authorization": "Bearer no"}
        for _ in range(25):
            await house.client.get("/projects", headers=wrong | {"x-forwarded-for": "203.0.113.9"})
        same = await house.client.get("/projects", headers=wrong | {"x-forwarded-for": "198.51.100.1, 203.0.113.9"})
        other = await house.client.get("/projects", headers=wrong | {"x-forwarded-for": "203.0.113.10"})
        assert (same.status_code, other.status_code) == (429, 401)


@pytest.mark.parametrize("name", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "flow.example:443"])
async def test_without_a_token_this_machine_is_the_administrator(tmp_path: Path, name: str) -> None:
    async with open_house(tmp_path, api_token=None, public_url="https://flow.example") as house:
        assert (await house.client.get("/projects", headers={"host": name})).status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io"])
async def test_without_a_token_a_foreign_host_name_is_refused(tmp_path: Path, name: str) -> None:
    async with open_house(tmp_path, api_token=None) as house:
        refused = await house.client.get("/projects", headers={"host": name})
        assert refused.status_code == 403
        assert refused.json()["type"] == "urn:deksdenflow:problem:unknown-host"


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
async def test_without_a_token_a_foreign_page_changes_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    async with open_house(tmp_path, api_token=None) as house:
        made = await house.client.post("/projects", json={"name": "a", "git_url": "https://github.com/a/b"})
        assert made.status_code == 201
        refused = await house.client.post("/projects/1/actions/setup", headers=headers)
        assert refused.status_code == 403
        assert len((await house.client.get("/queues/jobs")).json()) == 1


async def test_without_a_token_a_project_token_still_narrows(tmp_path: Path) -> None:
    async with open_house(tmp_path, api_token=None) as house:
        token = await house.project_token(await house.project())
        await house.project("other")
        seen = await house.client.get("/projects", headers={"x-project-token": token})
        assert len(seen.json()) == 1


async def test_the_metrics_need_the_token_when_there_is_one(tmp_path: Path) -> None:
    async with open_house(tmp_path, api_token=Secret(TOKEN)) as house:
        assert (await house.client.get("/metrics")).status_code == 401
        answer = await house.client.get("/metrics", headers=ADMIN)
        assert answer.status_code == 200
        assert "requests_total{" in answer.text
