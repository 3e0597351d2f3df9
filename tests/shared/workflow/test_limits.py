"""Whose turn it is: priority, then age; and who may not start now holds up nobody else."""

import pytest

from shared.errors import Category
from shared.repository import projects
from shared.schemas.records import Project, Protocol
from shared.schemas.reports import Claim, Failed
from shared.schemas.statuses import JobKind
from shared.workflow.jobs import claim_job
from shared.workflow.projects import set_up_project
from shared.workflow.protocols import open_pr, run_next_step, start_protocol
from shared.workflow.steps import run_qa
from shared.workflow.unit import Rules
from tests.shared.workflow.ground import WORKER, Ground


@pytest.fixture
def ground() -> Ground:
    return Ground(Rules(project_concurrency=1))


def taken(ground: Ground) -> Claim:
    """The first job, in the order of the bells, that a worker with a free place gets."""
    claims = (ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1") for job in ground.due())
    return next(claim for claim in claims if claim is not None)


def planned(ground: Ground, project: Project) -> Protocol:
    protocol = ground.run(start_protocol, ground.opened(project=project).id)
    ground.plan(protocol.id)
    return protocol


def test_many_jobs_of_a_project_at_its_limit_do_not_hold_up_another(ground: Ground):
    busy = ground.project("busy")
    for _ in range(30):
        ground.run(start_protocol, ground.opened(project=busy).id)
        ground.wait(1)
    late = ground.run(start_protocol, ground.opened().id)
    first, second = taken(ground).job, taken(ground).job
    assert (first.project_id, second.protocol_id) == (busy.id, late.id)
    assert ground.due() == []


def test_the_place_of_a_project_goes_to_its_oldest_job_each_time(ground: Ground):
    project = ground.project("busy")
    runs: list[int] = []
    for _ in range(4):
        runs.append(ground.run(start_protocol, ground.opened(project=project).id).id)
        ground.wait(1)
    served: list[int | None] = []
    while ground.due():
        claim = taken(ground)
        served.append(claim.job.protocol_id)
        ground.end(claim, Failed(category=Category.AUTH, message="no"))
    assert served == runs


def test_a_backoff_costs_a_job_its_turn_but_not_for_ever(ground: Ground):
    project = ground.project("busy")
    first = ground.run(start_protocol, ground.opened(project=project).id)
    ground.wait(1)
    second = ground.run(start_protocol, ground.opened(project=project).id)
    ground.end(ground.claim(first.id), Failed(category=Category.NETWORK, message="away"))
    claim = taken(ground)
    assert claim.job.protocol_id == second.id
    ground.wait(60)
    third = ground.run(start_protocol, ground.opened(project=project).id)
    ground.end(claim, ground.plan_done(claim))
    assert [job.protocol_id for job in ground.due()] == [first.id, third.id]


def test_a_busy_branch_does_not_hold_up_another_branch(ground: Ground):
    ground.rules = Rules(project_concurrency=2)
    project = ground.project("two")
    busy, free = planned(ground, project), planned(ground, project)
    ground.run(run_next_step, busy.id)
    ground.claim(busy.id, JobKind.EXECUTE)
    ground.run(open_pr, busy.id)
    ground.wait(1)
    ground.run(run_next_step, free.id)
    job = taken(ground).job
    assert (job.kind, job.protocol_id) == (JobKind.EXECUTE, free.id)
    assert ground.due() == []


def test_what_runs_no_agent_needs_no_place(ground: Ground):
    project = ground.project("busy")
    ground.claim(ground.run(start_protocol, ground.opened(project=project).id).id)
    ground.run(start_protocol, ground.opened(project=project).id)
    setup = ground.run(set_up_project, project.id)
    assert taken(ground).job.id == setup.id


def test_qa_takes_a_place_too(ground: Ground):
    step = ground.executed()
    ground.run(run_qa, step.id)
    ground.claim(step.protocol_id, JobKind.QA)
    project = projects.expect(ground.tx, ground.of(step).project_id)
    other = ground.run(start_protocol, ground.opened(project=project).id)
    assert ground.due() == []
    ground.rules = Rules(project_concurrency=2)
    assert [job.protocol_id for job in ground.due()] == [other.id]


def test_a_better_priority_goes_before_an_older_job_of_any_project(ground: Ground):
    old = ground.run(start_protocol, ground.opened().id)
    ground.wait(3600)
    urgent = ground.run(start_protocol, ground.opened().id)
    ground.sql("UPDATE jobs SET priority = -1 WHERE protocol_id = ?", urgent.id)
    assert [job.protocol_id for job in ground.due()] == [urgent.id, old.id]


def test_among_equals_nobody_waits_for_ever(ground: Ground):
    """Each end of a job queues a new one, as with a queue that never empties; the old ones get their turn."""
    waiting = [ground.run(start_protocol, ground.opened().id).id for _ in range(5)]
    served: list[int | None] = []
    for _ in range(5):
        ground.wait(1)
        ground.run(start_protocol, ground.opened().id)
        served.append(taken(ground).job.protocol_id)
    assert served == waiting
