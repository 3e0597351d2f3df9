"""The first page: what needs somebody and how it is answered there, what runs, and what holds everything up."""

import re
from pathlib import Path

import msgspec

from shared.schemas.statuses import JobKind
from shared.workflow.line import stop_line
from shared.workflow.unit import Caller
from tests.api.console.conftest import Window
from tests.api.house import ADMIN, House


def region(page: str, name: str) -> str:
    """The part of the page with this id, up to the next one."""
    return page.partition(f'id="{name}"')[2].partition("</section>")[0]


async def test_a_new_installation_says_how_to_begin(inside: Window) -> None:
    page = (await inside.get("/console")).text
    assert "Register a repository to begin" in page
    assert "Nothing waits for you." in page


async def test_what_waits_is_listed_and_answered_in_place(house: House, inside: Window) -> None:
    _, step = await house.executed(await house.project())
    page = (await inside.get("/console")).text
    assert "waits to be judged" in region(page, "needs")
    (action,) = re.findall(r'action="(/console/attention/[^"]+/actions/approve)"', page)
    answer = await inside.post(action)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    assert (await house.client.get(f"/steps/{step}", headers=ADMIN)).json()["status"] == "completed"
    again = await inside.post(action)
    assert again.status_code == 404


async def test_more_than_is_shown_at_first_can_be_reached(house: House, inside: Window) -> None:
    project = await house.project()
    for _ in range(11):
        await house.planned(project, policy={"plan_approval": True})
    page = (await inside.get("/console")).text
    assert '<a href="/console?needs=all">1 more</a> waits' in page
    everything = region((await inside.get("/console?needs=all")).text, "needs")
    assert len(re.findall('<li class="row-card attention', everything)) == 11
    for _ in range(40):
        await house.protocol(project)
    assert "Older ones are on" in (await inside.get("/console")).text
    page = (await inside.get(f"/console/projects/{project}")).text
    (older,) = re.findall(r'<a href="(/console/projects/1\?before=\d+)" rel="next">', page)
    assert "protocol-1" not in re.findall('id="(protocol-[0-9]+)"', page)
    rest = (await inside.get(older)).text
    assert re.findall('id="(protocol-[0-9]+)"', rest) == ["protocol-1"]
    assert "Newest protocols" in rest


async def test_an_answer_that_needs_words_is_refused_without_them(house: House, inside: Window) -> None:
    _, step = await house.executed(await house.project())
    page = (await inside.get("/console")).text
    (action,) = re.findall(r'action="(/console/attention/[^"]+/actions/reject)"', page)
    assert (await inside.post(action)).status_code == 400
    assert (await inside.post(action, feedback="Once more.")).status_code == 303
    assert (await house.client.get(f"/steps/{step}", headers=ADMIN)).json()["feedback"] == "Once more."


async def test_an_answer_to_what_has_changed_since_is_refused(house: House, inside: Window) -> None:
    await house.executed(await house.project())
    page = (await inside.get("/console")).text
    (action,) = re.findall(r'action="(/console/attention/[^"]+/actions/approve)"', page)
    assert (await inside.post(action, version="1")).status_code == 412


async def test_anothers_things_are_neither_listed_nor_answered(house: House, window: Window, inside: Window) -> None:
    await house.executed(await house.project())
    (action,) = re.findall(r'action="(/console/attention/[^"]+/actions/approve)"', (await inside.get("/console")).text)
    other = Window(house)
    await other.log_in(await house.project_token(await house.project("other")))
    page = (await other.get("/console")).text
    assert "Nothing waits for you." in page
    assert "0001-" not in page
    assert (await other.post(action)).status_code == 404


async def test_what_an_agent_did_last_is_told(house: House, inside: Window) -> None:
    await house.planned(await house.project())
    await house.client.post("/protocols/1/actions/run_next_step", headers=ADMIN)
    claim = await house.claim(JobKind.EXECUTE)
    folder = house.settings.workspaces_dir / "attempts" / "1"
    folder.mkdir(parents=True)
    await house.database.write(
        lambda tx: tx.run("UPDATE attempts SET directory = ? WHERE job_id = ?", ("attempts/1", claim.job.id))
    )
    said(folder, "I look at the <tests>.\nThen more.")
    page = region((await inside.get("/console")).text, "running")
    assert "Step 1: One" in page
    assert "I look at the &lt;tests&gt;." in page
    assert "Then more" not in page
    assert 'data-every="2000"' in page
    said(folder, "x" * 300_000)
    assert "x" * 100 not in region((await inside.get("/console")).text, "running")
    said(folder, "Done.")
    assert "Done." in region((await inside.get("/console")).text, "running")


def said(folder: Path, text: str) -> None:
    """Let the agent have said this last."""
    line = {"type": "item.completed", "item": {"id": "1", "type": "agent_message", "text": text}}
    with (folder / "events.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(line) + b"\n")


async def test_a_stopped_line_is_told_to_everybody(house: House, inside: Window) -> None:
    token = await house.project_token(await house.project())
    await house.flow.run(Caller(actor="admin"), stop_line)
    assert "The line is stopped" in region((await inside.get("/console")).text, "needs")
    other = Window(house)
    await other.log_in(token)
    page = (await other.get("/console")).text
    assert "The line is stopped" in page
    assert "/actions/resume" not in page
