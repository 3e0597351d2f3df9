"""SQL of the tables step_runs and gates."""

from collections.abc import Sequence

from shared.repository.database import Tx, as_json
from shared.schemas.records import Gate, StepRun


def add(tx: Tx, step: StepRun) -> StepRun:
    """Store a new pending step; its id is given by the database."""
    step_id = tx.insert(
        "INSERT INTO step_runs (protocol_id, step_index, step_name, step_type, file_name, instructions, depends_on,"
        " model, status, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            step.protocol_id,
            step.step_index,
            step.step_name,
            step.step_type,
            step.file_name,
            step.instructions,
            as_json(step.depends_on),
            step.model,
            step.status,
            tx.now,
            tx.now,
        ),
    )
    return expect(tx, step_id)


def get(tx: Tx, step_id: int) -> StepRun | None:
    """One step."""
    return tx.load(StepRun, "SELECT * FROM step_runs WHERE id = ?", (step_id,))


def expect(tx: Tx, step_id: int) -> StepRun:
    """One step that a foreign key promises."""
    step = get(tx, step_id)
    if step is None:
        raise LookupError(f"step {step_id}")
    return step


def of_protocol(tx: Tx, protocol_id: int) -> Sequence[StepRun]:
    """All steps of a protocol, by index."""
    return tx.load_all(StepRun, "SELECT * FROM step_runs WHERE protocol_id = ? ORDER BY step_index", (protocol_id,))


def at_commit(tx: Tx, project_id: int, sha: str) -> Sequence[StepRun]:
    """The steps of a project whose work ends in this commit."""
    return tx.load_all(
        StepRun,
        "SELECT step.* FROM step_runs AS step JOIN protocol_runs AS run ON run.id = step.protocol_id"
        " WHERE step.head_sha = ? AND run.project_id = ? ORDER BY step.id",
        (sha, project_id),
    )


def page(tx: Tx, protocol_id: int, *, after: int, limit: int) -> Sequence[StepRun]:
    """Steps of a protocol by index above `after`."""
    return tx.load_all(
        StepRun,
        "SELECT * FROM step_runs WHERE protocol_id = ? AND step_index > ? ORDER BY step_index LIMIT ?",
        (protocol_id, after, limit),
    )


def save(tx: Tx, step: StepRun) -> StepRun | None:
    """Write the changeable columns if nobody changed the row meanwhile; gives the new row, None when stale."""
    changed = tx.run(
        "UPDATE step_runs SET step_name = ?, model = ?, status = ?, phase = ?, reason = ?, summary = ?, feedback = ?,"
        " thread_id = ?, start_sha = ?, head_sha = ?, executions = ?, continuations = ?, repairs = ?, retries = ?,"
        " qa_asks = ?, repaired_sha = ?, version = version + 1, updated_at = ?, started_at = ?, finished_at = ?"
        " WHERE id = ? AND version = ?",
        (
            step.step_name,
            step.model,
            step.status,
            step.phase,
            step.reason,
            step.summary,
            step.feedback,
            step.thread_id,
            step.start_sha,
            step.head_sha,
            step.executions,
            step.continuations,
            step.repairs,
            step.retries,
            step.qa_asks,
            step.repaired_sha,
            tx.now,
            step.started_at,
            step.finished_at,
            step.id,
            step.version,
        ),
    )
    return expect(tx, step.id) if changed else None


def delete_untouched(tx: Tx, protocol_id: int) -> int:
    """Forget the steps of an earlier plan, none of which was ever queued; gives how many."""
    return tx.run(
        "DELETE FROM step_runs WHERE protocol_id = ? AND status = 'pending' AND phase IS NULL", (protocol_id,)
    )


def put_gate(tx: Tx, gate: Gate) -> None:
    """Store or replace the evidence of one gate for one commit."""
    tx.run(
        "INSERT INTO gates (step_id, sha, name, state, summary, url, actor, attempt_id, evidence, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (step_id, sha, name) DO UPDATE SET"
        " state = excluded.state, summary = excluded.summary, url = excluded.url, actor = excluded.actor,"
        " attempt_id = excluded.attempt_id, evidence = excluded.evidence, updated_at = excluded.updated_at",
        (
            gate.step_id,
            gate.sha,
            gate.name,
            gate.state,
            gate.summary,
            gate.url,
            gate.actor,
            gate.attempt_id,
            as_json(gate.evidence),
            tx.now,
        ),
    )


def drop_gates(tx: Tx, step_id: int, sha: str) -> None:
    """Forget the judgements of one commit, because what made it was done anew; what its forge says of it stays."""
    tx.run("DELETE FROM gates WHERE step_id = ? AND sha = ? AND name IN ('qa', 'approval')", (step_id, sha))


def gates(tx: Tx, step_id: int, sha: str | None) -> Sequence[Gate]:
    """The gates of a step for one commit; for all its commits when `sha` is None."""
    if sha is None:
        return tx.load_all(
            Gate, "SELECT * FROM gates WHERE step_id = ? ORDER BY updated_at DESC, sha, name", (step_id,)
        )
    return tx.load_all(
        Gate, "SELECT * FROM gates WHERE step_id = ? AND sha = ? ORDER BY updated_at DESC, name", (step_id, sha)
    )
