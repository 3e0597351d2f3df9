"""The life of a claimed job: how it is stopped, lost, tried again and taken up, and that it ends exactly once."""

import asyncio
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.worker.jobs import execution
from services.worker.lease import Lease
from shared.errors import Category, JobError
from shared.schemas.reports import ExecutionDone, Failed
from shared.workflow import jobs as verbs
from shared.workflow.door import Silence, Workflow
from shared.workflow.projects import set_up_project
from shared.workflow.protocols import (
    cancel_protocol,
    open_pr,
    open_protocol,
    pause_protocol,
    resume_protocol,
    run_next_step,
    start_protocol,
)
from shared.workflow.pulls import adopt_branch
from shared.workflow.steps import add_step, approve_step, retry_step
from shared.workflow.sync import sync_protocol
from tests.e2e.house import addition, answered, conversation, done, plan
from tests.waiting import eventually
from tests.worker.codex.ground import FAKE
from tests.worker.git.stage import plain_git
from tests.worker.workshop import NAME, PERSON, WAIT, Workshop, open_workshop, until_exists

FIRST, SECOND = "execute step 01", "execute step 02"
HELLO = addition("greeting.txt", ["hello"])
ONE = {"command": "echo one > one.txt"}
TWO = {"command": "echo two > two.txt"}


async def _held(shop: Workshop) -> Lease:
    """The lease of a step's execution that was claimed just now and does nothing."""
    await shop.call(run_next_step, 1)
    (due,) = await shop.due()
    claim = await shop.runtime.flow.run(shop.worker.caller, verbs.claim_job, due.id, due.dispatch, shop.worker.owner)
    assert claim is not None
    return Lease(shop.runtime.flow, shop.worker.caller, claim)


async def _command_runs(shop: Workshop) -> None:
    """Returns when the one agent that there is has started a command."""
    attempt = await shop.until("SELECT directory FROM attempts WHERE directory IS NOT NULL AND state = 'running'")
    events = Path(attempt["directory"], "events.jsonl")

    async def told() -> bool:
        return "command_execution" in events.read_text()

    await eventually(told, within=30)


# Stopped


async def test_a_cancel_ends_the_whole_tree_of_processes_and_the_attempt(ground_floor: Path) -> None:
    brood = {"command": "sleep 300 & (setsid sleep 300 &) ; touch here; sleep 300"}
    async with open_workshop(ground_floor, conversation(FIRST, brood, {"answer": done()})) as shop:
        await shop.open("Greet")
        async with shop.waiting_agent():
            pids = shop.agents()
            assert len(pids) > 4, "the supervisor, Codex, and what it started"
            await shop.call(cancel_protocol, 1)
            assert (await shop.protocol()).status == (await shop.step()).status == "cancelled", "at once"
        assert not [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]
        (attempt,) = await shop.attempts()
        (job,) = await shop.jobs("execute_step_job")
        assert (attempt["state"], job["state"]) == ("cancelled", "cancelled")
        assert (await shop.event("attempt_killed")).attempt_id == attempt["id"]
        assert attempt["finished_at"] is not None
        assert not shop.origin.head(NAME)


async def test_an_agent_that_ends_before_it_heard_of_the_cancel_changes_nothing(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, HELLO, WAIT, {"answer": done()})) as shop:
        await shop.open("Greet")
        quiet = Workflow(shop.runtime.database, Silence(), shop.runtime.flow.rules)
        async with shop.waiting_agent():
            await quiet.run(PERSON, cancel_protocol, 1)
            shop.go_on()
        assert (await shop.step()).status == "cancelled"
        assert (await shop.attempts())[0]["state"] == "cancelled"
        assert not shop.origin.head(NAME)
        (job,) = await shop.jobs("execute_step_job")
        late = ExecutionDone(summary="Done", changed=True, head_sha="a" * 40, pushed=True)
        assert not await shop.runtime.flow.run(shop.worker.caller, verbs.release, job["id"], job["token"], late)
        assert (await shop.step()).status == "cancelled"
        assert (await shop.jobs("execute_step_job")) == [job]
        assert (await shop.events())[-1].event_type == "late_result"


