"""SQL of the table attempts."""

from collections.abc import Sequence

from shared.repository.database import Tx, as_json
from shared.schemas.records import Attempt, Job
from shared.schemas.statuses import AttemptState


def open_for(tx: Tx, job: Job, *, start_sha: str | None, model: str | None) -> Attempt:
    """Open the attempt of a job that was just claimed."""
    attempt_id = tx.insert(
        "INSERT INTO attempts (job_id, project_id, protocol_id, step_id, kind, number, token, state, model, start_sha,"
        " started_at) VALUES (?1, ?2, ?3, ?4, ?5, (SELECT count(*) + 1 FROM attempts WHERE job_id = ?1), ?6, 'running',"
        " ?7, ?8, ?9)",
        (job.id, job.project_id, job.protocol_id, job.step_id, job.kind, job.token, model, start_sha, tx.now),
    )
    return expect(tx, attempt_id)


def get(tx: Tx, attempt_id: int) -> Attempt | None:
    """One attempt."""
    return tx.load(Attempt, "SELECT * FROM attempts WHERE id = ?", (attempt_id,))


def expect(tx: Tx, attempt_id: int) -> Attempt:
    """One attempt that a foreign key promises."""
    attempt = get(tx, attempt_id)
    if attempt is None:
        raise LookupError(f"attempt {attempt_id}")
    return attempt


def live(tx: Tx, job_id: int) -> Attempt | None:
    """The open attempt of a job."""
    return tx.load(Attempt, "SELECT * FROM attempts WHERE job_id = ? AND state = 'running'", (job_id,))


def of_job(tx: Tx, job_id: int) -> Sequence[Attempt]:
    """All attempts of a job, oldest first."""
    return tx.load_all(Attempt, "SELECT * FROM attempts WHERE job_id = ? ORDER BY id", (job_id,))


def of_step(tx: Tx, step_id: int, *, after: int, limit: int) -> Sequence[Attempt]:
    """A step's attempts by id above `after`, its QA runs too."""
    return tx.load_all(
        Attempt,
        "SELECT * FROM attempts WHERE step_id = ? AND id > ? ORDER BY id LIMIT ?",
        (step_id, after, limit),
    )


def of_protocol(tx: Tx, protocol_id: int, *, after: int, limit: int) -> Sequence[Attempt]:
    """A protocol's attempts by id above `after`: planning, execution and QA."""
    return tx.load_all(
        Attempt,
        "SELECT * FROM attempts WHERE protocol_id = ? AND id > ? ORDER BY id LIMIT ?",
        (protocol_id, after, limit),
    )


def first_accepted(tx: Tx, step_id: int) -> Attempt | None:
    """The first execution of a step that made a commit."""
    return tx.load(
        Attempt,
        "SELECT * FROM attempts WHERE step_id = ? AND kind = 'execute_step_job' AND state = 'succeeded'"
        " AND head_sha IS NOT NULL ORDER BY id LIMIT 1",
        (step_id,),
    )


def page(tx: Tx, *, project_id: int | None, state: str | None, before: int, limit: int) -> Sequence[Attempt]:
    """Attempts, newest first, by id below `before`; of one project, in one state."""
    match project_id, state:
        case None, None:
            sql = "SELECT * FROM attempts WHERE id < ? ORDER BY id DESC LIMIT ?"
            return tx.load_all(Attempt, sql, (before, limit))
        case None, _:
            sql = "SELECT * FROM attempts WHERE state = ? AND id < ? ORDER BY id DESC LIMIT ?"
            return tx.load_all(Attempt, sql, (state, before, limit))
        case _, None:
            sql = "SELECT * FROM attempts WHERE project_id = ? AND id < ? ORDER BY id DESC LIMIT ?"
            return tx.load_all(Attempt, sql, (project_id, before, limit))
        case _:
            sql = "SELECT * FROM attempts WHERE project_id = ? AND state = ? AND id < ? ORDER BY id DESC LIMIT ?"
            return tx.load_all(Attempt, sql, (project_id, state, before, limit))


