"""What people ask of a forge over HTTP: look again, run CI, adopt or give up what somebody else pushed."""

import httpx
import pytest

from shared.errors import Category
from shared.schemas.forge import BranchWord, CiWord, Repository
from shared.schemas.reports import Failed, PublishDone, SyncDone
from shared.schemas.statuses import JobKind, Outcome
from tests.api.house import ADMIN, SHA, House

THEIRS = "d" * 40


async def pushed(house: House, **fields: str) -> int:
    """A protocol run whose first step was executed and whose branch is at the origin."""
    project = await house.project(**fields)
    protocol, _ = await house.executed(project, policy={"open_pr": "asked", "ci_settle_s": 0})
    await house.client.post(f"/protocols/{protocol}/actions/open_pr", headers=ADMIN)
    await house.end(await house.claim(JobKind.OPEN_PR), PublishDone(sha=SHA, pushed=True, note="There."))
    return protocol


async def diverged(house: House, admin: httpx.AsyncClient) -> int:
    """A protocol run whose branch somebody else was seen to have moved."""
    protocol = await pushed(house)
    await admin.post(f"/protocols/{protocol}/actions/sync")
    word = BranchWord(branch=(await admin.get(f"/protocols/{protocol}")).json()["branch"], before=None, after=THEIRS)
    await house.end(await house.claim(JobKind.SYNC), SyncDone(seen=(word,)))
    run = (await admin.get(f"/protocols/{protocol}")).json()
    assert (run["status"], run["reason"]) == ("blocked", "diverged")
    assert {"adopt", "reset"} <= set(run["allowed_actions"])
    return protocol


async def test_a_forge_is_looked_at_when_somebody_asks_and_once_at_a_time(
    house: House, admin: httpx.AsyncClient
) -> None:
    protocol = await pushed(house)
    first = await admin.post(f"/protocols/{protocol}/actions/sync")
    again = await admin.post("/projects/1/actions/sync")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["job_type"] == "sync"
    assert [job["id"] for job in again.json()["jobs"]] == [first.json()["id"]]


async def test_what_has_no_commit_yet_has_nothing_to_be_looked_at(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.protocol(await house.project())
    refused = await admin.post(f"/protocols/{protocol}/actions/sync")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:deksdenflow:problem:nothing-to-sync")
    assert (await admin.post("/projects/1/actions/sync")).json() == {"jobs": []}


async def test_what_the_forge_said_is_shown_with_the_gate_its_commit_and_link(
    house: House, admin: httpx.AsyncClient
) -> None:
    protocol = await pushed(house)
    await admin.post(f"/protocols/{protocol}/actions/sync")
    red = CiWord(
        sha=SHA,
        branch=None,
        scope="workflow_run",
        name="CI",
        context="workflow_run/1",
        outcome=Outcome.FAIL,
        url="https://github.com/acme/shop/actions/runs/5",
    )
    here = Repository(id="77", full_name="acme/shop", host="github.com")
    done = SyncDone(seen=(red,), repository=here, logs={"workflow_run/1": "3 pears"})
    await house.end(await house.claim(JobKind.SYNC), done)
    (gate,) = (await admin.get("/steps/1/gates")).json()
    assert (gate["name"], gate["state"], gate["sha"], gate["url"]) == ("ci", "failed", SHA, red.url)
    assert gate["evidence"]["contexts"][0]["name"] == "CI"
    assert gate["evidence"]["logs"] == {"workflow_run/1": "3 pears"}
    assert (await admin.get("/projects/1")).json()["repository_id"] == "77"


async def test_a_ci_run_is_asked_for_by_a_job_and_told_with_its_address(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await pushed(house)
    body = {"workflow": "ci.yml", "inputs": {"suite": "long"}}
    queued = await admin.post(f"/protocols/{protocol}/actions/trigger_ci", json=body)
    assert (queued.status_code, queued.json()["job_type"]) == (202, "sync")
    claim = await house.claim(JobKind.SYNC)
    assert claim.job.payload == {"trigger": body}
    await house.end(claim, SyncDone(url="https://github.com/acme/shop/actions/runs/6"))
    (event, *_) = (await admin.get(f"/protocols/{protocol}/events")).json()
    assert event["event_type"] == "ci_triggered"
    assert event["metadata"]["url"].endswith("/runs/6")


async def test_one_that_failed_is_asked_for_again_as_it_was(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await pushed(house)
    body = {"workflow": "ci.yml", "inputs": {}}
    job = (await admin.post(f"/protocols/{protocol}/actions/trigger_ci", json=body)).json()
    await house.fail(JobKind.SYNC, Failed(category=Category.CONFIG, message="no token"))
    again = await admin.post(f"/queues/jobs/{job['id']}/actions/retry")
    assert again.status_code == 202, again.text
    assert (await house.claim(JobKind.SYNC)).job.payload == {"trigger": body}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"workflow": "../x"},
        {"workflow": "a b"},
        {"workflow": "ci.yml", "inputs": {"a b": "x"}},
        {"workflow": "ci.yml", "inputs": {"a": 1}},
        {"workflow": "ci.yml", "inputs": {f"a{number}": "x" for number in range(26)}},
        {"workflow": "ci.yml", "branch": "main"},
    ],
)
async def test_a_ci_run_that_cannot_be_meant_is_refused(
    house: House, admin: httpx.AsyncClient, body: dict[str, object]
) -> None:
    refused = await admin.post(f"/protocols/{await pushed(house)}/actions/trigger_ci", json=body)
    assert refused.status_code == 400
    assert len(await house.rows("SELECT 1 FROM jobs WHERE kind = 'sync'")) == 0


