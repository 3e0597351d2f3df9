"""Explanations have words for everything that the closed sets of words can say, and say them in whole sentences."""

import re
from itertools import product
from typing import Any

import pytest

from shared.errors import Category
from shared.schemas.awaited import Awaited
from shared.schemas.policy import Policy
from shared.schemas.records import Gate, Hold, Job, Protocol, StepRun
from shared.schemas.statuses import (
    GateName,
    GateState,
    JobKind,
    JobState,
    Phase,
    ProtocolStatus,
    PullState,
    Reason,
    StepStatus,
    StepType,
    StopRequest,
)
from shared.states.causes import CAUSES, cause_of
from shared.states.explain import Explanation, explain_protocol, explain_step
from shared.states.waiting import Situation

NOW = 1_800_000_000_000
SHA = "a" * 40
P, S = ProtocolStatus, StepStatus


def a_protocol(status: ProtocolStatus = P.RUNNING, **changes: Any) -> Protocol:
    fields: dict[str, Any] = {
        "id": 1,
        "project_id": 1,
        "number": 1,
        "protocol_name": "0001-theme",
        "branch": "0001-theme",
        "base_branch": "main",
        "description": "a theme",
        "status": status,
        "phase": None,
        "reason": None,
        "policy": Policy(),
        "model": None,
        "start_sha": None,
        "head_sha": SHA,
        "pushed_sha": SHA,
        "plan_revision": 1,
        "written_revision": 1,
        "plan_sha": "p",
        "feedback": None,
        "pr_number": 7,
        "pr_url": "https://forge/7",
        "pr_state": PullState.OPEN,
        "pr_at": None,
        "pr_comment": None,
        "version": 3,
        "created_at": NOW,
        "updated_at": NOW,
        "finished_at": None,
    }
    return Protocol(**fields | changes)


