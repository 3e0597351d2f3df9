"""SQL of the table jobs: the outbox, the claim and the lease."""

from collections.abc import Sequence

from shared.repository.database import Row, Tx, as_json
from shared.repository.holds import LOGIN
from shared.schemas.records import Job
from shared.schemas.statuses import JobState


def add(tx: Tx, job: Job) -> Job:
    """Put a job into the outbox; its id is given by the database."""
    job_id = tx.insert(
        "INSERT INTO jobs (kind, project_id, protocol_id, step_id, delivery_id, payload, state, priority, run_at,"
        " dispatched_at, max_attempts, actor, request_id, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?)",
        (
            job.kind,
            job.project_id,
            job.protocol_id,
            job.step_id,
            job.delivery_id,
            as_json(job.payload),
            job.priority,
            job.run_at,
            job.dispatched_at,
            job.max_attempts,
            job.actor,
            job.request_id,
            tx.now,
        ),
    )
    return expect(tx, job_id)


def get(tx: Tx, job_id: int) -> Job | None:
    """One job."""
    return tx.load(Job, "SELECT * FROM jobs WHERE id = ?", (job_id,))


def expect(tx: Tx, job_id: int) -> Job:
    """One job that a foreign key promises."""
    job = get(tx, job_id)
    if job is None:
        raise LookupError(f"job {job_id}")
    return job


def claim(tx: Tx, job_id: int, dispatch: int, owner: str) -> Job | None:
    """Take a queued job that is due: attempt, token +1; None when this dispatch is stale, early or already taken.

    Pause, block and limits are the caller's to check in the same transaction, before this.
    """
    taken = tx.run(
        "UPDATE jobs SET state = 'running', attempt = attempt + 1, token = token + 1, heartbeat = 0, owner = ?,"
        " stop = NULL, category = NULL, error = NULL, started_at = coalesce(started_at, ?)"
        " WHERE id = ? AND dispatch = ? AND state = 'queued' AND run_at <= ?",
        (owner, tx.now, job_id, dispatch, tx.now),
    )
    return expect(tx, job_id) if taken else None


def beat(tx: Tx, job_id: int, token: int) -> Job | None:
    """Show life; None when the lease is lost, and then nothing more may be written for it."""
    alive = tx.run(
        "UPDATE jobs SET heartbeat = heartbeat + 1 WHERE id = ? AND token = ? AND state = 'running'", (job_id, token)
    )
    return expect(tx, job_id) if alive else None


def held(tx: Tx, job_id: int, token: int) -> Job | None:
    """The job if this token still holds it."""
    return tx.load(Job, "SELECT * FROM jobs WHERE id = ? AND token = ? AND state = 'running'", (job_id, token))


def requeue(tx: Tx, job: Job) -> Job:
    """Put a job back into the outbox under a new dispatch number; times, counters and error are taken from `job`."""
    tx.run(
        "UPDATE jobs SET state = 'queued', owner = NULL, run_at = ?, attempt = ?, continuations = ?, stop = NULL,"
        " dispatch = dispatch + 1, dispatched_at = ?, category = ?, error = ? WHERE id = ?",
        (job.run_at, job.attempt, job.continuations, job.dispatched_at, job.category, job.error, job.id),
    )
    return expect(tx, job.id)


def finish(tx: Tx, job: Job) -> Job:
    """Write a job's terminal state, taken from `job`."""
    tx.run(
        "UPDATE jobs SET state = ?, owner = NULL, stop = NULL, category = ?, error = ?, result = ?, finished_at = ?"
        " WHERE id = ?",
        (
            job.state,
            job.category,
            job.error,
            None if job.result is None else as_json(job.result),
            tx.now,
            job.id,
        ),
    )
    return expect(tx, job.id)


def ask_to_stop(tx: Tx, job_id: int, stop: str) -> None:
    """Leave a word for whoever runs the job; it is read with the next heartbeat."""
    tx.run("UPDATE jobs SET stop = ? WHERE id = ? AND state = 'running'", (stop, job_id))


