"""SQL of the lists that people look at first: one statement each, whatever it shows of every row."""

from collections.abc import Sequence

from shared.repository.database import Row, Tx

_RUNS = (
    "SELECT run.id, run.project_id, project.name AS project_name, run.protocol_name, run.description, run.status,"
    " run.phase, run.reason, run.pr_url, run.pr_number, run.created_at, run.updated_at,"
    " (SELECT count(*) FROM step_runs AS step WHERE step.protocol_id = run.id) AS steps,"
    " (SELECT count(*) FROM step_runs AS step WHERE step.protocol_id = run.id"
    "  AND step.status IN ('completed', 'cancelled')) AS settled,"
    " (SELECT count(*) FROM step_runs AS step WHERE step.protocol_id = run.id AND step.status = 'failed') AS failed"
    " FROM protocol_runs AS run JOIN projects AS project ON project.id = run.project_id WHERE "
)
_NEWEST = "run.id < ?1 ORDER BY run.id DESC LIMIT ?2"


def protocols(tx: Tx, project_id: int | None, *, before: int, limit: int) -> Sequence[Row]:
    """The newest protocol runs with their project's name, and how many of their steps are settled and failed."""
    if project_id is None:
        return tx.rows(_RUNS + _NEWEST, (before, limit))
    return tx.rows(_RUNS + "run.project_id = ?3 AND " + _NEWEST, (before, limit, project_id))


def projects(tx: Tx, only: int | None, *, after: int, limit: int) -> Sequence[Row]:
    """Projects by id with the state of their newest setup and how many of their protocol runs are open."""
    return tx.rows(
        "SELECT project.id, project.name, project.git_url, project.base_branch, project.ci_provider,"
        " project.created_at, (SELECT state FROM jobs WHERE jobs.project_id = project.id AND jobs.kind = 'setup'"
        "  ORDER BY id DESC LIMIT 1) AS setup,"
        " (SELECT count(*) FROM protocol_runs AS run WHERE run.project_id = project.id) AS protocols,"
        " (SELECT count(*) FROM protocol_runs AS run WHERE run.project_id = project.id"
        "  AND run.finished_at IS NULL) AS open"
        " FROM projects AS project WHERE project.id > ?1 AND (?2 IS NULL OR project.id = ?2)"
        " ORDER BY project.id LIMIT ?3",
        (after, only, limit),
    )


def running(tx: Tx, project_id: int | None, *, limit: int) -> Sequence[Row]:
    """What agents do now: their open attempts, with the names of project, protocol and step."""
    return tx.rows(
        "SELECT attempt.id, attempt.kind, attempt.model, attempt.directory, attempt.started_at, attempt.protocol_id,"
        " attempt.step_id, attempt.input_tokens, attempt.cached_input_tokens, attempt.output_tokens,"
        " attempt.reasoning_output_tokens, run.protocol_name, project.id AS project_id, project.name AS project_name,"
        " step.step_index, step.step_name FROM attempts AS attempt"
        " JOIN protocol_runs AS run ON run.id = attempt.protocol_id"
        " JOIN projects AS project ON project.id = attempt.project_id"
        " LEFT JOIN step_runs AS step ON step.id = attempt.step_id"
        " WHERE attempt.state = 'running' AND (?1 IS NULL OR attempt.project_id = ?1)"
        " ORDER BY attempt.id DESC LIMIT ?2",
        (project_id, limit),
    )
