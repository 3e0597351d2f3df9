"""The line over HTTP: one switch for all work, for the administrator alone, which outlives the service."""

from pathlib import Path

from tests.api.house import ADMIN, House, open_house


async def test_a_line_that_goes_says_so(house: House) -> None:
    line = (await house.client.get("/line", headers=ADMIN)).json()
    assert (line["status"], line["stopped_at"], line["parked"]) == ("running", None, [])
    assert line["allowed_actions"] == ["stop"]


async def test_a_stop_says_who_did_it_and_what_still_runs(house: House) -> None:
    project = await house.project()
    answer = await house.client.post("/line/actions/stop", headers=ADMIN)
    assert answer.status_code == 200
    line = answer.json()
    assert (line["status"], line["stopped_by"]) == ("stopped", "admin")
    assert (line["jobs_running"], line["jobs_queued"]) == (0, 1)
    assert line["allowed_actions"] == ["stop", "resume"]
    assert line == (await house.client.get("/line", headers=ADMIN)).json()
    queues = (await house.client.get("/queues", headers={"x-project-token": await house.project_token(project)})).json()
    assert (queues["stopped"], queues["parked_until"]) == (True, None)


async def test_a_resume_lets_it_go_again(house: House) -> None:
    await house.client.post("/line/actions/stop", headers=ADMIN, json={"interrupt": True})
    line = (await house.client.post("/line/actions/resume", headers=ADMIN, json={})).json()
    assert (line["status"], line["stopped_by"]) == ("running", None)
    events = (await house.client.get("/events", headers=ADMIN)).json()
    assert [(event["event_type"], event["entity"], event["actor"]) for event in events] == [
        ("line_resumed", "line", "admin"),
        ("line_stopped", "line", "admin"),
    ]
    assert events[1]["metadata"] == {"interrupt": True, "parked": 0}


async def test_a_stop_outlives_the_service(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.client.post("/line/actions/stop", headers=ADMIN)
    async with open_house(tmp_path) as house:
        assert (await house.client.get("/line", headers=ADMIN)).json()["status"] == "stopped"


async def test_another_word_than_interrupt_is_refused(house: House) -> None:
    refused = await house.client.post("/line/actions/stop", headers=ADMIN, json={"interupt": True})
    assert refused.status_code == 400
    assert (await house.client.get("/line", headers=ADMIN)).json()["status"] == "running"
