"""The door to the verbs: one transaction, then the bells; on a real file."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import Conflict, NotFound
from shared.repository import jobs, projects, protocols
from shared.repository.database import Database, open_database
from shared.schemas.policy import Policy
from shared.schemas.records import Job, Protocol
from shared.settings import load_settings
from shared.workflow.door import NEWS, STOP, Silence, Workflow, rules_of
from shared.workflow.jobs import claim_job, mend_times
from shared.workflow.projects import register_project
from shared.workflow.protocols import cancel_protocol, open_protocol, pause_protocol, resume_protocol, start_protocol
from shared.workflow.unit import Caller, Rules

ALICE = Caller("alice", "req-7")


class Bell:
    """A doorbell that remembers, and is deaf when told so."""

    def __init__(self) -> None:
        self.deaf = False
        self.rung: list[tuple[int, int]] = []
        self.said: list[tuple[str, str]] = []

    async def ring(self, job_id: int, dispatch: int, priority: int) -> bool:
        self.rung.append((job_id, dispatch))
        return not self.deaf

    async def publish(self, channel: str, message: str) -> bool:
        self.said.append((channel, message))
        return not self.deaf


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "d.sqlite") as database:
        yield database


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def flow(database: Database, bell: Bell) -> Workflow:
    return Workflow(database, bell, Rules(), chance=lambda: 0.5)


async def a_protocol(flow: Workflow) -> Protocol:
    project = await flow.run(
        ALICE,
        register_project,
        name="demo",
        git_url="https://example.org/demo.git",
        base_branch="main",
        ci_provider=None,
        default_models={},
        policy=Policy(),
        allow_local=False,
    )
    return await flow.run(ALICE, open_protocol, project.id, protocol_name=None, description="mend the cents")


async def the_job(flow: Workflow, protocol: Protocol) -> Job:
    (job,) = await flow.database.read(jobs.open_of_protocol, protocol.id)
    return job


async def test_the_bell_is_rung_after_the_commit(flow: Workflow, bell: Bell):
    protocol = await a_protocol(flow)
    await flow.run(ALICE, start_protocol, protocol.id)
    job = await the_job(flow, protocol)
    assert bell.rung[-1] == (job.id, job.dispatch)
    assert job.dispatched_at is not None
    assert job.request_id == "req-7"


async def test_a_bell_that_nobody_hears_leaves_the_job_in_the_outbox(flow: Workflow, bell: Bell):
    protocol = await a_protocol(flow)
    bell.deaf = True
    started = await flow.run(ALICE, start_protocol, protocol.id)
    assert started.status == "planning"
    assert (await the_job(flow, protocol)).dispatched_at is None


async def test_silence_rings_nobody_and_loses_nothing(database: Database):
    flow = Workflow(database, Silence(), Rules())
    protocol = await a_protocol(flow)
    await flow.run(ALICE, start_protocol, protocol.id)
    assert (await the_job(flow, protocol)).dispatched_at is None


async def test_a_refused_verb_changes_nothing_and_rings_nobody(flow: Workflow, bell: Bell):
    protocol = await a_protocol(flow)
    rung = list(bell.rung)
    with pytest.raises(Conflict):
        await flow.run(ALICE, resume_protocol, protocol.id)
    assert bell.rung == rung
    assert await flow.database.read(protocols.get, protocol.id) == protocol


async def test_a_running_job_hears_that_it_shall_stop(flow: Workflow, bell: Bell):
    protocol = await a_protocol(flow)
    await flow.run(ALICE, start_protocol, protocol.id)
    job = await the_job(flow, protocol)
    await flow.run(Caller("worker"), claim_job, job.id, job.dispatch, "w1")
    await flow.run(ALICE, cancel_protocol, protocol.id)
    assert [each for each in bell.said if each[0] == STOP] == [(STOP, str(job.id))]


async def test_whoever_shows_what_happens_is_told_once_of_each_verb_that_says_something(flow: Workflow, bell: Bell):
    protocol = await a_protocol(flow)
    bell.said.clear()
    await flow.run(ALICE, cancel_protocol, protocol.id)
    assert bell.said == [(NEWS, "")]
    bell.said.clear()
    await flow.run(ALICE, mend_times)
    assert bell.said == []


async def test_of_two_that_cancel_at_once_one_is_told_that_it_is_over(flow: Workflow):
    protocol = await a_protocol(flow)
    answers: list[Any] = await asyncio.gather(
        *(flow.run(ALICE, cancel_protocol, protocol.id) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "Protocol"]


async def test_of_many_that_claim_at_once_one_gets_the_job(flow: Workflow):
    protocol = await a_protocol(flow)
    await flow.run(ALICE, start_protocol, protocol.id)
    job = await the_job(flow, protocol)
    claims = await asyncio.gather(
        *(flow.run(Caller("worker"), claim_job, job.id, job.dispatch, f"w{number}") for number in range(8))
    )
    assert sum(claim is not None for claim in claims) == 1


async def test_a_caller_sees_its_own_project_only(flow: Workflow):
    protocol = await a_protocol(flow)
    with pytest.raises(NotFound):
        await flow.run(Caller("token", project_id=protocol.project_id + 1), pause_protocol, protocol.id)
    assert await flow.database.read(projects.get, protocol.project_id) is not None


def test_the_rules_are_those_of_the_settings():
    rules = rules_of(
        load_settings(
            {
                "DEKSDENFLOW_REDIS_URL": "redis://localhost",
                "DEKSDENFLOW_MAX_ATTEMPTS": "7",
                "DEKSDENFLOW_BACKOFF_MAX_S": "5",
                "DEKSDENFLOW_QUEUE_TIMEOUT_S": "9",
                "DEKSDENFLOW_PROJECT_CONCURRENCY": "4",
                "DEKSDENFLOW_AUTO_QA_AFTER_EXEC": "true",
                "DEKSDENFLOW_AUTO_QA_ON_CI": "true",
                "DEKSDENFLOW_CI_COMPLETES_STEP": "true",
                "DEKSDENFLOW_MODEL_QA": "judge",
            }
        )
    )
    assert (rules.max_attempts, rules.backoff_max_s, rules.queue_timeout_s, rules.project_concurrency) == (7, 5, 9, 4)
    assert (rules.auto_qa_after_exec, rules.auto_qa_on_ci, rules.ci_completes_step) == (True, True, True)
    assert rules.models["qa"] == "judge"
    assert set(rules.models) == {"planning", "exec", "qa"}
