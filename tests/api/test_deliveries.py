"""The ledger of deliveries: listed, read without secrets, and applied again on request."""

from typing import Any

import httpx
import msgspec
import pytest

from services.api.showing import MAX_SHOWN_BODY
from shared.repository import deliveries
from shared.schemas.statuses import DeliveryStatus, Provider
from shared.workflow.deliveries import receive_delivery
from shared.workflow.unit import Caller
from tests.api.house import House, a_delivery

FORGE = Caller(actor="webhook:github")


async def received(house: House, key: str = "d-1", *, body: bytes = b"{}", **changes: Any) -> int:
    delivery = a_delivery(key, body=body, **changes)
    stored, _ = await house.flow.run(FORGE, receive_delivery, delivery)
    return stored.id


async def settled(house: House, delivery_id: int, status: str, reason: str | None = None, **about: Any) -> None:
    word = DeliveryStatus(status)
    await house.database.write(lambda tx: deliveries.settle(tx, delivery_id, word, reason, **about))


async def test_a_delivery_is_read_with_what_it_said_and_what_became_of_it(
    house: House, admin: httpx.AsyncClient
) -> None:
    project = await house.project()
    protocol, step = await house.executed(project)
    delivery = await received(house, body=b'{"ref": "refs/heads/x", "after": "abc"}')
    await settled(
        house, delivery, "applied", effect="moved the ci gate", project_id=project, protocol_id=protocol, step_id=step
    )
    answer = (await admin.get(f"/deliveries/{delivery}")).json()
    assert (answer["status"], answer["effect"], answer["allowed_actions"]) == (
        "applied",
        "moved the ci gate",
        ["replay"],
    )
    assert (answer["project_id"], answer["protocol_run_id"], answer["step_run_id"]) == (project, protocol, step)
    assert answer["headers"] == {"user-agent": "GitHub-Hookshot/1", "x-github-event": "push"}
    assert answer["body"] == {"ref": "refs/heads/x", "after": "abc"}
    assert (answer["body_sha256"], answer["body_bytes"]) == ("d-1", 39)
    assert answer["received_at"] <= answer["applied_at"]


async def test_secrets_in_a_body_are_not_shown(house: House, admin: httpx.AsyncClient) -> None:
    token = "ghp_" + "a" * 36
    body = {"hook": {"config": {"secret": "canary-1"}}, "text": f"use {token} or an-admin-token-for-tests-only"}
    delivery = await received(house, body=msgspec.json.encode(body))
    answer = await admin.get(f"/deliveries/{delivery}")
    assert answer.json()["body"] == {"hook": {"config": {"secret": "***"}}, "text": "use *** or ***"}


async def test_a_long_body_is_left_out(house: House, admin: httpx.AsyncClient) -> None:
    fitting = msgspec.json.encode({"a": "x" * (MAX_SHOWN_BODY - 8)})
    shown = await received(house, "one", body=fitting)
    hidden = await received(house, "two", body=fitting + b" ")
    assert (await admin.get(f"/deliveries/{shown}")).json()["body"] is not None
    answer = (await admin.get(f"/deliveries/{hidden}")).json()
    assert (answer["body"], answer["body_bytes"]) == (None, MAX_SHOWN_BODY + 1)


async def test_the_list_is_newest_first_in_pages_and_without_bodies(house: House, admin: httpx.AsyncClient) -> None:
    ids = [await received(house, f"d-{number}") for number in range(5)]
    seen: list[int] = []
    url = "/deliveries?limit=2"
    while url:
        page = await admin.get(url)
        assert all("body" not in each for each in page.json())
        seen += [each["id"] for each in page.json()]
        url = page.links.get("next", {}).get("url", "")
    assert seen == ids[::-1]


async def test_the_list_is_narrowed_by_each_filter_and_by_all_together(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project()
    other = await house.project("other")
    protocol = await house.protocol(project)
    wanted = await received(house, "a")
    await settled(house, wanted, "ignored", "foreign_commit", project_id=project, protocol_id=protocol)
    await received(house, "b", event="status", project_id=project)
    await received(house, "c", provider=Provider.GITLAB, project_id=other)
    filters = {
        "project_id": project,
        "protocol_run_id": protocol,
        "provider": "github",
        "status": "ignored",
        "event": "push",
    }
    counts = {"project_id": 2, "protocol_run_id": 1, "provider": 2, "status": 1, "event": 2}
    for name, value in filters.items():
        rows = (await admin.get("/deliveries", params={name: value})).json()
        assert len(rows) == counts[name], name
        assert wanted in {row["id"] for row in rows}
    for left_out in filters:
        some = {name: value for name, value in filters.items() if name != left_out}
        assert [row["id"] for row in (await admin.get("/deliveries", params=some)).json()] == [wanted], left_out
    assert (await admin.get("/deliveries", params=filters | {"event": "status"})).json() == []
    assert (await admin.get("/deliveries?project_id=99")).status_code == 404
    assert (await admin.get("/deliveries?status=lost")).status_code == 400


async def test_a_project_token_sees_its_projects_deliveries_only(house: House, admin: httpx.AsyncClient) -> None:
    own, other = await house.project(), await house.project("other")
    mine = await received(house, "a", project_id=own)
    theirs = await received(house, "b", project_id=other)
    nobodys = await received(house, "c")
    for each in (mine, theirs, nobodys):
        await settled(house, each, "ignored", "ping")
    token = {"x-project-token": await house.project_token(own)}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(house.app), base_url="http://localhost") as client:
        assert [row["id"] for row in (await client.get("/deliveries", headers=token)).json()] == [mine]
        assert (await client.get(f"/deliveries?project_id={other}", headers=token)).status_code == 404
        for delivery, status in ((mine, 200), (theirs, 404), (nobodys, 404)):
            assert (await client.get(f"/deliveries/{delivery}", headers=token)).status_code == status
            replayed = await client.post(f"/deliveries/{delivery}/actions/replay", headers=token)
            assert replayed.status_code == (202 if status == 200 else 404)


@pytest.mark.parametrize("status", ["applied", "ignored", "duplicate", "failed"])
async def test_a_settled_delivery_is_applied_again(house: House, admin: httpx.AsyncClient, status: str) -> None:
    delivery = await received(house)
    await settled(house, delivery, status, "because")
    answer = await admin.post(f"/deliveries/{delivery}/actions/replay")
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["reason"]) == ("received", None)
    jobs = await house.rows("SELECT state FROM jobs WHERE delivery_id = ?", delivery)
    assert len(jobs) == 2


async def test_one_that_waits_to_be_applied_is_not_queued_twice(house: House, admin: httpx.AsyncClient) -> None:
    delivery = await received(house)
    answer = await admin.post(f"/deliveries/{delivery}/actions/replay")
    assert (answer.status_code, answer.json()["status_now"]) == (409, "received")
    assert (await admin.get(f"/deliveries/{delivery}")).json()["allowed_actions"] == []
    assert len(await house.rows("SELECT id FROM jobs")) == 1
