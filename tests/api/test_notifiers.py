"""Who is told outside, over HTTP: made once, never shown whole, and what became of each message."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.errors import Category
from shared.schemas.notices import NoticeDone
from shared.schemas.reports import Failed
from shared.schemas.statuses import JobKind
from shared.secret import Secret
from tests.api.house import ADMIN, TOKEN, House, open_house

URL = "https://hooks.example.org/services/very-secret"


async def made(house: House, path: str = "/notifiers", **fields: Any) -> httpx.Response:
    return await house.client.post(path, json={"kind": "webhook", "url": URL} | fields, headers=ADMIN)


async def test_one_is_made_and_shows_its_secret_once_and_its_url_never(house: House):
    answer = await made(house)
    assert answer.status_code == 201, answer.text
    whole = answer.json()
    assert answer.headers["location"] == f"/notifiers/{whole['id']}"
    assert whole["secret"].startswith("whsec_")
    assert (whole["host"], whole["status"]) == ("https://hooks.example.org", "ok")
    assert whole["events"] == ["attention", "protocol_completed", "protocol_failed"]
    listed = await house.client.get("/notifiers", headers=ADMIN)
    assert [each["id"] for each in listed.json()] == [whole["id"]]
    for text in (answer.text, listed.text):
        assert "very-secret" not in text
    assert "secret" not in listed.json()[0]
    stored = await house.rows("SELECT * FROM notifiers")
    assert b"very-secret" not in stored[0]["url"]
    assert whole["secret"].encode() not in stored[0]["secret"]
    assert "very-secret" not in str(await house.rows("SELECT * FROM events"))


async def test_the_same_key_makes_one_and_does_not_tell_the_secret_again(house: House):
    key = ADMIN | {"idempotency-key": "once"}
    body = {"kind": "webhook", "url": URL}
    first = await house.client.post("/notifiers", json=body, headers=key)
    again = await house.client.post("/notifiers", json=body, headers=key)
    assert first.json()["secret"]
    assert again.json() == first.json() | {"secret": None}


async def test_a_projects_own_is_listed_there_alone(house: House):
    project = await house.project()
    own = await made(house, f"/projects/{project}/notifiers", kind="slack")
    assert (own.json()["project_id"], own.json()["secret"]) == (project, None)
    assert (await house.client.get("/notifiers", headers=ADMIN)).json() == []
    listed = await house.client.get(f"/projects/{project}/notifiers", headers=ADMIN)
    assert [each["id"] for each in listed.json()] == [own.json()["id"]]
    assert (await made(house, "/projects/99/notifiers")).status_code == 404


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "http://example.org/"}, "url: it must begin with https://"),
        ({"url": "https://user:word@example.org/"}, "url: without a user"),
        ({"url": "nonsense"}, "url: it is no address"),
        ({"events": ["no_such_event"]}, "events: there is no event 'no_such_event'."),
    ],
)
async def test_what_cannot_be_told_is_refused(house: House, fields: dict[str, Any], words: str):
    answer = await made(house, **fields)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(words)
    assert await house.rows("SELECT * FROM notifiers") == []


async def test_plain_http_is_for_ones_own_machine_alone(house: House, tmp_path: Path):
    here = "http://127.0.0.1:9000/hook"
    assert (await made(house, url=here)).status_code == 201
    (tmp_path / "other").mkdir()
    changes: dict[str, Any] = {"env": "production", "api_token": Secret(TOKEN), "secret_key": Secret("k" * 40)}
    async with open_house(tmp_path / "other", **changes) as elsewhere:
        assert (await made(elsewhere, url=here)).status_code == 400


async def test_a_test_is_queued_sent_and_logged_and_one_that_failed_is_sent_again(house: House):
    notifier = (await made(house)).json()["id"]
    path = f"/notifiers/{notifier}"
    sent = await house.client.post(f"{path}/actions/test", headers=ADMIN)
    assert (sent.status_code, sent.json()["status"], sent.json()["event_type"]) == (202, "queued", "test")
    message = sent.json()["id"]
    retry = f"{path}/deliveries/{message}/actions/retry"
    assert (await house.client.post(retry, headers=ADMIN)).status_code == 409
    await house.fail(JobKind.NOTIFY, Failed(category=Category.BAD_REQUEST, message="refused: 404"))
    (logged,) = (await house.client.get(f"{path}/deliveries", headers=ADMIN)).json()
    assert (logged["status"], logged["tries"], logged["answer"]) == ("failed", 1, "refused: 404")
    assert (logged["allowed_actions"], logged["payload"]["type"]) == (["retry"], "test")
    assert logged["tried_at"] is not None
    assert (await house.client.post(retry, headers=ADMIN)).status_code == 202
    await house.end(await house.claim(JobKind.NOTIFY), NoticeDone(answer="200"))
    (logged,) = (await house.client.get(f"{path}/deliveries", headers=ADMIN)).json()
    assert (logged["status"], logged["tries"]) == ("sent", 2)
    assert (await house.client.post(f"{path}/deliveries/99/actions/retry", headers=ADMIN)).status_code == 404


async def test_one_that_was_removed_is_told_nothing_more(house: House):
    notifier = (await made(house)).json()["id"]
    assert (await house.client.delete(f"/notifiers/{notifier}", headers=ADMIN)).status_code == 204
    assert (await house.client.delete(f"/notifiers/{notifier}", headers=ADMIN)).status_code == 404
    assert (await house.client.post(f"/notifiers/{notifier}/actions/test", headers=ADMIN)).status_code == 404
    (listed,) = (await house.client.get("/notifiers", headers=ADMIN)).json()
    assert listed["status"] == "ended"
    await house.planned(await house.project())
    assert await house.rows("SELECT * FROM notices") == []


async def test_what_failed_is_not_sent_again_to_one_that_was_removed(house: House):
    notifier = (await made(house)).json()["id"]
    path = f"/notifiers/{notifier}"
    message = (await house.client.post(f"{path}/actions/test", headers=ADMIN)).json()["id"]
    await house.fail(JobKind.NOTIFY, Failed(category=Category.BAD_REQUEST, message="refused: 404"))
    await house.client.delete(path, headers=ADMIN)
    (logged,) = (await house.client.get(f"{path}/deliveries", headers=ADMIN)).json()
    assert (logged["status"], logged["allowed_actions"]) == ("failed", [])
    again = await house.client.post(f"{path}/deliveries/{message}/actions/retry", headers=ADMIN)
    assert again.status_code == 404


async def test_what_waits_is_queued_in_the_same_transaction_and_for_those_who_want_it(house: House):
    project = await house.project()
    await made(house)
    await made(house, events=["planned"])
    await made(house, f"/projects/{await house.project('other')}/notifiers")
    await house.planned(project, policy={"plan_approval": True})
    rows = await house.rows("SELECT notifier_id, event_type, about, created_at FROM notices ORDER BY notifier_id")
    assert [(row["notifier_id"], row["event_type"]) for row in rows] == [(1, "attention"), (2, "planned")]
    (planned,) = await house.rows("SELECT created_at FROM events WHERE event_type = 'planned'")
    assert {row["created_at"] for row in rows} == {planned["created_at"]}
    jobs = await house.rows("SELECT protocol_id, priority FROM jobs WHERE kind = 'notify'")
    assert [(job["protocol_id"], job["priority"]) for job in jobs] == [(None, 9)] * 2


async def test_one_that_fails_for_long_waits_for_somebody_and_can_be_removed_there(house: House):
    notifier = (await made(house)).json()["id"]
    for _ in range(5):
        await house.client.post(f"/notifiers/{notifier}/actions/test", headers=ADMIN)
        await house.fail(JobKind.NOTIFY, Failed(category=Category.BAD_REQUEST, message="refused: 404"))
        house.clock.ahead_ms += 10
    (item,) = (await house.client.get("/attention", headers=ADMIN)).json()
    assert item["id"] == f"n{notifier}.notifier_failing"
    assert [each["action"] for each in item["answers"]] == ["test", "remove"]
    (listed,) = (await house.client.get("/notifiers", headers=ADMIN)).json()
    assert (listed["status"], listed["failures"]) == ("failing", 5)
    path = f"/attention/{item['id']}/actions/resolve"
    answer = await house.client.post(path, json={"action": "remove"}, headers=ADMIN)
    assert answer.json()["settled"] is True
