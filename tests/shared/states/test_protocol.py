"""Every pair of status and trigger of a protocol run, against the table as DESIGN §4 has it, written out once more."""

import pytest

from shared.schemas.statuses import JobKind, Phase, ProtocolStatus, Reason
from shared.states.protocol import READY, ProtocolTrigger, allowed_actions, targets

ANYWHERE = "pending planning planned running blocked completed cancelled"

# One line per trigger: `from -> to`, several froms with one to are joined by commas. Whatever is not here is refused.
EXPECTED = {
    "start": ["pending, planned, blocked -> planning"],
    "start_with_steps": ["pending, blocked -> planned"],
    "plan_ok": ["planning -> planned"],
    "plan_failed": ["planning -> blocked"],
    "approve_plan": ["planned -> planned"],
    "reject_plan": ["planned -> planning"],
    "run": ["planned, running, blocked -> running"],
    "step_failed": ["running -> blocked"],
    "job_failed": ["planned, running -> blocked"],
    "cause_removed": [f"blocked -> {ANYWHERE}"],
    "pause": ["planning, planned, running, blocked -> paused"],
    "resume": [f"paused -> {ANYWHERE}"],
    "cancel": ["pending, planning, planned, running, paused, blocked -> cancelled"],
    "fail": ["blocked -> failed"],
    "steps_done": ["planned, running, blocked -> completed"],
    "steps_cancelled": ["planned, running, blocked -> cancelled"],
    "pr_merged": ["pending, planning, planned, running, paused, blocked -> completed"],
    "pr_closed": ["pending, planning, planned, running, paused, blocked -> blocked"],
    "pr_reopened": [f"blocked -> {ANYWHERE}"],
    "ci_regressed": ["running -> blocked"],
    "diverged": ["pending, planning, planned, running, paused, blocked -> blocked"],
}


def expected(status: str, trigger: str) -> set[str]:
    for line in EXPECTED[trigger]:
        sources, _, ends = line.partition(" -> ")
        if status in sources.split(", "):
            return set(ends.split())
    return set()


def test_the_expectation_names_every_trigger():
    assert set(EXPECTED) == set(ProtocolTrigger)


@pytest.mark.parametrize("trigger", ProtocolTrigger)
@pytest.mark.parametrize("status", ProtocolStatus)
def test_a_trigger_leads_where_the_design_says_or_is_refused(status: ProtocolStatus, trigger: ProtocolTrigger):
    assert set(targets(status, trigger)) == expected(status, trigger)


@pytest.mark.parametrize("trigger", ProtocolTrigger)
@pytest.mark.parametrize("status", [status for status in ProtocolStatus if status.terminal])
def test_nothing_leaves_a_terminal_status(status: ProtocolStatus, trigger: ProtocolTrigger):
    assert targets(status, trigger) == ()


@pytest.mark.parametrize("status", [status for status in ProtocolStatus if not status.terminal])
def test_every_open_status_can_be_cancelled_at_once(status: ProtocolStatus):
    assert targets(status, ProtocolTrigger.CANCEL) == (ProtocolStatus.CANCELLED,)
    assert "cancel" in allowed_actions(status)


@pytest.mark.parametrize(
    ("status", "actions"),
    [
        ("pending", "start cancel"),
        ("planning", "pause cancel"),
        ("planned", "start run_next_step pause cancel open_pr"),
        ("running", "run_next_step pause cancel retry_latest open_pr"),
        ("paused", "resume cancel"),
        ("blocked", "start run_next_step pause cancel unblock fail retry_latest open_pr"),
        ("failed", ""),
        ("cancelled", ""),
        ("completed", "open_pr"),
    ],
)
def test_the_allowed_actions_of_a_status(status: str, actions: str):
    assert set(allowed_actions(ProtocolStatus(status))) == set(actions.split())


@pytest.mark.parametrize("reason", [None, *Reason])
@pytest.mark.parametrize("status", ProtocolStatus)
def test_only_a_branch_that_somebody_else_moved_is_adopted_or_reset(status: ProtocolStatus, reason: Reason | None):
    actions = {"adopt", "reset"} & set(allowed_actions(status, None, reason))
    assert bool(actions) == (status is ProtocolStatus.BLOCKED and reason is Reason.DIVERGED)
    assert len(actions) in {0, 2}


def test_a_plan_that_waits_for_its_approval_is_approved_or_rejected_but_not_run():
    actions = allowed_actions(ProtocolStatus.PLANNED, Phase.AWAITING_PLAN_APPROVAL)
    assert {"approve_plan", "reject_plan"} <= set(actions)
    assert "run_next_step" not in actions


@pytest.mark.parametrize("kind", [JobKind.PLAN, JobKind.EXECUTE, JobKind.QA])
@pytest.mark.parametrize("status", ["paused", "blocked", "cancelled", "failed", "completed", "pending"])
def test_no_agent_may_start_while_a_protocol_rests_or_is_over(kind: JobKind, status: str):
    assert ProtocolStatus(status) not in READY[kind]


@pytest.mark.parametrize("status", ["paused", "cancelled", "failed"])
def test_nothing_is_published_while_a_protocol_is_paused_or_given_up(status: str):
    assert ProtocolStatus(status) not in READY[JobKind.OPEN_PR]
