"""The invariants of DESIGN §4 as queries over the whole database: what is broken, in words."""

from collections.abc import Iterator, Sequence
from typing import Any

from shared.repository import jobs, steps
from shared.repository.database import Tx
from shared.schemas.records import Job, Protocol, StepRun
from shared.schemas.statuses import EventType, GateName, GateState, JobKind, JobState, Phase, Reason
from shared.states.gates import judge
from shared.states.protocol import READY
from shared.states.rest import under_way
from shared.workflow.unit import Rules

LONG_AGO = 2**62


def broken(tx: Tx, rules: Rules) -> list[str]:
    """Every invariant that does not hold now."""
    return [*_whole(tx, rules), *(wrong for protocol in _protocols(tx) for wrong in _of_protocol(tx, protocol))]


def _protocols(tx: Tx) -> list[Protocol]:
    return tx.load_all(Protocol, "SELECT * FROM protocol_runs")


def _whole(tx: Tx, rules: Rules) -> Iterator[str]:
    for row in tx.rows("PRAGMA foreign_key_check"):
        yield f"a foreign key points nowhere: {row}"
    yield from _chains(tx, "protocol", "protocol_id", "protocol_runs")
    yield from _chains(tx, "step", "step_id", "step_runs")
    for row in tx.rows("SELECT id, event_type FROM events WHERE project_id IS NULL AND entity IN ('protocol', 'step')"):
        yield f"event {row} has no project"
    runs = {protocol.id: protocol for protocol in _protocols(tx)}
    for job in jobs.to_ring(tx, project_limit=rules.project_concurrency, rung_before=LONG_AGO, limit=500):
        status = runs[job.protocol_id].status if job.protocol_id else None
        if status is not None and status not in READY[job.kind]:
            yield f"{job.kind} {job.id} would be rung for while its protocol is {status}"
    for row in tx.rows(
        "SELECT jobs.id, jobs.state, jobs.token, attempts.id AS attempt, attempts.token AS held FROM jobs LEFT JOIN"
        " attempts ON attempts.job_id = jobs.id AND attempts.state = 'running'"
        " WHERE jobs.kind IN ('plan_protocol_job', 'execute_step_job', 'run_quality_job')"
    ):
        if (row["state"] == "running") != (row["attempt"] is not None):
            yield f"job {row['id']} is {row['state']}, its open attempt is {row['attempt']}"
        if row["attempt"] is not None and row["held"] != row["token"]:
            yield f"attempt {row['attempt']} is open under a token that is over"


def _chains(tx: Tx, entity: str, column: str, table: str) -> Iterator[str]:
    """The events that carry from and to lead, each from where the one before ended, to the present status."""
    at: dict[int, str] = {}
    for event in tx.rows("SELECT * FROM events WHERE entity = ? AND from_status IS NOT NULL ORDER BY id", (entity,)):
        before = at.get(event[column], "pending")
        if event["from_status"] != before:
            yield f"{entity} {event[column]} was {before}, but event {event['event_type']} moves {event['from_status']}"
        if event["from_status"] == event["to_status"]:
            yield f"{entity} {event[column]}: event {event['event_type']} moves nowhere"
        at[event[column]] = event["to_status"]
    for row in tx.rows(f"SELECT id, status FROM {table}"):
        if at.get(row["id"], "pending") != row["status"]:
            yield f"{entity} {row['id']} is {row['status']}, its events end in {at.get(row['id'], 'pending')}"


def _of_protocol(tx: Tx, protocol: Protocol) -> Iterator[str]:
    present = steps.of_protocol(tx, protocol.id)
    open_jobs = jobs.open_of_protocol(tx, protocol.id)
    going = [job for job in open_jobs if job.stop != "cancel"]
    name = f"protocol {protocol.id} ({protocol.status}, {protocol.reason})"
    if sum(job.state is JobState.RUNNING and job.kind.writes_branch for job in open_jobs) > 1:
        yield f"{name} has two writers at once"
    yield from (f"{name} {wrong}" for wrong in _status(protocol, present, going))
    for step in present:
        where = f"{name}, step {step.step_index} ({step.status}, {step.phase})"
        mine = [job for job in going if job.step_id == step.id]
        yield from (f"{where}: {wrong}" for wrong in _jobs_of(step, mine))
        if step.status == "pending" and step.phase is None and _count(tx, "jobs", step):
            yield f"{where} was never queued but has jobs"
        if step.status == "completed" and (wrong := _unearned(tx, protocol, step)):
            yield f"{where} is completed without {wrong}"


