"""Forms and buttons over plain HTTP, as a browser without a script sends them, and as the script does."""

import pytest

from services.api.console.actions import ACTIONS
from services.api.openapi import handlers_of
from tests.api.console.conftest import Window
from tests.api.house import ADMIN, House

DATA = {"accept": "application/json"}
URL = "https://github.com/acme/shop.git"


async def test_a_project_is_registered_by_the_form(house: House, inside: Window) -> None:
    answer = await inside.post(
        "/console/projects/new",
        name=" shop ",
        git_url=URL,
        base_branch="trunk",
        preset="alone",
        planning="gpt-5.5",
        required_contexts="ci/test\n\n ci/lint \n",
        completion="merge",
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/projects/1")
    project = (await house.client.get("/projects/1", headers=ADMIN)).json()
    assert (project["name"], project["base_branch"], project["ci_provider"]) == ("shop", "trunk", "github")
    assert project["default_models"] == {"planning": "gpt-5.5"}
    wanted = {"progression": "auto", "plan_approval": False, "auto_fix": 2, "completion": "merge"}
    assert wanted.items() <= project["policy"].items()
    assert project["policy"]["required_contexts"] == ["ci/test", "ci/lint"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": ""}, "Name: fill this in."),
        ({"git_url": ""}, "Repository: fill this in."),
        ({"name": "x" * 101}, "Name: at most 100 characters."),
        ({"git_url": "ext::sh -c id"}, "git_url"),
        ({"git_url": "https://elsewhere.example/a/b"}, "git_url"),
        ({"base_branch": "-x"}, "branch"),
        ({"ci_provider": "sourcehut"}, "Forge: Invalid"),
        ({"planning": "no model"}, "Model that plans: it is not of the form that is needed here."),
        ({"open_pr": "never"}, "The pull request is opened: Invalid"),
    ],
)
async def test_what_is_wrong_is_said_and_what_was_typed_is_kept(
    house: House, inside: Window, changes: dict[str, str], problem: str
) -> None:
    typed = {"name": "my <shop>", "git_url": URL, "base_branch": "trunk", "preset": "careful"} | changes
    answer = await inside.post("/console/projects/new", **typed)
    assert answer.status_code == 400
    alert = answer.text.partition('role="alert"')[2].partition("</div>")[0]
    assert problem in alert
    assert "trunk" in answer.text or "base_branch" in changes
    assert 'value="careful" checked' in answer.text
    assert "my &lt;shop&gt;" in answer.text or "name" in changes
    assert not await house.rows("SELECT * FROM projects")


async def test_a_name_that_is_taken_is_a_conflict(house: House, inside: Window) -> None:
    await house.project("shop")
    answer = await inside.post("/console/projects/new", name="shop", git_url=URL)
    assert (answer.status_code, "There already is a project" in answer.text) == (409, True)