def a_step(status: StepStatus = S.PENDING, index: int = 1, **changes: Any) -> StepRun:
    fields: dict[str, Any] = {
        "id": index,
        "protocol_id": 1,
        "step_index": index,
        "step_name": "one",
        "step_type": StepType.WORK,
        "file_name": "01-one.md",
        "instructions": "",
        "depends_on": (),
        "status": status,
        "head_sha": SHA,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return StepRun(**fields | changes)


def a_job(kind: JobKind = JobKind.EXECUTE, state: JobState = JobState.QUEUED, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "id": 1,
        "kind": kind,
        "project_id": 1,
        "protocol_id": 1,
        "step_id": 1,
        "delivery_id": None,
        "payload": {},
        "state": state,
        "priority": 0,
        "run_at": NOW,
        "attempt": 1,
        "max_attempts": 3,
        "continuations": 0,
        "token": 1,
        "heartbeat": 0,
        "dispatch": 1,
        "dispatched_at": None,
        "owner": "w1" if state is JobState.RUNNING else None,
        "stop": None,
        "category": None,
        "error": None,
        "result": None,
        "actor": "alice",
        "request_id": None,
        "created_at": NOW,
        "started_at": None,
        "finished_at": None,
    }
    return Job(**fields | changes)


def a_gate(name: GateName, state: GateState, **changes: Any) -> Gate:
    fields: dict[str, Any] = {
        "step_id": 1,
        "sha": SHA,
        "name": name,
        "state": state,
        "summary": "said",
        "url": None,
        "actor": "ci",
        "attempt_id": None,
        "evidence": {},
        "updated_at": NOW,
    }
    return Gate(**fields | changes)


def a_hold(name: str = "login", reason: Reason = Reason.QUOTA, until: int | None = NOW + 1) -> Hold:
    return Hold(name=name, reason=reason, message="used up", until=until, actor="alice", created_at=NOW - 9)


def situation(protocol: Protocol | None = None, *steps: StepRun, **more: Any) -> Situation:
    return Situation(protocol=protocol or a_protocol(), now=NOW, steps=steps, since=NOW - 5, **more)


def of_step(step: StepRun, protocol: Protocol | None = None, **more: Any) -> Explanation:
    return explain_step(situation(protocol, step, **more), step)


def is_prose(text: str) -> bool:
    """Whole sentences, without a code or a blank where a word should be."""
    return re.fullmatch(r"[A-Z0-9][^_]*\.", re.sub(r"DEKSDENFLOW_\w+|deploy/README.md|open_pr", "X", text)) is not None


def complete(found: Explanation) -> None:
    assert is_prose(found.because), found.because
    assert is_prose(found.if_nobody_acts), found.if_nobody_acts
    assert found.waiting_for in Awaited
    assert "None" not in found.because + found.if_nobody_acts


# the closed sets


def test_every_reason_and_every_error_category_has_its_words():
    assert set(CAUSES) == set(Reason)
    assert all(cause_of(category) for category in Category)
    for reason, cause in CAUSES.items():
        assert re.fullmatch(r"[a-zQC][^.]*", cause.what), reason
        assert is_prose(cause.remedy), reason


@pytest.mark.parametrize("reason", Reason)
def test_a_failed_step_says_for_every_reason_what_happened_whom_it_waits_for_and_what_to_do(reason: Reason):
    step = a_step(S.FAILED, reason=reason)
    failed = a_job(state=JobState.FAILED, category=reason.value, error="the very message", finished_at=NOW)
    protocol = a_protocol(P.BLOCKED, reason=Reason.STEP_FAILED)
    for found in (
        of_step(step, protocol, failed=(failed,)),
        explain_protocol(situation(protocol, step, failed=(failed,))),
    ):
        complete(found)
        assert CAUSES[reason].what in found.because
        assert CAUSES[reason].remedy in found.because
        assert found.waiting_for is Awaited.PERSON
        assert not found.moving
        assert "blocked" in found.if_nobody_acts
        assert {"retry", "skip"} <= set(found.actions) or "retry_latest" in found.actions
    if reason not in {Reason.CI_FAILED, Reason.QA_FAILED}:
        assert "the very message" in found.evidence[0].text


@pytest.mark.parametrize("reason", Reason)
def test_a_blocked_protocol_says_for_every_reason_what_happened_and_what_to_do(reason: Reason):
    found = explain_protocol(situation(a_protocol(P.BLOCKED, reason=reason)))
    complete(found)
    assert CAUSES[reason].what in found.because
    assert CAUSES[reason].remedy in found.because
    assert found.waiting_for is Awaited.PERSON


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("status", [P.COMPLETED, P.FAILED, P.CANCELLED])
def test_what_is_over_says_why_for_every_reason(status: ProtocolStatus, reason: Reason):
    found = explain_protocol(situation(a_protocol(status, reason=reason, finished_at=NOW)))
    complete(found)
    assert CAUSES[reason].what in found.because
    assert found.waiting_for is Awaited.NOBODY
    for settled in (S.COMPLETED, S.CANCELLED):
        step = of_step(a_step(settled, reason=reason, finished_at=NOW), a_protocol(status, finished_at=NOW))
        complete(step)
        assert CAUSES[reason].what in step.because
        assert step.actions == ()


@pytest.mark.parametrize("category", Category)
def test_a_try_that_failed_says_for_every_category_why_and_when_it_is_repeated(category: Category):
    job = a_job(run_at=NOW + 500, category=category.value, error="the very message")
    found = of_step(a_step(S.RUNNING, phase=Phase.BACKOFF, reason=Reason(category)), jobs=(job,))
    complete(found)
    assert cause_of(category).what in found.because
    assert (found.waiting_for, found.until, found.moving) == (Awaited.TIME, NOW + 500, True)
    assert found.evidence[0].text == "the very message"


@pytest.mark.parametrize("reason", Reason)
def test_a_qa_run_without_a_verdict_says_for_every_reason_why(reason: Reason):
    found = of_step(a_step(S.NEEDS_QA, phase=Phase.INCONCLUSIVE, reason=reason))
    complete(found)
    assert CAUSES[reason].what in found.because
    assert found.waiting_for is Awaited.PERSON
    assert {"run_qa", "approve", "reject"} <= set(found.actions)


@pytest.mark.parametrize(("status", "phase"), list(product(P, [None, *Phase])))
def test_every_status_and_phase_of_a_protocol_is_explained(status: ProtocolStatus, phase: Phase | None):
    for steps in ((), (a_step(),), (a_step(S.RUNNING, phase=Phase.EXECUTING), a_step(index=2, depends_on=(1,)))):
        for jobs in ((), (a_job(),), (a_job(JobKind.PLAN, step_id=None),), (a_job(state=JobState.RUNNING),)):
            protocol = a_protocol(status, phase=phase, reason=Reason.STEP_FAILED)
            complete(explain_protocol(situation(protocol, *steps, jobs=jobs)))


@pytest.mark.parametrize(("status", "phase"), list(product(S, [None, *Phase])))
def test_every_status_and_phase_of_a_step_is_explained(status: StepStatus, phase: Phase | None):
    for protocol, progression in product(P, ["manual", "auto"]):
        run = a_protocol(protocol, reason=Reason.DIVERGED, policy=Policy(progression=progression))
        for jobs in ((), (a_job(),), (a_job(JobKind.QA),), (a_job(state=JobState.RUNNING),)):
            step = a_step(status, phase=phase, reason=Reason.NO_CHANGES, index=2, depends_on=(1,))
            complete(explain_step(situation(run, a_step(S.FAILED, reason=Reason.AUTH), step, jobs=jobs), step))


# what a job waits for, one by one

QUEUED = a_step(phase=Phase.QUEUED)
RUNNING = a_job(state=JobState.RUNNING)
WAITS: dict[str, tuple[Awaited, str, dict[str, Any]]] = {
    "nothing but a worker": (Awaited.WORKER, "waits for a worker", {}),
    "an agent": (Awaited.AGENT, "attempt 1 of 3", {"jobs": (RUNNING,)}),
    "the line": (Awaited.LINE, "alice stopped the line", {"holds": (a_hold("line", Reason.OPERATOR, None),)}),
    "the quota": (Awaited.QUOTA, "used up", {"holds": (a_hold(),)}),
    "a slower pace": (Awaited.TIME, "slow down", {"holds": (a_hold(reason=Reason.RATE_LIMITED),)}),
    "nobody else's quota": (Awaited.WORKER, "waits for a worker", {"holds": (a_hold("key-1"),)}),
    "room in the project": (Awaited.WORKER, "PROJECT_CONCURRENCY", {"free_place": False}),
    "the branch": (
        Awaited.WORKER,
        "job 9 (publishing)",
        {"jobs": (a_job(), a_job(JobKind.OPEN_PR, JobState.RUNNING, id=9, step_id=None))},
    ),
    "its end": (
        Awaited.WORKER,
        "asked to stop",
        {"jobs": (a_job(state=JobState.RUNNING, stop=StopRequest.PARK),)},
    ),
    "somebody at the host": (
        Awaited.PERSON,
        "could not be ended",
        {"jobs": (a_job(state=JobState.RUNNING, error="process 12 is still there"),)},
    ),
}


@pytest.mark.parametrize("case", WAITS)
def test_a_job_tells_what_it_waits_for(case: str):
    waiting_for, words, more = WAITS[case]
    given: dict[str, Any] = {"jobs": (a_job(),)} | more
    found = of_step(QUEUED, None, **given)
    complete(found)
    assert found.waiting_for is waiting_for
    assert words in found.because
    assert found.until == (NOW + 1 if "holds" in more and found.waiting_for in {Awaited.QUOTA, Awaited.TIME} else None)


def test_a_pause_keeps_everything_from_starting():
    found = of_step(QUEUED, a_protocol(P.PAUSED), jobs=(a_job(),))
    assert found.waiting_for is Awaited.PERSON
    assert "Resume it" in found.because
    assert "run" not in found.actions


# what a judgement waits for

JUDGED: dict[str, tuple[Policy, dict[GateName, Any], Awaited, str]] = {
    "by anybody": (Policy(), {}, Awaited.PERSON, "run QA or approve it"),
    "by a person": (Policy(judged_by="approval"), {}, Awaited.PERSON, "approve it, or reject"),
    "after its CI": (Policy(auto_qa_on_ci=True), {}, Awaited.CI, "the CI on its commit"),
    "by its CI alone": (
        Policy(required_contexts=("a",)),
        {GateName.QA: GateState.PASSED, GateName.CI: GateState.PENDING},
        Awaited.CI,
        "the CI on its commit",
    ),
    "by a person and its CI": (
        Policy(required_contexts=("a",)),
        {GateName.CI: GateState.PENDING},
        Awaited.PERSON,
        "The CI is waited for too",
    ),
}


@pytest.mark.parametrize("case", JUDGED)
def test_a_step_tells_who_is_to_judge_it(case: str):
    policy, gates, waiting_for, words = JUDGED[case]
    found = of_step(
        a_step(S.NEEDS_QA, phase=Phase.AWAITING_GATES),
        a_protocol(policy=policy),
        gates=tuple(a_gate(name, state) for name, state in gates.items()),
    )
    complete(found)
    assert found.waiting_for is waiting_for
    assert words in found.because
    assert len(found.evidence) == len(gates)


def test_a_ci_that_waits_for_a_person_at_the_forge_says_so():
    contexts = {"contexts": [{"outcome": "waiting_human"}]}
    gate = a_gate(GateName.CI, GateState.PENDING, evidence=contexts, url="https://forge/runs/1")
    found = of_step(a_step(S.NEEDS_QA, phase=Phase.AWAITING_GATES), gates=(gate,))
    assert found.waiting_for is Awaited.PERSON
    assert "at the forge" in found.because
    assert found.evidence[0].url == "https://forge/runs/1"


# what comes next


def test_a_step_waits_with_the_one_that_it_depends_on():
    first = a_step(S.RUNNING, phase=Phase.EXECUTING)
    second = a_step(index=2, depends_on=(1,))
    found = explain_step(situation(None, first, second, jobs=(RUNNING,)), second)
    assert found.because.startswith("Step 2 waits for step 1. The execution of step 1 is under way")
    assert (found.waiting_for, found.moving) == (Awaited.AGENT, True)
    assert found.actions == ("skip", "cancel")


def test_a_step_that_nobody_started_says_that_it_can_be():
    found = of_step(a_step(), a_protocol(P.PLANNED))
    assert (found.waiting_for, found.moving) == (Awaited.PERSON, False)
    assert "nobody has started it" in found.because
    assert "run" in found.actions


def test_a_step_behind_a_later_one_is_not_explained_in_circles():
    policy = Policy(progression="auto")
    first, second = a_step(index=1, depends_on=(2,)), a_step(index=2)
    both = situation(a_protocol(P.PLANNED, policy=policy), first, second)
    assert explain_step(both, first).because.startswith("Step 1 waits for step 2. Step 2 can start")
    assert explain_step(both, second).waiting_for is Awaited.PERSON
    assert explain_protocol(both).waiting_for is Awaited.PERSON


def test_the_approval_of_a_plan_and_a_merge_are_waited_for():
    plan = a_protocol(P.PLANNED, phase=Phase.AWAITING_PLAN_APPROVAL)
    found = explain_protocol(situation(plan, a_step()))
    assert found.waiting_for is Awaited.PERSON
    assert {"approve_plan", "reject_plan"} <= set(found.actions)
    assert "run_next_step" not in found.actions
    merge = explain_protocol(situation(a_protocol(P.RUNNING, phase=Phase.AWAITING_MERGE)))
    assert merge.waiting_for is Awaited.MERGE
    assert merge.evidence[0].url == "https://forge/7"


def test_a_branch_that_was_moved_says_where_it_is_now():
    protocol = a_protocol(P.BLOCKED, reason=Reason.DIVERGED, diverged_sha="b" * 40)
    found = explain_protocol(situation(protocol))
    assert "b" * 40 in found.evidence[0].text
    assert {"adopt", "reset"} <= set(found.actions)
    mending = a_job(JobKind.OPEN_PR, payload={"reset": "b" * 40}, step_id=None)
    assert explain_protocol(situation(protocol, jobs=(mending,))).waiting_for is Awaited.WORKER