def note_unkilled(tx: Tx, job_id: int, token: int, error: str) -> bool:
    """Keep that what a lost worker had started could not be ended; False when that is known, or not so any more."""
    return (
        tx.run(
            "UPDATE jobs SET error = ?3 WHERE id = ?1 AND token = ?2 AND state = 'running' AND error IS NULL",
            (job_id, token, error),
        )
        > 0
    )


def mark_dispatched(tx: Tx, rung: Sequence[tuple[int, int]], at: int | None) -> None:
    """Remember when the bell was rung for these (job, dispatch); None puts them back into the outbox."""
    for job_id, dispatch in rung:
        tx.run(
            "UPDATE jobs SET dispatched_at = ? WHERE id = ? AND dispatch = ? AND state = 'queued'",
            (at, job_id, dispatch),
        )


def to_ring(tx: Tx, *, project_limit: int, rung_before: int, limit: int, credential: str = LOGIN) -> Sequence[Job]:
    """Due jobs that may start now and whose bell was not rung since `rung_before`: best priority, then oldest.

    Left out is everything but messages while the line is stopped, a message while another is sent, and what needs a
    credential that is parked; jobs of protocols that may not start anything, of branches with a running writer and of
    projects that run as much as they may. A ring in the future is one from before the clock was set back.
    """
    return tx.load_all(
        Job,
        "SELECT jobs.* FROM jobs LEFT JOIN protocol_runs AS run ON run.id = jobs.protocol_id"
        " WHERE jobs.state = 'queued' AND jobs.run_at <= ?1"
        " AND (jobs.dispatched_at IS NULL OR jobs.dispatched_at < ?2 OR jobs.dispatched_at > ?1)"
        " AND (run.id IS NULL"
        "   OR jobs.kind = 'plan_protocol_job' AND run.status = 'planning'"
        "   OR jobs.kind IN ('execute_step_job', 'run_quality_job') AND run.status = 'running'"
        "   OR jobs.kind = 'open_pr_job' AND run.status IN ('planned', 'running', 'blocked', 'completed')"
        "   OR jobs.kind = 'sync' AND run.status NOT IN ('completed', 'failed', 'cancelled'))"
        " AND (jobs.kind NOT IN ('plan_protocol_job', 'execute_step_job', 'open_pr_job') OR NOT EXISTS ("
        "   SELECT 1 FROM jobs AS busy WHERE busy.protocol_id = jobs.protocol_id AND busy.state = 'running'"
        "   AND busy.kind IN ('plan_protocol_job', 'execute_step_job', 'open_pr_job')))"
        " AND (jobs.kind NOT IN ('plan_protocol_job', 'execute_step_job', 'run_quality_job') OR ?3 > ("
        "   SELECT count(*) FROM jobs AS busy WHERE busy.project_id = jobs.project_id AND busy.state = 'running'"
        "   AND busy.kind IN ('plan_protocol_job', 'execute_step_job', 'run_quality_job')))"
        " AND (jobs.kind = 'notify' OR NOT EXISTS (SELECT 1 FROM holds WHERE holds.name = 'line'))"
        " AND (jobs.kind <> 'notify' OR NOT EXISTS ("
        "   SELECT 1 FROM jobs AS busy WHERE busy.kind = 'notify' AND busy.state = 'running'))"
        " AND (jobs.kind NOT IN ('plan_protocol_job', 'execute_step_job', 'run_quality_job') OR NOT EXISTS ("
        "   SELECT 1 FROM holds WHERE holds.name = ?5 AND holds.until > ?1 AND holds.created_at <= ?1))"
        " ORDER BY jobs.priority, jobs.run_at, jobs.id LIMIT ?4",
        (tx.now, rung_before, project_limit, limit, credential),
    )


def make_due(tx: Tx, latest: int, latest_forge: int, future: int) -> int:
    """Let queued jobs that run Codex and would wait beyond `latest`, or others beyond `latest_forge`, start now.

    So do all that were queued or begun after `future`. Gives how many.
    """
    return tx.run(
        "UPDATE jobs SET run_at = ?1 WHERE state = 'queued' AND run_at > ?1 AND ("
        " run_at > iif(kind IN ('plan_protocol_job', 'execute_step_job', 'run_quality_job'), ?2, ?3)"
        " OR max(created_at, coalesce(started_at, 0)) > ?4)",
        (tx.now, latest, latest_forge, future),
    )


