"""SQL that brings together all that decides how protocol runs go on: some statements for many of them at once."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from shared.repository import holds, jobs
from shared.repository.database import Row, Tx, as_json, as_record
from shared.schemas.records import Attempt, Gate, Job, Protocol, StepRun
from shared.states.waiting import SHOWN_CHARS, Situation

NEWEST_FAILED = 20

# The first parameter of each is a JSON array of the protocols' ids.
# Of what is long only what decides: of runs and steps no texts, of gates which contexts the CI has.
_RUNS = (
    "SELECT run.id, run.project_id, run.number, run.protocol_name, run.branch, run.base_branch, '' AS description,"
    " run.status, run.phase, run.reason, run.policy, run.model, run.start_sha, run.head_sha, run.pushed_sha,"
    " run.diverged_sha, run.plan_revision, run.written_revision, run.plan_sha, NULL AS feedback, run.pr_number,"
    " run.pr_url, run.pr_state, run.pr_at, run.pr_comment, run.version, run.created_at, run.updated_at,"
    " run.finished_at, (SELECT created_at FROM events WHERE protocol_id = run.id AND entity = 'protocol'"
    " AND to_status IS NOT NULL ORDER BY id DESC LIMIT 1) AS since"
    " FROM protocol_runs AS run WHERE run.id IN (SELECT value FROM json_each(?1)) ORDER BY run.id"
)
_STEPS = (
    "SELECT step.id, step.protocol_id, step.step_index, step.step_name, step.step_type, step.file_name,"
    " '' AS instructions, step.depends_on, step.status, step.phase, step.reason, step.head_sha, step.version,"
    " step.created_at, step.updated_at, step.finished_at,"
    " CASE WHEN step.status <> 'pending' THEN (SELECT created_at FROM events WHERE step_id = step.id"
    " AND entity = 'step' AND to_status IS NOT NULL ORDER BY id DESC LIMIT 1) END AS since"
    " FROM step_runs AS step WHERE step.protocol_id IN (SELECT value FROM json_each(?1))"
    " AND (status IN ('failed', 'running', 'needs_qa') OR phase = 'queued'"
    "  OR step.protocol_id IN (SELECT value FROM json_each(?2)))"
    " ORDER BY step.protocol_id, step.step_index"
)
_GATES = (
    "SELECT gates.step_id, gates.sha, gates.name, gates.state, gates.url, gates.actor,"
    " substr(gates.summary, 1, ?2) AS summary, gates.attempt_id, gates.updated_at, iif(gates.name = 'ci',"
    " json_object('contexts', json(coalesce(gates.evidence -> '$.contexts', '[]'))), '{}') AS evidence,"
    " step.protocol_id FROM step_runs AS step"
    " JOIN gates ON gates.step_id = step.id AND gates.sha = step.head_sha"
    " WHERE step.protocol_id IN (SELECT value FROM json_each(?1)) ORDER BY gates.step_id, gates.name"
)
_ATTEMPTS = (
    "SELECT * FROM attempts WHERE state = 'running' AND +protocol_id IN (SELECT value FROM json_each(?1)) ORDER BY id"
)
_FAILED = (
    "SELECT jobs.* FROM json_each(?1) AS run JOIN jobs ON jobs.id IN (SELECT id FROM jobs WHERE protocol_id = run.value"
    " AND +state = 'failed' ORDER BY id DESC LIMIT ?2) ORDER BY jobs.id DESC"
)


def candidates(tx: Tx, project_id: int | None) -> dict[int, bool]:
    """The protocol runs, of one project or of all, that may wait for a person: by id whether all their steps decide.

    Those are blocked ones, and open ones that wait as a whole, have a step that failed or is to be judged, or have
    nothing under way. Only of the last all steps decide; of the others those that failed or are under way.
    """
    rows = tx.rows(
        "SELECT id, awaited = 0 AND status <> 'blocked' AND at_work = 0 AS idle FROM ("
        "  SELECT run.id, run.status,"
        "  coalesce(run.phase IN ('awaiting_plan_approval', 'awaiting_merge'), 0) AS awaited,"
        "  EXISTS (SELECT 1 FROM step_runs WHERE protocol_id = run.id"
        "   AND (status IN ('running', 'needs_qa') OR phase = 'queued')) AS at_work,"
        "  EXISTS (SELECT 1 FROM step_runs WHERE protocol_id = run.id AND (status = 'failed'"
        "   OR status = 'needs_qa' AND phase IN ('awaiting_gates', 'inconclusive'))) AS stuck"
        "  FROM protocol_runs AS run WHERE run.finished_at IS NULL AND (?1 IS NULL OR run.project_id = ?1)"
        "  AND run.status IN ('blocked', 'planned', 'running'))"
        " WHERE status = 'blocked' OR awaited OR stuck OR at_work = 0 ORDER BY id",
        (project_id,),
    )
    return {row["id"]: bool(row["idle"]) for row in rows}


def load(
    tx: Tx, protocol_ids: Iterable[int], *, credential: str, project_limit: int, whole: Iterable[int] | None = None
) -> list[Situation]:
    """The situations of these protocol runs by id, without what failed before; those that do not exist are left out.

    All steps are there of those that are `whole`, by default of all; of the others those that failed or are under way.
    """
    known = list(protocol_ids)
    ids, fully = as_json(known), as_json(known if whole is None else list(whole))
    runs = tx.rows(_RUNS, (ids,))
    steps, gates = _by_protocol(tx.rows(_STEPS, (ids, fully))), _by_protocol(tx.rows(_GATES, (ids, SHOWN_CHARS)))
    open_jobs, attempts = jobs.open_of_protocols(tx, known), _by_protocol(tx.rows(_ATTEMPTS, (ids,)))
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
            jobs=tuple(open_jobs.get(row["id"], ())),
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
    failed = _by_protocol(tx.rows(_FAILED, (ids, NEWEST_FAILED)))
    return [
        msgspec.structs.replace(each, failed=tuple(as_record(Job, row) for row in failed[each.protocol.id]))
        for each in found
    ]


def _by_protocol(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["protocol_id"]].append(row)
    return found
