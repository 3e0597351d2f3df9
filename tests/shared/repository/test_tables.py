"""What the tables keep, give back and refuse, whoever writes."""

from typing import Any

import msgspec
import pytest

from shared.errors import Category
from shared.repository import deliveries, events, idempotency, jobs, projects, protocols, steps, tokens
from shared.repository.database import Tx, sqlite3
from shared.schemas.policy import Policy
from shared.schemas.records import Delivery, Gate, Project, Protocol, StepRun
from shared.schemas.reports import Failed
from shared.schemas.statuses import (
    DeliveryStatus,
    EventType,
    GateName,
    GateState,
    JobKind,
    ProtocolStatus,
    Provider,
    Reason,
    StepStatus,
)
from shared.states.protocol import READY
from shared.workflow.protocols import open_pr, run_next_step, start_protocol
from shared.workflow.steps import run_qa
from shared.workflow.sync import sync_protocol
from tests.shared.workflow.ground import LATEST, Ground


@pytest.fixture
def ground() -> Ground:
    return Ground()


def later(ground: Ground, seconds: int) -> Tx:
    ground.wait(seconds)
    return ground.tx


# the database refuses too


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE protocol_runs SET status = 'banana'",
        "UPDATE protocol_runs SET status = 'completed'",
        "UPDATE protocol_runs SET status = 'blocked', reason = NULL",
        "UPDATE protocol_runs SET finished_at = 1",
        "UPDATE protocol_runs SET number = 'one'",
        "UPDATE protocol_runs SET policy = '{'",
        "UPDATE step_runs SET status = 'blocked'",
        "UPDATE step_runs SET status = 'needs_qa', head_sha = NULL",
        "UPDATE step_runs SET status = 'failed', reason = NULL",
        "UPDATE step_runs SET finished_at = 1",
        "UPDATE jobs SET state = 'running', owner = NULL",
        "UPDATE jobs SET attempt = max_attempts + 1",
        "UPDATE jobs SET state = 'failed', finished_at = 1, category = NULL",
        "UPDATE jobs SET kind = 'unknown_job'",
        "UPDATE jobs SET stop = 'please'",
        "UPDATE events SET actor = 'somebody else'",
        (
            "INSERT INTO events (event_type, entity, from_status, actor, metadata, created_at)"
            " VALUES ('x', 'step', 'pending', 'a', '{}', 0)"
        ),
    ],
)
def test_the_database_refuses_what_cannot_be(ground: Ground, change: str):
    ground.run(run_next_step, ground.planned().id)
    with pytest.raises(sqlite3.IntegrityError):
        ground.sql(change)


def test_a_step_has_one_open_job(ground: Ground):
    ground.run(run_next_step, ground.planned().id)
    again = (
        "INSERT INTO jobs (kind, project_id, protocol_id, step_id, payload, state, run_at, max_attempts, stop, actor,"
        " created_at) SELECT kind, project_id, protocol_id, step_id, '{}', state, run_at, 3, ?, actor, 0 FROM jobs"
        " WHERE kind = 'execute_step_job'"
    )
    for stop in (None, "park"):
        with pytest.raises(sqlite3.IntegrityError, match=r"jobs\.step_id"):
            ground.sql(again, stop)
    ground.sql(again, "cancel")


def test_a_branch_has_one_running_writer(ground: Ground):
    protocol = ground.planned()
    ground.run(run_next_step, protocol.id)
    ground.run(open_pr, protocol.id)
    ground.claim(protocol.id, JobKind.EXECUTE)
    with pytest.raises(sqlite3.IntegrityError, match=r"jobs\.protocol_id"):
        ground.sql("UPDATE jobs SET state = 'running', owner = 'w2' WHERE kind = 'open_pr_job'")