def _status(protocol: Protocol, present: Sequence[StepRun], going: Sequence[Job]) -> Iterator[str]:
    """Whether the protocol's status is true of its steps and jobs."""
    if protocol.status.terminal:
        if late := [step.step_index for step in present if not step.status.settled]:
            yield f"has open steps {late}"
        if left := [job.kind for job in going if job.kind is not JobKind.OPEN_PR]:
            yield f"has open jobs {left}"
    plans = sum(job.kind is JobKind.PLAN for job in going)
    if plans > 1 or (protocol.status == "planning") > plans:
        yield f"has {plans} plan jobs"
    failed = [step for step in present if step.status == "failed"]
    if protocol.reason is Reason.STEP_FAILED and protocol.status == "blocked" and not failed:
        yield "has no failed step"
    if protocol.status == "running":
        if failed and not any(under_way(step) for step in present):
            yield "has nothing but a failed step"
        if all(step.status.settled for step in present) and protocol.phase is not Phase.AWAITING_MERGE:
            yield "has nothing left to do"


def _jobs_of(step: StepRun, mine: list[Job]) -> Iterator[str]:
    """The open jobs of a step, but those being cancelled, are just those that its status and phase tell of."""
    shown = [f"{job.kind}:{job.state}" for job in mine]
    executing, judging = f"{JobKind.EXECUTE}:", f"{JobKind.QA}:"
    match step.status, step.phase:
        case "pending", None:
            wanted: list[str] = []
        case "pending", Phase.QUEUED:
            wanted = [executing + "queued"]
        case "running", Phase.EXECUTING:
            wanted = [executing + "running"]
        case "running", Phase.BACKOFF | Phase.PARKED:
            wanted = [executing + "queued"]
        case "needs_qa", Phase.AWAITING_GATES | Phase.INCONCLUSIVE:
            wanted = []
        case "needs_qa", Phase.QA_QUEUED:
            wanted = [judging + "queued"]
        case "needs_qa", Phase.QA_RUNNING:
            wanted = [judging + "running"]
        case (("failed" | "completed" | "cancelled"), None):
            wanted = []
        case _:
            yield "no such phase in this status"
            return
    if shown != wanted:
        yield f"open jobs {shown}, not {wanted}"


def _count(tx: Tx, table: str, step: StepRun) -> int:
    return len(tx.rows(f"SELECT id FROM {table} WHERE step_id = ?", (step.id,)))


def _unearned(tx: Tx, protocol: Protocol, step: StepRun) -> str | None:
    """What a completed step lacks: green gates, or the word of somebody with a reason."""
    gates = {gate.name: gate for gate in steps.gates(tx, step.id, step.head_sha)} if step.head_sha else {}
    match step.reason:
        case Reason.GATES_PASSED:
            states = {name: gate.state for name, gate in gates.items()}
            # What the CI says of the commit afterwards blocks the protocol, and leaves the step as it is.
            before = [{**states, GateName.CI: state} for state in _ci_states(tx, step)]
            before.append({name: state for name, state in states.items() if name is not GateName.CI})
            passed = any(judge(protocol.policy, each).passed for each in (states, *before))
            return None if passed else f"green gates: {gates}"
        case Reason.APPROVED:
            approval = gates.get(GateName.APPROVAL)
            fine = approval is not None and approval.state is GateState.PASSED and approval.actor
            return None if fine else "an approval"
        case Reason.OVERRIDDEN:
            said = _said(tx, step, EventType.MANUAL_APPROVAL)
            return None if said and said["reason"] and said["actor"] else "a reason for its override"
        case Reason.SKIPPED:
            said = _said(tx, step, EventType.STEP_SKIPPED)
            return None if said and said["actor"] else "somebody who skipped it"
        case _:
            return f"a known reason: {step.reason}"


def _ci_states(tx: Tx, step: StepRun) -> list[GateState]:
    """What the CI gate of the step's commit has said, one time or another."""
    rows = tx.rows(
        "SELECT metadata ->> 'state' AS state FROM events WHERE step_id = ? AND event_type = 'gate_updated'"
        " AND metadata ->> 'gate' = 'ci' AND metadata ->> 'sha' = ?",
        (step.id, step.head_sha),
    )
    return [GateState(row["state"]) for row in rows]


def _said(tx: Tx, step: StepRun, event_type: EventType) -> dict[str, Any] | None:
    return tx.row(
        "SELECT * FROM events WHERE step_id = ? AND event_type = ? ORDER BY id DESC LIMIT 1", (step.id, event_type)
    )
