"""SQL of the page of one protocol run: one statement for all of its steps, whatever it shows of each."""

from collections.abc import Sequence

from shared.repository.database import Row, Tx
from shared.schemas.records import Attempt

# The beginning of a text that is only looked at in a list.
SHOWN_CHARS = 300


def work(tx: Tx, protocol_id: int) -> Sequence[Row]:
    """What the agents of each step did together; without a `step_id` that of the planning.

    `attempt_id`, `model`, `kind` and `state` are the newest attempt's; `worked_ms` counts running ones up to now.
    """
    return tx.rows(
        "SELECT step_id, count(*) AS attempts, max(id) AS attempt_id, model, kind, state, directory,"
        " sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,"
        " sum(output_tokens) AS output_tokens, sum(reasoning_output_tokens) AS reasoning_output_tokens,"
        " sum(coalesce(finished_at, ?2) - started_at) AS worked_ms"
        " FROM attempts WHERE protocol_id = ?1 GROUP BY step_id",
        (protocol_id, tx.now),
    )


def changes(tx: Tx, protocol_id: int) -> Sequence[Row]:
    """What each step that was begun said in the end and changed: the beginnings of its texts, and counts of lines."""
    return tx.rows(
        "SELECT step.id, substr(step.summary, 1, ?2) AS summary, substr(step.feedback, 1, ?2) AS feedback,"
        " json_extract(attempt.result, '$.files') AS files, json_extract(attempt.result, '$.additions') AS additions,"
        " json_extract(attempt.result, '$.deletions') AS deletions FROM step_runs AS step"
        " LEFT JOIN attempts AS attempt ON attempt.step_id = step.id AND attempt.head_sha = step.head_sha"
        "  AND attempt.kind = 'execute_step_job'"
        " WHERE step.protocol_id = ?1 AND (step.status <> 'pending' OR step.feedback IS NOT NULL) ORDER BY attempt.id",
        (protocol_id, SHOWN_CHARS),
    )


def plans(tx: Tx, protocol_id: int) -> Sequence[Row]:
    """The revisions of the plan, newest first, without their texts."""
    return tx.rows(
        "SELECT revision, summary, created_at FROM plans WHERE protocol_id = ? ORDER BY revision DESC", (protocol_id,)
    )


def attempts_of_step(tx: Tx, step_id: int, *, limit: int) -> Sequence[Attempt]:
    """The newest attempts of a step, its QA runs too; the newest first."""
    return tx.load_all(Attempt, "SELECT * FROM attempts WHERE step_id = ? ORDER BY id DESC LIMIT ?", (step_id, limit))


def made_by(tx: Tx, step_id: int, head_sha: str | None) -> Attempt | None:
    """The execution that made the step's commit; the newest one where none did."""
    return tx.load(
        Attempt,
        "SELECT * FROM attempts WHERE step_id = ?1 AND kind = 'execute_step_job'"
        " ORDER BY ?2 IS NOT NULL AND head_sha IS ?2 DESC, id DESC LIMIT 1",
        (step_id, head_sha),
    )


def newest_commit(tx: Tx, protocol_id: int) -> Attempt | None:
    """The newest attempt that made a commit on the branch: a plan or an execution."""
    return tx.load(
        Attempt,
        "SELECT * FROM attempts WHERE protocol_id = ? AND kind IN ('plan_protocol_job', 'execute_step_job')"
        " AND head_sha IS NOT NULL ORDER BY id DESC LIMIT 1",
        (protocol_id,),
    )
