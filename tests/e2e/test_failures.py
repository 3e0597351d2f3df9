"""What goes wrong: each failure ends in its status and event, says what to do, passes nothing and leaves no process."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import CODEX, answered, conversation, done, open_house, plan, verdict
from tests.e2e.repositories import git, make_origin, names_in

WRITE = {"command": "echo more >> notes.txt"}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return make_origin(tmp_path / "origin.git", {"notes.txt": b"one\n"})


def always(**fault: Any) -> dict[str, Any]:
    return {**fault, "times": "always"}


MODEL_FAULTS = [
    pytest.param(always(error={"status": 401}), "auth", "CODEX_API_KEY", False, id="401"),
    pytest.param(always(error={"status": 429}), "rate_limited", "slow down", True, id="429"),
    pytest.param(always(error={"status": 500}), "upstream", "in trouble", True, id="500"),
    pytest.param(always(garbage="html"), "network", "DEKSDENFLOW_MODEL_BASE_URL", True, id="a web page"),
    pytest.param(always(garbage="not_http"), "network", "DEKSDENFLOW_MODEL_BASE_URL", True, id="no HTTP at all"),
    pytest.param(
        always(hang="after_headers"), "silence", "DEKSDENFLOW_SILENCE_TIMEOUT_S", True, id="nothing but headers"
    ),
    pytest.param(always(hang="before_headers"), "silence", "DEKSDENFLOW_SILENCE_TIMEOUT_S", True, id="nothing"),
]


@pytest.mark.parametrize(("fault", "category", "advice", "retried"), MODEL_FAULTS)
async def test_a_model_that_fails_while_planning_blocks_the_protocol_and_says_what_to_do(
    tmp_path: Path, origin: Path, fault: dict[str, Any], category: str, advice: str, retried: bool
) -> None:
    async with open_house(tmp_path, conversation("plan", fault), SILENCE_TIMEOUT_S="1.5") as house:
        run = await house.planned(await house.register(origin))
        assert (run["status"], run["reason"]) == ("blocked", "plan_failed")
        assert run["allowed_actions"]
        failed = await house.event(run["id"], "job_failed")
        assert failed["metadata"]["category"] == category
        assert advice in failed["metadata"]["message"]
        assert (await house.event(run["id"], "planning_failed"))["to_status"] == "blocked"
        types = [event["event_type"] for event in await house.events(run["id"])]
        assert ("job_retry_scheduled" in types) is retried
        assert await house.steps(run["id"]) == []
        assert git(origin, "branch", "--list").split() == ["*", "main"]


async def test_a_model_that_refuses_the_key_fails_the_step_and_blocks_the_protocol(
    tmp_path: Path, origin: Path
) -> None:
    fault = conversation("execute step 01", always(error={"status": 401}))
    async with open_house(tmp_path, fault) as house:
        run = await house.with_steps(await house.register(origin), "Write")
        step = await house.execute((await house.steps(run["id"]))[0]["id"])
        assert (step["status"], step["reason"]) == ("failed", "auth")
        assert "CODEX_API_KEY" in (await house.event(run["id"], "step_failed"))["metadata"]["message"]
        run = await house.get(f"/protocols/{run['id']}")
        assert (run["status"], run["reason"]) == ("blocked", "step_failed")


async def test_a_step_that_failed_for_a_passing_reason_is_tried_again_from_a_clean_worktree(
    tmp_path: Path, origin: Path
) -> None:
    first = conversation("execute step 01", WRITE, always(error={"status": 500}))
    first["match"]["nth"] = 1
    async with open_house(tmp_path, first, answered("execute step 01", done(), WRITE)) as house:
        run = await house.with_steps(await house.register(origin), "Write")
        step = await house.execute((await house.steps(run["id"]))[0]["id"])
        assert step["status"] == "needs_qa"
        assert (await house.event(run["id"], "job_retry_scheduled"))["reason"] == "upstream"
        assert git(origin, "show", f"{step['head_sha']}:notes.txt") == "one\nmore\n"


async def test_qa_that_cannot_be_asked_is_no_pass(tmp_path: Path, origin: Path) -> None:
    broken = conversation("qa step 01", always(error={"status": 401}))
    async with open_house(tmp_path, answered("execute step 01", done(), WRITE), broken) as house:
        run = await house.with_steps(await house.register(origin), "Write")
        step = await house.execute((await house.steps(run["id"]))[0]["id"])
        step = await house.judge(step["id"])
        assert (step["status"], step["phase"], step["reason"]) == ("needs_qa", "inconclusive", "auth")
        run = await house.get(f"/protocols/{run['id']}")
        assert (run["status"], run["reason"]) == ("blocked", "qa_unavailable")
        assert "CODEX_API_KEY" in (await house.event(run["id"], "qa_inconclusive"))["metadata"]["message"]


VERDICTLESS = [
    pytest.param({"message": "Looks good to me, I would say pass."}, id="prose"),
    pytest.param({"answer": {key: value for key, value in verdict().items() if key != "verdict"}}, id="no verdict"),
    pytest.param({"answer": verdict("perhaps")}, id="another word"),
]


@pytest.mark.parametrize("turn", VERDICTLESS)
async def test_a_qa_answer_without_a_verdict_asked_twice_is_inconclusive_and_never_a_pass(
    tmp_path: Path, origin: Path, turn: dict[str, Any]
) -> None:
    qa = conversation("qa step 01", turn, repeat=True)
    async with open_house(tmp_path, answered("execute step 01", done(), WRITE), qa) as house:
        run = await house.with_steps(await house.register(origin), "Write")
        step = await house.execute((await house.steps(run["id"]))[0]["id"])
        step = await house.judge(step["id"])
        assert (step["status"], step["phase"], step["qa_asks"]) == ("needs_qa", "inconclusive", 2)
        gates = await house.get(f"/steps/{step['id']}/gates")
        assert [(gate["name"], gate["state"]) for gate in gates] == [("qa", "inconclusive")]
        assert "approve or reject" in (await house.event(run["id"], "qa_inconclusive"))["metadata"]["message"]
        assert len(house.model.requests) == 4


async def test_a_verdict_that_comes_with_the_second_ask_counts(tmp_path: Path, origin: Path) -> None:
    qa = conversation("qa step 01", {"message": "pass"}, {"answer": verdict()})
    async with open_house(tmp_path, answered("execute step 01", done(), WRITE), qa) as house:
        run = await house.with_steps(await house.register(origin), "Write")
        step = await house.execute((await house.steps(run["id"]))[0]["id"])
        assert (await house.judge(step["id"]))["status"] == "completed"


async def test_a_red_verdict_fails_the_step(tmp_path: Path, origin: Path) -> None:
    judged = answered("qa step 01", verdict("fail"))
    async with open_house(tmp_path, answered("execute step 01", done(), WRITE), judged) as house:
        run = await house.with_steps(await house.register(origin), "Write")
        step = await house.execute((await house.steps(run["id"]))[0]["id"])
        step = await house.judge(step["id"])
        assert (step["status"], step["reason"]) == ("failed", "qa_failed")
        assert (await house.get(f"/protocols/{run['id']}"))["status"] == "blocked"


async def test_an_execution_that_changes_nothing_fails_the_step(tmp_path: Path, origin: Path) -> None:
    async with open_house(tmp_path, answered("execute step 01", done(), {"command": "true"})) as house:
        run = await house.with_steps(await house.register(origin), "Write")
        step = await house.execute((await house.steps(run["id"]))[0]["id"])
        assert (step["status"], step["reason"], step["executions"]) == ("failed", "no_changes", 0)
        changed = await house.event(run["id"], "no_changes")
        assert (changed["from_status"], changed["to_status"]) == ("running", "failed")
        run = await house.get(f"/protocols/{run['id']}")
        assert (run["status"], run["reason"]) == ("blocked", "step_failed")


BAD_PLANS = [
    pytest.param({"message": "{not json"}, id="no JSON"),
    pytest.param({"answer": plan()}, id="no step"),
    pytest.param({"answer": plan(*(f"Step {number}" for number in range(300)))}, id="300 steps"),
    pytest.param({"answer": plan("One", file="../../x")}, id="a field of its own"),
]


@pytest.mark.parametrize("turn", BAD_PLANS)
async def test_a_plan_that_is_not_accepted_twice_blocks_the_protocol(
    tmp_path: Path, origin: Path, turn: dict[str, Any]
) -> None:
    async with open_house(tmp_path, conversation("plan", turn, repeat=True)) as house:
        run = await house.planned(await house.register(origin))
        assert (run["status"], run["reason"]) == ("blocked", "plan_failed")
        failed = await house.event(run["id"], "planning_failed")
        assert failed["metadata"]["cause"] == "plan_invalid"
        assert "not accepted" in failed["metadata"]["message"]
        assert await house.steps(run["id"]) == []
        assert len(house.model.requests) == 2


async def test_a_plan_whose_titles_are_paths_stays_in_the_protocols_folder(tmp_path: Path, origin: Path) -> None:
    bad = plan("../../x", "/etc/passwd", "..", "a/b\\c", "-rf")
    async with open_house(tmp_path, answered("plan", bad)) as house:
        run = await house.planned(await house.register(origin), protocol_name="0001-paths")
        assert run["status"] == "planned"
        files = names_in(origin, "0001-paths") - {"notes.txt"}
        folders = {name.rpartition("/")[0] for name in files}
        assert folders == {".protocols/0001-paths"}
        assert {"01-x.md", "02-etc-passwd.md", "04-a-b-c.md"} <= {name.rpartition("/")[2] for name in files}


async def test_without_codex_planning_fails_and_says_how_to_install_it(tmp_path: Path, origin: Path) -> None:
    async with open_house(tmp_path, answered("plan", plan("One")), CODEX_BIN="/nonexistent/codex") as house:
        run = await house.planned(await house.register(origin))
        assert (run["status"], run["reason"]) == ("blocked", "plan_failed")
        failed = await house.event(run["id"], "job_failed")
        assert failed["metadata"]["category"] == "codex_missing"
        assert "pip install" in failed["metadata"]["message"]
        assert house.model.requests == []


async def test_without_a_sandbox_nothing_runs_and_the_message_says_what_to_do(tmp_path: Path, origin: Path) -> None:
    codex = tmp_path / "codex-without-sandbox"
    codex.write_text(
        '#!/bin/sh\n[ "$1" = sandbox ] && echo "bwrap: Creating new namespace failed: Operation not permitted" >&2'
        f' && exit 1\nexec {CODEX} "$@"\n'
    )
    codex.chmod(0o755)
    settings = {"CODEX_BIN": str(codex), "CODEX_SANDBOX": "required"}
    async with open_house(tmp_path, answered("plan", plan("One")), **settings) as house:
        run = await house.planned(await house.register(origin))
        assert (run["status"], run["reason"]) == ("blocked", "plan_failed")
        failed = await house.event(run["id"], "job_failed")
        assert failed["metadata"]["category"] == "sandbox_missing"
        assert "DEKSDENFLOW_CODEX_SANDBOX=off" in failed["metadata"]["message"]
        assert house.model.requests == []


async def test_a_blocked_plan_can_be_started_again(tmp_path: Path, origin: Path) -> None:
    first = conversation("plan", always(error={"status": 401}))
    first["match"]["nth"] = 1
    async with open_house(tmp_path, first, answered("plan", plan("One"))) as house:
        run = await house.planned(await house.register(origin))
        assert run["status"] == "blocked"
        await house.post(f"/protocols/{run['id']}/actions/start")
        assert (await house.at_rest(run["id"]))["status"] == "planned"


async def test_a_repository_that_is_not_there_fails_the_setup_and_the_planning(tmp_path: Path) -> None:
    async with open_house(tmp_path, answered("plan", plan("One"))) as house:
        project = await house.register(tmp_path / "nowhere.git")
        events = await house.get("/events", project_id=project)
        failed = next(event for event in events if event["event_type"] == "job_failed")
        assert failed["metadata"]["category"] == "repository"
        run = await house.planned(project)
        assert (run["status"], run["reason"]) == ("blocked", "plan_failed")
        assert house.model.requests == []