def open_of_protocols(tx: Tx, protocol_ids: Sequence[int]) -> dict[int, list[Job]]:
    """The jobs of these protocol runs that wait or run, in their order, by the run's id; who has none is left out."""
    found: dict[int, list[Job]] = {}
    rows = tx.load_all(
        Job,
        "SELECT * FROM jobs INDEXED BY open_jobs_of_protocol WHERE protocol_id IN (SELECT value FROM json_each(?1))"
        " AND state IN ('queued', 'running') ORDER BY id",
        (as_json(list(protocol_ids)),),
    )
    for job in rows:
        found.setdefault(job.protocol_id or 0, []).append(job)
    return found


def queued_of_protocol(tx: Tx, protocol_id: int, kind: str) -> Job | None:
    """The protocol's job of this kind that waits to start."""
    return tx.load(
        Job,
        "SELECT * FROM jobs WHERE protocol_id = ? AND kind = ? AND state = 'queued' ORDER BY id LIMIT 1",
        (protocol_id, kind),
    )


def was_queued(tx: Tx, protocol_id: int, kind: str) -> bool:
    """Whether the protocol ever had a job of this kind."""
    return tx.row("SELECT 1 FROM jobs WHERE protocol_id = ? AND kind = ? LIMIT 1", (protocol_id, kind)) is not None


def let_go(tx: Tx) -> None:
    """Let what was held back wait from now on, its bell unrung; a hold is no waiting for a worker."""
    tx.run("UPDATE jobs SET run_at = ?1, dispatched_at = NULL WHERE state = 'queued' AND run_at <= ?1", (tx.now,))


def next_run_at(tx: Tx) -> int | None:
    """When the next queued job that is not due yet becomes due."""
    row = tx.row("SELECT min(run_at) AS run_at FROM jobs WHERE state = 'queued' AND run_at > ?", (tx.now,))
    return row["run_at"] if row else None


def oldest_due(tx: Tx) -> int | None:
    """Since when the job waits that has been due for longest; None when none is due."""
    row = tx.row("SELECT min(run_at) AS run_at FROM jobs WHERE state = 'queued' AND run_at <= ?", (tx.now,))
    return row["run_at"] if row else None


def running(tx: Tx) -> Sequence[Job]:
    """All running jobs."""
    return tx.load_all(Job, "SELECT * FROM jobs WHERE state = 'running' ORDER BY id")


def is_sending(tx: Tx) -> bool:
    """Whether a message is being sent now: one at a time, so that those that hang keep one place of a worker."""
    return tx.row("SELECT 1 FROM jobs WHERE kind = 'notify' AND state = 'running' LIMIT 1") is not None


def running_of_project(tx: Tx, project_id: int) -> int:
    """How many jobs of a project run Codex now."""
    row = tx.row(
        "SELECT count(*) AS count FROM jobs WHERE state = 'running' AND project_id = ?"
        " AND kind IN ('plan_protocol_job', 'execute_step_job', 'run_quality_job')",
        (project_id,),
    )
    return row["count"] if row else 0


def writer_of(tx: Tx, protocol_id: int) -> Job | None:
    """The running job that has the protocol's branch for itself."""
    return tx.load(
        Job,
        "SELECT * FROM jobs WHERE protocol_id = ? AND state = 'running'"
        " AND kind IN ('plan_protocol_job', 'execute_step_job', 'open_pr_job')",
        (protocol_id,),
    )


def open_of_protocol(tx: Tx, protocol_id: int) -> Sequence[Job]:
    """The queued and running jobs of a protocol."""
    return tx.load_all(
        Job, "SELECT * FROM jobs WHERE protocol_id = ? AND state IN ('queued', 'running') ORDER BY id", (protocol_id,)
    )


def open_of_step(tx: Tx, step_id: int) -> Job | None:
    """The open job of a step, unless it is being cancelled; one that is being parked will go on."""
    return tx.load(
        Job,
        "SELECT * FROM jobs WHERE step_id = ? AND state IN ('queued', 'running') AND stop IS NOT 'cancel'",
        (step_id,),
    )