async def test_no_ci_runs_on_what_was_not_pushed_or_is_over(house: House, admin: httpx.AsyncClient) -> None:
    protocol, _ = await house.executed(await house.project())
    refused = await admin.post(f"/protocols/{protocol}/actions/trigger_ci", json={"workflow": "ci.yml"})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:deksdenflow:problem:nothing-to-run")
    await admin.post(f"/protocols/{protocol}/actions/cancel")
    refused = await admin.post(f"/protocols/{protocol}/actions/trigger_ci", json={"workflow": "ci.yml"})
    assert refused.json()["status_now"] == "cancelled"


async def test_where_no_forge_is_known_it_is_said_what_to_set(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await pushed(house)
    await admin.patch("/projects/1", json={"ci_provider": None}, headers={"if-match": "*"})
    refused = await admin.post(f"/protocols/{protocol}/actions/trigger_ci", json={"workflow": "ci.yml"})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:deksdenflow:problem:no-forge")
    assert "ci_provider" in refused.json()["detail"]


async def test_only_what_was_seen_on_the_branch_is_adopted(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await diverged(house, admin)
    path = f"/protocols/{protocol}/actions/adopt"
    assert (await admin.post(path, json={})).status_code == 400
    stale = await admin.post(path, json={"sha": "e" * 40})
    assert (stale.status_code, stale.json()["type"]) == (412, "urn:deksdenflow:problem:stale")
    adopted = await admin.post(path, json={"sha": THEIRS})
    assert (adopted.status_code, adopted.json()["status"], adopted.json()["head_sha"]) == (200, "running", THEIRS)
    again = await admin.post(path, json={"sha": THEIRS})
    assert again.status_code == 409
    assert "adopt" not in again.json()["allowed_actions"]


async def test_to_give_up_what_was_seen_queues_a_job_that_knows_it(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await diverged(house, admin)
    queued = await admin.post(f"/protocols/{protocol}/actions/reset")
    assert (queued.status_code, queued.json()["job_type"]) == (202, "open_pr_job")
    again = await admin.post(f"/protocols/{protocol}/actions/reset")
    assert (again.status_code, again.json()["type"]) == (409, "urn:deksdenflow:problem:already-queued")
    claim = await house.claim(JobKind.OPEN_PR)
    assert claim.job.payload == {"reset": THEIRS}
    await house.end(claim, PublishDone(sha=SHA, pushed=True, note="Back."))
    assert (await admin.get(f"/protocols/{protocol}")).json()["status"] == "running"


async def test_a_reset_that_came_too_late_is_retried_with_what_was_seen_since(
    house: House, admin: httpx.AsyncClient
) -> None:
    protocol = await diverged(house, admin)
    job = (await admin.post(f"/protocols/{protocol}/actions/reset")).json()
    await house.fail(JobKind.OPEN_PR, Failed(category=Category.DIVERGED, message="It moved on."))
    branch = (await admin.get(f"/protocols/{protocol}")).json()["branch"]
    newer = BranchWord(branch=branch, before=None, after="e" * 40)
    await house.end(await house.claim(JobKind.SYNC), SyncDone(seen=(newer,)))
    assert (await admin.post(f"/queues/jobs/{job['id']}/actions/retry")).status_code == 202
    assert (await house.claim(JobKind.OPEN_PR)).job.payload == {"reset": "e" * 40}