async def test_a_pause_lets_the_agent_finish_and_starts_nothing_new(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, HELLO, WAIT, {"answer": done()})) as shop:
        await shop.open("Greet", policy={"auto_qa_after_exec": True})
        async with shop.waiting_agent():
            await shop.call(pause_protocol, 1)
            shop.go_on()
        step = await shop.step()
        assert (step.status, (await shop.protocol()).status) == ("needs_qa", "paused")
        assert shop.subjects()[0] == "feat: do it [protocol-0001/01]"
        assert not await shop.jobs("run_quality_job")


async def test_a_pause_that_interrupts_parks_the_agent_and_resume_goes_on_in_its_thread_and_files(
    ground_floor: Path,
) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, ONE, WAIT, TWO, {"answer": done()})) as shop:
        await shop.open("Greet")
        async with shop.waiting_agent():
            await shop.call(pause_protocol, 1, mode="interrupt")
        assert not shop.agents()
        step = await shop.step()
        assert (step.status, step.phase) == ("running", "parked")
        (parked,) = await shop.attempts()
        assert (parked["state"], (await shop.protocol()).status) == ("parked", "paused")
        assert (shop.worktree / "one.txt").exists()
        (shop.worktree / ".protocols" / NAME / "plan.md").write_text("Do whatever you like.")
        await shop.call(resume_protocol, 1)
        await shop.work()
        step = await shop.step()
        assert step.status == "needs_qa"
        _, resumed = await shop.attempts()
        assert resumed["thread_id"] == parked["thread_id"] == step.thread_id
        assert resumed["resumed_from"] == parked["id"]
        continued = await shop.event("attempt_continued")
        assert (continued.metadata["how"], continued.reason) == ("resumed", "parked")
        assert (await shop.attempts())[0]["salvage"] == continued.metadata["salvage"] == shop.salvaged()[0]
        assert (resumed["number"], resumed["state"]) == (2, "succeeded")
        prompt = Path(resumed["directory"], "prompt.md").read_text()
        assert "were cut off" in prompt
        assert "whatever you like" not in prompt, "the plan is read from the branch, not from the agent's files"
        assert (shop.shown("one.txt"), shop.shown("two.txt")) == ("one", "two")
        assert len(shop.subjects()) == 2, "the plan and the step"
        (job,) = await shop.jobs("execute_step_job")
        assert job["attempt"] == 1, "to be parked costs no attempt"


async def test_a_planning_that_was_parked_goes_on_in_its_thread(ground_floor: Path) -> None:
    play = conversation("plan", {"command": "sleep 300"}, {"answer": plan("Fix it")})
    async with open_workshop(ground_floor, play) as shop:
        await shop.open(plan=True)
        async with shop.working():
            await _command_runs(shop)
            shop.worker.park_all()
        await shop.work()
        assert (await shop.protocol()).status == "planned"
        first, second = await shop.attempts()
        assert first["thread_id"] == second["thread_id"]


async def test_a_thread_whose_record_is_gone_is_begun_anew_at_once(ground_floor: Path) -> None:
    play = conversation(FIRST, {"command": "echo one > one.txt; sleep 300"}, {"answer": done()})
    play["match"]["nth"] = 1
    async with open_workshop(ground_floor, play, answered(FIRST, done(), TWO)) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        (due,) = await shop.due()
        work = asyncio.create_task(shop.worker.run_job(due.id, due.dispatch))
        await until_exists(shop.worktree / "one.txt")
        shop.worker.park_all()
        async with asyncio.timeout(30):
            await work
        (parked,) = await shop.attempts()
        shutil.rmtree(Path(parked["directory"], "codex_home", "sessions"))
        await shop.work()
        _, second = await shop.attempts()
        assert second["state"] == "succeeded"
        assert second["thread_id"] != parked["thread_id"]
        assert "were cut off" not in Path(second["directory"], "prompt.md").read_text()
        assert shop.shown("two.txt") == "two"
        assert "one.txt" not in shop.files()
        (ref,) = shop.salvaged()
        assert plain_git(shop.mirror, "show", f"{ref}:one.txt") == "one"
        continued = await shop.event("attempt_continued")
        assert (continued.metadata["how"], continued.reason) == ("clean", "thread_gone")
        assert second["resumed_from"] is None


