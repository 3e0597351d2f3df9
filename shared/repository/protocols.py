"""SQL of the tables protocol_runs and plans."""

from collections.abc import Sequence

from shared.repository.database import Tx, as_json
from shared.schemas.records import Plan, Protocol


def add(tx: Tx, protocol: Protocol) -> Protocol:
    """Store a new protocol run; its id is given by the database."""
    protocol_id = tx.insert(
        "INSERT INTO protocol_runs (project_id, number, protocol_name, branch, base_branch, description, status,"
        " policy, model, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            protocol.project_id,
            protocol.number,
            protocol.protocol_name,
            protocol.branch,
            protocol.base_branch,
            protocol.description,
            protocol.status,
            as_json(protocol.policy),
            protocol.model,
            tx.now,
            tx.now,
        ),
    )
    return expect(tx, protocol_id)


def get(tx: Tx, protocol_id: int) -> Protocol | None:
    """One protocol run."""
    return tx.load(Protocol, "SELECT * FROM protocol_runs WHERE id = ?", (protocol_id,))


def expect(tx: Tx, protocol_id: int) -> Protocol:
    """One protocol run that a foreign key promises."""
    protocol = get(tx, protocol_id)
    if protocol is None:
        raise LookupError(f"protocol {protocol_id}")
    return protocol


def named(tx: Tx, project_id: int, name: str) -> Protocol | None:
    """A project's protocol run of this name."""
    return tx.load(
        Protocol, "SELECT * FROM protocol_runs WHERE project_id = ? AND protocol_name = ?", (project_id, name)
    )


def numbered(tx: Tx, project_id: int, number: int) -> Protocol | None:
    """A project's protocol run of this number."""
    return tx.load(Protocol, "SELECT * FROM protocol_runs WHERE project_id = ? AND number = ?", (project_id, number))


def last_number(tx: Tx, project_id: int) -> int:
    """The highest number that a project has given out; 0 when none."""
    row = tx.row("SELECT coalesce(max(number), 0) AS number FROM protocol_runs WHERE project_id = ?", (project_id,))
    return row["number"] if row else 0


def page(tx: Tx, project_id: int, *, after: int, limit: int) -> Sequence[Protocol]:
    """A project's protocol runs by id above `after`."""
    return tx.load_all(
        Protocol,
        "SELECT * FROM protocol_runs WHERE project_id = ? AND id > ? ORDER BY id LIMIT ?",
        (project_id, after, limit),
    )


def newest(tx: Tx, *, project_id: int | None, status: str | None, before: int, limit: int) -> Sequence[Protocol]:
    """Protocol runs, newest first, by id below `before`; of one project, of one status or `open` ones."""
    wanted = ["id < ?3"]
    if project_id is not None:
        wanted.append("project_id = ?1")
    if status is not None:
        wanted.append("finished_at IS NULL" if status == "open" else "status = ?2")
    return tx.load_all(
        Protocol,
        f"SELECT * FROM protocol_runs WHERE {' AND '.join(wanted)} ORDER BY id DESC LIMIT ?4",  # noqa: S608  ours
        (project_id, status, before, limit),
    )


def of_pull(tx: Tx, project_id: int, number: int) -> Protocol | None:
    """The newest protocol run of a project whose PR or MR has this number."""
    return tx.load(
        Protocol,
        "SELECT * FROM protocol_runs WHERE project_id = ? AND pr_number = ? ORDER BY id DESC LIMIT 1",
        (project_id, number),
    )


def of_branch(tx: Tx, project_id: int, branch: str) -> Protocol | None:
    """A project's protocol run on this branch."""
    return tx.load(
        Protocol,
        "SELECT * FROM protocol_runs WHERE project_id = ? AND branch = ? ORDER BY id DESC LIMIT 1",
        (project_id, branch),
    )


