"""Tokens, secrets and hooks: shown once or never, and stored so that the database alone opens nothing."""

from io import StringIO

import httpx

from shared import log
from shared.repository import deliveries
from shared.repository.database import Tx
from shared.workflow.deliveries import hook_seal_context
from tests.api.house import TOKEN, House


async def test_a_token_is_shown_once(house: House, admin: httpx.AsyncClient) -> None:
    path = f"/projects/{await house.project()}/tokens"
    made = await admin.post(path, json={"name": "ci"})
    assert made.status_code == 201
    text = made.json()["token"]
    (listed,) = (await admin.get(path)).json()
    assert text.startswith(listed["prefix"])
    assert "token" not in listed
    assert text not in (await admin.get(path)).text
    assert not [row for row in await house.rows("SELECT * FROM tokens") if text in str(row)]


async def test_an_end_in_the_past_is_refused(house: House, admin: httpx.AsyncClient) -> None:
    path = f"/projects/{await house.project()}/tokens"
    assert (await admin.post(path, json={"name": "x", "expires_at": "2020-01-01T00:00:00Z"})).status_code == 400
    assert (await admin.post(path, json={"name": "x", "expires_at": "2999-01-01T00:00:00"})).status_code == 400


async def test_a_token_is_revoked_once(house: House, admin: httpx.AsyncClient) -> None:
    path = f"/projects/{await house.project()}/tokens"
    token = (await admin.post(path, json={"name": "ci"})).json()["id"]
    assert (await admin.delete(f"{path}/{token}")).status_code == 204
    assert (await admin.delete(f"{path}/{token}")).status_code == 404
    assert (await admin.get(path)).json()[0]["revoked_at"] is not None


async def test_a_token_of_another_project_is_not_found_here(house: House, admin: httpx.AsyncClient) -> None:
    one, two = await house.project("one"), await house.project("two")
    token = (await admin.post(f"/projects/{one}/tokens", json={"name": "ci"})).json()["id"]
    assert (await admin.delete(f"/projects/{two}/tokens/{token}")).status_code == 404


async def test_a_secret_is_sealed_for_its_project_and_name(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project()
    path = f"/projects/{project}/secrets"
    assert (await admin.put(f"{path}/forge_token", json={"value": "ghp_canary"})).status_code == 204
    (row,) = await house.rows("SELECT * FROM secrets")
    assert b"ghp_canary" not in row["sealed"]
    assert house.vault.open(row["sealed"], f"project:{project}:forge_token") == "ghp_canary"
    assert (await admin.get(path)).json()[0] | {"updated_at": ""} == {
        "name": "forge_token",
        "stored_as": "sealed",
        "file_name": None,
        "updated_at": "",
    }


async def test_a_secret_may_stay_in_a_file(house: House, admin: httpx.AsyncClient) -> None:
    path = f"/projects/{await house.project()}/secrets"
    assert (await admin.put(f"{path}/forge_token", json={"file_name": "/run/secrets/x"})).status_code == 204
    assert (await admin.get(path)).json()[0]["stored_as"] == "file"


async def test_a_secret_is_either_a_value_or_a_file(house: House, admin: httpx.AsyncClient) -> None:
    path = f"/projects/{await house.project()}/secrets/forge_token"
    for body in ({}, {"value": "a", "file_name": "/b"}, {"value": ""}, {"file_name": "relative"}):
        assert (await admin.put(path, json=body)).status_code == 400, body


async def test_a_secrets_name_is_a_plain_word(house: House, admin: httpx.AsyncClient) -> None:
    path = f"/projects/{await house.project()}/secrets"
    for name in ("Forge", "a-b", "a%0A", "x" * 65, "%C3%A9"):
        assert (await admin.put(f"{path}/{name}", json={"value": "a"})).status_code == 400, name


async def test_a_secret_is_forgotten(house: House, admin: httpx.AsyncClient) -> None:
    path = f"/projects/{await house.project()}/secrets/forge_token"
    await admin.put(path, json={"value": "a"})
    assert (await admin.delete(path)).status_code == 204
    assert (await admin.delete(path)).status_code == 404


async def test_a_hooks_secret_is_shown_once_and_opens_for_the_webhook_service(
    house: House, admin: httpx.AsyncClient
) -> None:
    path = f"/projects/{await house.project()}/hooks"
    made = (await admin.post(path, json={"provider": "github"})).json()
    assert made["scheme"] == "hmac"
    assert made["url"].startswith("/webhooks/github/")
    assert made["secret"] not in (await admin.get(path)).text
    key = made["url"].rpartition("/")[2]

    def stored(tx: Tx) -> bytes:
        return deliveries.hook_secrets(tx, made["id"])[0].sealed

    sealed = await house.database.read(stored)
    assert house.vault.open(sealed, hook_seal_context(key)) == made["secret"]


async def test_no_answer_and_no_log_line_repeats_a_secret(house: House, admin: httpx.AsyncClient) -> None:
    logged = StringIO()
    log.configure(level="DEBUG", stream=logged)  # knows none of the secrets: they must not get there
    project = await house.project()
    canary = "canary-7f3a9c"
    await admin.put(f"/projects/{project}/secrets/forge_token", json={"value": canary})
    token = (await admin.post(f"/projects/{project}/tokens", json={"name": "ci"})).json()["token"]
    hook = (await admin.post(f"/projects/{project}/hooks", json={"provider": "github"})).json()["secret"]
    protocol, step = await house.executed(project)
    for path in (
        "/projects",
        f"/projects/{project}",
        f"/projects/{project}/tokens",
        f"/projects/{project}/secrets",
        f"/projects/{project}/hooks",
        "/events?limit=500",
        f"/protocols/{protocol}",
        f"/protocols/{protocol}/events",
        f"/steps/{step}",
        "/queues/jobs",
        "/attempts",
        "/schema/openapi.json",
        "/docs",
        "/metrics",
    ):
        answer = await admin.get(path)
        assert answer.status_code == 200, path
        for secret in (canary, token, hook):
            assert secret not in answer.text, path
            assert secret not in str(answer.headers), path
    await admin.get("/projects", headers={"authorization": f"Bearer {canary}"})
    await admin.get("/projects", headers={"x-project-token": canary})
    for secret in (canary, token, hook, TOKEN):
        assert secret not in logged.getvalue()
    assert logged.getvalue().count('"status": 401') == 2


async def test_a_secret_that_nothing_would_use_is_refused(house: House, admin: httpx.AsyncClient) -> None:
    answer = await admin.put(f"/projects/{await house.project()}/secrets/forge_tokne", json={"value": "x"})
    assert answer.status_code == 400
    assert "forge_token" in answer.json()["detail"]
