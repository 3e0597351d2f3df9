"""How things stand, over HTTP: explanations, and what waits for somebody."""

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
