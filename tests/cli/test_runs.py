"""Opening a run, waiting for its end, looking at it and watching it."""

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import Category
from shared.schemas.reports import Failed
from shared.schemas.statuses import JobKind
from tests.api.house import ADMIN
from tests.cli.served import SOON_S, Line, Said, one_line, serving
from tests.waiting import until


@pytest.fixture
def project(cli: Line, name: str) -> int:
    return cli.do(cli.house.project(name))


def beside(cli: Line, work: Callable[[], Any]) -> threading.Thread:
    """Do something while a command runs."""
    thread = threading.Thread(target=work, name="beside")
    thread.start()
    return thread


def readers(cli: Line, count: int) -> None:
    """Until so many streams are open."""
    until(lambda: cli.house.app.state.feed.readers == count, within=SOON_S)


def test_a_run_is_opened_and_its_planning_queued(cli: Line, project: int) -> None:
    told = cli.told("run", "Add a dark theme", "-p", project)
    run = cli.get(f"/projects/{project}/protocols")[0]
    assert told.splitlines()[0] == f"{run['id']}  0001-add-a-dark-theme  planning · queued"
    assert f"deksdenflow watch {run['id']}" in told


def test_a_run_goes_on_by_itself_when_it_was_opened_so(cli: Line, project: int) -> None:
    run = cli.json("run", "Add a theme", "-p", project, "--auto", "--model", "gpt-5.5", "--name", "0042-theme")
    assert run == cli.get(f"/protocols/{run['id']}")
    assert (run["policy"]["progression"], run["policy"]["auto_qa_after_exec"]) == ("auto", True)
    assert (run["model"], run["branch"]) == ("gpt-5.5", "0042-theme")


def test_a_task_without_words_is_no_task(cli: Line, project: int) -> None:
    assert "task is empty" in one_line(cli("run", "  ", "-p", project), 2)


def test_what_is_wrong_with_a_field_is_said_once(cli: Line, project: int) -> None:
    refused = one_line(cli("run", "Add a theme", "-p", project, "--name", "theme"), 4)
    assert refused.startswith("deksdenflow: The request is not valid. protocol_name: ")
    assert refused.count("Expected") == 1


def _completed(cli: Line) -> None:
    cli.do(cli.house.plan("One"))
    cli.do(cli.house.execute())
    cli.do(cli.house.judge("pass"))


def _blocked(cli: Line) -> int:
    claim = cli.do(cli.house.claim(JobKind.PLAN))
    assert claim.protocol is not None
    cli.do(cli.house.end(claim, Failed(category=Category.PLAN_INVALID, message="No steps.")))
    return claim.protocol.id


def _cancelled(cli: Line) -> None:
    (row,) = cli.do(cli.house.rows("SELECT max(id) AS id FROM protocol_runs"))
    cli.do(cli.house.client.post(f"/protocols/{row['id']}/actions/cancel", headers=ADMIN))


@pytest.mark.parametrize(
    ("ending", "code", "status"),
    [(_completed, 0, "completed"), (_blocked, 5, "blocked"), (_cancelled, 6, "cancelled")],
)
def test_who_waits_for_a_run_is_told_its_end_by_the_exit_code(
    cli: Line, project: int, ending: Callable[[Line], Any], code: int, status: str
) -> None:
    def play() -> None:
        readers(cli, 1)
        ending(cli)

    playing = beside(cli, play)
    said = cli("run", "Add a theme", "-p", project, "--auto", "--wait", "--json")
    playing.join()
    assert (said.code, said.json["status"]) == (code, status)


def test_a_watch_outlasts_a_block_and_ends_with_the_code_of_a_run_that_failed(cli: Line, project: int) -> None:
    run = cli.do(cli.house.protocol(project))
    cli.told("start", run)

    def play() -> None:
        readers(cli, 1)
        assert _blocked(cli) == run
        cli.do(cli.house.client.post(f"/protocols/{run}/actions/fail", json={"reason": "No."}, headers=ADMIN))

    playing = beside(cli, play)
    said = cli("watch", run)
    playing.join()
    assert said.code == 1
    assert "blocked → failed" in said.out
    assert "No steps." in said.out


def test_a_wait_for_what_a_person_must_do_ends_with_a_code_of_its_own(cli: Line, project: int) -> None:
    def play() -> None:
        readers(cli, 1)
        cli.do(cli.house.plan("One"))

    playing = beside(cli, play)
    said = cli("run", "Add a theme", "-p", project, "--wait")
    playing.join()
    assert said.code == 7
    assert "run_next_step" in said.err
    assert "planned" in said.out


def test_the_open_runs_are_shown_with_how_they_stand(cli: Line, project: int) -> None:
    run = cli.do(cli.house.planned(project))
    ended = cli.do(cli.house.planned(project))
    cli.told("cancel", ended)
    told = cli.told("status", "-p", project)
    assert "0001-add-a-dark-theme" in told
    assert "planned" in told
    assert "cancelled" not in told
    assert "cancelled" in cli.told("status", "-p", project, "--all")
    assert cli.json("status", "-p", project) == [cli.get(f"/protocols/{run}")]


def test_where_no_run_is_open_one_sentence_says_so(cli: Line, project: int) -> None:
    assert cli.told("status", "-p", project) == "No run is open; `--all` shows those that have ended.\n"
    assert cli.told("status", "-p", project, "--all") == "No run yet: `deksdenflow run`.\n"
    assert cli.json("status", "-p", project) == []


