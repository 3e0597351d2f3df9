"""The five counters of DESIGN §4: each counts its own thing and none of the others'."""

from collections.abc import Callable

import pytest

from shared.errors import Category
from shared.schemas.policy import Policy
from shared.schemas.records import StepRun
from shared.schemas.reports import Failed, Lost, Stopped
from shared.schemas.statuses import JobKind
from shared.workflow.line import stop_line
from shared.workflow.protocols import retry_latest
from shared.workflow.queue import cancel_job, retry_job
from shared.workflow.steps import reject_step, retry_step, run_qa, run_step
from tests.shared.workflow.ground import Ground

NETWORK = Failed(category=Category.NETWORK, message="away")
QUOTA = Failed(category=Category.QUOTA, message="used up")
Counts = dict[str, int]


@pytest.fixture
def ground() -> Ground:
    return Ground()


def counts(ground: Ground, step: StepRun) -> Counts:
    """Every counter that is not zero; `attempt` and `lost` are of the newest job, which is one execution or QA run."""
    now = ground.fresh(step)
    (job,) = ground.sql("SELECT attempt, continuations FROM jobs WHERE step_id = ? ORDER BY id DESC LIMIT 1", step.id)
    found = {
        "attempt": job["attempt"],
        "lost": job["continuations"],
        "executions": now.executions,
        "continuations": now.continuations,
        "repairs": now.repairs,
        "retries": now.retries,
        "qa_asks": now.qa_asks,
    }
    return {name: count for name, count in found.items() if count}


def a_failed_attempt(ground: Ground, step: StepRun) -> None:
    ground.execute(step, NETWORK)


def a_lost_worker(ground: Ground, step: StepRun) -> None:
    ground.execute(step, Lost(message="dead"))


def a_pause(ground: Ground, step: StepRun) -> None:
    ground.execute(step, Stopped(message="parked"))


def no_quota(ground: Ground, step: StepRun) -> None:
    ground.execute(step, QUOTA)


def a_stopped_line(ground: Ground, step: StepRun) -> None:
    ground.run(stop_line)


def a_cancelled_job(ground: Ground, step: StepRun) -> None:
    ground.run(cancel_job, ground.only_job(step.protocol_id).id)


def a_retry(ground: Ground, step: StepRun) -> None:
    ground.execute(step, Failed(category=Category.AUTH, message="no key"))
    ground.run(retry_step, step.id)


def the_latest_retried(ground: Ground, step: StepRun) -> None:
    ground.execute(step, Failed(category=Category.AUTH, message="no key"))
    ground.run(retry_latest, step.protocol_id)


def a_job_retried(ground: Ground, step: StepRun) -> None:
    claim = ground.execute(step, Failed(category=Category.AUTH, message="no key"))
    ground.run(retry_job, claim.job.id)


def run_again(ground: Ground, step: StepRun) -> None:
    ground.execute(step, Failed(category=Category.AUTH, message="no key"))
    ground.run(run_step, step.id)


@pytest.mark.parametrize(
    ("happens", "counted"),
    [
        (a_failed_attempt, {"attempt": 1}),
        (a_lost_worker, {"lost": 1, "continuations": 1}),
        (a_pause, {}),
        (no_quota, {}),
        (a_stopped_line, {}),
        (a_cancelled_job, {}),
        (a_retry, {"retries": 1}),
        (the_latest_retried, {"retries": 1}),
        (a_job_retried, {"retries": 1}),
        (run_again, {}),
    ],
)
def test_what_happens_to_an_execution_counts_once_and_in_one_place(
    ground: Ground, happens: Callable[[Ground, StepRun], None], counted: Counts
):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    happens(ground, step)
    assert counts(ground, step) == counted


def test_an_accepted_execution_counts_as_one_whatever_it_took(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    for ending in (NETWORK, Lost(message="dead"), QUOTA, Stopped(message="parked")):
        ground.execute(step, ending)
        ground.wait(900)
    ground.execute(step)
    assert counts(ground, step) == {"attempt": 2, "lost": 1, "continuations": 1, "executions": 1}


def test_a_new_execution_starts_with_all_its_attempts(ground: Ground):
    step = ground.run(run_step, ground.step(ground.planned(), 1).id)
    for _ in range(3):
        ground.execute(step, NETWORK)
        ground.wait(60)
    ground.run(retry_step, step.id)
    assert counts(ground, step) == {"retries": 1}
    ground.execute(step, NETWORK)
    assert counts(ground, step) == {"retries": 1, "attempt": 1}


def test_a_repair_is_no_retry_and_a_rejection_neither(ground: Ground):
    step = ground.executed(auto_fix=1)
    ground.run(run_qa, step.id)
    ground.judge(step, "fail")
    assert counts(ground, step) == {"executions": 1, "repairs": 1, "qa_asks": 1}
    ground.execute(step)
    assert counts(ground, step) == {"attempt": 1, "executions": 2, "repairs": 1}
    ground.run(reject_step, step.id, feedback="not like this")
    assert counts(ground, step) == {"executions": 2, "repairs": 1}


def test_qa_is_counted_by_its_asks_and_its_failures_by_its_own_job(ground: Ground):
    step = ground.executed()
    ground.run(run_qa, step.id)
    for ending in (NETWORK, Lost(message="dead"), QUOTA):
        ground.end(ground.claim(step.protocol_id, JobKind.QA), ending)
        ground.wait(900)
    assert counts(ground, step) == {"executions": 1, "attempt": 1, "lost": 1}
    ground.judge(step, "inconclusive", asks=2)
    assert counts(ground, step) == {"executions": 1, "attempt": 2, "lost": 1, "qa_asks": 2}


def test_asks_count_anew_with_each_commit(ground: Ground):
    step = ground.executed()
    ground.run(run_qa, step.id)
    ground.judge(step, "inconclusive", asks=2)
    ground.run(reject_step, step.id, feedback="more")
    ground.execute(step)
    assert counts(ground, step) == {"executions": 2, "attempt": 1}


def test_the_policy_bounds_repairs_alone(ground: Ground):
    assert Policy().auto_fix == 0
    step = ground.executed(auto_fix=1)
    ground.run(run_qa, step.id)
    ground.judge(step, "fail")
    for _ in range(3):
        ground.execute(step, Failed(category=Category.AUTH, message="no key"))
        ground.run(retry_step, step.id)
    ground.execute(step)
    ground.run(run_qa, step.id)
    ground.judge(step, "fail")
    assert ground.fresh(step).status == "failed"
    assert counts(ground, step) == {"attempt": 1, "executions": 2, "repairs": 1, "retries": 3, "qa_asks": 1}
