"""SQL of the tables projects and secrets."""

from collections.abc import Iterable, Sequence

from shared.repository.database import Tx, as_json
from shared.schemas.records import Project, Secret


def add(tx: Tx, project: Project) -> Project:
    """Store a new project; its id is given by the database."""
    project_id = tx.insert(
        "INSERT INTO projects (name, git_url, base_branch, ci_provider, repository_id, default_models, policy,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            project.name,
            project.git_url,
            project.base_branch,
            project.ci_provider,
            project.repository_id,
            as_json(project.default_models),
            as_json(project.policy),
            tx.now,
            tx.now,
        ),
    )
    return expect(tx, project_id)


def get(tx: Tx, project_id: int) -> Project | None:
    """One project."""
    return tx.load(Project, "SELECT * FROM projects WHERE id = ?", (project_id,))


def expect(tx: Tx, project_id: int) -> Project:
    """One project that a foreign key promises."""
    project = get(tx, project_id)
    if project is None:
        raise LookupError(f"project {project_id}")
    return project


def named(tx: Tx, name: str) -> Project | None:
    """The project of this name."""
    return tx.load(Project, "SELECT * FROM projects WHERE name = ?", (name,))


def of_repository(tx: Tx, repository_id: str) -> Sequence[Project]:
    """The projects whose forge knows their repository by this id."""
    return tx.load_all(Project, "SELECT * FROM projects WHERE repository_id = ? ORDER BY id", (repository_id,))


def unlearned(tx: Tx) -> Sequence[Project]:
    """The projects whose repository's id is not known yet."""
    return tx.load_all(Project, "SELECT * FROM projects WHERE repository_id IS NULL ORDER BY id")


def of_path(tx: Tx, path: str) -> Sequence[Project]:
    """The projects whose URL holds this path, in whatever case."""
    return tx.load_all(Project, "SELECT * FROM projects WHERE instr(lower(git_url), lower(?)) > 0 ORDER BY id", (path,))


def page(tx: Tx, *, only: int | None, after: int, limit: int) -> Sequence[Project]:
    """Projects by id above `after`; `only` narrows to one."""
    if only is None:
        return tx.load_all(Project, "SELECT * FROM projects WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
    return tx.load_all(Project, "SELECT * FROM projects WHERE id = ? AND id > ? LIMIT ?", (only, after, limit))


def names(tx: Tx, project_ids: Iterable[int]) -> dict[int, str]:
    """The names of these projects by id."""
    rows = tx.rows(
        "SELECT id, name FROM projects WHERE id IN (SELECT value FROM json_each(?))", (as_json(list(project_ids)),)
    )
    return {row["id"]: row["name"] for row in rows}


def by_name(tx: Tx, only: int | None, *, limit: int) -> list[tuple[int, str]]:
    """The first projects by their names, each with its id."""
    rows = tx.rows("SELECT id, name FROM projects WHERE ?1 IS NULL OR id = ?1 ORDER BY name LIMIT ?2", (only, limit))
    return [(row["id"], row["name"]) for row in rows]


def save(tx: Tx, project: Project) -> Project | None:
    """Write the changeable columns if nobody changed the row meanwhile; gives the new row, None when stale."""
    changed = tx.run(
        "UPDATE projects SET name = ?, git_url = ?, base_branch = ?, ci_provider = ?, repository_id = ?,"
        " default_models = ?, policy = ?, version = version + 1, updated_at = ? WHERE id = ? AND version = ?",
        (
            project.name,
            project.git_url,
            project.base_branch,
            project.ci_provider,
            project.repository_id,
            as_json(project.default_models),
            as_json(project.policy),
            tx.now,
            project.id,
            project.version,
        ),
    )
    return expect(tx, project.id) if changed else None


def put_secret(tx: Tx, project_id: int, name: str, *, sealed: bytes | None, file_name: str | None) -> None:
    """Store or replace one secret: sealed bytes, or the name of a file."""
    tx.run(
        "INSERT INTO secrets (project_id, name, sealed, file_name, updated_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (project_id, name) DO UPDATE SET sealed = excluded.sealed, file_name = excluded.file_name,"
        " updated_at = excluded.updated_at",
        (project_id, name, sealed, file_name, tx.now),
    )


def delete_secret(tx: Tx, project_id: int, name: str) -> bool:
    """Forget one secret; False when there was none."""
    return tx.run("DELETE FROM secrets WHERE project_id = ? AND name = ?", (project_id, name)) > 0


def secret(tx: Tx, project_id: int, name: str) -> Secret | None:
    """One stored secret, still sealed."""
    return tx.load(Secret, "SELECT * FROM secrets WHERE project_id = ? AND name = ?", (project_id, name))


def secret_files(tx: Tx) -> tuple[str, ...]:
    """The files that hold secrets of any project, which no agent may read."""
    rows = tx.rows("SELECT DISTINCT file_name FROM secrets WHERE file_name IS NOT NULL ORDER BY file_name")
    return tuple(row["file_name"] for row in rows)


def secrets(tx: Tx, project_id: int) -> Sequence[Secret]:
    """The stored secrets of a project by name, still sealed."""
    return tx.load_all(Secret, "SELECT * FROM secrets WHERE project_id = ? ORDER BY name", (project_id,))
