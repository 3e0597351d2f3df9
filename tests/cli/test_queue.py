"""All work together: the line, the jobs, the deliveries."""

import re

from tests.cli.served import Line, one_line


def test_the_line_is_stopped_and_started(cli: Line) -> None:
    assert re.fullmatch(r"The line is stopped  0 jobs run, [0-9]+ wait\n", cli.told("stop-the-line"))
    assert cli.json("stop-the-line", "--interrupt") == cli.get("/line")
    assert cli.told("start-the-line").startswith("The line is running")
    assert cli.json("start-the-line")["status"] == "running"


def test_jobs_are_listed_and_shown(cli: Line, name: str) -> None:
    project = cli.do(cli.house.project(name))
    run = cli.do(cli.house.planned(project))
    told = cli.told("jobs", "--project", name)
    assert [line.split()[1] for line in told.splitlines()] == ["type", "plan_protocol_job", "setup"]
    assert cli.json("jobs", "-p", name, "--status", "succeeded") == cli.get(f"/queues/jobs?protocol_run_id={run}")
    job = cli.json("jobs", "-p", name, "-n", 1)[0]
    assert f"plan_protocol_job\nstatus    succeeded\nrun       {run}\n" in cli.told("jobs", f"j{job['id']}")
    assert cli.json("jobs", f"j{job['id']}") == job


def test_deliveries_are_listed_shown_and_applied_again(cli: Line, name: str) -> None:
    project = cli.do(cli.house.project(name))
    assert cli.told("deliveries", "-p", name) == "No delivery has come.\n"
    number = cli.do(cli.house.delivery(project_id=project))
    assert f"{number}  github push  ignored · ping" in cli.told("deliveries")
    assert cli.json("deliveries", "--status", "ignored", "-p", name) == cli.get(f"/deliveries?project_id={project}")
    assert "status             ignored · ping" in cli.told("deliveries", number)
    assert cli.json("deliveries", number) == cli.get(f"/deliveries/{number}")
    assert cli.json("deliveries", number, "--replay")["status"] == "received"
    assert "--replay needs the number" in one_line(cli("deliveries", "--replay"), 2)


def test_a_list_is_read_over_several_pages(cli: Line) -> None:
    async def many() -> None:
        for _ in range(520):
            await cli.house.delivery()

    cli.do(many())
    found = [each["id"] for each in cli.json("deliveries", "-n", 510)]
    assert len(set(found)) == 510
    assert found == sorted(found, reverse=True)