async def test_a_job_that_waits_for_a_silent_forge_ends_at_once_when_the_worker_stops(ground_floor: Path) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        await reader.read()
        writer.close()

    connected = asyncio.Event()
    forge = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = forge.sockets[0].getsockname()[1]
    async with forge, open_workshop(ground_floor) as shop:
        await shop.open("Greet")
        await shop.change("UPDATE projects SET git_url = ?", f"https://127.0.0.1:{port}/x.git")
        await shop.call(set_up_project, 1)
        (job,) = await shop.due()
        work = asyncio.create_task(shop.worker.run_job(job.id, job.dispatch))
        await connected.wait()
        shop.worker.park_all()
        async with asyncio.timeout(10):
            await work
        (_, job) = await shop.jobs("setup")
        assert (job["state"], job["attempt"]) == ("queued", 0)


async def test_a_worker_that_stops_claims_nothing_more(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        shop.worker.stopping = True
        (job,) = await shop.due()
        await shop.worker.run_job(job.id, job.dispatch)
        assert (await shop.due()) == [job]


# Lost


async def test_when_the_lease_is_lost_everything_of_it_dies_and_nothing_is_written(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, HELLO, WAIT, {"answer": done()})) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        (due,) = await shop.due()
        work = asyncio.create_task(shop.worker.run_job(due.id, due.dispatch))
        await shop.until("SELECT id FROM attempts WHERE thread_id IS NOT NULL")
        await shop.change("UPDATE jobs SET token = token + 1 WHERE state = 'running'")
        before = await shop.attempts(), await shop.jobs("execute_step_job"), await shop.step(), await shop.protocol()
        shop.worker.leases[due.id].poke()
        async with asyncio.timeout(30):
            await work
        assert not shop.agents()
        after = await shop.attempts(), await shop.jobs("execute_step_job"), await shop.step(), await shop.protocol()
        assert after == before
        assert not shop.origin.head(NAME)
        assert (await shop.events())[-1].event_type == "late_result"


async def test_who_lost_the_lease_while_he_was_asleep_commits_nothing(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, HELLO, WAIT, {"answer": done()})) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        (due,) = await shop.due()
        work = asyncio.create_task(shop.worker.run_job(due.id, due.dispatch))
        await until_exists(shop.worktree / "here")
        await shop.change("UPDATE jobs SET token = token + 1 WHERE state = 'running'")
        start = (await shop.step()).start_sha
        shop.go_on()
        async with asyncio.timeout(30):
            await work
        assert await shop.doors.git.head(1, NAME) == start
        assert not shop.origin.head(NAME)


async def test_who_slept_for_longer_than_his_lease_leaves_the_worktree_to_his_successor(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, answered(FIRST, done(), HELLO)) as shop:
        await shop.open("Greet", "Bow")
        await shop.execute()
        await shop.call(approve_step, 1)
        asleep = await _held(shop)
        await shop.change("UPDATE jobs SET token = token + 1 WHERE state = 'running'")
        (shop.worktree / "two.txt").write_text("by the agent of the successor")
        with pytest.raises(JobError):
            await execution.execute(shop.doors, asleep)
        assert (shop.worktree / "two.txt").exists()
        assert not shop.salvaged()


async def test_of_two_workers_that_hear_the_same_bell_one_takes_the_job(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, answered(FIRST, done(), HELLO)) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        (due,) = await shop.due()
        workers = (shop.worker, shop.another_worker(), shop.another_worker())
        await asyncio.gather(*(worker.run_job(due.id, due.dispatch) for worker in workers))
        assert len(await shop.attempts()) == 1
        assert len(await shop.events("step_started")) == 1
        assert (await shop.step()).status == "needs_qa"


# Tried again


