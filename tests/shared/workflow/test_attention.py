"""What waits for a person, as the verbs leave it: each thing once, with answers that work, and nothing that moves."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant

from shared.errors import Category, Refusal
from shared.repository import situations
from shared.repository.database import Tx
from shared.schemas.awaited import Kind
from shared.schemas.reports import Failed
from shared.schemas.statuses import DeliveryStatus, JobKind, Provider
from shared.states.attention import Item, sketches
from shared.workflow import answering, attention
from shared.workflow import protocols as run_verbs
from shared.workflow import steps as step_verbs
from shared.workflow.answering import Given
from shared.workflow.deliveries import receive_delivery, settle_delivery
from shared.workflow.jobs import claim_job, note_unkilled
from shared.workflow.line import stop_line
from shared.workflow.projects import set_up_project
from shared.workflow.unit import Unit
from tests.shared.workflow.forge_ground import ForgeGround
from tests.shared.workflow.ground import ADMIN, WORKER, Ground
from tests.shared.workflow.test_traces import DEEP, Traces

GIVEN: dict[str, Any] = {"feedback": "no", "reason": "I looked", "sha": "e" * 40}


def waiting(ground: Ground) -> list[Item]:
    found = attention.waiting(ground.tx, None, ground.rules)
    shown = attention.whole(ground.tx, found, ground.rules)
    assert [item.place for item in shown] == [each.place for each in found]
    return shown


def answer(ground: Ground, item: Item, action: str, **more: Any) -> bool:
    return ground.run(answering.resolve, item.id, action, Given(**more), version=item.version)


def an_approval(ground: ForgeGround) -> None:
    ground.planned(1, plan_approval=True)


def a_review(ground: ForgeGround) -> None:
    ground.executed(1)


def a_red_gate(ground: ForgeGround) -> None:
    step = ground.executed(1)
    ground.run(step_verbs.run_qa, step.id)
    ground.judge(step, "fail")


def a_failed_step(ground: ForgeGround) -> None:
    step = ground.step(ground.planned(1), 1)
    ground.run(step_verbs.run_step, step.id)
    ground.execute(step, Failed(category=Category.AUTH, message="log in"))


def no_verdict(ground: ForgeGround) -> None:
    step = ground.executed(1)
    ground.run(step_verbs.run_qa, step.id)
    ground.judge(step, "inconclusive")


def no_qa(ground: ForgeGround) -> None:
    step = ground.executed(1)
    ground.run(step_verbs.run_qa, step.id)
    ground.end(ground.claim(step.protocol_id, JobKind.QA), Failed(category=Category.AUTH, message="log in"))


def no_plan(ground: ForgeGround) -> None:
    run = ground.run(run_verbs.start_protocol, ground.opened().id)
    ground.end(ground.claim(run.id), Failed(category=Category.PLAN_INVALID, message="no steps"))


def not_published(ground: ForgeGround) -> None:
    run = ground.planned(1)
    ground.run(run_verbs.open_pr, run.id)
    ground.end(ground.claim(run.id, JobKind.OPEN_PR), Failed(category=Category.AUTH, message="renew the token"))


def a_moved_branch(ground: ForgeGround) -> None:
    run = ground.planned(1)
    ground.run(run_verbs.open_pr, run.id)
    ground.end(ground.claim(run.id, JobKind.OPEN_PR), Failed(category=Category.DIVERGED, message="moved"))


def a_next_step(ground: ForgeGround) -> None:
    ground.planned(1)


def a_stopped_line(ground: ForgeGround) -> None:
    ground.run(stop_line)


def a_quota(ground: ForgeGround) -> None:
    run = ground.run(run_verbs.start_protocol, ground.opened().id)
    ground.end(ground.claim(run.id), Failed(category=Category.QUOTA, message="used up"))


def a_kill(ground: ForgeGround) -> None:
    run = ground.run(run_verbs.start_protocol, ground.opened().id)
    claim = ground.claim(run.id)
    for _ in range(2):
        ground.run_as(WORKER, note_unkilled, claim.job.id, claim.job.token, "process 12 is still there")
    told = ground.sql("SELECT count(*) AS count FROM events WHERE event_type = 'kill_unconfirmed'")
    assert told == [{"count": 1}]


def a_setup(ground: ForgeGround) -> None:
    job = ground.run(set_up_project, ground.project().id)
    claim = ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
    assert claim is not None
    ground.end(claim, Failed(category=Category.REPOSITORY, message="there is no branch main"))


def a_delivery(ground: ForgeGround) -> None:
    ground.number = 1
    stored, _ = ground.run(receive_delivery, ground.a_delivery(Provider.GITHUB, None))
    ground.run(settle_delivery, stored.id, DeliveryStatus.FAILED, "it broke")


# What is made, which kind of thing it is, what answers it, and whether that settles it at once.
SCENES: list[tuple[Callable[[ForgeGround], None], Kind, str]] = [
    (an_approval, Kind.PLAN_APPROVAL, "approve_plan"),
    (an_approval, Kind.PLAN_APPROVAL, "reject_plan"),
    (a_review, Kind.REVIEW, "approve"),
    (a_review, Kind.REVIEW, "run_qa"),
    (a_review, Kind.REVIEW, "reject"),
    (a_red_gate, Kind.GATE, "retry"),
    (a_red_gate, Kind.GATE, "approve"),
    (a_failed_step, Kind.STEP_FAILED, "skip"),
    (no_verdict, Kind.QA_INCONCLUSIVE, "run_qa"),
    (no_qa, Kind.QA_UNAVAILABLE, "run_qa"),
    (no_plan, Kind.PLANNING_FAILED, "start"),
    (no_plan, Kind.PLANNING_FAILED, "fail"),
    (not_published, Kind.PUBLISH_FAILED, "open_pr"),
    (not_published, Kind.PUBLISH_FAILED, "unblock"),
    (a_moved_branch, Kind.DIVERGED, "reset"),
    (a_moved_branch, Kind.DIVERGED, "cancel"),
    (a_next_step, Kind.NEXT_STEP, "run_next_step"),
    (a_stopped_line, Kind.LINE, "resume"),
    (a_quota, Kind.QUOTA, "resume"),
    (a_setup, Kind.SETUP_FAILED, "setup"),
    (a_delivery, Kind.DELIVERY_FAILED, "replay"),
]


@pytest.mark.parametrize(("scene", "kind", "action"), SCENES, ids=lambda each: getattr(each, "__name__", str(each)))
def test_each_kind_of_thing_is_there_once_and_its_answers_settle_it(
    scene: Callable[[ForgeGround], None], kind: Kind, action: str
):
    ground = ForgeGround()
    scene(ground)
    (item,) = waiting(ground)
    assert item.kind is kind
    assert item.since == ground.now
    ground.wait(7)
    (again,) = waiting(ground)
    assert again == item, "it is the same thing until somebody acts"
    needs = next(way.needs for way in item.ways if way.action == action)
    assert answer(ground, item, action, **{name: GIVEN[name] for name in needs})
    assert item.id not in {other.id for other in waiting(ground)}


def test_what_could_not_be_killed_has_no_answer_but_to_look():
    ground = ForgeGround()
    a_kill(ground)
    (item,) = waiting(ground)
    assert (item.kind, item.ways) == (Kind.KILL_UNCONFIRMED, ())
    assert item.evidence[0].text == "process 12 is still there"


def test_what_the_forge_has_said_waits_too():
    for state, kind in (("closed", Kind.PR_CLOSED), ("open", Kind.AWAITING_MERGE)):
        ground = ForgeGround()
        step = ground.executed_here(1, completion="merge")
        run = ground.with_pull(ground.of(step))
        if state == "closed":
            ground.deliver(ground.pull_word(run, "closed"))
        else:
            ground.run(step_verbs.approve_step, step.id)
        assert [item.kind for item in waiting(ground)] == [kind]


def test_what_a_person_has_put_off_is_not_listed():
    ground = Ground()
    ground.opened()
    ground.run(run_verbs.pause_protocol, ground.executed(1).protocol_id)
    assert waiting(ground) == []


def test_a_short_hold_is_no_persons_business():
    ground = Ground()
    run = ground.run(run_verbs.start_protocol, ground.opened().id)
    failure = Failed(category=Category.QUOTA, message="used up", again_at=ground.now + 100_000)
    ground.end(ground.claim(run.id), failure)
    assert waiting(ground) == []


def test_a_delivery_that_failed_at_a_time_that_nobody_noted_waits_since_it_came():
    ground = ForgeGround()
    a_delivery(ground)
    came = ground.now
    ground.wait(7)
    ground.sql("UPDATE deliveries SET applied_at = NULL, project_id = NULL RETURNING id")
    (item,) = waiting(ground)
    assert (item.kind, item.since) == (Kind.DELIVERY_FAILED, came)


class Attended(Traces):
    @invariant()
    def every_answer_that_is_offered_works(self):
        for item in waiting(self.ground) if hasattr(self, "project") else ():
            for way in item.ways:
                given = Given(**{name: GIVEN[name] for name in way.needs})
                if "sha" in way.needs:
                    continue
                self.ground.connection.execute("BEGIN IMMEDIATE")
                unit = Unit(Tx(self.ground.connection, self.ground.now), ADMIN, self.ground.rules, lambda: 0.5)
                try:
                    answering.resolve(unit, item.id, way.action, given, version=item.version)
                except Refusal as error:
                    raise AssertionError(f"{item.id} {way.action}: {error}") from error
                finally:
                    self.ground.connection.execute("ROLLBACK")

    @invariant()
    def what_is_not_looked_at_has_nothing_for_a_person(self):
        tx, rules = self.ground.tx, self.ground.rules
        limit = rules.project_concurrency
        ids = [row["id"] for row in self.ground.sql("SELECT id FROM protocol_runs")]
        everything = situations.load(tx, ids, credential=rules.credential, project_limit=limit)
        known = {(each.id, each.place) for situation in everything for each in sketches(situation)}
        found = {(each.id, each.place) for each in attention.waiting(tx, None, rules) if each.protocol_id}
        assert found == known

    @invariant()
    def nothing_is_listed_twice(self):
        if hasattr(self, "project"):
            names = [item.id for item in waiting(self.ground)]
            assert len(names) == len(set(names))


Attended.TestCase.settings = settings(
    max_examples=max(DEEP // 4, 15),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
TestAttended = Attended.TestCase


def test_a_thousand_that_wait_are_listed_quickly():
    ground = Ground()
    step = ground.executed(3)
    ground.run(step_verbs.run_qa, step.id)
    ground.judge(step, "inconclusive")
    many(ground, 1000)
    took: list[float] = []
    for _ in range(5):
        began = time.process_time()
        found = attention.waiting(ground.tx, None, ground.rules)
        shown = attention.whole(ground.tx, found[:50], ground.rules)
        took.append(time.process_time() - began)
        assert (len(found), len(shown)) == (1001, 50)
    assert min(took) < 0.1, f"{min(took) * 1000:.0f} ms"


def many(ground: Ground, count: int) -> None:
    """Copies of the first protocol run, with its steps, gates and events."""
    for number in range(2, count + 2):
        for table, own in (("protocol_runs", "id"), ("step_runs", "protocol_id"), ("gates", None), ("events", None)):
            columns: list[str] = [row["name"] for row in ground.sql(f"SELECT name FROM pragma_table_info('{table}')")]
            changed: dict[str, str] = {
                "id": f"id + {number * 1000}" if table != "protocol_runs" else str(number),
                "protocol_id": str(number),
                "step_id": f"step_id + {number * 1000}",
                "number": str(number),
                "protocol_name": f"'{number:04d}-copy'",
            }
            picked = ", ".join(changed.get(name, name) for name in columns)
            where = "id = 1" if own == "id" else "TRUE"
            if table in {"step_runs", "events"}:
                where = "protocol_id = 1"
            if table == "gates":
                where = "step_id < 1000"
            ground.connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {picked} FROM {table} WHERE {where}"
            )


def test_a_run_that_failed_often_takes_no_other_runs_evidence() -> None:
    ground = ForgeGround()
    columns = (
        "kind, project_id, protocol_id, payload, state, run_at, max_attempts, category, actor, created_at, finished_at"
    )
    runs = [ground.planned(1).id for _ in range(2)]
    for run, times in zip(runs, (1, 3 * situations.NEWEST_FAILED), strict=True):
        ground.sql(
            f"INSERT INTO jobs ({columns}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " SELECT 'sync', project_id, id, '{}', 'failed', 0, 1, 'network', 'admin', 0, 0 FROM protocol_runs, n"
            " WHERE protocol_runs.id = ?",
            times,
            run,
        )
    loaded = situations.load(ground.tx, runs, credential="login", project_limit=2)
    shown = situations.with_failures(ground.tx, loaded)
    assert [len(each.failed) for each in shown] == [1, situations.NEWEST_FAILED]
