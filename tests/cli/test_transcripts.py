"""What an agent did, as a transcript and as a diff: whole, as it comes, and inert whatever is in it."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from shared.errors import Category
from shared.schemas.reports import Failed, Usage
from shared.schemas.statuses import JobKind
from shared.workflow.jobs import note_attempt
from tests.api.house import WORKER
from tests.cli.served import SOON_S, Line, Said, one_line
from tests.waiting import until

EVENTS = [
    {"type": "thread.started", "thread_id": "t-1"},
    {"type": "item.completed", "item": {"id": "1", "type": "agent_message", "text": "I look first.\nThen I write."}},
    {"type": "item.started", "item": {"id": "2", "type": "command_execution", "command": "ls"}},
    {
        "type": "item.completed",
        "item": {
            "id": "2",
            "type": "command_execution",
            "command": "ls",
            "aggregated_output": "a.py\n\x1b[31mred\x1b[0m\u202e\n",
            "exit_code": 2,
            "status": "completed",
        },
    },
    {
        "type": "item.completed",
        "item": {
            "id": "3",
            "type": "file_change",
            "changes": [{"path": "a.py", "kind": "update"}],
            "status": "completed",
        },
    },
    {"type": "turn.completed", "usage": {"input_tokens": 1200, "output_tokens": 34}},
]
DIFF = "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 1\n+x = '\x1b[2J'\n"


@pytest.fixture
def project(cli: Line, name: str) -> int:
    return cli.do(cli.house.project(name))


def written(events: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(each)}\n" for each in events)


def files(cli: Line, name: str, **texts: str) -> Path:
    folder = cli.house.settings.workspaces_dir / name
    folder.mkdir(parents=True)
    for part, text in texts.items():
        (folder / part.replace("_", ".")).write_text(text)
    return folder


def worked(cli: Line, project: int, name: str) -> int:
    """A run whose first step was executed, with everything that its agent left."""
    run = cli.do(cli.house.planned(project))
    cli.told("next", run)
    files(cli, name, events_jsonl=written(EVENTS), diff_patch=DIFF, branch_patch=DIFF * 2, prompt_md="Do One.\n")
    cli.do(cli.house.execute(directory=name))
    return run


def test_a_transcript_tells_commands_output_patches_messages_and_tokens(cli: Line, project: int, name: str) -> None:
    run = worked(cli, project, name)
    told = cli.told("logs", f"{run}.1")
    for line in (
        "execute_step_job",
        "thread t-1",
        "› I look first.",
        "  Then I write.",
        "$ ls  → exit code 2",
        "  a.py",
        "  \\e[31mred\\e[0m\\u202e",
        "± a.py",
        "tokens: 1,200 in, 34 out",
    ):
        assert f"{line}\n" in told or line in told.split("\n")[0]
    assert told.count("$ ls") == 1


def test_an_answer_that_is_too_deep_to_be_read_is_told_as_it_is(cli: Line, project: int, name: str) -> None:
    run = worked(cli, project, name)
    deep = {"type": "item.completed", "item": {"id": "9", "type": "agent_message", "text": '{"x":' * 3000}}
    with (cli.house.settings.workspaces_dir / name / "events.jsonl").open("a") as file:
        file.write(written([deep]))
    assert '{"x":{"x":' in cli.told("logs", f"{run}.1")


def test_a_transcript_is_one_item_a_line_for_a_program(cli: Line, project: int, name: str) -> None:
    run = worked(cli, project, name)
    attempt = cli.get(f"/protocols/{run}/attempts")[-1]["id"]
    said = cli("logs", f"a{attempt}", "--json")
    items = [json.loads(each) for each in said.out.splitlines()]
    assert {each["attempt_id"] for each in items} == {attempt}
    assert [each["item"]["kind"] for each in items] == ["thread", "message", "command", "command", "patch", "tokens"]


def test_a_file_of_an_attempt_is_shown_as_it_is(cli: Line, project: int, name: str) -> None:
    run = worked(cli, project, name)
    assert cli.told("logs", f"{run}.1", "--part", "prompt") == "Do One.\n\n"
    assert cli.json("logs", f"{run}.1", "--part", "prompt")["text"] == "Do One.\n"
    assert "no stderr" in one_line(cli("logs", f"{run}.1", "--part", "stderr"), 4)


def test_a_run_on_which_nobody_worked_has_no_transcript(cli: Line, project: int) -> None:
    run = cli.do(cli.house.protocol(project))
    said = cli("logs", run)
    assert (said.code, said.out, said.err) == (0, "", "no agent has worked on it yet\n")


def test_a_diff_is_shown_of_a_step_and_of_a_run_and_steers_no_terminal(cli: Line, project: int, name: str) -> None:
    run = worked(cli, project, name)
    told = cli.told("diff", f"{run}.1")
    assert told.startswith("# 1  One\ndiff --git a/a.py b/a.py\n")
    assert "+x = '\\e[2J'" in told
    whole = cli.told("diff", run)
    assert whole.startswith("# 0001-add-a-dark-theme  main...0001-add-a-dark-theme\ndiff --git a/a.py b/a.py\n")
    assert whole.count("+x = '\\e[2J'") == 2
    step, branch = cli.json("diff", f"{run}.1"), cli.json("diff", run)
    assert (step["protocol_run_id"], step["step_run_id"], step["diff"]) == (
        run,
        cli.get(f"/protocols/{run}/steps")[0]["id"],
        DIFF,
    )
    assert (branch["step_run_id"], branch["head_sha"], branch["diff"]) == (None, step["head_sha"], DIFF * 2)


def test_a_diff_that_is_longer_than_an_answer_is_whole(cli: Line, project: int, name: str) -> None:
    run = cli.do(cli.house.planned(project))
    cli.told("next", run)
    text = "+äöü\n" * 250_000
    files(cli, name, branch_patch=text)
    cli.do(cli.house.execute(directory=name))
    assert cli.json("diff", run)["diff"] == text


def test_what_nobody_has_worked_on_has_no_diff(cli: Line, project: int) -> None:
    run = cli.do(cli.house.protocol(project))
    assert "has no commit yet" in one_line(cli("diff", run), 4)
    run = cli.do(cli.house.planned(project))
    assert "not executed yet" in one_line(cli("diff", f"{run}.2"), 4)


def test_who_follows_an_agent_hears_it_until_the_run_is_over(cli: Line, project: int, name: str) -> None:
    run = cli.do(cli.house.planned(project))
    cli.told("next", run)
    folder = files(cli, name, events_jsonl=written(EVENTS[:2]))
    claim = cli.do(cli.house.claim(JobKind.EXECUTE))
    job = (claim.job.id, claim.job.token)
    cli.do(cli.house.flow.run(WORKER, note_attempt, *job, Usage(), name))
    said: list[Said] = []
    hearing = threading.Thread(target=lambda: said.append(cli("logs", "-f", f"a{claim.attempt.id}")))  # pyright: ignore[reportOptionalMemberAccess]
    hearing.start()
    until(lambda: cli.house.app.state.feed.readers == 1, within=SOON_S)
    with (folder / "events.jsonl").open("a") as file:
        file.write(written(EVENTS[2:]))
    cli.do(cli.house.end(claim, Failed(category=Category.POLICY, message="It may not.")))
    hearing.join(SOON_S)
    assert said[0].code == 0
    assert said[0].out.index("I look first.") < said[0].out.index("$ ls") < said[0].out.index("tokens: 1,200")


def test_who_follows_a_run_hears_every_agent_that_comes(cli: Line, project: int, name: str) -> None:
    run = cli.do(cli.house.planned(project, "One"))
    files(cli, name, events_jsonl=written(EVENTS))
    said: list[Said] = []
    hearing = threading.Thread(target=lambda: said.append(cli("logs", "--follow", run, "--json")))
    hearing.start()
    until(lambda: cli.house.app.state.feed.readers == 1, within=SOON_S)
    cli.do(_execute(cli, run, name))
    hearing.join(SOON_S)
    kinds = [json.loads(each)["item"]["kind"] for each in said[0].out.splitlines()]
    assert kinds == ["thread", "message", "command", "command", "patch", "tokens"]


async def _execute(cli: Line, run: int, directory: str) -> None:
    headers = {"authorization": cli.house.client.headers.get("authorization", "")} | _admin()
    step = await cli.house.client.post(f"/protocols/{run}/actions/run_next_step", headers=headers)
    await cli.house.execute(directory=directory)
    await cli.house.client.post(f"/steps/{step.json()['id']}/actions/approve", headers=headers)


def _admin() -> dict[str, str]:
    return {"authorization": "Bearer an-admin-token-for-tests-only"}
