"""Protocol runs over HTTP, from their opening to their end."""

from typing import get_args

import httpx
import pytest

from services.api.routes.protocols import Status
from shared.errors import Category
from shared.schemas.reports import Failed
from shared.schemas.statuses import JobKind, ProtocolStatus
from tests.api.house import House


async def test_a_protocol_is_numbered_and_named_after_its_task(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project()
    first = await admin.post(f"/projects/{project}/protocols", json={"description": "Add a dark theme."})
    second = await admin.post(f"/projects/{project}/protocols", json={"description": "Añade un tema oscuro"})
    assert first.json()["protocol_name"] == "0001-add-a-dark-theme"
    assert second.json()["protocol_name"].startswith("0002-")
    assert first.json()["status"] == "pending"
    assert first.headers["location"] == f"/protocols/{first.json()['id']}"


async def test_a_name_may_be_given_and_is_taken_once(house: House, admin: httpx.AsyncClient) -> None:
    path = f"/projects/{await house.project()}/protocols"
    body = {"protocol_name": "0007-theme", "description": "x"}
    assert (await admin.post(path, json=body)).json()["protocol_name"] == "0007-theme"
    assert (await admin.post(path, json=body)).status_code == 409


@pytest.mark.parametrize("name", ["7-theme", "0007", "0007-Theme", "0007-theme\n", "../0007-x", "0007-" + "x" * 61])
async def test_a_name_of_another_form_is_refused(house: House, admin: httpx.AsyncClient, name: str) -> None:
    path = f"/projects/{await house.project()}/protocols"
    assert (await admin.post(path, json={"protocol_name": name, "description": "x"})).status_code == 400


async def test_a_task_without_a_word_is_refused(house: House, admin: httpx.AsyncClient) -> None:
    path = f"/projects/{await house.project()}/protocols"
    assert (await admin.post(path, json={"description": "  "})).status_code == 400


async def test_the_policy_of_a_protocol_stays_when_its_projects_changes(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project(policy={"auto_fix": 1})
    protocol = await house.protocol(project, policy={"progression": "auto"})
    await admin.patch(f"/projects/{project}", json={"policy": {"auto_fix": 5}}, headers={"if-match": "*"})
    policy = (await admin.get(f"/protocols/{protocol}")).json()["policy"]
    assert (policy["auto_fix"], policy["progression"]) == (1, "auto")


async def test_start_queues_the_planning(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.protocol(await house.project())
    started = await admin.post(f"/protocols/{protocol}/actions/start")
    assert started.status_code == 202
    assert (started.json()["status"], started.json()["phase"]) == ("planning", "queued")
    assert (await admin.get("/queues/jobs")).json()[0]["job_type"] == "plan_protocol_job"


async def test_the_plan_and_its_steps_are_read(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project(), "Write it", "Test it")
    seen = (await admin.get(f"/protocols/{protocol}")).json()
    plan = (await admin.get(f"/protocols/{protocol}/plan")).json()
    steps = (await admin.get(f"/protocols/{protocol}/steps")).json()
    assert seen["status"] == "planned"
    assert seen["plan_sha"] == plan["sha256"]
    assert plan["protocol_run_id"] == protocol
    assert "plan.md" in plan["files"]
    assert [step["step_name"] for step in steps] == ["Write it", "Test it"]
    assert (await admin.get(f"/protocols/{protocol}/plan?revision=9")).status_code == 404


async def test_the_tokens_that_were_used_are_added_up(house: House, admin: httpx.AsyncClient) -> None:
    protocol, _ = await house.executed(await house.project())
    usage = (await admin.get(f"/protocols/{protocol}")).json()["usage"]
    assert (usage["input_tokens"], usage["cached_input_tokens"], usage["output_tokens"]) == (200, 80, 20)


async def test_a_run_goes_from_start_to_completed(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project(), "Only one")
    ran = await admin.post(f"/protocols/{protocol}/actions/run_next_step")
    assert ran.status_code == 202
    await house.execute()
    step = ran.json()["id"]
    assert (await admin.post(f"/steps/{step}/actions/run_qa")).status_code == 202
    await house.judge("pass")
    assert (await admin.get(f"/steps/{step}")).json()["status"] == "completed"
    done = (await admin.get(f"/protocols/{protocol}")).json()
    assert (done["status"], done["reason"], done["phase"]) == ("completed", "steps_done", None)
    assert done["finished_at"].endswith("Z")
    events = [event["event_type"] for event in (await admin.get(f"/protocols/{protocol}/events?limit=500")).json()]
    assert events[0] == "protocol_completed"
    assert events[-1] == "protocol_opened"


async def test_pause_and_resume_come_back_to_where_the_steps_stand(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project())
    path = f"/protocols/{protocol}/actions"
    assert (await admin.post(f"{path}/pause", json={"mode": "drain"})).json()["status"] == "paused"
    assert (await admin.post(f"{path}/run_next_step")).status_code == 409
    assert (await admin.post(f"{path}/start")).status_code == 409
    assert (await admin.post(f"{path}/resume")).json()["status"] == "planned"


async def test_what_is_over_stays_over(house: House, admin: httpx.AsyncClient) -> None:
    protocol, step = await house.executed(await house.project())
    assert (await admin.post(f"/protocols/{protocol}/actions/cancel")).json()["status"] == "cancelled"
    for path in (
        f"/protocols/{protocol}/actions/cancel",
        f"/protocols/{protocol}/actions/start",
        f"/protocols/{protocol}/actions/run_next_step",
        f"/steps/{step}/actions/run",
        f"/steps/{step}/actions/approve",
        f"/steps/{step}/actions/run_qa",
    ):
        assert (await admin.post(path)).status_code == 409, path
    assert (await admin.get(f"/protocols/{protocol}")).json()["status"] == "cancelled"


async def test_a_plan_may_need_its_approval(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project(), policy={"plan_approval": True})
    path = f"/protocols/{protocol}/actions"
    assert (await admin.get(f"/protocols/{protocol}")).json()["phase"] == "awaiting_plan_approval"
    assert (await admin.post(f"{path}/run_next_step")).status_code == 409
    rejected = await admin.post(f"{path}/reject_plan", json={"feedback": "Smaller steps."})
    assert (rejected.json()["status"], rejected.json()["feedback"]) == ("planning", "Smaller steps.")


async def test_an_approved_plan_is_open(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project(), policy={"plan_approval": True})
    approved = await admin.post(f"/protocols/{protocol}/actions/approve_plan")
    assert (approved.status_code, approved.json()["phase"]) == (200, None)
    assert (await admin.post(f"/protocols/{protocol}/actions/run_next_step")).status_code == 202


async def test_a_blocked_run_can_be_retried_or_given_up(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project())
    await admin.post(f"/protocols/{protocol}/actions/run_next_step")
    await house.fail(JobKind.EXECUTE, Failed(category=Category.AUTH, message="Codex is not logged in."))
    blocked = (await admin.get(f"/protocols/{protocol}")).json()
    assert (blocked["status"], blocked["reason"]) == ("blocked", "step_failed")
    retried = await admin.post(f"/protocols/{protocol}/actions/retry_latest")
    assert (retried.status_code, retried.json()["retries"]) == (202, 1)
    await house.fail(JobKind.EXECUTE, Failed(category=Category.AUTH, message="Codex is not logged in."))
    given_up = await admin.post(f"/protocols/{protocol}/actions/fail", json={"reason": "No login."})
    assert given_up.json()["status"] == "failed"


async def test_nothing_to_retry_is_not_found(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project())
    assert (await admin.post(f"/protocols/{protocol}/actions/retry_latest")).status_code == 404


async def test_publishing_is_queued_as_a_job(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project())
    asked = await admin.post(f"/protocols/{protocol}/actions/open_pr")
    assert (asked.status_code, asked.json()["job_type"]) == (202, "open_pr_job")
    assert (await admin.post(f"/protocols/{protocol}/actions/open_pr")).status_code == 409


async def test_steps_added_by_hand_can_be_the_plan(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.protocol(await house.project())
    for name in ("One", "Two"):
        made = await admin.post(f"/protocols/{protocol}/steps", json={"step_name": name, "instructions": "Do it."})
        assert made.status_code == 201
    taken = await admin.post(f"/protocols/{protocol}/steps", json={"step_name": "Three", "step_index": 1})
    assert taken.status_code == 409
    started = await admin.post(f"/protocols/{protocol}/actions/start", json={"plan": False})
    assert started.json()["status"] == "planned"


async def test_each_status_change_is_told_with_its_time_in_utc(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project())
    events = (await admin.get(f"/protocols/{protocol}/events")).json()
    changes = [(each["from_status"], each["to_status"]) for each in reversed(events) if each["to_status"]]
    assert changes == [("pending", "planning"), ("planning", "planned")]
    assert all(each["created_at"].endswith("Z") for each in events)
    assert {each["protocol_name"] for each in events} == {"0001-add-a-dark-theme"}


async def test_an_answer_allows_what_the_explanation_does_and_nothing_that_would_be_refused(
    house: House, admin: httpx.AsyncClient
) -> None:
    project = await house.project()
    idle, busy = await house.planned(project, "One", "Two"), await house.planned(project, "One", "Two")
    first, _ = (await admin.get(f"/protocols/{busy}/steps")).json()
    ran = (await admin.post(f"/steps/{first['id']}/actions/run")).json()
    paused = (await admin.post(f"/protocols/{busy}/actions/pause")).json()
    resumed = (await admin.post(f"/protocols/{busy}/actions/resume")).json()
    assert ("run_next_step" in paused["allowed_actions"], "resume" in paused["allowed_actions"]) == (False, True)
    listed = (await admin.get(f"/projects/{project}/protocols")).json()
    assert [each["id"] for each in listed] == [idle, busy]
    for run in listed:
        told = (await admin.get(f"/protocols/{run['id']}/explain")).json()["actions"]
        assert run["allowed_actions"] == told == (await admin.get(f"/protocols/{run['id']}")).json()["allowed_actions"]
        assert ("run_next_step" in told) == (run["id"] == idle)
        for step in (await admin.get(f"/protocols/{run['id']}/steps")).json():
            told = (await admin.get(f"/steps/{step['id']}/explain")).json()["actions"]
            assert step["allowed_actions"] == told
            assert step["allowed_actions"] == (await admin.get(f"/steps/{step['id']}")).json()["allowed_actions"]
            assert ("run" in told) == (run["id"] == idle)
    assert resumed["allowed_actions"] == listed[1]["allowed_actions"]
    assert "run" not in ran["allowed_actions"]


async def test_all_runs_are_listed_newest_first_by_project_and_status_and_page(
    house: House, admin: httpx.AsyncClient
) -> None:
    one, two = await house.project("one"), await house.project("two")
    first, second, third = await house.protocol(one), await house.planned(two), await house.planned(one)
    await admin.post(f"/protocols/{first}/actions/cancel")

    async def listed(query: str) -> list[int]:
        answer = await admin.get(f"/protocols?{query}")
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()]

    assert await listed("") == [third, second, first]
    assert await listed("status=open") == [third, second]
    assert await listed(f"status=open&project_id={one}") == [third]
    assert await listed("status=cancelled") == await listed(f"status=cancelled&project_id={one}") == [first]
    assert await listed(f"project_id={two}") == [second]
    assert await listed("status=blocked") == []
    page = await admin.get("/protocols?status=open&limit=1")
    assert [each["id"] for each in page.json()] == [third]
    following = page.links["next"]["url"]
    assert [each["id"] for each in (await admin.get(following)).json()] == [second]
    assert page.json() == [(await admin.get(f"/protocols/{third}")).json()]


@pytest.mark.parametrize("query", ["status=gone", "project_id=99", "limit=0", "cursor=x"])
async def test_a_list_of_runs_that_cannot_be_had_is_refused(house: House, admin: httpx.AsyncClient, query: str) -> None:
    await house.project()
    assert (await admin.get(f"/protocols?{query}")).status_code in {400, 404}


def test_runs_can_be_listed_by_every_status(house: House) -> None:
    known = get_args(get_args(get_args(Status)[0])[0])
    assert set(known) == {"open", *ProtocolStatus}