def of_commit(tx: Tx, project_id: int, sha: str) -> Sequence[Protocol]:
    """A project's protocol runs that know this commit: those that it is or was the head of, or that grew from it."""
    return tx.load_all(
        Protocol,
        "SELECT run.* FROM protocol_runs AS run WHERE run.project_id = ?1 AND ("
        " ?2 IN (run.start_sha, run.head_sha, run.pushed_sha)"
        " OR run.id IN (SELECT protocol_id FROM step_runs WHERE head_sha = ?2)"
        " OR run.id IN (SELECT protocol_id FROM attempts WHERE head_sha = ?2)"
        " OR run.id IN (SELECT protocol_id FROM attempts WHERE start_sha = ?2)) ORDER BY run.id DESC",
        (project_id, sha),
    )


def to_sync(tx: Tx, project_id: int) -> Sequence[Protocol]:
    """A project's open protocol runs that have a commit."""
    return tx.load_all(
        Protocol,
        "SELECT * FROM protocol_runs WHERE project_id = ? AND head_sha IS NOT NULL AND finished_at IS NULL ORDER BY id",
        (project_id,),
    )


def unsynced(tx: Tx, since: int) -> Sequence[Protocol]:
    """Open protocol runs that wait for their forge, and for which it was not looked at after `since`.

    They have an open PR, or a step that is judged on a commit, or one that the CI stopped.
    """
    return tx.load_all(
        Protocol,
        "SELECT run.* FROM protocol_runs AS run JOIN projects ON projects.id = run.project_id"
        " WHERE run.finished_at IS NULL AND run.head_sha IS NOT NULL AND projects.ci_provider IS NOT NULL"
        " AND (run.pr_state = 'open' OR run.reason IN ('ci_regressed', 'pr_closed') OR EXISTS ("
        "   SELECT 1 FROM step_runs AS step WHERE step.protocol_id = run.id"
        "   AND (step.status = 'needs_qa' OR step.status = 'failed' AND step.reason = 'ci_failed')))"
        " AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.protocol_id = run.id AND jobs.kind = 'sync'"
        "   AND (jobs.state IN ('queued', 'running') OR jobs.finished_at > ?1 AND jobs.finished_at <= ?2))"
        " ORDER BY run.id",
        (since, tx.now),
    )


def save(tx: Tx, protocol: Protocol) -> Protocol | None:
    """Write the changeable columns if nobody changed the row meanwhile; gives the new row, None when stale."""
    changed = tx.run(
        "UPDATE protocol_runs SET status = ?, phase = ?, reason = ?, start_sha = ?, head_sha = ?, pushed_sha = ?,"
        " diverged_sha = ?, plan_revision = ?, written_revision = ?, plan_sha = ?, feedback = ?, pr_number = ?,"
        " pr_url = ?, pr_state = ?, pr_at = ?, pr_comment = ?,"
        " version = version + 1, updated_at = ?, finished_at = ? WHERE id = ? AND version = ?",
        (
            protocol.status,
            protocol.phase,
            protocol.reason,
            protocol.start_sha,
            protocol.head_sha,
            protocol.pushed_sha,
            protocol.diverged_sha,
            protocol.plan_revision,
            protocol.written_revision,
            protocol.plan_sha,
            protocol.feedback,
            protocol.pr_number,
            protocol.pr_url,
            protocol.pr_state,
            protocol.pr_at,
            protocol.pr_comment,
            tx.now,
            protocol.finished_at,
            protocol.id,
            protocol.version,
        ),
    )
    return expect(tx, protocol.id) if changed else None


def add_plan(tx: Tx, plan: Plan) -> None:
    """Store one revision of a plan; revisions are never changed."""
    tx.run(
        "INSERT INTO plans (protocol_id, revision, summary, plan_md, context_md, files, sha256, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            plan.protocol_id,
            plan.revision,
            plan.summary,
            plan.plan_md,
            plan.context_md,
            as_json(plan.files),
            plan.sha256,
            tx.now,
        ),
    )


def plan(tx: Tx, protocol_id: int, revision: int) -> Plan | None:
    """One revision of a plan."""
    return tx.load(Plan, "SELECT * FROM plans WHERE protocol_id = ? AND revision = ?", (protocol_id, revision))
