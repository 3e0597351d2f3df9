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


def test_what_waits_for_a_person_is_listed_and_answered(cli: Line, project: int, name: str) -> None:
    assert cli.told("attention", "-p", name) == "Nothing waits for you.\n"
    run, _ = cli.do(cli.house.executed(project))
    found = cli.json("attention", "-p", name)
    assert found == cli.get(f"/attention?project_id={project}")
    (item,) = found
    told = cli.told("attention", "-p", name)
    assert told.startswith(item["title"])
    assert f"{name} / 0001-add-a-dark-theme" in told
    assert f"deksdenflow resolve {item['id']} reject --feedback …\n" in told
    assert "feedback" in one_line(cli("resolve", item["id"], "reject"), 4)
    assert cli.json("resolve", item["id"], "reject", "-m", "Keep it.") == {
        "id": item["id"],
        "action": "reject",
        "settled": True,
    }
    assert cli.get(f"/protocols/{run}/steps")[0]["feedback"] == "Keep it."
    cli.do(cli.house.execute())
    assert cli.told("resolve", item["id"], "approve") == f"{item['id']}: approve: settled\n"
    one_line(cli("resolve", "../protocols", "approve"), 4)