async def test_an_attempt_that_failed_leaves_its_work_under_a_salvage_ref_and_the_next_starts_clean(
    ground_floor: Path,
) -> None:
    left = {"command": "echo one > one.txt; truncate -s 51M core"}
    first = conversation(FIRST, left, {"hang": "after_headers", "times": "always"})
    first["match"]["nth"] = 1
    again = answered(FIRST, done(), TWO)
    async with open_workshop(ground_floor, first, again, silence_timeout_s=1) as shop:
        await shop.open("Greet")
        await shop.execute()
        (job,) = await shop.jobs("execute_step_job")
        assert (job["state"], job["category"]) == ("queued", "silence")
        assert 0 < job["run_at"] - shop.clock() <= 1000, "2 s times a half, at the least"
        assert (await shop.step()).phase == "backoff"
        shop.pass_time(2)
        with capture_logs() as told:
            await shop.work()
        assert (await shop.step()).status == "needs_qa"
        assert "one.txt" not in shop.files()
        assert shop.shown("two.txt") == "two"
        (ref,) = shop.salvaged()
        assert ref.endswith("/1"), "the attempt that wrote it"
        (partly,) = (each for each in told if each["event"] == "salvaged_in_part")
        assert (partly["of_attempt"], len(partly["left_out"])) == (1, 1)
        assert partly["left_out"][0].startswith("core: ")
        assert (await shop.attempts())[0]["salvage"] == ref
        continued = await shop.event("attempt_continued")
        assert (continued.metadata["how"], continued.reason) == ("clean", "failed")
        first_one, second_one = await shop.attempts()
        assert (first_one["state"], first_one["category"]) == ("failed", "silence")
        assert first_one["thread_id"] != second_one["thread_id"]


async def test_what_an_attempt_left_is_saved_also_where_the_branch_was_adopted_meanwhile(ground_floor: Path) -> None:
    first = conversation(SECOND, ONE, {"hang": "after_headers", "times": "always"})
    first["match"]["nth"] = 1
    told = answered(FIRST, done(), HELLO), first, answered(SECOND, done(), TWO)
    async with open_workshop(ground_floor, *told, silence_timeout_s=1) as shop:
        await shop.open("Greet", "Go on")
        await shop.execute()
        await shop.call(approve_step, 1)
        await shop.execute()
        theirs = shop.origin.commit({"theirs.txt": "theirs"}, branch=NAME)
        await shop.call(sync_protocol, 1)
        await shop.work()
        assert (await shop.protocol()).reason == "diverged"
        await shop.call(adopt_branch, 1, theirs)
        shop.pass_time(2)
        await shop.work()
        assert (await shop.step(2)).status == "needs_qa"
        assert {"theirs.txt", "two.txt"} < set(shop.files())
        assert "one.txt" not in shop.files()
        _, left, _ = await shop.attempts()
        assert left["salvage"] in shop.salvaged()
        assert plain_git(shop.mirror, "show", f"{left['salvage']}:one.txt") == "one"


async def test_when_the_attempts_are_used_up_the_step_fails_and_tells_the_last_cause(ground_floor: Path) -> None:
    program = ground_floor / "codex"
    program.write_text(f'#!/bin/sh\nexec python3 -I -S {FAKE} panic "$@"\n')
    program.chmod(0o755)
    async with open_workshop(
        ground_floor, codex_bin=program, codex_sandbox="off", max_attempts=3, backoff_max_s=4
    ) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        for _ in range(5):
            await shop.work()
            shop.pass_time(5)
        assert ((await shop.step()).status, (await shop.step()).reason) == ("failed", "crash")
        assert [attempt["state"] for attempt in await shop.attempts()] == ["failed"] * 3
        assert len(await shop.events("job_retry_scheduled")) == 2
        failed = (await shop.event("job_failed")).metadata
        assert (failed["attempts"], failed["category"]) == (3, "crash")
        assert "panicked at x.rs" in failed["stderr_tail"]