def test_a_job_has_one_open_attempt(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    ground.claim(protocol.id)
    with pytest.raises(sqlite3.IntegrityError, match=r"attempts\.job_id"):
        ground.sql(
            "INSERT INTO attempts (job_id, project_id, protocol_id, kind, number, token, state, started_at)"
            " SELECT job_id, project_id, protocol_id, kind, 2, 2, state, 0 FROM attempts"
        )


# records


def test_every_category_of_an_error_is_a_reason():
    assert {category.value for category in Category} <= {reason.value for reason in Reason}


def test_records_come_back_as_they_went_in(ground: Ground):
    project = ground.project(policy=Policy(auto_fix=2, required_contexts=("build",)), default_models={"qa": "m"})
    assert projects.expect(ground.tx, project.id) == projects.named(ground.tx, project.name)
    assert project.policy == Policy(auto_fix=2, required_contexts=("build",))
    assert project.default_models == {"qa": "m"}


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (
            Project,
            {"name": "x", "git_url": "u", "base_branch": "b", "ci_provider": Provider.GITLAB, "repository_id": "7"},
        ),
        (
            Protocol,
            {
                "status": ProtocolStatus.FAILED,
                "phase": None,
                "reason": Reason.OPERATOR,
                "start_sha": "a",
                "head_sha": "b",
                "pushed_sha": "c",
                "diverged_sha": "c2",
                "plan_revision": 4,
                "written_revision": 3,
                "plan_sha": "d",
                "feedback": "e",
                "pr_number": 7,
                "pr_url": "f",
                "finished_at": 8,
            },
        ),
        (
            StepRun,
            {
                "step_name": "n",
                "model": "m",
                "status": StepStatus.FAILED,
                "reason": Reason.AUTH,
                "summary": "s",
                "feedback": "f",
                "thread_id": "t",
                "start_sha": "a",
                "head_sha": "b",
                "executions": 1,
                "continuations": 2,
                "repairs": 3,
                "retries": 4,
                "qa_asks": 5,
                "started_at": 6,
            },
        ),
    ],
)
def test_a_save_writes_what_may_change_and_only_over_the_version_that_was_read(
    ground: Ground, record: type[Any], changes: dict[str, Any]
):
    protocol = ground.planned()
    table, before = {
        Project: (projects, projects.expect(ground.tx, protocol.project_id)),
        Protocol: (protocols, protocol),
        StepRun: (steps, ground.step(protocol, 1)),
    }[record]
    ground.wait(5)
    after = table.save(ground.tx, msgspec.structs.replace(before, **changes))
    expected = msgspec.structs.replace(before, **changes, version=before.version + 1, updated_at=ground.now)
    assert after == expected
    assert table.save(ground.tx, before) is None


def test_a_gate_is_one_for_each_commit(ground: Ground):
    step = ground.executed()
    gate = Gate(
        step_id=step.id,
        sha="a",
        name=GateName.QA,
        state=GateState.PENDING,
        summary="",
        url=None,
        actor="x",
        attempt_id=None,
        evidence={"findings": [1]},
        updated_at=0,
    )
    for sha, state in (("a", GateState.PENDING), ("b", GateState.FAILED), ("a", GateState.PASSED)):
        steps.put_gate(ground.tx, msgspec.structs.replace(gate, sha=sha, state=state))
    assert [each.state for each in steps.gates(ground.tx, step.id, "a")] == [GateState.PASSED]
    assert len(steps.gates(ground.tx, step.id, None)) == 2
    steps.drop_gates(ground.tx, step.id, "a")
    assert [each.sha for each in steps.gates(ground.tx, step.id, None)] == ["b"]


# lists


def test_pages_follow_each_other_without_gap_or_double(ground: Ground):
    project = ground.project()
    for _ in range(7):
        ground.opened(project=project)
    seen: list[int] = []
    after = 0
    while page := protocols.page(ground.tx, project.id, after=after, limit=3):
        seen += [protocol.number for protocol in page]
        after = page[-1].id
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_events_come_newest_first_page_by_page(ground: Ground):
    protocol = ground.of(ground.executed())
    seen: list[int] = []
    before = LATEST
    while page := events.of_protocol(ground.tx, protocol.id, before=before, limit=3):
        seen += [event.id for event in page]
        before = page[-1].id
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(ground.events(protocol.id))


def test_events_of_one_project_are_not_those_of_another(ground: Ground):
    one, other = ground.opened(), ground.opened()
    mine = events.of_project(ground.tx, one.project_id, before=LATEST, limit=99)
    assert {event.project_id for event in mine} == {one.project_id}
    everything = events.of_all(ground.tx, before=LATEST, limit=99)
    assert {event.project_id for event in everything} == {one.project_id, other.project_id}


