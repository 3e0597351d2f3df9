"""SQL that finds what went wrong beside the protocol runs."""

from collections.abc import Sequence

from shared.repository.database import Row, Tx

# A person who has not looked at a failed delivery for so long does not want to.
DELIVERY_MS = 7 * 24 * 3600 * 1000
MOST_DELIVERIES = 100


def failed_setups(tx: Tx, project_id: int | None) -> Sequence[Row]:
    """Projects whose newest setup failed: id, name, version, and the job's id, category, error and finished_at."""
    return tx.rows(
        "SELECT project.id, project.name, project.version, job.id AS job_id, job.category, job.error, job.finished_at"
        " FROM projects AS project JOIN jobs AS job ON job.id = ("
        "   SELECT max(id) FROM jobs WHERE kind = 'setup' AND project_id = project.id)"
        " WHERE job.state = 'failed' AND (?1 IS NULL OR project.id = ?1) ORDER BY project.id",
        (project_id,),
    )


def failed_deliveries(tx: Tx, project_id: int | None) -> Sequence[Row]:
    """The newest deliveries that could not be applied lately: id, project_id, event, provider, reason, failed_at."""
    return tx.rows(
        "SELECT id, project_id, event, provider, reason, coalesce(applied_at, received_at) AS failed_at FROM deliveries"
        " WHERE status = 'failed' AND received_at > ?2 AND (?1 IS NULL OR project_id = ?1) ORDER BY id DESC LIMIT ?3",
        (project_id, tx.now - DELIVERY_MS, MOST_DELIVERIES),
    )


def unkilled_jobs(tx: Tx, project_id: int | None) -> Sequence[Row]:
    """Running jobs whose worker is lost and whose processes could not be ended: id, what they are for, error, since."""
    return tx.rows(
        "SELECT job.id, job.kind, job.project_id, job.protocol_id, job.step_id, job.error, job.started_at,"
        " run.protocol_name FROM jobs AS job LEFT JOIN protocol_runs AS run ON run.id = job.protocol_id"
        " WHERE job.state = 'running' AND job.error IS NOT NULL AND (?1 IS NULL OR job.project_id = ?1)"
        " ORDER BY job.id",
        (project_id,),
    )
