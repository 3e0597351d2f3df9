"""The queue over HTTP: what waits and why, filters and pages of jobs, and what can be done with one."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from shared.errors import Category
from shared.schemas.reports import Failed
from shared.schemas.statuses import JobKind
from tests.api.house import ADMIN, House

QUOTA = Failed(category=Category.QUOTA, message="The quota is used up.")
AUTH = Failed(category=Category.AUTH, message="The key was refused.")


@pytest.fixture
async def admin(house: House) -> httpx.AsyncClient:
    house.client.headers.update(ADMIN)
    return house.client


async def some_jobs(house: House) -> tuple[int, int, int]:
    """A setup, a planning and an execution of one project, a setup and a planning that failed of another one."""
    one = await house.project("one")
    run, _ = await house.executed(one)
    other = await house.project("other")
    late = await house.protocol(other)
    await house.client.post(f"/protocols/{late}/actions/start")
    await house.fail(JobKind.PLAN, AUTH)
    return one, other, run


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["plan_protocol_job", "setup", "execute_step_job", "plan_protocol_job", "setup"]),
        ({"job_type": "plan_protocol_job"}, ["plan_protocol_job", "plan_protocol_job"]),
        ({"job_type": "plan_protocol_job", "status": "failed"}, ["plan_protocol_job"]),
        ({"job_type": "open_pr_job"}, []),
        ({"status": "queued"}, ["setup", "setup"]),
        ({"project_id": 1}, ["execute_step_job", "plan_protocol_job", "setup"]),
        ({"project_id": 1, "job_type": "setup"}, ["setup"]),
        ({"project_id": 2, "status": "succeeded"}, []),
        ({"protocol_run_id": 1}, ["execute_step_job", "plan_protocol_job"]),
        ({"protocol_run_id": 1, "job_type": "execute_step_job", "status": "succeeded"}, ["execute_step_job"]),
        ({"protocol_run_id": 1, "project_id": 2}, []),
    ],
)
async def test_jobs_are_listed_by_status_type_project_and_protocol(
    house: House, admin: httpx.AsyncClient, query: dict[str, str | int], found: list[str]
) -> None:
    assert await some_jobs(house) == (1, 2, 1)
    answer = await admin.get("/queues/jobs", params=query)
    assert [job["job_type"] for job in answer.json()] == found


@pytest.mark.parametrize("query", ["", "&job_type=setup", "&project_id=1", "&job_type=setup&project_id=1"])
async def test_every_filter_goes_over_pages(house: House, admin: httpx.AsyncClient, query: str) -> None:
    project = await house.project()
    for _ in range(4):
        await admin.post(f"/projects/{project}/actions/setup")
    seen: list[int] = []
    url = f"/queues/jobs?limit=2{query}"
    while url:
        page = await admin.get(url)
        seen += [job["id"] for job in page.json()]
        url = page.links.get("next", {}).get("url", "")
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 5


@pytest.mark.parametrize("query", ["project_id=99", "protocol_run_id=99"])
async def test_jobs_of_what_does_not_exist_are_not_found(admin: httpx.AsyncClient, query: str) -> None:
    assert (await admin.get(f"/queues/jobs?{query}")).status_code == 404


@pytest.mark.parametrize("query", ["status=done", "job_type=shell", "project_id=0", "protocol_run_id=x"])
async def test_a_filter_that_means_nothing_is_refused(admin: httpx.AsyncClient, query: str) -> None:
    assert (await admin.get(f"/queues/jobs?{query}")).status_code == 400


async def test_a_project_token_filters_within_its_project(house: House, admin: httpx.AsyncClient) -> None:
    _, other, run = await some_jobs(house)
    token = {"x-project-token": await house.project_token(other)}
    mine = (await admin.get("/queues/jobs?job_type=setup", headers=token)).json()
    assert [job["project_id"] for job in mine] == [other]
    assert (await admin.get(f"/queues/jobs?protocol_run_id={run}", headers=token)).status_code == 404
    assert (await admin.get("/queues/jobs?project_id=1", headers=token)).status_code == 404


async def test_a_job_says_what_can_be_done_with_it(house: House, admin: httpx.AsyncClient) -> None:
    await house.project()
    job = (await admin.get("/queues/jobs/1")).json()
    assert (job["status"], job["stop"], job["allowed_actions"]) == ("queued", None, ["cancel"])
    cancelled = await admin.post("/queues/jobs/1/actions/cancel")
    assert cancelled.status_code == 200
    assert (cancelled.json()["status"], cancelled.json()["allowed_actions"]) == ("cancelled", ["retry"])
    again = await admin.post("/queues/jobs/1/actions/retry")
    assert again.status_code == 202
    assert (again.json()["id"], again.json()["status"]) == (2, "queued")


async def test_a_running_job_shows_that_it_is_being_cancelled(house: House, admin: httpx.AsyncClient) -> None:
    run = await house.planned(await house.project())
    await admin.post(f"/protocols/{run}/actions/run_next_step")
    claim = await house.claim(JobKind.EXECUTE)
    job = (await admin.post(f"/queues/jobs/{claim.job.id}/actions/cancel")).json()
    assert (job["status"], job["stop"], job["allowed_actions"]) == ("running", "cancel", [])
    step = (await admin.get(f"/steps/{claim.job.step_id}")).json()
    assert (step["status"], step["reason"]) == ("failed", "cancelled")
    refused = await admin.post(f"/queues/jobs/{claim.job.id}/actions/cancel")
    assert (refused.status_code, refused.json()["status_now"]) == (409, "running")
    assert "Wait until it has ended" in refused.json()["detail"]


async def test_a_refusal_says_what_is_allowed(house: House, admin: httpx.AsyncClient) -> None:
    await house.project()
    refused = await admin.post("/queues/jobs/1/actions/retry")
    assert refused.status_code == 409
    assert refused.json()["allowed_actions"] == ["cancel"]
    assert (await admin.post("/queues/jobs/99/actions/retry")).status_code == 404


async def test_a_job_is_retried_once_per_idempotency_key(house: House, admin: httpx.AsyncClient) -> None:
    await house.project()
    await admin.post("/queues/jobs/1/actions/cancel")
    answers = [await admin.post("/queues/jobs/1/actions/retry", headers={"idempotency-key": "k"}) for _ in range(2)]
    assert [(answer.status_code, answer.json()["id"]) for answer in answers] == [(202, 2), (202, 2)]
    assert len((await admin.get("/queues/jobs")).json()) == 2


async def test_a_quota_that_is_used_up_shows_until_when_all_wait(house: House, admin: httpx.AsyncClient) -> None:
    run = await house.planned(await house.project())
    step = (await admin.post(f"/protocols/{run}/actions/run_next_step")).json()["id"]
    await house.fail(JobKind.EXECUTE, QUOTA)
    queues = (await admin.get("/queues")).json()
    until = datetime.fromisoformat(queues["parked_until"])
    assert timedelta(minutes=14) < until - datetime.now(UTC) <= timedelta(minutes=15)
    assert not queues["stopped"]
    (parked,) = (await admin.get("/line")).json()["parked"]
    assert (parked["credential"], parked["reason"]) == ("login", "quota")
    assert (parked["message"], parked["parked_until"]) == (QUOTA.message, queues["parked_until"])
    shown = (await admin.get(f"/steps/{step}")).json()
    assert (shown["status"], shown["phase"], shown["reason"]) == ("running", "backoff", "quota")
    (event, *_) = (await admin.get(f"/protocols/{run}/events")).json()
    assert event["event_type"] == "quota_parked"
    assert datetime.fromisoformat(event["metadata"]["until"]) == until
    line = (await admin.post("/line/actions/resume")).json()
    assert line["parked"] == []
    assert (await admin.get("/queues")).json()["parked_until"] is None
    assert (await house.claim(JobKind.EXECUTE)).job.attempt == 1
