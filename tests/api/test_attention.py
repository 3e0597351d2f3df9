"""How things stand, over HTTP: explanations, and what waits for somebody."""

from typing import Any

import httpx
import pytest

from tests.api.house import ADMIN, House


async def test_a_protocol_and_its_step_explain_themselves(house: House):
    project = await house.project()
    protocol = await house.planned(project, "One", "Two")
    answer = await house.client.get(f"/protocols/{protocol}/explain", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert set(said) == {
        "moving",
        "status",
        "phase",
        "reason",
        "because",
        "waiting_for",
        "since",
        "until",
        "if_nobody_acts",
        "actions",
        "evidence",
    }
    assert (said["moving"], said["status"], said["waiting_for"]) == (False, "planned", "person")
    assert "run_next_step" in said["actions"]
    assert said["since"].startswith("20")
    (first, second) = (await house.client.get(f"/protocols/{protocol}/steps", headers=ADMIN)).json()
    await house.client.post(f"/steps/{first['id']}/actions/run", headers=ADMIN)
    waits = (await house.client.get(f"/steps/{second['id']}/explain", headers=ADMIN)).json()
    assert waits["because"].startswith("Step 2 waits for step 1.")
    assert (waits["waiting_for"], waits["moving"]) == ("worker", True)


async def test_another_projects_token_finds_nothing_to_explain(house: House):
    protocol, step = await house.executed(await house.project())
    token = await house.project_token(await house.project("other"))
    for path in (f"/protocols/{protocol}/explain", f"/steps/{step}/explain"):
        assert (await house.client.get(path, headers={"x-project-token": token})).status_code == 404
        assert (await house.client.get(path, headers=ADMIN)).status_code == 200


async def waiting(house: House, headers: dict[str, str] = ADMIN, **query: Any) -> list[dict[str, Any]]:
    answer = await house.client.get("/attention", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def resolve(house: House, item: str, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    path = f"/attention/{item}/actions/resolve"
    return await house.client.post(path, json=body, headers=ADMIN | (headers or {}))


async def test_what_waits_is_listed_once_and_answered(house: House):
    project = await house.project()
    protocol = await house.planned(project, policy={"plan_approval": True})
    (item,) = await waiting(house)
    assert item == {
        "id": f"p{protocol}.plan_approval",
        "kind": "plan_approval",
        "urgency": "normal",
        "project_id": project,
        "project_name": "shop",
        "protocol_run_id": protocol,
        "protocol_name": "0001-add-a-dark-theme",
        "step_run_id": None,
        "title": "The plan of 0001-add-a-dark-theme waits for an approval",
        "because": item["because"],
        "since": item["since"],
        "evidence": [],
        "answers": [
            {"action": "approve_plan", "label": "Approve the plan", "needs": []},
            {"action": "reject_plan", "label": "Have it planned anew", "needs": ["feedback"]},
            {"action": "cancel", "label": "Cancel the run", "needs": []},
        ],
        "version": item["version"],
    }
    answer = await resolve(house, item["id"], action="approve_plan")
    assert (answer.status_code, answer.json()) == (
        200,
        {"id": item["id"], "action": "approve_plan", "settled": True},
    )
    assert [each["kind"] for each in await waiting(house)] == ["next_step"]


async def test_a_stale_answer_is_refused_and_nothing_happens(house: House):
    protocol, step = await house.executed(await house.project())
    (item,) = await waiting(house)
    assert item["id"] == f"s{step}.review"
    await house.client.post(f"/steps/{step}/actions/run_qa", headers=ADMIN)
    gone = await resolve(house, item["id"], action="approve", version=item["version"])
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:deksdenflow:problem:settled")
    await house.judge("inconclusive")
    (item,) = await waiting(house)
    assert item["kind"] == "qa_inconclusive"
    for stale in ({"version": 1}, {}):
        headers = {} if stale else {"if-match": '"1"'}
        late = await resolve(house, item["id"], headers, action="approve", **stale)
        assert (late.status_code, late.json()["type"]) == (412, "urn:deksdenflow:problem:stale")
    fresh = {"if-match": f'"{item["version"]}"'}
    assert (await resolve(house, item["id"], fresh, action="approve")).status_code == 200
    assert (await house.client.get(f"/steps/{step}", headers=ADMIN)).json()["status"] == "completed"
    assert (await resolve(house, item["id"], action="approve")).status_code == 404
    assert protocol


async def test_an_answer_that_is_not_accepted_says_which_are(house: House):
    protocol = await house.planned(await house.project(), policy={"plan_approval": True})
    item = f"p{protocol}.plan_approval"
    wrong = await resolve(house, item, action="run_next_step")
    assert wrong.status_code == 409
    assert wrong.json()["allowed_actions"] == ["approve_plan", "reject_plan", "cancel"]
    missing = await resolve(house, item, action="reject_plan")
    assert (missing.status_code, missing.json()["detail"]) == (400, "feedback: reject_plan needs it here.")
    strange = await resolve(house, item, action="approve_plan", feedback="why?")
    assert (strange.status_code, strange.json()["detail"]) == (400, "feedback: approve_plan does not take it.")
    unknown = await resolve(house, item, action="approve_plan", because="x")
    assert unknown.status_code == 400
    assert [each["id"] for each in await waiting(house)] == [item]


@pytest.mark.parametrize(
    "name", ["p99.plan_approval", "x1.y", "line", "hold.login", "p1", "s1.review", "j1.kill", "%00"]
)
async def test_what_does_not_wait_is_not_found(house: House, name: str):
    await house.planned(await house.project(), policy={"plan_approval": True})
    answer = await resolve(house, name, action="approve")
    assert answer.status_code == 404, answer.text


async def test_a_projects_token_sees_and_answers_its_own_alone(house: House):
    mine, other = await house.project("mine"), await house.project("other")
    here, there = await house.planned(mine), await house.planned(other)
    await house.client.post("/line/actions/stop", headers=ADMIN)
    token = {"x-project-token": await house.project_token(mine)}
    assert [item["project_id"] for item in await waiting(house, token)] == [mine]
    assert {item["kind"] for item in await waiting(house)} == {"line", "next_step"}
    assert [item["project_name"] for item in await waiting(house, project_id=other)] == ["other"]
    answer = await house.client.get("/attention", params={"project_id": other}, headers=token)
    assert answer.status_code == 404
    for name, action in ((f"p{there}.next_step", "run_next_step"), ("line", "resume")):
        path = f"/attention/{name}/actions/resolve"
        refused = await house.client.post(path, json={"action": action}, headers=token)
        assert refused.status_code == 404
    path = f"/attention/p{here}.next_step/actions/resolve"
    assert (await house.client.post(path, json={"action": "run_next_step"}, headers=token)).status_code == 200
    assert (await resolve(house, "line", action="resume")).json()["settled"] is True


async def test_the_list_is_paged_by_urgency_and_age(house: House):
    project = await house.project()
    for index in range(5):
        await house.planned(project, policy={"plan_approval": index % 2 == 0})
    whole = await waiting(house)
    assert [item["urgency"] for item in whole] == ["normal"] * 3 + ["low"] * 2
    assert [item["since"] for item in whole[:3]] == sorted(item["since"] for item in whole[:3])
    seen, path = [], "/attention?limit=2"
    while path:
        answer = await house.client.get(path, headers=ADMIN)
        assert len(answer.json()) <= 2
        seen += answer.json()
        path = answer.headers.get("link", "").partition(">")[0].removeprefix("<")
    assert seen == whole


async def test_the_same_key_answers_once(house: House):
    protocol = await house.planned(await house.project(), policy={"plan_approval": True})
    key = {"idempotency-key": "once"}
    first = await resolve(house, f"p{protocol}.plan_approval", key, action="approve_plan")
    again = await resolve(house, f"p{protocol}.plan_approval", key, action="approve_plan")
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
