"""Hooks: their secrets are shown once, replaced with an overlap, and ended."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from shared.repository import deliveries
from shared.workflow.deliveries import hook_seal_context
from tests.api.house import House


async def made(house: House, admin: httpx.AsyncClient, **wish: Any) -> dict[str, Any]:
    answer = await admin.post(f"/projects/{await house.project()}/hooks", json={"provider": "github"} | wish)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def opened(house: House, hook: dict[str, Any]) -> list[str]:
    """The texts of the secrets that are valid now, newest first."""
    sealed = await house.database.read(deliveries.hook_secrets, hook["id"])
    return [house.vault.open(each.sealed, hook_seal_context(hook["url"].rpartition("/")[2])) for each in sealed]


async def rotate(admin: httpx.AsyncClient, hook: dict[str, Any], **wish: Any) -> httpx.Response:
    return await admin.post(f"/projects/{hook['project_id']}/hooks/{hook['id']}/actions/rotate", json=wish)


async def test_a_hook_shows_the_schemes_and_ends_of_its_secrets_and_no_text(
    house: House, admin: httpx.AsyncClient
) -> None:
    hook = await made(house, admin)
    new = (await rotate(admin, hook)).json()
    (shown,) = (await admin.get(f"/projects/{hook['project_id']}/hooks")).json()
    assert [(each["scheme"], each["valid_until"] is None) for each in shown["secrets"]] == [
        ("hmac", True),
        ("hmac", False),
    ]
    assert "secret" not in shown
    assert (hook["secret"] in str(shown), new["secret"] in str(shown)) == (False, False)


async def test_a_new_secret_leaves_the_old_one_a_day(house: House, admin: httpx.AsyncClient) -> None:
    hook = await made(house, admin)
    answer = await rotate(admin, hook)
    assert answer.status_code == 200
    assert answer.json()["secret"] != hook["secret"]
    both = [answer.json()["secret"], hook["secret"]]
    assert await opened(house, hook) == both
    house.clock.ahead_ms = 24 * 3_600_000 - 10_000
    assert await opened(house, hook) == both
    house.clock.ahead_ms = 24 * 3_600_000
    assert await opened(house, hook) == both[:1]


async def test_the_old_secret_ends_when_it_is_said(house: House, admin: httpx.AsyncClient) -> None:
    hook = await made(house, admin)
    until = datetime.now(UTC) + timedelta(hours=2)
    answer = await rotate(admin, hook, previous_valid_until=until.isoformat())
    former = answer.json()["secrets"][1]["valid_until"]
    assert abs(datetime.fromisoformat(former) - until) < timedelta(milliseconds=1)
    at_once = await rotate(admin, hook, previous_valid_until="2020-01-01T00:00:00Z")
    assert await opened(house, hook) == [at_once.json()["secret"]]
    far = (datetime.now(UTC) + timedelta(days=31)).isoformat()
    refused = await rotate(admin, hook, previous_valid_until=far)
    assert (refused.status_code, "30 days" in refused.json()["detail"]) == (400, True)
    assert len(await opened(house, hook)) == 1


async def test_a_rotation_is_an_event_without_the_secret(house: House, admin: httpx.AsyncClient) -> None:
    hook = await made(house, admin)
    secret = (await rotate(admin, hook)).json()["secret"]
    events = (await admin.get("/events")).json()
    (event,) = [each for each in events if each["event_type"] == "hook_rotated"]
    assert event["metadata"]["hook"] == hook["id"]
    assert secret not in str(events)


async def test_a_repeated_rotation_makes_one_secret_and_does_not_show_it_again(
    house: House, admin: httpx.AsyncClient
) -> None:
    hook = await made(house, admin)
    url, key = f"/projects/{hook['project_id']}/hooks/{hook['id']}/actions/rotate", {"idempotency-key": "k"}
    first, again = [await admin.post(url, headers=key) for _ in range(2)]
    assert (first.json()["secret"] is None, again.json()["secret"]) == (False, None)
    assert len(await opened(house, hook)) == 2


async def test_gitlab_can_move_from_the_plain_token_to_the_signing_one(house: House, admin: httpx.AsyncClient) -> None:
    hook = await made(house, admin, provider="gitlab")
    assert (await rotate(admin, hook)).json()["scheme"] == "token"
    signing = (await rotate(admin, hook, scheme="signing")).json()
    assert (signing["scheme"], signing["secret"][:6]) == ("signing", "whsec_")
    assert [each["scheme"] for each in signing["secrets"]] == ["signing", "token", "token"]
    assert all(each["valid_until"] for each in signing["secrets"][1:])


async def test_gitlabs_signing_token_has_the_form_that_gitlab_asks_for(house: House, admin: httpx.AsyncClient) -> None:
    hook = await made(house, admin, provider="gitlab", scheme="signing")
    assert len(base64.b64decode(hook["secret"].removeprefix("whsec_"), validate=True)) == 32


@pytest.mark.parametrize(("provider", "scheme"), [("github", "token"), ("ci", "signing"), ("gitlab", "hmac")])
async def test_a_scheme_that_the_sender_does_not_know_is_refused(
    house: House, admin: httpx.AsyncClient, provider: str, scheme: str
) -> None:
    hook = await made(house, admin, provider=provider)
    assert (await rotate(admin, hook, scheme=scheme)).status_code == 400
    wish = {"provider": provider, "scheme": scheme}
    assert (await admin.post(f"/projects/{hook['project_id']}/hooks", json=wish)).status_code == 400


async def test_ci_jobs_have_hooks_of_their_own(house: House, admin: httpx.AsyncClient) -> None:
    hook = await made(house, admin, provider="ci")
    assert (hook["scheme"], hook["url"].split("/")[2]) == ("hmac", "ci")


async def test_an_ended_hook_is_gone_but_for_the_list(house: House, admin: httpx.AsyncClient) -> None:
    hook = await made(house, admin)
    url = f"/projects/{hook['project_id']}/hooks/{hook['id']}"
    assert (await admin.delete(url)).status_code == 204
    (shown,) = (await admin.get(f"/projects/{hook['project_id']}/hooks")).json()
    assert shown["disabled_at"] is not None
    assert (await admin.delete(url)).status_code == 404
    assert (await rotate(admin, hook)).status_code == 404
    assert [each["event_type"] for each in (await admin.get("/events?limit=1")).json()] == ["hook_disabled"]


async def test_a_hook_of_another_project_is_not_there(house: House, admin: httpx.AsyncClient) -> None:
    hook = await made(house, admin)
    other = await house.project("other")
    assert (await rotate(admin, hook | {"project_id": other})).status_code == 404
    assert (await admin.delete(f"/projects/{other}/hooks/{hook['id']}")).status_code == 404
    assert (await admin.post(f"/projects/{other}/webhook_test", json={"hook_id": hook["id"]})).status_code == 404
    assert len(await opened(house, hook)) == 1


async def test_no_projects_forge_is_a_ci_job(house: House, admin: httpx.AsyncClient) -> None:
    body = {"name": "shop", "git_url": "https://github.com/acme/shop.git", "ci_provider": "ci"}
    answer = await admin.post("/projects", json=body)
    assert (answer.status_code, "ci_provider" in answer.text) == (400, True)
    project = await house.project()
    changed = await admin.patch(f"/projects/{project}", json={"ci_provider": "ci"}, headers={"if-match": "*"})
    assert changed.status_code == 400
    changed = await admin.patch(f"/projects/{project}", json={"ci_provider": "gitlab"}, headers={"if-match": "*"})
    assert changed.json()["ci_provider"] == "gitlab"
