"""Every pair of status and trigger of a step, against the table as DESIGN §4 tells it, written out once more."""

import pytest

from shared.schemas.statuses import StepStatus
from shared.states.step import StepTrigger, allowed_actions, target

EXPECTED = {
    "run": {"pending": "pending", "failed": "pending"},
    "claim": {"pending": "running", "running": "running"},
    "backoff": {"running": "running"},
    "park": {"running": "running"},
    "executed": {"running": "needs_qa"},
    "no_changes": {"running": "failed"},
    "gave_up": {"running": "failed", "pending": "failed"},
    "gate_updated": {"needs_qa": "needs_qa"},
    "gates_passed": {"needs_qa": "completed"},
    "gate_failed": {"needs_qa": "failed"},
    "repair": {"needs_qa": "pending"},
    "inconclusive": {"needs_qa": "needs_qa"},
    "run_qa": {"needs_qa": "needs_qa"},
    "approve": {"needs_qa": "completed"},
    "override": {"needs_qa": "completed", "failed": "completed"},
    "reject": {"needs_qa": "pending"},
    "retry": {"failed": "pending", "needs_qa": "pending"},
    "skip": {"pending": "completed", "needs_qa": "completed", "failed": "completed"},
    "cancel": {"pending": "cancelled", "running": "cancelled", "needs_qa": "cancelled", "failed": "cancelled"},
    "ci_recovered": {"failed": "needs_qa"},
    "protocol_ended": {"pending": "cancelled", "running": "cancelled", "needs_qa": "cancelled", "failed": "cancelled"},
}


def test_the_expectation_names_every_trigger():
    assert set(EXPECTED) == set(StepTrigger)


@pytest.mark.parametrize("trigger", StepTrigger)
@pytest.mark.parametrize("status", StepStatus)
def test_a_trigger_leads_where_the_design_says_or_is_refused(status: StepStatus, trigger: StepTrigger):
    assert target(status, trigger) == EXPECTED[trigger].get(status)


@pytest.mark.parametrize("trigger", StepTrigger)
@pytest.mark.parametrize("status", [status for status in StepStatus if status.settled])
def test_nothing_moves_a_settled_step(status: StepStatus, trigger: StepTrigger):
    assert target(status, trigger) is None


def test_only_a_person_or_a_gate_completes_a_step():
    completing = {str(trigger) for (_, trigger), to in _table().items() if to == "completed"}
    assert completing == {"gates_passed", "approve", "override", "skip"}


def test_an_execution_ends_in_needs_qa_and_never_completed():
    assert target(StepStatus.RUNNING, StepTrigger.EXECUTED) is StepStatus.NEEDS_QA


@pytest.mark.parametrize(
    ("status", "actions"),
    [
        ("pending", "run skip cancel"),
        ("running", "cancel"),
        ("needs_qa", "run_qa approve reject retry skip cancel"),
        ("failed", "run approve retry skip cancel"),
        ("completed", ""),
        ("cancelled", ""),
    ],
)
def test_the_allowed_actions_of_a_status(status: str, actions: str):
    assert set(allowed_actions(StepStatus(status))) == set(actions.split())


def _table() -> dict[tuple[StepStatus, StepTrigger], StepStatus]:
    pairs = [(status, trigger) for status in StepStatus for trigger in StepTrigger]
    return {pair: to for pair in pairs if (to := target(*pair)) is not None}
