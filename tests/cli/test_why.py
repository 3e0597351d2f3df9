"""Why something does not move, and what waits for a person."""

import pytest

from tests.cli.served import Line, one_line


@pytest.fixture
def project(cli: Line, name: str) -> int:
    return cli.do(cli.house.project(name))


def test_it_is_explained_why_a_run_and_a_step_do_not_move(cli: Line, project: int) -> None:
    run, step = cli.do(cli.house.executed(project))
    answer = cli.json("explain", run)
    assert answer == cli.get(f"/protocols/{run}/explain")
    told = cli.told("explain", run)
    assert told.startswith(f"{run}  0001-add-a-dark-theme  running")
    assert answer["because"] in " ".join(told.split())
    assert "waits for       person" in told
    assert answer["if_nobody_acts"] in told
    assert cli.json("explain", f"{run}.1") == cli.get(f"/steps/{step}/explain")
    assert cli.told("explain", f"{run}.1").startswith(f"{run}.1  One  needs_qa")


def test_what_cannot_be_explained_is_wrong_usage(cli: Line) -> None:
    assert "is not a protocol run" in one_line(cli("explain", "j4"), 2)