async def test_what_no_retry_can_help_is_not_tried_again(ground_floor: Path) -> None:
    refused = conversation(FIRST, {"error": {"status": 401}, "times": "always"})
    async with open_workshop(ground_floor, refused) as shop:
        await shop.open("Greet")
        step = await shop.execute()
        assert (step.status, step.reason) == ("failed", "auth")
        assert len(await shop.attempts()) == 1
        assert not await shop.events("job_retry_scheduled")


async def test_a_job_that_waited_too_long_for_a_worker_fails_instead_of_running(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, queue_timeout_s=60) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        shop.pass_time(61)
        await shop.work()
        assert ((await shop.step()).status, (await shop.step()).reason) == ("failed", "queue_timeout")
        assert "DEKSDENFLOW_QUEUE_TIMEOUT_S" in (await shop.event("job_failed")).metadata["message"]
        assert not await shop.attempts()


async def test_a_fault_of_our_own_is_told_and_tried_again_like_any_other(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, answered(FIRST, done(), HELLO)) as shop:
        await shop.open("Greet")
        (shop.workspaces / "attempts").write_text("in the way")
        await shop.execute()
        (job,) = await shop.jobs("execute_step_job")
        assert (job["state"], job["category"]) == ("queued", "unknown")
        assert "NotADirectoryError" in job["error"]
        (shop.workspaces / "attempts").unlink()
        shop.pass_time(60)
        await shop.work()
        assert (await shop.step()).status == "needs_qa"


# Taken up


async def test_a_commit_that_could_not_be_pushed_is_adopted_by_the_next_attempt_without_asking_codex_again(
    ground_floor: Path,
) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, HELLO, WAIT, {"answer": done()})) as shop:
        await shop.open("Greet")
        config = shop.origin.bare / "config"
        sound = config.read_bytes()
        async with shop.waiting_agent():
            config.write_text("[")  # the origin is in trouble
            shop.go_on()
        asked = len(shop.model.requests)
        (first,) = await shop.attempts()
        assert (first["state"], first["category"]) == ("failed", "network")
        assert first["head_sha"] is not None
        config.write_bytes(sound)
        shop.pass_time(60)
        await shop.work()
        step = await shop.step()
        assert step.status == "needs_qa"
        assert step.head_sha == first["head_sha"] == shop.origin.head(NAME)
        assert len(shop.model.requests) == asked
        assert len(await shop.events("step_completed")) == 1
        assert len(shop.subjects()) == 2
        _, second = await shop.attempts()
        same = ("head_sha", "thread_id", "directory")
        assert [second[name] for name in same] == [first[name] for name in same]
        assert (second["state"], second["input_tokens"]) == ("succeeded", 0)


async def test_a_retry_only_pushes_when_all_that_failed_was_the_push(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, answered(FIRST, done(), HELLO)) as shop:
        await shop.open("Greet")
        plain_git(shop.origin.bare, "config", "receive.hideRefs", f"refs/heads/{NAME}")  # its rules say no
        step = await shop.execute()
        assert (step.status, step.reason) == ("failed", "repository")
        asked = len(shop.model.requests)
        (first,) = await shop.attempts()
        plain_git(shop.origin.bare, "config", "--unset", "receive.hideRefs")
        await shop.call(retry_step, 1)
        await shop.work()
        step = await shop.step()
        assert step.status == "needs_qa"
        assert step.head_sha == first["head_sha"] == shop.origin.head(NAME)
        assert len(shop.model.requests) == asked


async def test_a_retry_that_asks_for_something_else_does_the_work_anew(ground_floor: Path) -> None:
    first = answered(FIRST, done("greet"), HELLO)
    first["match"]["nth"] = 1
    async with open_workshop(ground_floor, first, answered(FIRST, done("again"), TWO)) as shop:
        await shop.open("Greet")
        plain_git(shop.origin.bare, "config", "receive.hideRefs", f"refs/heads/{NAME}")  # its rules say no
        await shop.execute()
        plain_git(shop.origin.bare, "config", "--unset", "receive.hideRefs")
        await shop.call(retry_step, 1, feedback="Count instead.")
        await shop.work()
        assert shop.subjects()[0] == "feat: again [protocol-0001/01]"
        assert "greeting.txt" not in shop.files()


