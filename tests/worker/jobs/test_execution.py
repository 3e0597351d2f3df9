"""An execution: what the agent changed becomes exactly one commit of ours, or the reason why not is told."""

import json
from pathlib import Path

from shared.workflow.protocols import run_next_step
from shared.workflow.steps import add_step, approve_step, reject_step, retry_step
from tests.e2e.house import addition, answered, conversation, done
from tests.worker.workshop import NAME, open_workshop

FIRST, SECOND = "execute step 01", "execute step 02"
FOLDER = f".protocols/{NAME}"
HELLO = addition("greeting.txt", ["hello"])


def _total(folder: Path) -> dict[str, int]:
    """What Codex says at the end of a run: the tokens of its whole thread."""
    return json.loads((folder / "events.jsonl").read_text().splitlines()[-1])["usage"]


async def test_what_the_agent_changed_is_one_commit_at_the_origin_that_says_whose_work_it_is(
    ground_floor: Path,
) -> None:
    async with open_workshop(ground_floor, answered(FIRST, done("greet the world"), HELLO)) as shop:
        await shop.open("Greet")
        step = await shop.execute()
        assert (step.status, step.phase) == ("needs_qa", "awaiting_gates")
        head, base = shop.log(shop.origin.bare, f"main..{NAME}", "%H%n%B")
        sha, subject, _, summary, _, *trailers = head.splitlines()
        assert sha == step.head_sha
        assert subject == "feat: greet the world [protocol-0001/01]"
        assert summary == "It is done."
        assert trailers == [
            "Deksdenflow-Run: 1",
            "Deksdenflow-Step: 1",
            "Deksdenflow-Attempt: 1",
            f"Codex-Thread: {step.thread_id}",
        ]
        assert "Deksdenflow-Step" not in base, "the plan is nobody's step"
        assert shop.shown("greeting.txt") == "hello"
        assert "## 01 Greet" in shop.shown(f"{FOLDER}/log.md")
        assert "It is done." in shop.shown(f"{FOLDER}/log.md")
        names = {path.removeprefix(f"{FOLDER}/") for path in shop.files() if path.startswith(FOLDER)}
        assert names == {"plan.md", "context.md", "log.md", "00-setup.md", "01-greet.md"}


async def test_an_attempt_keeps_what_was_asked_said_and_changed_and_what_it_cost(ground_floor: Path) -> None:
    usage = {"input_tokens": 100, "cached_input_tokens": 40, "output_tokens": 7, "reasoning_output_tokens": 3}
    play = conversation(FIRST, {**HELLO, "usage": usage}, {"answer": done(), "usage": usage})
    async with open_workshop(ground_floor, play) as shop:
        await shop.open("Greet")
        step = await shop.execute()
        (attempt,) = await shop.attempts()
        assert attempt["state"] == "succeeded"
        assert attempt["head_sha"] == step.head_sha == (await shop.protocol()).pushed_sha
        assert attempt["thread_id"] == step.thread_id
        assert attempt["exit_code"] == 0
        assert (attempt["input_tokens"], attempt["cached_input_tokens"]) == (200, 80)
        assert (attempt["output_tokens"], attempt["reasoning_output_tokens"]) == (14, 6)
        folder = Path(attempt["directory"])
        assert "DeksdenFlow request: execute step 01" in (folder / "prompt.md").read_text()
        assert json.loads((folder / "events.jsonl").read_text().splitlines()[0])["thread_id"] == step.thread_id
        diff, branch = (folder / "diff.patch").read_text(), (folder / "branch.patch").read_text()
        assert "+hello" in diff
        assert "+hello" in branch
        assert "/plan.md" in branch
        assert "/plan.md" not in diff
        completed = (await shop.event("step_completed")).metadata
        assert (completed["stage"], completed["files"], completed["additions"]) == ("executed", 1, 1)
        assert completed["sha"] == step.head_sha


async def test_the_thread_of_a_step_is_known_while_its_agent_is_still_at_work(ground_floor: Path) -> None:
    play = conversation(FIRST, {"command": "until test -e go-on; do sleep 0.05; done"}, {"answer": done()})
    async with open_workshop(ground_floor, play) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        async with shop.working():
            step = await shop.until("SELECT * FROM step_runs WHERE thread_id IS NOT NULL")
            (attempt,) = await shop.attempts()
            assert (step["status"], attempt["state"]) == ("running", "running")
            assert attempt["thread_id"] == step["thread_id"]
            (shop.worktree / "go-on").touch()


