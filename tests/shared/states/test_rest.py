"""The status that follows from the steps, and the step that comes next."""

import itertools

import pytest

from shared.schemas.records import StepRun
from shared.schemas.statuses import Phase, ProtocolStatus, Reason, StepStatus, StepType
from shared.states.rest import missing_dependencies, next_step, resting_status, standing_cause


def a_step(index: int, status: str = "pending", phase: Phase | None = None, after: tuple[int, ...] = ()) -> StepRun:
    return StepRun(
        id=index,
        protocol_id=1,
        step_index=index,
        step_name=f"step {index}",
        step_type=StepType.WORK,
        file_name=f"{index:02d}-step.md",
        instructions="do it",
        depends_on=after,
        model=None,
        status=StepStatus(status),
        phase=phase,
        reason=None,
        summary=None,
        feedback=None,
        thread_id=None,
        start_sha=None,
        head_sha=None,
        executions=0,
        continuations=0,
        repairs=0,
        retries=0,
        qa_asks=0,
        version=1,
        created_at=0,
        updated_at=0,
        started_at=None,
        finished_at=None,
    )


def rest(*statuses: str, planned: bool = True, planning: bool = False, cause: Reason | None = None) -> str:
    steps = [a_step(index, status) for index, status in enumerate(statuses, start=1)]
    return resting_status(steps, planned=planned, planning=planning, cause=cause)


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ("", "planned"),
        ("pending", "planned"),
        ("pending pending", "planned"),
        ("running pending", "running"),
        ("needs_qa pending", "running"),
        ("completed pending", "running"),
        ("cancelled pending", "running"),
        ("completed needs_qa", "running"),
        ("failed", "blocked"),
        ("completed failed pending", "blocked"),
        ("failed running", "blocked"),
        ("completed", "completed"),
        ("completed cancelled", "completed"),
        ("cancelled cancelled", "cancelled"),
    ],
)
def test_a_planned_protocol_rests_where_its_steps_are(statuses: str, status: str):
    assert rest(*statuses.split()) == status


def test_a_queued_step_means_running():
    assert resting_status([a_step(1, phase=Phase.QUEUED)], planned=True, planning=False) is ProtocolStatus.RUNNING


def test_an_open_plan_job_means_planning():
    assert rest(planned=False, planning=True) == "planning"
    assert rest("pending", planning=True) == "planning"


def test_without_a_plan_it_is_pending_even_with_steps():
    assert rest(planned=False) == "pending"
    assert rest("pending", "completed", planned=False) == "pending"


@pytest.mark.parametrize("statuses", ["", "completed", "running", "pending"])
def test_a_standing_cause_keeps_it_blocked(statuses: str):
    assert rest(*statuses.split(), cause=Reason.DIVERGED) == "blocked"


@pytest.mark.parametrize(
    "reason", [Reason.PUBLISH_FAILED, Reason.CI_REGRESSED, Reason.DIVERGED, Reason.PR_CLOSED, Reason.PLAN_FAILED]
)
def test_what_no_step_can_mend_stands(reason: Reason):
    assert standing_cause(reason, [], planned=False) is reason


def test_a_failed_plan_is_no_cause_once_there_is_a_plan():
    assert standing_cause(Reason.PLAN_FAILED, [], planned=True) is None


def test_a_failed_step_is_a_cause_until_it_is_mended():
    assert standing_cause(None, [a_step(1, "failed")], planned=True) is Reason.STEP_FAILED
    assert standing_cause(Reason.STEP_FAILED, [a_step(1, "completed")], planned=True) is None


def test_qa_that_could_not_run_is_a_cause_while_its_step_waits_for_it():
    waiting = a_step(1, "needs_qa", Phase.INCONCLUSIVE)
    assert standing_cause(Reason.QA_UNAVAILABLE, [waiting], planned=True) is Reason.QA_UNAVAILABLE
    assert standing_cause(Reason.QA_UNAVAILABLE, [a_step(1, "completed")], planned=True) is None
    assert standing_cause(None, [waiting], planned=True) is None


def test_the_next_step_is_the_lowest_that_waits_for_its_start():
    steps = [a_step(3), a_step(2), a_step(1, "completed")]
    assert getattr(next_step(steps), "step_index", None) == 2


@pytest.mark.parametrize("status", ["running", "needs_qa", "completed", "cancelled"])
def test_what_is_under_way_or_settled_is_not_next(status: str):
    assert next_step([a_step(1, status)]) is None


def test_a_queued_step_is_not_next():
    assert next_step([a_step(1, phase=Phase.QUEUED)]) is None


def test_a_failed_step_is_next_again():
    assert getattr(next_step([a_step(1, "failed"), a_step(2)]), "step_index", None) == 1


def test_a_step_that_waits_for_another_is_passed_over():
    steps = [a_step(1, "needs_qa"), a_step(2, after=(1,)), a_step(3)]
    assert getattr(next_step(steps), "step_index", None) == 3


def test_in_repair_only_failed_steps_come_next():
    steps = [a_step(1), a_step(2, "failed")]
    assert getattr(next_step(steps, repair=True), "step_index", None) == 2


@pytest.mark.parametrize(
    ("status", "missing"),
    [("pending", (1,)), ("needs_qa", (1,)), ("failed", (1,)), ("completed", ()), ("cancelled", ())],
)
def test_a_dependency_is_open_until_it_is_settled(status: str, missing: tuple[int, ...]):
    step = a_step(2, after=(1,))
    assert missing_dependencies(step, [a_step(1, status), step]) == missing


def test_the_order_in_which_steps_are_given_does_not_matter():
    steps = [a_step(1, "completed"), a_step(2, "cancelled"), a_step(3, "needs_qa"), a_step(4)]
    answers = {
        (resting_status(order, planned=True, planning=False), getattr(next_step(order), "step_index", None))
        for order in itertools.permutations(steps)
    }
    assert answers == {(ProtocolStatus.RUNNING, 4)}