def test_jobs_are_listed_by_project_and_state(ground: Ground):
    one = ground.run(start_protocol, ground.opened().id)
    other = ground.run(start_protocol, ground.opened().id)
    ground.end(ground.claim(other.id), Failed(category=Category.AUTH, message="no"))

    def kinds(project_id: int | None, state: str | None) -> list[tuple[int | None, str]]:
        page = jobs.page(ground.tx, project_id=project_id, state=state, before=LATEST, limit=99)
        return [(job.project_id, job.kind) for job in page]

    plan = "plan_protocol_job"
    assert kinds(None, "failed") == [(other.project_id, plan)]
    assert kinds(one.project_id, None) == [(one.project_id, plan), (one.project_id, "setup")]
    assert kinds(one.project_id, "failed") == []
    assert kinds(None, "queued") == [(one.project_id, plan)]
    assert len(kinds(None, None)) == 4
    counted = {(row["kind"], row["state"]): row["count"] for row in jobs.counts(ground.tx, None)}
    assert counted == {(plan, "failed"): 1, (plan, "queued"): 1, ("setup", "succeeded"): 2}
    assert sum(row["count"] for row in jobs.counts(ground.tx, one.project_id)) == 2


# the outbox


def due(ground: Ground, rung_before: int) -> list[int]:
    return [job.id for job in jobs.to_ring(ground.tx, project_limit=9, rung_before=rung_before, limit=9)]


