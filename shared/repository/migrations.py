"""Applies the numbered .sql files of `shared/migrations`, each once, in the one transaction that the caller holds."""

import hashlib
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

from shared.errors import StartupError

FOLDER = Path(__file__).parent.parent / "migrations"


def apply_migrations(connection: sqlite3.Connection, now: int, folder: Path = FOLDER) -> list[int]:
    """Bring the schema up to date; gives the numbers that were applied.

    Three services may start at once: the caller's immediate transaction lets one work while the others wait, and a
    database from a newer release, or one whose history differs from these files, is refused.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations ("
        " number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT"
    )
    done = {row["number"]: row for row in connection.execute("SELECT * FROM schema_migrations").fetchall()}
    files = {int(file.name[:4]): file for file in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))}
    if newer := sorted(set(done) - set(files)):
        raise StartupError(f"the database has migration {newer[0]}, which this release does not know; use a newer one")
    applied: list[int] = []
    for number, file in files.items():
        text = file.read_text(encoding="utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        if number in done:
            if done[number]["sha256"] != digest:
                raise StartupError(
                    f"migration {file.name} is not the one that this database was made with: run the release that made "
                    f"it, or set DEKSDENFLOW_DB_PATH to a new file"
                )
            continue
        for statement in statements(text):
            connection.execute(statement)
        connection.execute("INSERT INTO schema_migrations VALUES (?, ?, ?, ?)", (number, file.name, digest, now))
        applied.append(number)
    connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('instance', ?)", (uuid.uuid4().hex[:12],))
    return applied


def statements(text: str) -> Iterator[str]:
    """The single statements of a script; `executescript` would commit the caller's transaction."""
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        raise StartupError(f"a migration ends in an unfinished statement: {pending.strip()[:80]}")
