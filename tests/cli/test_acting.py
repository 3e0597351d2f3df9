"""Commands that act: each does what its route does, tells it, and says clearly when the server refuses."""

import pytest

from shared.errors import Category
from shared.schemas.reports import Failed
from shared.schemas.statuses import JobKind
from tests.cli.served import Line, one_line


@pytest.fixture
def project(cli: Line, name: str) -> int:
    return cli.do(cli.house.project(name))


def executed(cli: Line, project: int) -> int:
    protocol_id, _ = cli.do(cli.house.executed(project))
    return protocol_id


def step_of(cli: Line, protocol_id: int, index: int = 1) -> dict[str, object]:
    return next(each for each in cli.get(f"/protocols/{protocol_id}/steps") if each["step_index"] == index)


def test_a_step_is_approved_by_the_number_of_its_run(cli: Line, project: int) -> None:
    run = executed(cli, project)
    assert cli.told("approve", run) == f"{run}.1 One: completed · approved\n"
    assert step_of(cli, run)["status"] == "completed"


def test_a_step_is_approved_by_its_own_number_and_told_as_the_api_tells_it(cli: Line, project: int) -> None:
    run = executed(cli, project)
    answer = cli.json("approve", f"{run}.1", "--reason", "Looked at it.")
    assert answer == step_of(cli, run)
    assert answer["reason"] == "approved"


def test_a_step_is_sent_back_with_what_was_found(cli: Line, project: int) -> None:
    run = executed(cli, project)
    assert f"{run}.1 One: pending · queued · rejected" in cli.told("reject", run, "-m", "Keep the alias.")
    assert step_of(cli, run)["feedback"] == "Keep the alias."


def test_a_plan_is_approved_and_sent_back_by_the_same_words(cli: Line, project: int) -> None:
    run, other = (cli.do(cli.house.planned(project, policy={"plan_approval": True})) for _ in range(2))
    assert cli.json("reject", run, "--feedback", "Smaller steps.")["status"] == "planning"
    assert cli.json("approve", other)["phase"] is None


def test_a_failed_step_is_retried(cli: Line, project: int) -> None:
    run = cli.do(cli.house.planned(project))
    cli.told("next", run)
    cli.do(cli.house.fail(JobKind.EXECUTE, Failed(category=Category.POLICY, message="It may not.")))
    assert cli.told("retry", run, "--feedback", "Use the library.") == f"{run}.1 One: pending · queued · retried\n"
    answer = step_of(cli, run)
    assert (answer["feedback"], answer["retries"]) == ("Use the library.", 1)


def test_a_failed_planning_is_retried(cli: Line, project: int) -> None:
    run = cli.do(cli.house.protocol(project))
    assert cli.json("start", run)["status"] == "planning"
    cli.do(cli.house.fail(JobKind.PLAN, Failed(category=Category.PLAN_INVALID, message="No steps.")))
    assert "blocked" in cli.told("status", run)
    assert cli.json("retry", run)["status"] == "planning"


def test_a_step_is_skipped_with_a_reason(cli: Line, project: int) -> None:
    run = cli.do(cli.house.planned(project))
    assert cli.told("skip", f"{run}.2", "-r", "Not needed.") == f"{run}.2 Two: completed · skipped\n"
    assert cli.json("skip", run, "--reason", "Nor this.")["step_index"] == 1


def test_the_next_step_and_its_qa_are_asked_for(cli: Line, project: int) -> None:
    run = cli.do(cli.house.planned(project))
    assert cli.json("next", run)["phase"] == "queued"
    cli.do(cli.house.execute())
    assert "qa_queued" in cli.told("qa", run)
    cli.do(cli.house.judge("pass"))
    assert step_of(cli, run)["status"] == "completed"


def test_a_run_is_paused_resumed_and_cancelled(cli: Line, project: int) -> None:
    run = cli.do(cli.house.planned(project))
    slug = cli.get(f"/protocols/{run}")["protocol_name"]
    assert cli.told("pause", run, "--interrupt") == f"{slug}: paused · operator\n"
    assert cli.json("resume", run) == cli.get(f"/protocols/{run}")
    assert cli.told("cancel", run).startswith(f"{slug}: cancelled")


def test_a_step_and_a_job_are_cancelled(cli: Line, project: int) -> None:
    run = cli.do(cli.house.planned(project))
    assert cli.json("cancel", f"{run}.2")["status"] == "cancelled"
    cli.told("next", run)
    job = cli.get(f"/queues/jobs?protocol_run_id={run}&status=queued")[0]["id"]
    assert cli.told("cancel", f"j{job}").startswith("cancelled")
    assert cli.json("retry", f"j{job}")["status"] == "queued"


def test_a_blocked_run_goes_on_when_somebody_says_so(cli: Line, project: int) -> None:
    run = cli.do(cli.house.planned(project))
    cli.told("next", run)
    cli.do(cli.house.fail(JobKind.EXECUTE, Failed(category=Category.POLICY, message="It may not.")))
    refused = one_line(cli("unblock", run), 4)
    assert "blocked" in refused
    cli.told("retry", run)
    assert cli.get(f"/protocols/{run}")["status"] == "running"


def test_without_a_number_the_newest_open_run_is_meant(cli: Line, project: int) -> None:
    run, ended = executed(cli, project), cli.do(cli.house.planned(project))
    cli.told("cancel", ended)
    assert cli.json("approve")["protocol_run_id"] == run


def test_a_refusal_is_one_line_that_says_what_is_possible_and_the_problem_for_a_program(
    cli: Line, project: int
) -> None:
    run = cli.do(cli.house.planned(project))
    text = one_line(cli("resume", run), 4)
    assert "It is planned now." in text
    assert "Possible: " in text
    said = cli("resume", run, "--json")
    one_line(said, 4)
    assert said.json["type"] == "urn:deksdenflow:problem:wrong-status"
    assert "nothing of it is open for 'approve'" in one_line(cli("approve", run), 4)
    problem = cli("approve", run, "--json").json
    assert (problem["status"], problem["type"]) == (409, "urn:deksdenflow:problem:wrong-status")
    assert problem["allowed_actions"] == cli.get(f"/protocols/{run}")["allowed_actions"]
    assert "step 9" in one_line(cli("approve", f"{run}.9"), 2)
    assert one_line(cli("pause", 10**9), 4).startswith("deksdenflow: Not found.")
