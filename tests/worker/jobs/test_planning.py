"""Planning: the agent's plan becomes steps in the database and files on the branch, in one commit of ours."""

from pathlib import Path

from shared.workflow.protocols import reject_plan, start_protocol
from tests.e2e.house import answered, conversation, plan
from tests.worker.workshop import NAME, open_workshop

FOLDER = f".protocols/{NAME}"


async def test_a_plan_becomes_steps_and_files_on_the_branch_in_one_commit_at_the_origin(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, answered("plan", plan("Fix it", "Ünïcode & more"))) as shop:
        await shop.open(plan=True)
        await shop.work()
        protocol = await shop.protocol()
        assert (protocol.status, protocol.plan_revision, protocol.written_revision) == ("planned", 1, 1)
        steps = await shop.rows("SELECT step_index, step_name, file_name, depends_on FROM step_runs ORDER BY id")
        assert [tuple(step.values()) for step in steps] == [
            (1, "Fix it", "01-fix-it.md", "[]"),
            (2, "Ünïcode & more", "02-unicode-more.md", "[1]"),
        ]
        assert [path.removeprefix(f"{FOLDER}/") for path in shop.files() if path.startswith(".protocols/")] == [
            "00-setup.md",
            "01-fix-it.md",
            "02-unicode-more.md",
            "context.md",
            "log.md",
            "plan.md",
        ]
        assert shop.shown(f"{FOLDER}/context.md") == "# Context"
        (commit,) = shop.log(shop.origin.bare, f"main..{NAME}", "%H%n%B")
        sha, subject, *body = commit.splitlines()
        assert sha == protocol.head_sha == protocol.pushed_sha
        assert subject == "docs(protocol): plan [protocol-0001/00]"
        (attempt,) = await shop.attempts()
        assert body[1:] == ["Deksdenflow-Run: 1", "Deksdenflow-Attempt: 1", f"Codex-Thread: {attempt['thread_id']}"]
        assert protocol.start_sha == shop.origin.head("main")
        assert "+# Context" in Path(attempt["directory"], "diff.patch").read_text()
        assert attempt["input_tokens"] > 0


async def test_a_plan_that_is_rejected_is_made_anew_and_leaves_no_file_of_the_old_one(ground_floor: Path) -> None:
    first = answered("plan", plan("Fix it", "Paint it"))
    first["match"]["nth"] = 1
    async with open_workshop(ground_floor, first, answered("plan", plan("Fix it well"))) as shop:
        await shop.open(plan=True, policy={"plan_approval": True})
        await shop.work()
        await shop.call(reject_plan, 1, feedback="One step is enough.")
        await shop.work()
        names = [path.removeprefix(f"{FOLDER}/") for path in shop.files() if path.startswith(".protocols/")]
        assert names == ["00-setup.md", "01-fix-it-well.md", "context.md", "log.md", "plan.md"]
        assert "One step is enough." in Path((await shop.attempts())[1]["directory"], "prompt.md").read_text()
        assert len(shop.subjects()) == 2


async def test_a_plan_that_is_not_accepted_is_asked_for_once_more_in_the_same_thread(ground_floor: Path) -> None:
    circle = plan("Fix it")
    circle["steps"][0]["depends_on"] = [1]
    play = conversation("plan", {"answer": circle}, {"answer": plan("Fix it")})
    async with open_workshop(ground_floor, play) as shop:
        await shop.open(plan=True)
        await shop.work()
        assert (await shop.protocol()).status == "planned"
        (attempt,) = await shop.attempts()
        assert "earlier steps" in Path(attempt["directory"], "again", "prompt.md").read_text()


async def test_a_base_branch_that_is_not_there_blocks_the_protocol_and_names_those_that_are(
    ground_floor: Path,
) -> None:
    async with open_workshop(ground_floor) as shop:
        await shop.open(plan=True)
        await shop.change("UPDATE protocol_runs SET base_branch = 'trunk'")
        await shop.work()
        assert (await shop.protocol()).reason == "plan_failed"
        message = (await shop.event("planning_failed")).metadata["message"]
        assert "trunk" in message
        assert "main" in message
        assert not shop.model.requests, "nobody was paid for it"
        assert not await shop.events("job_retry_scheduled")


async def test_a_plan_that_was_not_accepted_is_no_obstacle_when_the_base_branch_has_moved_on(
    ground_floor: Path,
) -> None:
    async with open_workshop(ground_floor, answered("plan", plan("Fix it"))) as shop:
        await shop.open(plan=True)
        hooks = shop.origin.bare / "refs" / "heads" / f"{NAME}.lock"
        hooks.touch()  # the branch cannot be pushed
        for _ in range(3):
            await shop.work()
            shop.pass_time(60)
        assert (await shop.protocol()).reason == "plan_failed"
        hooks.unlink()
        moved = shop.origin.commit({"new.txt": "new\n"})
        await shop.call(start_protocol, 1)
        await shop.work()
        protocol = await shop.protocol()
        assert (protocol.status, protocol.start_sha) == ("planned", moved)
        assert len(shop.subjects()) == 1
