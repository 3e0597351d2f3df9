"""Projects over HTTP: registered, read, changed and set up."""

from pathlib import Path

import httpx
import pytest

from shared.errors import Category
from shared.schemas.policy import Policy
from shared.schemas.reports import Failed
from shared.schemas.requests import PolicyChanges
from shared.schemas.statuses import JobKind
from tests.api.house import ADMIN, House, open_house

SHOP = {"name": "shop", "git_url": "https://github.com/acme/shop.git"}


async def test_a_registered_project_is_read_again(admin: httpx.AsyncClient) -> None:
    made = await admin.post("/projects", json=SHOP | {"default_models": {"exec": "gpt-5.5"}})
    assert made.status_code == 201
    assert made.headers["location"] == f"/projects/{made.json()['id']}"
    read = await admin.get(made.headers["location"])
    assert read.json() == made.json()
    assert read.json()["base_branch"] == "main"
    assert read.json()["default_models"] == {"exec": "gpt-5.5"}


async def test_registering_a_project_queues_its_setup(admin: httpx.AsyncClient) -> None:
    await admin.post("/projects", json=SHOP)
    (job,) = (await admin.get("/queues/jobs")).json()
    assert (job["job_type"], job["status"]) == ("setup", "queued")
    setup = (await admin.get("/projects/1")).json()["setup"]
    assert setup == {"job_id": job["id"], "status": "queued", "category": None, "error": None}
    kinds = [event["event_type"] for event in (await admin.get("/events")).json()]
    assert kinds == ["setup_enqueued", "project_registered"]


async def test_the_forge_is_known_by_the_host(admin: httpx.AsyncClient) -> None:
    made = await admin.post("/projects", json=SHOP | {"git_url": "git@gitlab.com:acme/shop.git"})
    assert made.json()["ci_provider"] == "gitlab"


async def test_a_name_is_taken_once(house: House, admin: httpx.AsyncClient) -> None:
    await house.project()
    again = await admin.post("/projects", json=SHOP)
    assert again.status_code == 409
    assert again.json()["type"] == "urn:deksdenflow:problem:name-taken"


@pytest.mark.parametrize(
    "url",
    [
        "http://github.com/a/b",
        "ext::sh -c true",
        "/srv/repo",
        "https://user:pw@github.com/a/b",
        "https://127.0.0.1/a",
        "https://example.org/a/b",
        "--upload-pack=x",
    ],
)
async def test_a_url_that_is_not_accepted_is_refused_with_what_is(admin: httpx.AsyncClient, url: str) -> None:
    refused = await admin.post("/projects", json=SHOP | {"git_url": url})
    assert refused.status_code == 400
    assert "git_url" in refused.json()["detail"]


async def test_a_policy_is_laid_over_the_present_one(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project(policy={"progression": "auto"})
    changed = await admin.patch(f"/projects/{project}", json={"policy": {"auto_fix": 2}}, headers={"if-match": '"1"'})
    assert changed.status_code == 200
    assert changed.json()["policy"]["progression"] == "auto"
    assert changed.json()["policy"]["auto_fix"] == 2
    assert changed.headers["etag"] == '"2"'


async def test_only_what_is_named_is_changed(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project(ci_provider="github")
    headers = {"if-match": '"1"'}
    changed = await admin.patch(f"/projects/{project}", json={"ci_provider": None}, headers=headers)
    assert changed.json()["ci_provider"] is None
    assert changed.json()["name"] == "shop"


async def test_a_change_needs_to_say_what_it_is_based_on(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project()
    refused = await admin.patch(f"/projects/{project}", json={"name": "store"})
    assert refused.status_code == 428


async def test_of_two_changes_of_the_same_version_the_second_is_refused(house: House, admin: httpx.AsyncClient) -> None:
    project, headers = await house.project(), {"if-match": '"1"'}
    first = await admin.patch(f"/projects/{project}", json={"name": "one"}, headers=headers)
    second = await admin.patch(f"/projects/{project}", json={"name": "two"}, headers=headers)
    assert (first.status_code, second.status_code) == (200, 412)
    assert (await admin.get(f"/projects/{project}")).json()["name"] == "one"


async def test_a_failed_setup_is_seen_at_the_project(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project()
    await house.fail(JobKind.SETUP, Failed(category=Category.REPOSITORY, message="There is no branch main."))
    setup = (await admin.get(f"/projects/{project}")).json()["setup"]
    assert (setup["status"], setup["category"], setup["error"]) == (
        "failed",
        "repository",
        "There is no branch main.",
    )


async def test_setup_can_be_asked_for_again(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project()
    asked = await admin.post(f"/projects/{project}/actions/setup")
    assert asked.status_code == 202
    assert asked.json()["job_type"] == "setup"


async def test_a_local_path_is_accepted_where_the_settings_say_so(tmp_path: Path) -> None:
    async with open_house(tmp_path, allow_local_repos=True) as house:
        made = await house.client.post("/projects", json=SHOP | {"git_url": "/srv/shop.git"}, headers=ADMIN)
        assert made.status_code == 201


def test_every_rule_of_the_policy_can_be_changed() -> None:
    assert set(PolicyChanges.__struct_fields__) == set(Policy.__struct_fields__) - {"version"}