async def test_secrets_do_not_get_into_the_diff_that_is_kept(ground_floor: Path) -> None:
    play = answered(FIRST, done(), addition("notes.txt", ["the key is sk-live-0123456789abcdef0123456789"]))
    async with open_workshop(ground_floor, play) as shop:
        await shop.open("Note")
        await shop.execute()
        folder = Path((await shop.attempts())[0]["directory"])
        assert "+the key is ***" in (folder / "diff.patch").read_text()
        assert "+the key is ***" in (folder / "branch.patch").read_text()


async def test_what_the_agent_did_to_the_plan_is_put_back_and_told(ground_floor: Path) -> None:
    meddle = f"cd {FOLDER}; echo mine > plan.md; rm 01-greet.md; echo mine > log.md; echo learnt > context.md"
    async with open_workshop(ground_floor, answered(FIRST, done(), {"command": meddle}, HELLO)) as shop:
        await shop.open("Greet")
        await shop.execute()
        assert "# 0001-do-it" in shop.shown(f"{FOLDER}/plan.md")
        assert "# 01 Greet" in shop.shown(f"{FOLDER}/01-greet.md")
        assert "mine" not in shop.shown(f"{FOLDER}/log.md")
        assert shop.shown(f"{FOLDER}/context.md") == "learnt", "the context is the agents' own"
        restored = (await shop.event("step_completed")).metadata["restored"]
        assert restored == [f"{FOLDER}/01-greet.md", f"{FOLDER}/log.md", f"{FOLDER}/plan.md"]


async def test_who_only_writes_below_the_protocols_has_changed_nothing(ground_floor: Path) -> None:
    scribble = {"command": f"echo learnt > {FOLDER}/context.md; echo more > {FOLDER}/extra.md"}
    async with open_workshop(ground_floor, answered(FIRST, done(), scribble)) as shop:
        await shop.open("Greet")
        step = await shop.execute()
        assert (step.status, step.reason, step.head_sha) == ("failed", "no_changes", None)
        assert (await shop.protocol()).status == "blocked"
        assert await shop.events("no_changes")
        assert (await shop.attempts())[0]["state"] == "succeeded"
        assert not shop.origin.head(NAME)


async def test_what_may_not_enter_the_repository_fails_the_step_with_the_list_and_is_not_tried_again(
    ground_floor: Path,
) -> None:
    smuggle = {"command": "ln -s /etc/passwd users; git init -q nested; touch nested/file; echo fine > fine.txt"}
    async with open_workshop(ground_floor, answered(FIRST, done(), smuggle)) as shop:
        await shop.open("Greet")
        step = await shop.execute()
        assert (step.status, step.reason) == ("failed", "policy")
        message = (await shop.event("step_failed")).metadata["message"]
        assert "users: it is a symbolic link that leads out of the repository" in message
        assert "nested/: it is a repository of its own" in message
        assert "fine.txt" not in message
        assert len(await shop.attempts()) == 1
        assert not shop.origin.head(NAME)


async def test_steps_that_prepare_or_check_are_accepted_without_a_change_as_one_commit_each(
    ground_floor: Path,
) -> None:
    plays = [answered(FIRST, done("prepare", "chore")), answered(SECOND, done("check", "test"))]
    async with open_workshop(ground_floor, *plays) as shop:
        await shop.open("Prepare", step_type="setup")
        await shop.call(add_step, 1, step_name="Check", step_type="qa")
        assert (await shop.execute()).status == "needs_qa"
        await shop.call(approve_step, 1)
        step = await shop.execute()
        assert step.status == "needs_qa"
        assert shop.subjects() == [
            "test: check [protocol-0001/02]",
            "chore: prepare [protocol-0001/01]",
            "docs(protocol): plan revision 2 [protocol-0001/00]",
        ]
        changed = await shop.doors.git.diff_stat(1, step.start_sha or "", step.head_sha or "")
        assert [file.path for file in changed] == [f"{FOLDER}/log.md"]
        assert "## 02 Check" in shop.shown(f"{FOLDER}/log.md")


