"""What is wrong with a request is refused, and the refusal says what it was."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.house import ADMIN, House, open_house

JSON = {"content-type": "application/json"}
SHOP = {"name": "shop", "git_url": "https://github.com/acme/shop.git"}


async def test_every_unknown_field_is_named(admin: httpx.AsyncClient) -> None:
    refused = await admin.post("/projects", json=SHOP | {"secrets": {"api_token": "x"}, "colour": "red"})
    assert refused.status_code == 400
    assert {flaw["field"] for flaw in refused.json()["errors"]} == {"colour", "secrets"}


async def test_an_unknown_field_deep_inside_is_named_with_its_place(admin: httpx.AsyncClient) -> None:
    refused = await admin.post("/projects", json=SHOP | {"policy": {"auto_fixx": 1}})
    assert refused.json()["errors"] == [{"field": "policy.auto_fixx", "message": "There is no such field"}]


WRONG_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"name": 3}, "name"),
    ({"name": ""}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"name": "a\n"}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"base_branch": None}, "base_branch"),
    ({"ci_provider": "bitbucket"}, "ci_provider"),
    ({"default_models": {"planning": "a b"}}, "default_models.planning"),
    ({"default_models": ["gpt"]}, "default_models"),
    ({"policy": {"auto_fix": 11}}, "policy.auto_fix"),
    ({"policy": {"auto_fix": "1"}}, "policy.auto_fix"),
    ({"policy": {"plan_approval": "yes"}}, "policy.plan_approval"),
    ({"policy": {"progression": "auto\n"}}, "policy.progression"),
    ({"policy": {"required_contexts": ["x" * 201]}}, "policy.required_contexts[0]"),
]


async def test_a_wrong_value_is_refused_with_its_place(admin: httpx.AsyncClient) -> None:
    for body, field in WRONG_VALUES:
        refused = await admin.post("/projects", json=SHOP | body)
        assert refused.status_code == 400, body
        assert [flaw["field"] for flaw in refused.json()["errors"]] == [field], body


async def test_a_status_cannot_be_given(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project()
    refused = await admin.post(f"/projects/{project}/protocols", json={"description": "x", "status": "banana"})
    assert refused.status_code == 400


async def test_a_missing_field_is_named(admin: httpx.AsyncClient) -> None:
    refused = await admin.post("/projects", json={"name": "shop"})
    assert refused.status_code == 400
    assert "git_url" in refused.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b'{"name": "\\ud800"}', b"{}{}"])
async def test_what_is_no_json_object_is_refused(admin: httpx.AsyncClient, body: bytes) -> None:
    refused = await admin.post("/projects", content=body, headers=JSON)
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"


async def test_a_missing_body_is_refused_in_words_of_ours(admin: httpx.AsyncClient) -> None:
    refused = await admin.post("/projects")
    assert refused.status_code == 400
    assert refused.json()["detail"].startswith("This needs a body")
    assert "errors" not in refused.json()


@pytest.mark.parametrize("place", ["", '{"name": "a", "git_url": "b", "policy": ', '{"x": '])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
async def test_a_body_nested_two_hundred_thousand_deep_is_refused(
    admin: httpx.AsyncClient, place: str, opening: bytes
) -> None:
    body = place.encode() + opening * 200_000
    refused = await admin.post("/projects", content=body[:1_000_000], headers=JSON)
    assert refused.status_code == 400


async def test_a_body_over_the_limit_is_refused(admin: httpx.AsyncClient) -> None:
    refused = await admin.post("/projects", content=b" " * 2_000_000, headers=JSON)
    assert refused.status_code == 413
    assert refused.json()["type"] == "urn:deksdenflow:problem:too-large"


async def test_a_chunked_body_over_the_limit_is_refused(admin: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 10_000

    refused = await admin.post("/projects", content=chunks(), headers=JSON)
    assert refused.status_code == 413


async def test_a_body_of_exactly_the_limit_is_read(admin: httpx.AsyncClient) -> None:
    body = b'{"name": "a", "git_url": "https://github.com/a/b"}'
    made = await admin.post("/projects", content=body.ljust(1_048_576), headers=JSON)
    assert made.status_code == 201


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
async def test_json_under_another_media_type_is_refused(admin: httpx.AsyncClient, kind: str) -> None:
    body = b'{"name": "a", "git_url": "https://github.com/a/b"}'
    refused = await admin.post("/projects", content=body, headers={"content-type": kind} if kind else {})
    assert refused.status_code == 415


async def test_a_charset_beside_the_media_type_is_fine(admin: httpx.AsyncClient) -> None:
    body = b'{"name": "a", "git_url": "https://github.com/a/b"}'
    headers = {"content-type": "application/json; charset=utf-8"}
    assert (await admin.post("/projects", content=body, headers=headers)).status_code == 201


@pytest.mark.parametrize("action", ["resume", "cancel", "run_next_step", "start", "pause"])
async def test_an_action_needs_no_body_but_refuses_unknown_fields(
    house: House, admin: httpx.AsyncClient, action: str
) -> None:
    protocol = await house.protocol(await house.project())
    refused = await admin.post(f"/protocols/{protocol}/actions/{action}", json={"hard": True})
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "hard"
    assert (await admin.post(f"/protocols/{protocol}/actions/{action}")).status_code != 400


OUT_OF_BOUNDS = [
    "/projects?limit=0",
    "/projects?limit=501",
    "/projects?limit=x",
    "/projects?limit=",
    "/projects?cursor=%00",
    "/projects?cursor=" + "x" * 300,
    "/projects?cursor=abc",
    "/projects/0",
    "/projects/9007199254740992",
    "/events?project_id=-1",
    "/queues/jobs?status=banana",
    "/attempts?status=started",
    "/attempts/1/log?part=../../etc/passwd",
    "/attempts/1/log?offset=-1",
    "/attempts/1/log?limit=0",
    "/steps/1/gates?sha=abc",
    "/protocols/1/plan?revision=0",
]


async def test_a_parameter_out_of_its_bounds_is_refused(admin: httpx.AsyncClient) -> None:
    for path in OUT_OF_BOUNDS:
        assert (await admin.get(path)).status_code == 400, path


MISSING = [
    "/projects/999",
    "/projects/x",
    "/projects/1.5",
    "/projects/99999999999999999999999999x",
    "/protocols/999",
    "/protocols/999/steps",
    "/protocols/999/events",
    "/protocols/999/plan",
    "/protocols/999/attempts",
    "/steps/999",
    "/steps/999/gates",
    "/steps/999/diff",
    "/steps/999/attempts",
    "/attempts/999",
    "/attempts/999/log",
    "/queues/jobs/999",
    "/projects/999/protocols",
    "/nope",
    "/projects/1/../2",
]


async def test_what_does_not_exist_is_not_found(admin: httpx.AsyncClient) -> None:
    for path in MISSING:
        missing = await admin.get(path)
        assert missing.status_code == 404, path
        assert missing.headers["content-type"] == "application/problem+json"
        assert missing.json()["request_id"] == missing.headers["x-request-id"]


async def test_an_endless_number_is_no_id(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/projects/" + "9" * 5000)).status_code in {400, 404}


async def test_a_method_that_a_path_does_not_answer_is_told_those_that_it_does(admin: httpx.AsyncClient) -> None:
    refused = await admin.delete("/projects")
    assert refused.status_code == 405
    assert {"GET", "POST"} <= set(refused.headers["allow"].replace(" ", "").split(","))


async def test_head_is_get_without_its_body(admin: httpx.AsyncClient) -> None:
    answer = await admin.head("/projects")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(("port", "told"), [(8001, "port 8001"), (0, "at the port that its log names")])
async def test_deliveries_are_told_which_service_they_want(tmp_path: Path, port: int, told: str) -> None:
    async with open_house(tmp_path, webhook_port=port) as house:
        answer = await house.client.post("/webhooks/github/some-key", content=b"{}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:deksdenflow:problem:other-service"
    assert told in answer.json()["detail"]


async def test_deliveries_are_told_the_public_address_where_there_is_one(tmp_path: Path) -> None:
    async with open_house(tmp_path, public_url="https://flow.example.org/", webhook_port=9001) as house:
        said = (await house.client.post("/webhooks/ci")).json()["detail"]
        assert "https://flow.example.org/webhooks/" in said
        assert "port 9001" in said


async def test_a_wrong_status_is_refused_with_the_status_and_what_it_allows(house: House) -> None:
    protocol = await house.protocol(await house.project())
    refused = await house.client.post(f"/protocols/{protocol}/actions/resume", headers=ADMIN)
    assert refused.status_code == 409
    assert refused.json()["status_now"] == "pending"
    assert refused.json()["allowed_actions"] == ["start", "cancel"]
    assert "start, cancel" in refused.json()["detail"]
