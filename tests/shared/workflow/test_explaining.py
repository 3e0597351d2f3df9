"""Explanations of protocol runs as the verbs leave them: what they call possible is possible, and nothing else is."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant

from shared.errors import Category, NotFound, Refusal
from shared.repository import standings, steps
from shared.repository.database import Tx
from shared.schemas.awaited import Awaited
from shared.schemas.records import Protocol, StepRun
from shared.schemas.reports import Failed
from shared.schemas.statuses import JobKind, ProtocolStatus
from shared.states.doable import of_protocol, of_step
from shared.states.explain import explain_protocol, explain_step
from shared.workflow import explaining
from shared.workflow import protocols as run_verbs
from shared.workflow import steps as step_verbs
from shared.workflow.explaining import situation_of
from shared.workflow.line import stop_line
from shared.workflow.pulls import adopt_branch, reset_branch
from shared.workflow.unit import Unit
from tests.shared.workflow.ground import ADMIN, Ground
from tests.shared.workflow.test_traces import DEEP, Traces

Verb = Callable[..., Any]

ON_RUNS: dict[str, list[tuple[Verb, dict[str, Any]]]] = {
    "start": [(run_verbs.start_protocol, {}), (run_verbs.start_protocol, {"plan": False})],
    "approve_plan": [(run_verbs.approve_plan, {})],
    "reject_plan": [(run_verbs.reject_plan, {"feedback": "no"})],
    "run_next_step": [(run_verbs.run_next_step, {})],
    "retry_latest": [(run_verbs.retry_latest, {})],
    "pause": [(run_verbs.pause_protocol, {})],
    "resume": [(run_verbs.resume_protocol, {})],
    "unblock": [(run_verbs.unblock_protocol, {})],
    "cancel": [(run_verbs.cancel_protocol, {})],
    "fail": [(run_verbs.fail_protocol, {"reason": "hopeless"})],
    "open_pr": [(run_verbs.open_pr, {})],
    "reset": [(reset_branch, {})],
}
ON_STEPS: dict[str, tuple[Verb, dict[str, Any]]] = {
    "run": (step_verbs.run_step, {}),
    "run_qa": (step_verbs.run_qa, {}),
    "approve": (step_verbs.approve_step, {"reason": "I looked"}),
    "reject": (step_verbs.reject_step, {"feedback": "no"}),
    "retry": (step_verbs.retry_step, {}),
    "skip": (step_verbs.skip_step, {"reason": "not needed"}),
    "cancel": (step_verbs.cancel_step, {}),
}


def would_work(ground: Ground, verb: Verb, *args: Any, **more: Any) -> bool:
    """Whether the verb is not refused; what it did is taken back."""
    ground.connection.execute("BEGIN IMMEDIATE")
    try:
        verb(Unit(Tx(ground.connection, ground.now), ADMIN, ground.rules, lambda: 0.5), *args, **more)
    except Refusal:
        return False
    finally:
        ground.connection.execute("ROLLBACK")
    return True


def check(ground: Ground, run: Protocol) -> None:
    found = situation_of(ground.tx, run.id, ground.rules)
    said = explain_protocol(found)
    assert said.because.endswith(".")
    ways = ON_RUNS | {"adopt": [(adopt_branch, {"sha": run.diverged_sha or "e" * 40})]}
    works = {
        name for name, some in ways.items() if any(would_work(ground, verb, run.id, **more) for verb, more in some)
    }
    assert set(of_protocol(found)) == works, ground.story(run.id)
    (standing,) = standings.of(ground.tx, [run])
    assert of_protocol(standing) == of_protocol(found), "what lists read says the same"
    for step in found.steps:
        works = {name for name, (verb, more) in ON_STEPS.items() if would_work(ground, verb, step.id, **more)}
        assert set(of_step(found, step)) == works, (step, ground.story(run.id))
        assert of_step(standing, step) == of_step(found, step), "what lists read says the same"
        if not run.status.terminal:
            assert explain_step(found, step).because.endswith(".")
    if run.status.terminal:
        assert said.waiting_for is Awaited.NOBODY
    elif said.waiting_for is Awaited.PERSON:
        assert set(said.actions) - {"pause", "cancel", "fail", "open_pr"} or any(
            of_step(found, step) for step in found.steps
        )


class Explained(Traces):
    @invariant()
    def what_is_called_possible_is_what_the_verbs_let_through(self):
        for run in self.runs() if hasattr(self, "project") else ():
            check(self.ground, run)


Explained.TestCase.settings = settings(
    max_examples=max(DEEP // 4, 20),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
TestExplained = Explained.TestCase


def behind_another(ground: Ground) -> Protocol:
    return ground.planned(3, after={2: (1,)})


def beside_another(ground: Ground) -> Protocol:
    run = ground.planned(2)
    ground.run(step_verbs.run_step, ground.step(run, 1).id)
    return run


def moved_under_a_worker(ground: Ground) -> Protocol:
    run = ground.planned(2)
    ground.run(run_verbs.open_pr, run.id)
    ground.end(ground.claim(run.id, JobKind.OPEN_PR), Failed(category=Category.DIVERGED, message="moved"))
    ground.run(run_verbs.open_pr, run.id)
    ground.claim(run.id, JobKind.OPEN_PR)
    return run


def moved(ground: Ground) -> Protocol:
    run = ground.planned(2)
    ground.run(run_verbs.open_pr, run.id)
    ground.end(ground.claim(run.id, JobKind.OPEN_PR), Failed(category=Category.DIVERGED, message="moved"))
    ground.run(reset_branch, run.id)
    return run


def with_steps_by_hand(ground: Ground) -> Protocol:
    run = ground.opened()
    ground.run(step_verbs.add_step, run.id, step_name="by hand")
    return run


def partly_skipped(ground: Ground) -> Protocol:
    run = ground.planned(2, plan_approval=True)
    ground.run(step_verbs.skip_step, ground.step(run, 1).id, reason="not needed")
    return run


def without_qa(ground: Ground) -> Protocol:
    step = ground.executed(2)
    ground.run(step_verbs.run_qa, step.id)
    ground.end(ground.claim(step.protocol_id, JobKind.QA), Failed(category=Category.AUTH, message="log in"))
    return ground.of(step)


def failed_twice(ground: Ground) -> Protocol:
    run = ground.planned(3)
    for index in (1, 2):
        ground.run(step_verbs.run_step, ground.step(run, index).id)
        ground.execute(ground.step(run, index), Failed(category=Category.AUTH, message="log in"))
        if index == 1:
            ground.run(step_verbs.skip_step, ground.step(run, index).id, reason="not needed")
    return run


SCENES = [
    behind_another,
    beside_another,
    moved_under_a_worker,
    moved,
    with_steps_by_hand,
    partly_skipped,
    without_qa,
    failed_twice,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_what_guards_refuse_is_not_called_possible(scene: Callable[[Ground], Protocol]):
    ground = Ground()
    check(ground, ground.protocol(scene(ground).id))


def explained(ground: Ground, thing: Protocol | StepRun):
    protocol_id = thing.id if isinstance(thing, Protocol) else thing.protocol_id
    found = situation_of(ground.tx, protocol_id, ground.rules)
    if isinstance(thing, Protocol):
        return explain_protocol(found)
    return explain_step(found, steps.expect(ground.tx, thing.id))


def test_since_is_when_the_status_came_not_when_the_row_was_touched_last():
    ground = Ground()
    run = ground.planned(1)
    planned_at = ground.now
    ground.wait(100)
    ground.run(run_verbs.open_pr, run.id)
    ground.claim(run.id, JobKind.OPEN_PR)
    assert explained(ground, run).since == planned_at


def test_a_failed_step_shows_what_its_job_said():
    ground = Ground()
    step = ground.step(ground.planned(1), 1)
    ground.run(step_verbs.run_step, step.id)
    ground.execute(step, Failed(category=Category.AUTH, message="log in again", stderr_tail=""))
    for thing in (step, ground.of(step)):
        found = explained(ground, thing)
        assert "log in again" in found.evidence[0].text
        assert not found.moving


def test_a_stopped_line_is_told_by_what_waits_for_it():
    ground = Ground()
    step = ground.step(ground.planned(1), 1)
    ground.run(step_verbs.run_step, step.id)
    ground.run(stop_line)
    found = explained(ground, step)
    assert (found.waiting_for, found.moving) == (Awaited.LINE, False)
    assert ground.of(step).status is ProtocolStatus.RUNNING


def test_what_does_not_exist_is_not_explained():
    ground = Ground()
    for look in (explaining.of_protocol, explaining.of_step):
        with pytest.raises(NotFound):
            look(ground.tx, None, 99, ground.rules)