async def test_a_protocol_is_opened_and_its_planning_started(house: House, inside: Window) -> None:
    project = await house.project()
    answer = await inside.post(
        f"/console/projects/{project}/protocols/new",
        description="Add a dark theme.",
        progression="auto",
        plan_approval="yes",
        plan="on",
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/protocols/1")
    protocol = (await house.client.get("/protocols/1", headers=ADMIN)).json()
    assert (protocol["status"], protocol["policy"]["progression"]) == ("planning", "auto")
    assert protocol["policy"]["plan_approval"] is True


async def test_a_protocol_without_a_task_is_refused_and_leaves_nothing(house: House, inside: Window) -> None:
    project = await house.project()
    answer = await inside.post(f"/console/projects/{project}/protocols/new", description=" \n", plan="on")
    assert (answer.status_code, "What is to be done: say it, in any words." in answer.text) == (400, True)
    assert not await house.rows("SELECT * FROM protocol_runs")


async def test_the_script_is_told_where_to_go_and_what_is_wrong(inside: Window) -> None:
    refused = await inside.post("/console/projects/new", headers=DATA, name="shop", git_url="nope")
    assert refused.headers["content-type"] == "application/problem+json"
    done = await inside.post("/console/projects/new", headers=DATA, name="shop", git_url=URL)
    assert (done.status_code, done.json()) == (200, {"location": "/console/projects/1"})


async def test_a_field_that_is_wrong_is_named_to_the_script(inside: Window) -> None:
    refused = await inside.post("/console/projects/new", headers=DATA, name="x" * 101, git_url=URL)
    assert refused.json()["errors"][0]["field"] == "name"


async def test_a_button_does_what_the_route_does_and_leads_back(house: House, inside: Window) -> None:
    protocol, _ = await house.executed(await house.project())
    answer = await inside.post(f"/console/protocols/{protocol}/actions/pause", mode="drain", back="/console/projects")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/projects")
    assert (await house.client.get(f"/protocols/{protocol}", headers=ADMIN)).json()["status"] == "paused"


async def test_a_button_that_is_refused_says_what_is_possible(house: House, inside: Window) -> None:
    protocol = await house.planned(await house.project())
    page = await inside.post(f"/console/protocols/{protocol}/actions/resume")
    assert page.status_code == 409
    assert "It is <strong>planned</strong> now." in page.text
    assert "Possible now:" in page.text
    data = await inside.post(f"/console/protocols/{protocol}/actions/resume", headers=DATA)
    assert (data.status_code, data.json()["status_now"]) == (409, "planned")
    assert "pause" in data.json()["allowed_actions"]


async def test_what_was_typed_into_a_refused_button_is_kept(house: House, inside: Window) -> None:
    protocol, step = await house.executed(await house.project())
    await house.client.post(f"/protocols/{protocol}/actions/cancel", headers=ADMIN)
    page = await inside.post(f"/console/steps/{step}/actions/reject", feedback="Keep the <old> name.")
    assert page.status_code == 409
    assert "Keep the &lt;old&gt; name." in page.text


async def test_a_field_that_a_button_needs_is_named_as_it_is_called_there(house: House, inside: Window) -> None:
    _, step = await house.executed(await house.project())
    page = await inside.post(f"/console/steps/{step}/actions/reject", feedback="")
    assert (page.status_code, "What is to be done differently: fill this in." in page.text) == (400, True)


async def test_a_plan_that_changed_since_is_not_approved(house: House, inside: Window) -> None:
    protocol = await house.planned(await house.project(policy={"plan_approval": True}))
    version = (await house.client.get(f"/protocols/{protocol}", headers=ADMIN)).json()["version"]
    stale = await inside.post(f"/console/protocols/{protocol}/actions/approve_plan", version=str(version - 1))
    assert stale.status_code == 412
    for wrong in ("x", "9" * 400):
        answer = await inside.post(f"/console/protocols/{protocol}/actions/approve_plan", version=wrong)
        assert answer.status_code in {400, 412}, wrong
    done = await inside.post(f"/console/protocols/{protocol}/actions/approve_plan", version=str(version))
    assert done.status_code == 303


@pytest.mark.parametrize(
    "path", ["protocols/1/actions/explode", "steps/99/actions/run", f"jobs/{10**18}/actions/retry"]
)
async def test_what_is_not_there_is_not_found(inside: Window, path: str) -> None:
    assert (await inside.post(f"/console/{path}")).status_code == 404


def test_every_action_of_the_api_has_its_button(house: House) -> None:
    of_api = {
        (path.split("/")[1], path.rpartition("/")[2])
        for path, method, _ in handlers_of(house.app)
        if method == "post" and "/actions/" in path and path.split("/")[1] in {*ACTIONS, "queues"}
    }
    of_api = {("jobs" if kind == "queues" else kind, name) for kind, name in of_api}
    of_api.remove(("projects", "rotate"))  # a hook's, whose answer holds a secret
    assert of_api <= {(kind, name) for kind, names in ACTIONS.items() for name in names}


async def test_a_browser_is_led_from_the_root_to_the_console_and_a_program_is_not(house: House) -> None:
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    led = await house.client.get("/", headers={"accept": browser})
    assert (led.status_code, led.headers["location"]) == (303, "/console")
    for accept in ("*/*", "application/json", ""):
        answer = await house.client.get("/", headers={"accept": accept})
        assert (answer.status_code, answer.json()["service"]) == (200, "api")


async def test_static_files_are_kept_for_ever_under_their_digest(inside: Window) -> None:
    page = await inside.get("/console")
    address = page.text.partition('<link rel="stylesheet" href="')[2].partition('"')[0]
    kept = await inside.get(address)
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert kept.headers["content-type"].startswith("text/css")
    other = await inside.get("/console/static/0000/console.css")
    assert (other.status_code, other.headers["cache-control"]) == (200, "no-store")
    assert (await inside.get("/console/static/0000/..%2fpages.py")).status_code == 404


async def test_every_page_has_the_strict_policy(house: House, inside: Window) -> None:
    await house.executed(await house.project())
    for path in ("/console", "/console/projects", "/console/projects/1", "/console/zzz", "/console/projects/new"):
        answer = await inside.get(path)
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
            " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[31m"


async def test_hostile_names_are_shown_and_do_nothing(house: House, inside: Window) -> None:
    project = await house.project("shop")
    await house.client.patch(
        f"/projects/{project}", json={"name": "<img src=x onerror=alert(1)>\u202e"}, headers=ADMIN | {"if-match": "*"}
    )
    await house.planned(project, HOSTILE, description=HOSTILE)
    for path in ("/console", "/console/projects", f"/console/projects/{project}"):
        page = (await inside.get(path)).text
        assert "<img src=x" not in page, path
        assert "&lt;img src=x onerror=alert(1)&gt;‹U+202E›" in page, path
        assert "\u202e" not in page, path
        assert "\x1b" not in page, path
