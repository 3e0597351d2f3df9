"""Commands of projects, and the project that a folder's repository chooses."""

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from shared.errors import Category
from shared.schemas.reports import Failed, SetupDone
from shared.schemas.statuses import JobKind
from tests.cli.served import SOON_S, Line, one_line
from tests.waiting import until


def repository(folder: Path, origin: str) -> Path:
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run(["git", "-C", folder, "remote", "add", "origin", origin], check=True)
    return folder


def test_a_project_is_registered_listed_and_shown(cli: Line, name: str) -> None:
    url = f"https://github.com/acme/{name}.git"
    told = cli.told("project", "add", url, "--model", "gpt-5.5", "--base-branch", "trunk", "--forge", "github")
    assert name in told
    assert "trunk" in told
    assert url in cli.told("project", "list")
    project = next(each for each in cli.json("project", "list") if each["name"] == name)
    assert project["default_models"] == {"planning": "gpt-5.5", "exec": "gpt-5.5", "qa": "gpt-5.5"}
    assert cli.json("project", "show", name) == cli.json("project", "show", project["id"]) == project
    assert "setup        queued" in cli.told("project", "show", name)


def test_a_project_that_was_registered_wrongly_is_set_right(cli: Line, name: str) -> None:
    added = cli.json("project", "add", f"https://github.com/acme/{name}.git", "--base-branch", "mian")
    cli.do(cli.house.end(cli.do(cli.house.claim(JobKind.SETUP)), Failed(category=Category.REPOSITORY, message="No.")))
    assert cli.json("project", "show", name)["setup"]["status"] == "failed"
    told = cli.json("project", "change", name, "--base-branch", "main", "--name", f"{name}-2")
    assert (told["id"], told["name"], told["base_branch"]) == (added["id"], f"{name}-2", "main")
    assert (told["git_url"], told["setup"]["status"]) == (added["git_url"], "queued")
    assert "--base-branch" in one_line(cli("project", "change", f"{name}-2"), 2)


def test_a_project_that_is_there_already_is_refused_and_told_as_json_on_wish(cli: Line, name: str) -> None:
    added = cli.json("project", "add", f"https://github.com/acme/{name}.git")
    assert added == cli.get(f"/projects/{added['id']}")
    assert name in one_line(cli("project", "add", f"https://github.com/acme/{name}.git"), 4)


@pytest.mark.parametrize(
    "form", ["https://github.com/acme/{}.git", "git@github.com:acme/{}.git", "ssh://git@github.com/Acme/{}"]
)
def test_the_origin_of_the_folder_chooses_the_project(cli: Line, name: str, form: str) -> None:
    cli.do(cli.house.project(name))
    cli.do(cli.house.project(f"{name}-other"))
    repository(cli.folder, form.format(name))
    assert cli.json("project", "show")["name"] == name


def test_the_folders_own_origin_is_registered_when_none_is_named(cli: Line, name: str) -> None:
    repository(cli.folder, f"git@github.com:acme/{name}.git")
    assert cli.json("project", "add")["git_url"] == f"git@github.com:acme/{name}.git"
    assert cli.json("project", "show")["name"] == name


@pytest.mark.parametrize(
    ("ending", "code", "word"),
    [
        (SetupDone(base_sha="0" * 40, default_branch="main"), 0, "succeeded"),
        (Failed(category=Category.REPOSITORY, message="There is no branch main."), 1, "There is no branch main."),
    ],
)
def test_who_waits_for_a_setup_is_told_how_it_went(cli: Line, name: str, ending: Any, code: int, word: str) -> None:
    def set_up() -> None:
        until(lambda: cli.do(cli.house.rows("SELECT id FROM projects WHERE name = ?", name)), within=SOON_S)
        cli.do(cli.house.end(cli.do(cli.house.claim(JobKind.SETUP)), ending))

    worker = threading.Thread(target=set_up)
    worker.start()
    said = cli("project", "add", f"https://github.com/acme/{name}.git", "--wait")
    worker.join()
    assert said.code == code
    assert word in said.out


def test_a_folder_without_a_project_is_told_what_to_do(cli: Line, name: str) -> None:
    cli.do(cli.house.project(name))
    cli.do(cli.house.project(f"{name}-other"))
    assert "--project" in one_line(cli("project", "show"), 2)
    assert "no project 'nobody'" in one_line(cli("run", "Task", "-p", "nobody"), 2)
    assert "no git repository" in one_line(cli("project", "add"), 2)
