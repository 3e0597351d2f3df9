"""The verdict of the CI on one commit: every combination of outcomes, and which facts have a say at all."""

import itertools
from typing import Any

import pytest

from shared.schemas.policy import Policy
from shared.schemas.records import Fact
from shared.schemas.statuses import GateState, Outcome, Provider
from shared.states.ci import DECIDING, judge_ci

NOW = 1_800_000_000_000
SETTLE_S = 60
PASS, SOFT, FAIL = Outcome.PASS, Outcome.SOFT_PASS, Outcome.FAIL
SCOPES = ["workflow_run", "check_suite", "check_run", "status", "pipeline", "job", "ci"]


def fact(outcome: Outcome = PASS, name: str = "build", **changes: Any) -> Fact:
    fields: dict[str, Any] = {
        "id": 1,
        "project_id": 1,
        "repository_id": "7",
        "sha": "a" * 40,
        "context": f"status:{name}",
        "scope": "status",
        "name": name,
        "provider": Provider.GITHUB,
        "outcome": outcome,
        "run_id": 0,
        "run_attempt": 1,
        "observed_at": 0,
        "received_at": NOW - SETTLE_S * 1000,
        "url": f"https://ci/{name}",
        "delivery_id": None,
        "details": {},
    }
    return Fact(**(fields | changes))


def state(policy: Policy, *facts: Fact, now: int = NOW) -> str | None:
    verdict = judge_ci(policy, facts, now)
    return None if verdict is None else verdict.state


def expected(outcomes: tuple[Outcome, ...], *, settled: bool, required: bool) -> str:
    """The rules once more, as one would say them."""
    said = set(outcomes)
    if Outcome.RUNNING in said:
        return "pending"
    if PASS in said and said <= {PASS, SOFT}:
        return "passed" if settled or required else "pending"
    if FAIL in said:
        return "failed" if settled else "pending"
    if Outcome.WAITING_HUMAN in said:
        return "pending"
    return "inconclusive" if settled else "pending"


COMBINATIONS = [
    outcomes for count in (1, 2, 3) for outcomes in itertools.combinations_with_replacement(list(Outcome), count)
]


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("outcomes", COMBINATIONS, ids="-".join)
def test_every_combination_of_outcomes_means_one_thing_in_any_order(
    outcomes: tuple[Outcome, ...], settled: bool, required: bool
):
    policy = Policy(ci_settle_s=SETTLE_S, required_contexts=("a", "b", "c")[: len(outcomes)] if required else ())
    at = NOW - SETTLE_S * 1000 + (0 if settled else 1)
    facts = [fact(outcome, name, received_at=at) for outcome, name in zip(outcomes, "abc", strict=False)]
    verdicts = {msg(judge_ci(policy, order, NOW)) for order in itertools.permutations(facts)}
    assert len(verdicts) == 1
    verdict = judge_ci(policy, facts, NOW)
    assert verdict is not None
    assert verdict.state == expected(outcomes, settled=settled, required=required)
    later = judge_ci(policy, facts, NOW + 1)
    assert later is not None
    assert (verdict.due is not None) == (later.state is not verdict.state), "it is due just when time decides"
    assert verdict.due in {None, NOW + 1}


def msg(verdict: Any) -> str:
    return repr(verdict)


def test_without_a_fact_nothing_is_said():
    assert judge_ci(Policy(), (), NOW) is None


@pytest.mark.parametrize("name", ["build", "lint"])
def test_required_contexts_are_waited_for_by_name(name: str):
    policy = Policy(required_contexts=("build", "lint"))
    nothing, half = judge_ci(policy, (), NOW), judge_ci(policy, [fact(name=name)], NOW)
    assert nothing is not None
    assert half is not None
    assert (nothing.state, nothing.summary) == (GateState.PENDING, "waits for build, lint")
    assert half.state is GateState.PENDING
    assert name not in half.summary


def test_one_red_required_context_is_enough_though_another_never_came():
    assert state(Policy(required_contexts=("build", "deploy")), fact(FAIL)) == "failed"


def test_what_is_not_required_has_no_say_where_contexts_are_named():
    policy = Policy(required_contexts=("build",))
    assert state(policy, fact(), fact(FAIL, "nightly"), fact(Outcome.RUNNING, "deploy")) == "passed"


def test_soft_passes_alone_are_no_pass_of_a_required_context():
    assert state(Policy(required_contexts=("build",)), fact(SOFT)) == "inconclusive"


@pytest.mark.parametrize("scope", SCOPES)
def test_single_checks_and_jobs_decide_only_where_they_are_named(scope: str):
    assert state(Policy(), fact(FAIL, scope=scope)) == ("failed" if scope in DECIDING else None)
    assert state(Policy(required_contexts=("build",)), fact(FAIL, scope=scope)) == "failed"
    assert state(Policy(required_contexts=("build",)), fact(scope=scope)) == "passed"


def test_the_suite_of_actions_is_its_workflows_and_does_not_decide_beside_them():
    suite = fact(FAIL, "github-actions", scope="check_suite", details={"app": "github-actions"})
    other = fact(FAIL, "bot", scope="check_suite", details={"app": "bot"})
    run = fact(name="tests", scope="workflow_run")
    assert state(Policy(), suite) == "failed"
    assert state(Policy(), suite, run) == "passed"
    assert state(Policy(), other, run) == "failed"


def test_the_newest_word_opens_the_window_again():
    old, new = fact(name="a", received_at=0), fact(name="b", received_at=NOW - 1000)
    verdict = judge_ci(Policy(ci_settle_s=60), [old, new], NOW)
    assert verdict is not None
    assert (verdict.state, verdict.due) == (GateState.PENDING, NOW + 59_000)


def test_without_a_window_it_is_decided_at_once():
    assert state(Policy(ci_settle_s=0), fact(FAIL, received_at=NOW)) == "failed"


def test_a_clock_that_was_set_back_holds_no_verdict_up():
    assert state(Policy(), fact(received_at=NOW + 3_600_000)) == "passed"


def test_the_evidence_names_each_context_and_points_at_the_red_one():
    verdict = judge_ci(Policy(), [fact(), fact(FAIL, "lint"), fact(SOFT, "docs")], NOW)
    assert verdict is not None
    assert [(each["name"], each["outcome"]) for each in verdict.contexts] == [
        ("build", "pass"),
        ("docs", "soft_pass"),
        ("lint", "fail"),
    ]
    assert (verdict.summary, verdict.url) == ("failed: lint", "https://ci/lint")


def test_a_workflow_that_waits_for_an_approval_says_so():
    verdict = judge_ci(Policy(), [fact(Outcome.WAITING_HUMAN)], NOW)
    assert verdict is not None
    assert (verdict.state, verdict.due) == (GateState.PENDING, None)
    assert "waits for a person" in verdict.summary


def test_a_long_list_is_cut():
    verdict = judge_ci(Policy(), [fact(FAIL, f"job {index}") for index in range(7)], NOW)
    assert verdict is not None
    assert verdict.summary.endswith("job 4 and 2 more")