def of_thread(tx: Tx, thread_id: str) -> Sequence[Attempt]:
    """The attempts that talked in one Codex thread, newest first."""
    return tx.load_all(Attempt, "SELECT * FROM attempts WHERE thread_id = ? ORDER BY id DESC", (thread_id,))


def before(tx: Tx, attempt: Attempt, *, committed: bool = False) -> Attempt | None:
    """The attempt before this one at the same work: of the same protocol, step and kind.

    With `committed` the newest of them that made a commit, accepted or not.
    """
    return tx.load(
        Attempt,
        "SELECT * FROM attempts WHERE protocol_id = ? AND step_id IS ? AND kind = ? AND id < ?"
        " AND (NOT ? OR head_sha IS NOT NULL) ORDER BY id DESC LIMIT 1",
        (attempt.protocol_id, attempt.step_id, attempt.kind, attempt.id, committed),
    )


def at_branch_before(tx: Tx, attempt: Attempt) -> Attempt | None:
    """The attempt that had the protocol's worktree before this one, whatever it was for."""
    return tx.load(
        Attempt,
        "SELECT * FROM attempts WHERE protocol_id = ? AND kind IN ('plan_protocol_job', 'execute_step_job') AND id < ?"
        " ORDER BY id DESC LIMIT 1",
        (attempt.protocol_id, attempt.id),
    )


def note_salvage(tx: Tx, attempt_id: int, ref: str) -> None:
    """Keep where the files of an attempt were saved, which may be found after it was closed."""
    tx.run("UPDATE attempts SET salvage = ? WHERE id = ?", (ref, attempt_id))


def save(tx: Tx, attempt: Attempt) -> None:
    """Write the changeable columns of an attempt that is still open; a closed one stays as it is."""
    tx.run(
        "UPDATE attempts SET state = ?, model = ?, thread_id = ?, resumed_from = ?, prompt_sha256 = ?, start_sha = ?,"
        " head_sha = ?, result = ?, category = ?, error = ?, stderr_tail = ?, exit_code = ?, input_tokens = ?,"
        " cached_input_tokens = ?, output_tokens = ?, reasoning_output_tokens = ?, directory = ?, finished_at = ?"
        " WHERE id = ? AND state = 'running'",
        (
            attempt.state,
            attempt.model,
            attempt.thread_id,
            attempt.resumed_from,
            attempt.prompt_sha256,
            attempt.start_sha,
            attempt.head_sha,
            None if attempt.result is None else as_json(attempt.result),
            attempt.category,
            attempt.error,
            attempt.stderr_tail,
            attempt.exit_code,
            attempt.input_tokens,
            attempt.cached_input_tokens,
            attempt.output_tokens,
            attempt.reasoning_output_tokens,
            attempt.directory,
            None if attempt.state is AttemptState.RUNNING else tx.now,
            attempt.id,
        ),
    )


def usage_of_protocols(tx: Tx, protocol_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """The tokens that protocols have used so far, by id and kind of token; what was never attempted is left out."""
    rows = tx.rows(
        "SELECT protocol_id, sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,"
        " sum(output_tokens) AS output_tokens, sum(reasoning_output_tokens) AS reasoning_output_tokens"
        " FROM attempts WHERE protocol_id IN (SELECT value FROM json_each(?)) GROUP BY protocol_id",
        (as_json(list(protocol_ids)),),
    )
    return {row.pop("protocol_id"): row for row in rows}


def is_unsettled(tx: Tx, protocol_id: int, sha: str) -> bool:
    """Whether an attempt made this commit whose step is not settled: the step's next attempt may go on from it."""
    return bool(
        tx.rows(
            "SELECT 1 FROM attempts LEFT JOIN step_runs AS step ON step.id = attempts.step_id"
            " WHERE attempts.protocol_id = ? AND attempts.head_sha = ?"
            " AND ifnull(step.status, 'pending') NOT IN ('completed', 'cancelled')",
            (protocol_id, sha),
        )
    )
