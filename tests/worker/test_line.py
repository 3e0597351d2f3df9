"""A line that is stopped, and a job that is cancelled, under an agent at work."""

from pathlib import Path

from shared.workflow.line import resume_line, stop_line
from shared.workflow.protocols import run_next_step
from shared.workflow.queue import cancel_job, retry_job
from tests.e2e.house import answered, conversation, done
from tests.worker.workshop import WAIT, open_workshop

FIRST = "execute step 01"
ONE = {"command": "echo one > one.txt"}
TWO = {"command": "echo two > two.txt"}


async def test_a_stop_that_interrupts_parks_the_agent_and_it_goes_on_in_its_thread_and_files(
    ground_floor: Path,
) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, ONE, WAIT, TWO, {"answer": done()})) as shop:
        await shop.open("Greet")
        async with shop.waiting_agent():
            await shop.call(stop_line, interrupt=True)
        assert not shop.agents()
        assert ((await shop.step()).status, (await shop.step()).phase) == ("running", "parked")
        assert not await shop.due()
        await shop.call(resume_line)
        await shop.work()
        assert (await shop.step()).status == "needs_qa"
        parked, resumed = await shop.attempts()
        assert (parked["state"], resumed["thread_id"]) == ("parked", parked["thread_id"])
        assert (shop.shown("one.txt"), shop.shown("two.txt")) == ("one", "two")
        assert (await shop.jobs("execute_step_job"))[0]["attempt"] == 1


async def test_a_stop_lets_the_agent_finish_and_starts_nothing_after_it(ground_floor: Path) -> None:
    policy = {"progression": "auto", "auto_qa_after_exec": True}
    async with open_workshop(ground_floor, conversation(FIRST, ONE, WAIT, {"answer": done()})) as shop:
        await shop.open("Greet", policy=policy)
        async with shop.working():
            await shop.until("SELECT id FROM attempts WHERE state = 'running' AND thread_id IS NOT NULL")
            await shop.call(stop_line)
            shop.go_on()
        assert ((await shop.step()).status, (await shop.step()).phase) == ("needs_qa", "qa_queued")
        assert [job["state"] for job in await shop.jobs("run_quality_job")] == ["queued"]


async def test_a_cancelled_job_takes_its_agent_with_it_and_a_retry_begins_clean(ground_floor: Path) -> None:
    first = conversation(FIRST, ONE, WAIT, {"answer": done()})
    first["match"]["nth"] = 1
    async with open_workshop(ground_floor, first, answered(FIRST, done(), TWO)) as shop:
        await shop.open("Greet")
        async with shop.waiting_agent():
            (job,) = await shop.jobs("execute_step_job")
            await shop.call(cancel_job, job["id"])
            assert ((await shop.step()).status, (await shop.step()).reason) == ("failed", "cancelled")
        assert not shop.agents()
        assert (await shop.jobs("execute_step_job"))[0]["state"] == "cancelled"
        assert [event.event_type for event in await shop.events("attempt_killed")] == ["attempt_killed"]
        await shop.call(retry_job, job["id"])
        await shop.work()
        step = await shop.step()
        assert (step.status, step.retries) == ("needs_qa", 1)
        assert {"one.txt", "two.txt"} & set(shop.files()) == {"two.txt"}
        assert shop.salvaged(), "what the cancelled agent had written is kept"


async def test_a_queued_job_that_is_cancelled_starts_no_agent(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        (job,) = await shop.jobs("execute_step_job")
        await shop.call(cancel_job, job["id"])
        await shop.worker.run_job(job["id"], job["dispatch"])
        assert await shop.attempts() == []
        assert shop.model.requests == []