def test_the_newest_open_run_is_meant_where_none_is_named_else_the_newest(
    cli: Line, project: int, name: str, tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", f"git@github.com:acme/{name}.git"], check=True)
    assert "there is no protocol run yet" in one_line(cli("explain"), 2)
    runs = [cli.do(cli.house.protocol(project)) for _ in range(3)]
    cli.do(cli.house.protocol(cli.do(cli.house.project(f"{name}-beside"))))
    cli.told("cancel", runs[2])
    assert cli.json("start")["id"] == runs[1]
    assert [each["id"] for each in cli.json("status")] == runs[:2]
    for run in runs[:2]:
        cli.told("cancel", run)
    assert "cancelled" in one_line(cli("start"), 4)
    assert [each["id"] for each in cli.json("status", "--all")] == runs


def test_one_run_is_shown_with_its_steps_tokens_and_progress(cli: Line, project: int) -> None:
    run, _ = cli.do(cli.house.executed(project))
    told = cli.told("status", run)
    assert f"{run}  0001-add-a-dark-theme  running" in told
    assert "✔ plan  2 steps" in told
    assert "• 1  One  awaiting_gates · aaaaaaaa" in told
    assert "110 tokens" in told
    assert "0 of 2 steps" in told
    shown = cli.json("status", run)
    assert shown["protocol"] == cli.get(f"/protocols/{run}")
    assert shown["steps"] == cli.get(f"/protocols/{run}/steps")
    assert [each["job_type"] for each in shown["attempts"]] == ["plan_protocol_job", "execute_step_job"]


def test_a_line_that_stands_is_told_with_the_runs(cli: Line, project: int) -> None:
    cli.told("stop-the-line")
    assert "The line is stopped" in cli.told("status", "-p", project)
    cli.told("start-the-line")
    assert "stopped" not in cli.told("status", "-p", project)


def test_who_watches_is_told_what_happens_until_the_end(cli: Line, project: int) -> None:
    run = cli.do(cli.house.planned(project, "One", policy={"progression": "auto", "auto_qa_after_exec": True}))

    def play() -> None:
        readers(cli, 1)
        cli.do(cli.house.execute())
        cli.do(cli.house.judge("pass"))

    playing = beside(cli, play)
    said = cli("watch", run)
    playing.join()
    assert said.code == 0
    assert "step_started" in said.out
    assert "step 1 One" in said.out
    assert "running → completed" in said.out
    assert "1 of 1 step" in said.out


def test_a_program_that_watches_gets_every_event_as_the_api_tells_it(cli: Line, project: int) -> None:
    run = cli.do(cli.house.planned(project))
    before = len(cli.get(f"/protocols/{run}/events"))

    def play() -> None:
        readers(cli, 1)
        cli.do(cli.house.client.post(f"/protocols/{run}/actions/cancel", headers=ADMIN))

    playing = beside(cli, play)
    said = cli("watch", run, "--json")
    playing.join()
    assert said.code == 6
    told = [json.loads(each) for each in said.out.splitlines()]
    assert told == cli.get(f"/protocols/{run}/events")[::-1][before:]


def test_a_watch_goes_on_over_a_restart_of_the_server(
    tmp_path: Path, redis_url: str, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path / "house", redis_url, free_port) as first:
        cli = Line(first, tmp_path, capsys)
        run = cli.do(first.house.planned(cli.do(first.house.project()), "One", "Two"))
        before = len(cli.get(f"/protocols/{run}/events"))
        said: list[Said] = []
        watching = beside(cli, lambda: said.append(cli("watch", run, "--json")))
        readers(cli, 1)
        cli.do(first.house.client.post(f"/protocols/{run}/actions/pause", headers=ADMIN))
    with serving(tmp_path / "house", redis_url, free_port) as second:
        second.do(second.house.client.post(f"/protocols/{run}/actions/cancel", headers=ADMIN))
        watching.join()
        after = Line(second, tmp_path, capsys).get(f"/protocols/{run}/events")[::-1][before:]
    assert said[0].code == 6
    assert [json.loads(each) for each in said[0].out.splitlines()] == after


def test_off_a_terminal_a_lost_connection_is_told_once_and_once_that_it_is_back(
    tmp_path: Path, redis_url: str, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    def heard(words: str) -> Callable[[], bool]:
        def now() -> bool:
            told.append(capsys.readouterr().err)
            return words in "".join(told)

        return now

    with serving(tmp_path / "house", redis_url, free_port) as first:
        cli = Line(first, tmp_path, capsys)
        run = cli.do(first.house.planned(cli.do(first.house.project()), "One", "Two"))
        cli.do(first.house.client.post(f"/protocols/{run}/actions/run_next_step", headers=ADMIN))
        cli.do(first.house.claim(JobKind.EXECUTE))
        watching = beside(cli, lambda: cli("watch", run))
        readers(cli, 1)
    until(heard("is lost"), within=SOON_S)
    with serving(tmp_path / "house", redis_url, free_port) as second:
        until(heard("is back"), within=SOON_S)
        second.do(second.house.client.post(f"/protocols/{run}/actions/cancel", headers=ADMIN))
        watching.join()
    assert "".join(told).splitlines() == [
        "deksdenflow: the connection is lost; trying again for 60 s",
        "deksdenflow: the connection is back",
    ]
