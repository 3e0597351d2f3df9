"""Steps over HTTP: judged by QA, by a person, retried, skipped."""

import httpx

from shared.errors import Category
from shared.schemas.reports import Failed
from shared.schemas.statuses import JobKind
from tests.api.house import SHA, House


async def test_a_step_carries_the_names_of_the_wire(house: House, admin: httpx.AsyncClient) -> None:
    protocol, step = await house.executed(await house.project())
    seen = (await admin.get(f"/steps/{step}")).json()
    assert (seen["protocol_run_id"], seen["step_index"], seen["step_name"], seen["step_type"]) == (
        protocol,
        1,
        "One",
        "work",
    )
    assert (seen["status"], seen["head_sha"]) == ("needs_qa", SHA)
    assert "approve" in seen["allowed_actions"]


async def test_approval_completes_a_step_and_is_kept_as_a_gate(house: House, admin: httpx.AsyncClient) -> None:
    _, step = await house.executed(await house.project())
    approved = await admin.post(f"/steps/{step}/actions/approve", json={"sha": SHA})
    assert (approved.json()["status"], approved.json()["reason"]) == ("completed", "approved")
    (gate,) = (await admin.get(f"/steps/{step}/gates")).json()
    assert (gate["name"], gate["state"], gate["sha"], gate["actor"]) == ("approval", "passed", SHA, "admin")
    assert (await admin.get(f"/steps/{step}/gates?sha={'b' * 40}")).json() == []


async def test_approving_another_commit_than_the_steps_is_refused(house: House, admin: httpx.AsyncClient) -> None:
    _, step = await house.executed(await house.project())
    refused = await admin.post(f"/steps/{step}/actions/approve", json={"sha": "b" * 40})
    assert refused.status_code == 412


async def test_an_open_gate_is_overridden_only_with_a_reason(house: House, admin: httpx.AsyncClient) -> None:
    _, step = await house.executed(await house.project(), policy={"required_contexts": ["ci/test"]})
    refused = await admin.post(f"/steps/{step}/actions/approve")
    assert refused.status_code == 409
    assert "ci" in refused.json()["detail"]
    done = await admin.post(f"/steps/{step}/actions/approve", json={"reason": "CI is down today."})
    assert (done.json()["status"], done.json()["reason"]) == ("completed", "overridden")


async def test_a_rejected_step_is_queued_with_the_feedback(house: House, admin: httpx.AsyncClient) -> None:
    _, step = await house.executed(await house.project())
    rejected = await admin.post(f"/steps/{step}/actions/reject", json={"feedback": "Keep the old name."})
    assert rejected.status_code == 202
    assert (rejected.json()["status"], rejected.json()["phase"]) == ("pending", "queued")
    assert "Keep the old name." in rejected.json()["feedback"]


async def test_a_red_verdict_fails_the_step_and_a_retry_may_take_another_model(
    house: House, admin: httpx.AsyncClient
) -> None:
    protocol, step = await house.executed(await house.project())
    await admin.post(f"/steps/{step}/actions/run_qa")
    await house.judge("fail")
    assert (await admin.get(f"/steps/{step}")).json()["reason"] == "qa_failed"
    assert (await admin.get(f"/protocols/{protocol}")).json()["status"] == "blocked"
    again = await admin.post(f"/steps/{step}/actions/retry", json={"model": "gpt-other", "feedback": "Try harder."})
    assert (again.status_code, again.json()["model"], again.json()["retries"]) == (202, "gpt-other", 1)


async def test_skipping_and_cancelling_settle_a_step(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project(), "One", "Two")
    one, two = (await admin.get(f"/protocols/{protocol}/steps")).json()
    skipped = await admin.post(f"/steps/{one['id']}/actions/skip", json={"reason": "Done already."})
    cancelled = await admin.post(f"/steps/{two['id']}/actions/cancel")
    assert (skipped.json()["status"], skipped.json()["reason"]) == ("completed", "skipped")
    assert cancelled.json()["status"] == "cancelled"
    assert (await admin.get(f"/protocols/{protocol}")).json()["status"] == "completed"


async def test_a_reason_of_spaces_is_none(house: House, admin: httpx.AsyncClient) -> None:
    _, step = await house.executed(await house.project())
    assert (await admin.post(f"/steps/{step}/actions/skip", json={"reason": "  "})).status_code == 400


async def test_of_two_that_run_the_same_step_one_loses(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project())
    step = (await admin.get(f"/protocols/{protocol}/steps")).json()[0]["id"]
    first = await admin.post(f"/steps/{step}/actions/run")
    second = await admin.post(f"/steps/{step}/actions/run")
    assert (first.status_code, second.status_code) == (202, 409)
    assert second.json()["type"] == "urn:deksdenflow:problem:already-queued"


async def test_qa_of_a_step_that_was_never_run_is_refused(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project())
    step = (await admin.get(f"/protocols/{protocol}/steps")).json()[0]["id"]
    refused = await admin.post(f"/steps/{step}/actions/run_qa")
    assert refused.status_code == 409
    assert refused.json()["status_now"] == "pending"


async def test_a_failed_step_tells_why_in_its_job_and_attempt(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project())
    step = (await admin.post(f"/protocols/{protocol}/actions/run_next_step")).json()["id"]
    failure = Failed(category=Category.AUTH, message="The key was refused.", stderr_tail="ERROR: 401")
    await house.fail(JobKind.EXECUTE, failure)
    (attempt,) = (await admin.get(f"/steps/{step}/attempts")).json()
    assert (attempt["status"], attempt["category"], attempt["stderr_tail"]) == ("failed", "auth", "ERROR: 401")
    job = (await admin.get(f"/queues/jobs/{attempt['job_id']}")).json()
    assert (job["status"], job["category"], job["step_run_id"]) == ("failed", "auth", step)
    queues = (await admin.get("/queues")).json()["queues"]
    assert {each["job_type"]: each["failed"] for each in queues}["execute_step_job"] == 1
