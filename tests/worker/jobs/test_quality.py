"""QA: a verdict on one commit, that our decoder accepts or nobody believes."""

from pathlib import Path

from tests.e2e.house import addition, answered, conversation, done, verdict
from tests.worker.workshop import open_workshop

EXECUTED = answered("execute step 01", done("greet"), addition("greeting.txt", ["hello"]))


async def test_qa_looks_at_the_commit_in_a_worktree_of_its_own_that_is_gone_afterwards(ground_floor: Path) -> None:
    look = {"command": "pwd; cat greeting.txt; echo graffiti > greeting.txt; git log -1 --format=%H"}
    async with open_workshop(ground_floor, EXECUTED, answered("qa step 01", verdict("pass"), look)) as shop:
        await shop.open("Greet")
        await shop.execute()
        step = await shop.judge()
        assert (step.status, step.reason) == ("completed", "gates_passed")
        (gate,) = await shop.rows("SELECT * FROM gates")
        assert (gate["name"], gate["state"], gate["sha"]) == ("qa", "passed", step.head_sha)
        attempt = (await shop.attempts())[1]
        seen = Path(attempt["directory"], "events.jsonl").read_text()
        assert f"{shop.workspaces}/qa/2\\nhello" in seen
        assert step.head_sha in seen
        assert not list((shop.workspaces / "qa").iterdir())
        assert (shop.worktree / "greeting.txt").read_text() == "hello\n"
        prompt = Path(attempt["directory"], "prompt.md").read_text()
        assert "+hello" in prompt, "the diff is in the prompt"


async def test_a_red_verdict_is_repaired_in_the_thread_of_the_execution_where_the_policy_says_so(
    ground_floor: Path,
) -> None:
    execution = conversation(
        "execute step 01",
        addition("greeting.txt", ["hello"]),
        {"answer": done("greet")},
        {"command": "echo world >> greeting.txt"},
        {"answer": done("greet the world", "fix")},
    )
    red = verdict("fail") | {
        "findings": [{"severity": "blocking", "file": "greeting.txt", "message": "Who is it for?"}]
    }
    first = answered("qa step 01", red)
    first["match"]["nth"] = 1
    async with open_workshop(ground_floor, execution, first, answered("qa step 01", verdict())) as shop:
        await shop.open("Greet", policy={"auto_fix": 1, "auto_qa_after_exec": True})
        step = await shop.execute()
        assert (step.status, step.repairs, step.executions) == ("completed", 1, 2)
        assert shop.subjects()[:2] == ["fix: greet the world [protocol-0001/01]", "feat: greet [protocol-0001/01]"]
        executed = [attempt for attempt in await shop.attempts() if attempt["kind"] == "execute_step_job"]
        assert executed[0]["thread_id"] == executed[1]["thread_id"]
        assert "Who is it for?" in Path(executed[1]["directory"], "prompt.md").read_text()
        judged = (await shop.attempts())[-1]
        assert "+world" in (prompt := Path(judged["directory"], "prompt.md").read_text())
        assert "+hello" in prompt, "QA sees all of the step's work, not the repair alone"


async def test_two_answers_without_a_verdict_are_inconclusive_and_never_a_pass(ground_floor: Path) -> None:
    play = conversation("qa step 01", {"message": "Looks fine, it is a pass!"}, {"answer": {"verdict": "pass"}})
    async with open_workshop(ground_floor, EXECUTED, play) as shop:
        await shop.open("Greet")
        await shop.execute()
        step = await shop.judge()
        assert (step.status, step.phase, step.qa_asks) == ("needs_qa", "inconclusive", 2)
        (gate,) = await shop.rows("SELECT state FROM gates WHERE name = 'qa'")
        assert gate["state"] == "inconclusive"
        assert len(await shop.attempts()) == 2, "that is no reason to try again"


async def test_a_lost_mirror_is_fetched_again(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, EXECUTED, answered("qa step 01", verdict())) as shop:
        await shop.open("Greet")
        await shop.execute()
        shop.mirror.rename(ground_floor / "lost")
        assert (await shop.judge()).status == "completed"