async def test_an_answer_that_is_not_accepted_is_asked_for_once_more_in_the_same_thread(ground_floor: Path) -> None:
    play = conversation(FIRST, HELLO, {"message": "Done!"}, {"answer": done("greet")})
    async with open_workshop(ground_floor, play) as shop:
        await shop.open("Greet")
        step = await shop.execute()
        assert step.status == "needs_qa"
        (attempt,) = await shop.attempts()
        folder = Path(attempt["directory"])
        again = (folder / "again" / "prompt.md").read_text()
        assert "The answer was not accepted" in again
        assert attempt["thread_id"] == step.thread_id
        assert attempt["input_tokens"] == _total(folder / "again")["input_tokens"], "each ask counts, once"


async def test_a_second_answer_that_is_not_accepted_either_fails_the_step_for_good(ground_floor: Path) -> None:
    play = conversation(FIRST, HELLO, {"message": "Done!"}, {"answer": {"summary": "Done!"}})
    async with open_workshop(ground_floor, play) as shop:
        await shop.open("Greet")
        step = await shop.execute()
        assert (step.status, step.reason) == ("failed", "bad_output")
        assert len(await shop.attempts()) == 1
        assert not await shop.events("job_retry_scheduled")
        assert not shop.origin.head(NAME)


async def test_a_step_that_was_added_later_is_in_the_plan_on_the_branch_before_its_agent_starts(
    ground_floor: Path,
) -> None:
    look = {"command": f"cp {FOLDER}/02-wave.md seen.txt"}
    first = answered(FIRST, done("greet"), {"command": f"echo learnt > {FOLDER}/context.md"}, HELLO)
    async with open_workshop(ground_floor, first, answered(SECOND, done("wave"), look)) as shop:
        await shop.open("Greet")
        await shop.execute()
        await shop.call(add_step, 1, step_name="Wave", instructions="Wave to them.")
        await shop.call(approve_step, 1)
        step = await shop.execute()
        assert step.status == "needs_qa"
        assert shop.subjects() == [
            "feat: wave [protocol-0001/02]",
            "docs(protocol): plan revision 2 [protocol-0001/00]",
            "feat: greet [protocol-0001/01]",
            "docs(protocol): plan revision 1 [protocol-0001/00]",
        ]
        assert shop.shown("seen.txt") == "# 02 Wave\n\nWave to them."
        assert "02-wave.md" in shop.shown(f"{FOLDER}/plan.md")
        assert shop.shown(f"{FOLDER}/context.md") == "learnt", "what steps have learnt is kept"
        assert step.start_sha == shop.log(shop.origin.bare, NAME, "%H")[1].strip()


async def test_a_rejected_step_goes_on_in_its_thread_with_the_feedback_and_makes_a_commit_of_its_own(
    ground_floor: Path,
) -> None:
    play = conversation(
        FIRST,
        HELLO,
        {"answer": done("greet")},
        {"command": "echo hi >> greeting.txt"},
        {"answer": done("shout", "fix")},
    )
    async with open_workshop(ground_floor, play) as shop:
        await shop.open("Greet")
        before = await shop.execute()
        await shop.call(reject_step, 1, feedback="Say hi as well.")
        await shop.work()
        step = await shop.step()
        assert (step.status, step.executions) == ("needs_qa", 2)
        assert step.thread_id == before.thread_id
        assert shop.subjects()[:2] == ["fix: shout [protocol-0001/01]", "feat: greet [protocol-0001/01]"]
        first, second = await shop.attempts()
        assert "Say hi as well." in Path(second["directory"], "prompt.md").read_text()
        total = _total(Path(second["directory"]))
        assert first["input_tokens"] + second["input_tokens"] == total["input_tokens"], "an attempt counts its own"


async def test_a_fresh_retry_starts_a_new_thread_on_what_was_accepted(ground_floor: Path) -> None:
    first = answered(FIRST, done("greet"), HELLO)
    first["match"]["nth"] = 1
    again = answered(FIRST, done("again"), {"command": "cp greeting.txt copy.txt"})
    async with open_workshop(ground_floor, first, again) as shop:
        await shop.open("Greet")
        before = await shop.execute()
        await shop.call(retry_step, 1, fresh=True, feedback="Copy it.")
        await shop.work()
        step = await shop.step()
        assert step.status == "needs_qa"
        assert step.thread_id != before.thread_id
        assert shop.shown("copy.txt") == "hello"
        assert [attempt["thread_id"] for attempt in await shop.attempts()] == [before.thread_id, step.thread_id]
