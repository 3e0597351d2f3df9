"""The same Idempotency-Key with the same body changes nothing more, and gets the first answer again."""

import asyncio

import httpx
import pytest

from tests.api.house import ADMIN, House

SHOP = {"name": "shop", "git_url": "https://github.com/acme/shop.git"}
KEY = {"idempotency-key": "k-1"}


async def test_a_repeated_request_gets_the_first_answer_and_has_no_second_effect(admin: httpx.AsyncClient) -> None:
    first = await admin.post("/projects", json=SHOP, headers=KEY)
    again = await admin.post("/projects", json=SHOP, headers=KEY)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["etag"] == first.headers["etag"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len((await admin.get("/queues/jobs")).json()) == 1


async def test_the_key_of_another_body_is_refused(admin: httpx.AsyncClient) -> None:
    await admin.post("/projects", json=SHOP, headers=KEY)
    refused = await admin.post("/projects", json=SHOP | {"name": "other"}, headers=KEY)
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:deksdenflow:problem:idempotency-key-reused"


async def test_of_twenty_at_once_with_one_key_one_has_an_effect(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project()
    path = f"/projects/{project}/protocols"
    answers = await asyncio.gather(*(admin.post(path, json={"description": "x"}, headers=KEY) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len((await admin.get(path)).json()) == 1


async def test_keys_of_different_callers_and_routes_are_different(house: House) -> None:
    project = await house.project()
    own = {"x-project-token": await house.project_token(project)}
    path, body = f"/projects/{project}/protocols", {"description": "x"}
    one = await house.client.post(path, json=body, headers=ADMIN | KEY)
    two = await house.client.post(path, json=body, headers=own | KEY)
    assert one.json()["id"] != two.json()["id"]
    for protocol in (one.json()["id"], two.json()["id"]):
        done = await house.client.post(f"/protocols/{protocol}/actions/cancel", headers=ADMIN | KEY)
        assert done.json()["id"] == protocol


async def test_a_refused_request_may_be_repeated_with_its_key(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.protocol(await house.project())
    path = f"/protocols/{protocol}/actions/pause"
    assert (await admin.post(path, headers=KEY)).status_code == 409
    await admin.post(f"/protocols/{protocol}/actions/start")
    assert (await admin.post(path, headers=KEY)).status_code == 200


async def test_a_new_tokens_text_is_not_kept_for_a_repeated_answer(house: House, admin: httpx.AsyncClient) -> None:
    path = f"/projects/{await house.project()}/tokens"
    first = await admin.post(path, json={"name": "ci"}, headers=KEY)
    again = await admin.post(path, json={"name": "ci"}, headers=KEY)
    assert first.json()["token"].startswith("dfp_")
    assert again.json() == first.json() | {"token": None}
    (row,) = await house.rows("SELECT body FROM idempotency_keys")
    assert first.json()["token"].encode() not in row["body"]


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
async def test_a_key_of_the_wrong_form_is_refused(admin: httpx.AsyncClient, key: str) -> None:
    refused = await admin.post("/projects", json=SHOP, headers={"idempotency-key": key})
    assert refused.status_code == 400