def test_what_was_rung_just_now_is_not_rung_again_until_a_while_later(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    job = ground.only_job(protocol.id)
    assert due(ground, ground.now - 5000) == []
    ground.wait(6)
    assert due(ground, ground.now - 5000) == [job.id]
    jobs.mark_dispatched(ground.tx, [(job.id, job.dispatch)], ground.now)
    assert due(ground, ground.now - 5000) == []


def test_what_was_never_rung_is_rung(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    job = ground.only_job(protocol.id)
    jobs.mark_dispatched(ground.tx, [(job.id, job.dispatch)], None)
    assert due(ground, ground.now - 5000) == [job.id]


def test_a_bell_of_an_older_dispatch_marks_nothing(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    job = ground.only_job(protocol.id)
    jobs.mark_dispatched(ground.tx, [(job.id, job.dispatch - 1)], None)
    assert ground.job(job.id).dispatched_at == job.dispatched_at


def test_a_clock_that_was_set_back_does_not_silence_the_bell(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    job = ground.only_job(protocol.id)
    jobs.mark_dispatched(ground.tx, [(job.id, job.dispatch)], ground.now + 3_600_000)
    assert due(ground, ground.now - 5000) == [job.id]


@pytest.mark.parametrize("status", ProtocolStatus)
@pytest.mark.parametrize("kind", READY)
def test_the_pump_rings_just_for_what_a_claim_would_give_out(ground: Ground, kind: JobKind, status: ProtocolStatus):
    match kind:
        case JobKind.PLAN:
            protocol = ground.run(start_protocol, ground.opened().id)
        case JobKind.EXECUTE:
            protocol = ground.planned()
            ground.run(run_next_step, protocol.id)
        case JobKind.QA:
            step = ground.executed()
            ground.run(run_qa, step.id)
            protocol = ground.of(step)
        case JobKind.SYNC:
            protocol = ground.planned()
            ground.run(sync_protocol, protocol.id)
        case _:
            protocol = ground.planned()
            ground.run(open_pr, protocol.id)
    over = ground.now if status.terminal else None
    ground.sql("UPDATE protocol_runs SET status = ?, reason = 'diverged', finished_at = ?", status, over)
    assert bool(due(ground, LATEST)) == (status in READY[kind])


def test_the_next_due_time_is_that_of_the_soonest(ground: Ground):
    protocol = ground.run(start_protocol, ground.opened().id)
    assert jobs.next_run_at(ground.tx) is None
    ground.end(ground.claim(protocol.id), Failed(category=Category.NETWORK, message="no route"))
    assert jobs.next_run_at(ground.tx) == ground.only_job(protocol.id).run_at


# tokens, answers, hooks, deliveries


def test_a_token_opens_until_it_expires_or_is_revoked(ground: Ground):
    project = ground.project()
    lasting = tokens.add(ground.tx, project.id, "ci", "dk_", "hash-1", None)
    tokens.add(ground.tx, project.id, "short", "dk_", "hash-2", ground.now + 1000)
    assert tokens.by_hash(ground.tx, "hash-1") == lasting
    assert tokens.by_hash(ground.tx, "hash-2") is not None
    assert tokens.by_hash(later(ground, 1), "hash-2") is None
    assert not tokens.revoke(ground.tx, project.id + 1, lasting.id)
    assert tokens.revoke(ground.tx, project.id, lasting.id)
    assert not tokens.revoke(ground.tx, project.id, lasting.id)
    assert tokens.by_hash(ground.tx, "hash-1") is None
    assert [token.name for token in tokens.of_project(ground.tx, project.id)] == ["ci", "short"]


def test_the_use_of_a_token_is_remembered_now_and_then(ground: Ground):
    token = tokens.add(ground.tx, ground.project().id, "ci", "dk_", "hash", None)
    used: list[int | None] = []
    for seconds in (0, 10, 60):
        tx = later(ground, seconds)
        tokens.touch(tx, token.id, older_than=tx.now - 30_000)
        found = tokens.by_hash(tx, "hash")
        used.append(found.last_used_at if found else None)
    assert used[0] == used[1]
    assert used[2] == ground.now


def test_an_answer_is_kept_once_and_forgotten_with_age(ground: Ground):
    for status in (201, 500):
        idempotency.keep(ground.tx, "s", "k", request_sha256="h", status=status, headers={"ETag": "1"}, body=b"{}")
    row = idempotency.find(ground.tx, "s", "k")
    assert row is not None
    assert (row["status"], row["request_sha256"], row["body"]) == (201, "h", b"{}")
    assert idempotency.find(ground.tx, "other", "k") is None
    assert idempotency.forget_before(ground.tx, ground.now) == 0
    assert idempotency.forget_before(ground.tx, ground.now + 1) == 1


def test_a_new_secret_of_a_hook_leaves_the_old_one_some_time(ground: Ground):
    hook = deliveries.add_hook(ground.tx, ground.project().id, Provider.GITHUB, "key")
    deliveries.add_hook_secret(ground.tx, hook.id, "hmac", b"old", others_until=ground.now)
    deliveries.add_hook_secret(ground.tx, hook.id, "hmac", b"new", others_until=ground.now + 60_000)
    assert [secret.sealed for secret in deliveries.hook_secrets(ground.tx, hook.id)] == [b"new", b"old"]
    assert [secret.sealed for secret in deliveries.hook_secrets(later(ground, 60), hook.id)] == [b"new"]


def test_a_hook_is_found_by_its_key_and_provider_until_it_is_disabled(ground: Ground):
    hook = deliveries.add_hook(ground.tx, ground.project().id, Provider.GITHUB, "key")
    assert deliveries.hook_by_key(ground.tx, Provider.GITHUB, "key") == hook
    assert deliveries.hook_by_key(ground.tx, Provider.GITLAB, "key") is None
    ground.sql("UPDATE hooks SET disabled_at = 1")
    assert deliveries.hook_by_key(ground.tx, Provider.GITHUB, "key") is None


def a_delivery(key: str, hook_id: int | None = None, provider: Provider = Provider.GITHUB) -> Delivery:
    return Delivery(
        id=0,
        provider=provider,
        hook_id=hook_id,
        delivery_key=key,
        event="push",
        headers={"X-GitHub-Event": "push"},
        body=b"\x00{}",
        body_sha256="h",
        project_id=None,
        protocol_id=None,
        step_id=None,
        status=DeliveryStatus.RECEIVED,
        reason=None,
        effect=None,
        received_at=0,
        applied_at=None,
    )


def test_a_delivery_is_stored_once_for_each_hook(ground: Ground):
    hook = deliveries.add_hook(ground.tx, ground.project().id, Provider.GITHUB, "key")
    first = deliveries.add(ground.tx, a_delivery("guid"))
    assert first is not None
    assert (first.body, first.headers) == (b"\x00{}", {"X-GitHub-Event": "push"})
    assert deliveries.add(ground.tx, a_delivery("guid")) is None
    assert deliveries.add(ground.tx, a_delivery("guid", hook.id)) is not None
    assert deliveries.add(ground.tx, a_delivery("guid", provider=Provider.GITLAB)) is not None
    assert deliveries.known(ground.tx, Provider.GITHUB, None, "guid") == first
    assert deliveries.known(ground.tx, Provider.GITHUB, None, "other") is None


def test_secrets_are_replaced_and_forgotten(ground: Ground):
    project = ground.project()
    projects.put_secret(ground.tx, project.id, "forge", sealed=b"one", file_name=None)
    projects.put_secret(ground.tx, project.id, "forge", sealed=None, file_name="forge.txt")
    (secret,) = projects.secrets(ground.tx, project.id)
    assert (secret.sealed, secret.file_name) == (None, "forge.txt")
    assert projects.delete_secret(ground.tx, project.id, "forge")
    assert not projects.delete_secret(ground.tx, project.id, "forge")
    assert projects.secret(ground.tx, project.id, "forge") is None


def test_every_type_of_event_can_be_written(ground: Ground):
    protocol = ground.opened()
    for event_type in EventType:
        ground.run(lambda unit, each=event_type: unit.say(each, protocol))
    assert {event.event_type for event in ground.events(protocol.id)} == set(EventType)