def newest_like(tx: Tx, job: Job) -> Job:
    """The newest job that was made for the same thing as this one, which may be itself."""
    found = tx.load(
        Job,
        "SELECT * FROM jobs WHERE kind = ?1 AND project_id IS ?2 AND protocol_id IS ?3 AND step_id IS ?4"
        " AND delivery_id IS ?5 AND id >= ?6 AND (kind <> 'notify' OR payload = ?7) ORDER BY id DESC LIMIT 1",
        (job.kind, job.project_id, job.protocol_id, job.step_id, job.delivery_id, job.id, as_json(job.payload)),
    )
    return found or job


def last_setup(tx: Tx, project_id: int) -> Row | None:
    """The `id`, `state`, `category` and `error` of a project's newest setup job."""
    return tx.row(
        "SELECT id, state, category, error FROM jobs WHERE project_id = ? AND kind = 'setup' ORDER BY id DESC LIMIT 1",
        (project_id,),
    )


def page(
    tx: Tx,
    *,
    project_id: int | None,
    state: str | None,
    before: int,
    limit: int,
    kind: str | None = None,
    protocol_id: int | None = None,
) -> Sequence[Job]:
    """Jobs, newest first, by id below `before`; of one project or protocol, of one state or kind."""
    if protocol_id is not None:
        return tx.load_all(
            Job,
            "SELECT * FROM jobs WHERE protocol_id = ?1 AND id < ?2 AND (?3 IS NULL OR project_id = ?3)"
            " AND (?4 IS NULL OR state = ?4) AND (?5 IS NULL OR kind = ?5) ORDER BY id DESC LIMIT ?6",
            (protocol_id, before, project_id, state, kind, limit),
        )
    if kind is not None:
        # The indexes by kind go by state too: the newest of each state, merged.
        states = tuple(JobState) if state is None else (state,)
        found = [job for each in states for job in _of_kind(tx, project_id, kind, each, before, limit)]
        return sorted(found, key=lambda job: job.id, reverse=True)[:limit]
    match project_id, state:
        case None, None:
            sql = "SELECT * FROM jobs WHERE id < ? ORDER BY id DESC LIMIT ?"
            return tx.load_all(Job, sql, (before, limit))
        case None, _:
            sql = "SELECT * FROM jobs WHERE state = ? AND id < ? ORDER BY id DESC LIMIT ?"
            return tx.load_all(Job, sql, (state, before, limit))
        case _, None:
            sql = "SELECT * FROM jobs WHERE project_id = ? AND id < ? ORDER BY id DESC LIMIT ?"
            return tx.load_all(Job, sql, (project_id, before, limit))
        case _:
            sql = "SELECT * FROM jobs WHERE project_id = ? AND state = ? AND id < ? ORDER BY id DESC LIMIT ?"
            return tx.load_all(Job, sql, (project_id, state, before, limit))


def _of_kind(tx: Tx, project_id: int | None, kind: str, state: str, before: int, limit: int) -> Sequence[Job]:
    if project_id is None:
        sql = "SELECT * FROM jobs WHERE kind = ? AND state = ? AND id < ? ORDER BY id DESC LIMIT ?"
        return tx.load_all(Job, sql, (kind, state, before, limit))
    sql = "SELECT * FROM jobs WHERE project_id = ? AND kind = ? AND state = ? AND id < ? ORDER BY id DESC LIMIT ?"
    return tx.load_all(Job, sql, (project_id, kind, state, before, limit))


def counts(tx: Tx, project_id: int | None) -> Sequence[Row]:
    """Rows of kind, state and count; of one project when given."""
    if project_id is None:
        return tx.rows("SELECT kind, state, count(*) AS count FROM jobs GROUP BY kind, state ORDER BY kind, state")
    return tx.rows(
        "SELECT kind, state, count(*) AS count FROM jobs WHERE project_id = ? GROUP BY kind, state"
        " ORDER BY kind, state",
        (project_id,),
    )
