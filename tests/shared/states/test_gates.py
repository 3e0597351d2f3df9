"""The verdict over the gates of one commit."""

import itertools

import pytest

from shared.schemas.policy import Policy
from shared.schemas.statuses import GateName, GateState
from shared.states.gates import judge

CI, QA, APPROVAL = GateName.CI, GateName.QA, GateName.APPROVAL
PASSED, FAILED, PENDING, UNCLEAR = GateState.PASSED, GateState.FAILED, GateState.PENDING, GateState.INCONCLUSIVE


def test_without_evidence_nothing_is_decided():
    verdict = judge(Policy(), {})
    assert verdict.open == (QA, APPROVAL)
    assert not verdict.passed


@pytest.mark.parametrize("name", [QA, APPROVAL])
def test_by_default_qa_or_an_approval_is_enough(name: GateName):
    assert judge(Policy(), {name: PASSED}).passed


@pytest.mark.parametrize("name", [QA, APPROVAL])
def test_a_red_gate_fails_unless_the_other_of_its_group_is_green(name: GateName):
    other = APPROVAL if name is QA else QA
    assert judge(Policy(), {name: FAILED}).failed == (name,)
    assert judge(Policy(), {name: FAILED, other: PASSED}).passed


@pytest.mark.parametrize("state", [PENDING, UNCLEAR])
def test_an_inconclusive_gate_is_open_and_never_a_pass(state: GateState):
    verdict = judge(Policy(), {QA: state})
    assert not verdict.passed
    assert not verdict.failed
    assert QA in verdict.open


def test_an_approval_does_not_stand_in_for_qa_where_the_policy_wants_qa():
    assert judge(Policy(judged_by="qa"), {APPROVAL: PASSED}).open == (QA,)


def test_both_are_needed_where_the_policy_wants_both():
    policy = Policy(judged_by="qa_and_approval")
    assert judge(policy, {QA: PASSED}).open == (APPROVAL,)
    assert judge(policy, {APPROVAL: PASSED}).open == (QA,)
    assert judge(policy, {QA: PASSED, APPROVAL: PASSED}).passed


def test_ci_is_needed_once_the_policy_names_contexts():
    policy = Policy(required_contexts=("build",))
    assert judge(policy, {QA: PASSED}).open == (CI,)
    assert judge(policy, {QA: PASSED, CI: PASSED}).passed


def test_absent_ci_is_not_waited_for_without_contexts():
    assert judge(Policy(), {QA: PASSED}).passed


@pytest.mark.parametrize("completes", [True, False])
@pytest.mark.parametrize("contexts", [(), ("build",)])
def test_red_ci_always_fails_whatever_else_is_green(contexts: tuple[str, ...], completes: bool):
    policy = Policy(required_contexts=contexts, ci_completes_step=completes)
    verdict = judge(policy, {CI: FAILED, QA: PASSED, APPROVAL: PASSED})
    assert verdict.failed == (CI,)
    assert not verdict.passed


def test_green_ci_alone_completes_only_where_the_policy_says_so():
    assert judge(Policy(ci_completes_step=True), {CI: PASSED}).passed
    assert not judge(Policy(ci_completes_step=False), {CI: PASSED}).passed
    assert not judge(Policy(), {CI: PASSED}).passed


def test_no_combination_passes_without_a_green_gate():
    shades = (None, PENDING, FAILED, UNCLEAR)
    policies = [
        Policy(judged_by=by, required_contexts=contexts, ci_completes_step=completes)
        for by in ("qa_or_approval", "qa", "approval", "qa_and_approval")
        for contexts in ((), ("build",))
        for completes in (True, False)
    ]
    for policy, ci, qa, approval in itertools.product(policies, shades, shades, shades):
        gates = {name: state for name, state in ((CI, ci), (QA, qa), (APPROVAL, approval)) if state is not None}
        assert not judge(policy, gates).passed