async def test_a_branch_that_somebody_moved_is_found_before_an_agent_is_paid_for(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, answered(FIRST, done(), HELLO)) as shop:
        await shop.open("Greet", "Wave")
        await shop.execute()
        await shop.call(approve_step, 1)
        asked = len(shop.model.requests)
        theirs = shop.origin.commit({"theirs.txt": "mine\n"}, branch=NAME)
        step = await shop.execute()
        assert (step.status, step.reason) == ("failed", "diverged")
        assert ((await shop.protocol()).status, (await shop.protocol()).reason) == ("blocked", "diverged")
        assert len(shop.model.requests) == asked
        assert shop.origin.head(NAME) == theirs


async def test_a_branch_that_somebody_moves_meanwhile_is_not_pushed_over_theirs(ground_floor: Path) -> None:
    async with open_workshop(
        ground_floor, answered(FIRST, done(), HELLO), conversation(SECOND, TWO, WAIT, {"answer": done()})
    ) as shop:
        await shop.open("Greet", "Wave")
        await shop.execute()
        await shop.call(approve_step, 1)
        async with shop.waiting_agent():
            theirs = shop.origin.commit({"theirs.txt": "mine\n"}, branch=NAME)
            shop.go_on()
        assert ((await shop.step(2)).status, (await shop.step(2)).reason) == ("failed", "diverged")
        assert shop.origin.head(NAME) == theirs


# Side by side


async def test_a_project_runs_no_more_agents_at_once_than_it_may_and_a_branch_has_one_writer(
    ground_floor: Path,
) -> None:
    plays = (conversation(FIRST, HELLO, WAIT, {"answer": done()}, repeat=True),)
    async with open_workshop(ground_floor, *plays, project_concurrency=1) as shop:
        await shop.open("Greet")
        await shop.call(open_protocol, 1, protocol_name="0002-other", description="Another one.")
        await shop.call(add_step, 2, step_name="Greet")
        await shop.call(start_protocol, 2, plan=False)
        async with shop.waiting_agent():
            await shop.call(run_next_step, 2)
            (_, other) = await shop.jobs("execute_step_job")
            await shop.worker.run_job(other["id"], other["dispatch"])
            (_, other) = await shop.jobs("execute_step_job")
            assert (other["state"], other["attempt"]) == ("queued", 0)
            assert not await shop.due(), "there is no place for it now"
            publish = await shop.call(open_pr, 1)
            await shop.worker.run_job(publish.id, publish.dispatch)
            assert (await shop.jobs("open_pr_job"))[0]["state"] == "queued"
            assert len(await shop.attempts()) == 1
            shop.go_on()
            there = shop.workspaces / "worktrees" / "1" / "0002-other"
            await until_exists(there / "here")
            (there / "go-on").touch()
        assert [attempt["state"] for attempt in await shop.attempts()] == ["succeeded", "succeeded"]
        assert (await shop.jobs("open_pr_job"))[0]["state"] == "succeeded"


# Released


async def test_an_end_that_cannot_be_written_now_is_written_when_the_database_is_free(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await shop.open("Greet")
        lease = await _held(shop)
        async with shop.locked_database():
            releasing = asyncio.create_task(shop.worker._release(lease, Failed(category=Category.AUTH, message="No.")))
            await asyncio.sleep(0.3)
            assert not releasing.done()
        async with asyncio.timeout(10):
            await releasing
        assert (await shop.jobs("execute_step_job"))[0]["state"] == "failed"


async def test_an_end_that_is_not_accepted_is_a_failure_that_says_so(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await shop.open("Greet")
        lease = await _held(shop)
        await shop.change("UPDATE step_runs SET status = 'pending', phase = NULL")
        await shop.worker._release(lease, ExecutionDone(summary="Done", changed=True, head_sha="a" * 40, pushed=True))
        (job,) = await shop.jobs("execute_step_job")
        assert (job["state"], job["category"]) == ("queued", "unknown")
        assert "was not accepted" in job["error"]
