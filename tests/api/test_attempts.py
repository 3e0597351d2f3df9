"""Attempts over HTTP: their files by pieces, and nothing else of the disk."""

import os
from pathlib import Path

import httpx
import pytest

from services.api.attempt_files import Part, read_part
from tests.api.house import House

EVENTS = '{"type":"turn.started"}\n{"type":"item","text":"größer 😀"}\n'


async def recorded(house: House, folder: str = "attempts/7", **files: str) -> int:
    """An executed step whose attempt has these files; gives the step."""
    place = house.settings.workspaces_dir / folder
    place.mkdir(parents=True)
    for part, text in files.items():
        (place / Part[part].value).write_text(text)
    protocol = await house.planned(await house.project())
    step = await house.client.post(f"/protocols/{protocol}/actions/run_next_step")
    await house.execute(directory=str(place))
    return step.json()["id"]


async def last_attempt(client: httpx.AsyncClient) -> int:
    return (await client.get("/attempts?limit=1")).json()[0]["id"]


async def test_the_files_of_an_attempt_are_read(house: House, admin: httpx.AsyncClient) -> None:
    step = await recorded(house, EVENTS=EVENTS, PROMPT="Do it.", STDERR="warning", DIFF="diff --git a/x b/x\n")
    path = f"/attempts/{await last_attempt(admin)}/log"
    log = await admin.get(path)
    assert log.text == EVENTS
    assert log.headers["content-type"] == "text/plain; charset=utf-8"
    assert log.headers["x-total-bytes"] == log.headers["x-next-offset"] == str(len(EVENTS.encode()))
    assert (await admin.get(f"{path}?part=prompt")).text == "Do it."
    assert (await admin.get(f"{path}?part=stderr")).text == "warning"
    assert (await admin.get(f"{path}?part=diff")).text == (await admin.get(f"/steps/{step}/diff")).text


async def test_a_log_is_read_in_pieces_without_cutting_a_character(house: House, admin: httpx.AsyncClient) -> None:
    await recorded(house, EVENTS=EVENTS)
    path = f"/attempts/{await last_attempt(admin)}/log?limit=5"
    text, offset = "", 0
    while offset < len(EVENTS.encode()):
        piece = await admin.get(f"{path}&offset={offset}")
        text += piece.text
        offset = int(piece.headers["x-next-offset"])
    assert text == EVENTS


async def test_the_tail_of_a_log_is_its_last_bytes(house: House, admin: httpx.AsyncClient) -> None:
    await recorded(house, EVENTS="0123456789")
    path = f"/attempts/{await last_attempt(admin)}/log"
    assert (await admin.get(f"{path}?tail=true&limit=3")).text == "789"
    assert (await admin.get(f"{path}?tail=true&limit=3&offset=3")).text == "456"
    assert (await admin.get(f"{path}?offset=99")).text == ""


async def test_a_part_that_is_not_there_is_not_found(house: House, admin: httpx.AsyncClient) -> None:
    await recorded(house, EVENTS=EVENTS)
    missing = await admin.get(f"/attempts/{await last_attempt(admin)}/log?part=diff")
    assert missing.status_code == 404
    assert "diff" in missing.json()["detail"]


async def test_a_step_that_was_not_executed_has_no_diff(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.planned(await house.project())
    step = (await admin.get(f"/protocols/{protocol}/steps")).json()[0]["id"]
    assert (await admin.get(f"/steps/{step}/diff")).status_code == 404


async def test_a_branch_is_read_as_one_patch(house: House, admin: httpx.AsyncClient) -> None:
    await recorded(house, DIFF="the step's", BRANCH="diff --git a/ä b/ä\n")
    whole = await admin.get("/protocols/1/diff")
    assert (whole.text, whole.headers["content-type"]) == ("diff --git a/ä b/ä\n", "text/plain; charset=utf-8")
    piece = await admin.get("/protocols/1/diff?offset=11&limit=4")
    assert (piece.text, piece.headers["x-next-offset"]) == ("a/ä", "15")
    assert (await admin.get("/protocols/99/diff")).status_code == 404


async def test_a_branch_without_a_commit_or_a_patch_has_none_to_read(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project()
    fresh, planned = await house.protocol(project), await house.planned(project)
    for run, why in ((fresh, "no commit"), (planned, "branch.patch")):
        missing = await admin.get(f"/protocols/{run}/diff")
        assert missing.status_code == 404
        assert why in missing.json()["detail"]


async def test_attempts_are_listed_of_a_step_of_a_protocol_and_of_all(house: House, admin: httpx.AsyncClient) -> None:
    protocol, step = await house.executed(await house.project())
    everything = (await admin.get("/attempts")).json()
    assert [each["job_type"] for each in everything] == ["execute_step_job", "plan_protocol_job"]
    assert (await admin.get(f"/protocols/{protocol}/attempts")).json() == everything[::-1]
    assert (await admin.get(f"/steps/{step}/attempts")).json() == everything[:1]
    assert (await admin.get("/attempts?status=running")).json() == []
    assert (await admin.get(f"/attempts/{everything[0]['id']}")).json() == everything[0]
    assert everything[0]["usage"]["input_tokens"] == 100


@pytest.mark.parametrize("directory", ["../outside", "/etc", "", ".", "a/../../outside", "link"])
def test_nothing_outside_the_workspaces_is_read(tmp_path: Path, directory: str) -> None:
    workspaces, outside = tmp_path / "work", tmp_path / "outside"
    workspaces.mkdir()
    outside.mkdir()
    (outside / Part.EVENTS.value).write_text("secret")
    (workspaces / Part.EVENTS.value).write_text("not an attempt's")
    (workspaces / "link").symlink_to(outside)
    assert read_part(workspaces, directory, Part.EVENTS, offset=0, limit=9, tail=False) is None


def test_a_link_a_folder_and_a_pipe_are_no_files_of_an_attempt(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (tmp_path / "x").write_text("secret")
    (folder / Part.EVENTS.value).symlink_to(tmp_path / "x")
    (folder / Part.PROMPT.value).mkdir()
    os.mkfifo(folder / Part.STDERR.value)
    for part in Part:
        assert read_part(tmp_path, "a", part, offset=0, limit=9, tail=False) is None
