"""SQL that brings together all that decides how protocol runs go on: some statements for many of them at once."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from shared.repository import holds
from shared.repository.database import Row, Tx, as_json, as_record
from shared.schemas.records import Attempt, Gate, Job, Protocol, StepRun
from shared.states.waiting import Situation

NEWEST_FAILED = 20

# The one parameter of each is a JSON array of the protocols' ids.
_RUNS = (
    "SELECT run.*, (SELECT created_at FROM events WHERE protocol_id = run.id AND entity = 'protocol'"
    " AND to_status IS NOT NULL ORDER BY id DESC LIMIT 1) AS since"
    " FROM protocol_runs AS run WHERE run.id IN (SELECT value FROM json_each(?1)) ORDER BY run.id"
)
# Of steps what decides: the texts can be long.
_STEPS = (
    "SELECT step.id, step.protocol_id, step.step_index, step.step_name, step.step_type, step.file_name,"
    " '' AS instructions, step.depends_on, step.status, step.phase, step.reason, step.head_sha, step.version,"
    " step.created_at, step.updated_at, step.finished_at,"
    " CASE WHEN step.status <> 'pending' THEN (SELECT created_at FROM events WHERE step_id = step.id"
    " AND entity = 'step' AND to_status IS NOT NULL ORDER BY id DESC LIMIT 1) END AS since"
    " FROM step_runs AS step WHERE step.protocol_id IN (SELECT value FROM json_each(?1))"
    " ORDER BY step.protocol_id, step.step_index"
)
_GATES = (
    "SELECT gates.*, step.protocol_id FROM step_runs AS step"
    " JOIN gates ON gates.step_id = step.id AND gates.sha = step.head_sha"
    " WHERE step.protocol_id IN (SELECT value FROM json_each(?1)) ORDER BY gates.step_id, gates.name"
)
_JOBS = (
    "SELECT * FROM jobs INDEXED BY open_jobs_of_protocol WHERE protocol_id IN (SELECT value FROM json_each(?1))"
    " AND state IN ('queued', 'running') ORDER BY id"
)
_ATTEMPTS = (
    "SELECT * FROM attempts WHERE state = 'running' AND +protocol_id IN (SELECT value FROM json_each(?1)) ORDER BY id"
)
_FAILED = (
    "SELECT * FROM jobs WHERE protocol_id IN (SELECT value FROM json_each(?1)) AND +state = 'failed'"
    " ORDER BY id DESC LIMIT ?2"
)


def unfinished(tx: Tx, project_id: int | None) -> Sequence[int]:
    """The ids of the protocol runs that are under way or blocked: of one project, or of all."""
    rows = tx.rows(
        "SELECT id FROM protocol_runs WHERE finished_at IS NULL AND (?1 IS NULL OR project_id = ?1)"
        " AND status NOT IN ('pending', 'paused') ORDER BY id",
        (project_id,),
    )
    return [row["id"] for row in rows]


def load(tx: Tx, protocol_ids: Iterable[int], *, credential: str, project_limit: int) -> list[Situation]:
    """The situations of these protocol runs by id, without what failed before; those that do not exist are left out."""
    ids = as_json(list(protocol_ids))
    runs = tx.rows(_RUNS, (ids,))
    steps, gates = _by_protocol(tx.rows(_STEPS, (ids,))), _by_protocol(tx.rows(_GATES, (ids,)))
    jobs, attempts = _by_protocol(tx.rows(_JOBS, (ids,))), _by_protocol(tx.rows(_ATTEMPTS, (ids,)))
    busy = {
        row["project_id"]
        for row in tx.rows(
            "SELECT project_id FROM jobs WHERE state = 'running' AND project_id IS NOT NULL"
            " AND kind IN ('plan_protocol_job', 'execute_step_job', 'run_quality_job')"
            " GROUP BY project_id HAVING count(*) >= ?",
            (project_limit,),
        )
    }
    held = tuple(holds.in_force(tx))
    return [
        Situation(
            protocol=as_record(Protocol, row),
            now=tx.now,
            steps=tuple(as_record(StepRun, each) for each in steps[row["id"]]),
            gates=tuple(as_record(Gate, each) for each in gates[row["id"]]),
            jobs=tuple(as_record(Job, each) for each in jobs[row["id"]]),
            holds=held,
            attempts=tuple(as_record(Attempt, each) for each in attempts[row["id"]]),
            since=row["since"],
            steps_since={each["id"]: each["since"] for each in steps[row["id"]] if each["since"] is not None},
            credential=credential,
            free_place=row["project_id"] not in busy,
        )
        for row in runs
    ]


def with_failures(tx: Tx, found: Sequence[Situation]) -> list[Situation]:
    """The same with the newest jobs that failed, which say why."""
    ids = as_json([each.protocol.id for each in found])
    failed = _by_protocol(tx.rows(_FAILED, (ids, NEWEST_FAILED * len(found))))
    return [
        msgspec.structs.replace(each, failed=tuple(as_record(Job, row) for row in failed[each.protocol.id]))
        for each in found
    ]


def _by_protocol(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["protocol_id"]].append(row)
    return found
