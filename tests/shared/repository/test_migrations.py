"""Migrations: each once, all or none, and never over a history that is not ours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StartupError
from shared.repository.database import _dict_row, _transact, sqlite3
from shared.repository.migrations import FOLDER, apply_migrations, statements


@pytest.fixture
def connection() -> Iterator[Any]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = _dict_row
    yield connection
    connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);\n")
    return tmp_path


def migrate(connection: Any, folder: Path = FOLDER) -> list[int]:
    return _transact(connection, "BEGIN IMMEDIATE", lambda each: apply_migrations(each, 1, folder))


def tables(connection: Any) -> set[str]:
    return {row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_each_is_applied_once(connection: Any):
    numbers = sorted(int(file.name[:4]) for file in FOLDER.glob("*.sql"))
    assert migrate(connection) == numbers
    assert migrate(connection) == []
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_new_one_is_applied_after_those_before(connection: Any, folder: Path):
    migrate(connection, folder)
    (folder / "0002_second.sql").write_text("ALTER TABLE meta ADD COLUMN note TEXT;\n")
    assert migrate(connection, folder) == [2]


def test_one_that_fails_leaves_nothing_of_itself(connection: Any, folder: Path):
    (folder / "0002_second.sql").write_text("CREATE TABLE second (id INTEGER);\nCREATE TABLE second (id INTEGER);\n")
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(connection, folder)
    assert tables(connection) == set()


def test_a_database_of_a_newer_release_is_refused(connection: Any, folder: Path):
    (folder / "0002_second.sql").write_text("CREATE TABLE second (id INTEGER);\n")
    migrate(connection, folder)
    (folder / "0002_second.sql").unlink()
    with pytest.raises(StartupError, match="has migration 2"):
        migrate(connection, folder)


def test_a_file_that_was_changed_afterwards_is_refused(connection: Any, folder: Path):
    migrate(connection, folder)
    (folder / "0001_first.sql").write_text("CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB);\n")
    with pytest.raises(StartupError, match=r"0001_first\.sql"):
        migrate(connection, folder)


def test_an_unfinished_statement_is_refused(connection: Any, folder: Path):
    (folder / "0002_second.sql").write_text("CREATE TABLE second (id INTEGER)")
    with pytest.raises(StartupError, match="unfinished"):
        migrate(connection, folder)


def test_a_trigger_is_one_statement():
    text = "CREATE TRIGGER a BEFORE UPDATE ON b\nBEGIN\n    SELECT 1;\n    SELECT ';';\nEND;\n-- done;\nSELECT 2;\n"
    assert len(list(statements(text))) == 2


def test_the_schema_is_strict(connection: Any):
    migrate(connection)
    loose = connection.execute("SELECT name FROM pragma_table_list WHERE strict = 0 AND name NOT LIKE 'sqlite_%'")
    assert loose.fetchall() == []
