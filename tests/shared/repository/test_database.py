"""The door to the database: whole transactions or none, many processes, clear refusals, and nothing left behind."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.errors import Invalid, StartupError, Unavailable
from shared.repository import meta
from shared.repository.database import SAFE_VERSION, Database, Tx, open_database, sqlite3
from tests.waiting import until

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "d.sqlite") as database:
        yield database


def put(tx: Tx, key: str, value: str = "x") -> None:
    tx.run("INSERT INTO meta (key, value) VALUES (?, ?)", (key, value))


def keys(tx: Tx) -> set[str]:
    return {row["key"] for row in tx.rows("SELECT key FROM meta WHERE key <> 'instance'")}


# transactions


async def test_what_was_written_is_read(database: Database):
    await database.write(put, "a")
    assert await database.read(keys) == {"a"}


async def test_an_exception_rolls_everything_back(database: Database):
    def work(tx: Tx) -> None:
        put(tx, "a")
        put(tx, "b")
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        await database.write(work)
    assert await database.read(keys) == set()


async def test_after_a_failure_the_next_write_works(database: Database):
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(lambda tx: [put(tx, "a"), put(tx, "a")])
    await database.write(put, "a")
    assert await database.read(keys) == {"a"}


async def test_a_cancelled_caller_leaves_all_or_nothing_and_no_lock(database: Database):
    def work(tx: Tx, number: int) -> None:
        put(tx, f"{number}-one")
        put(tx, f"{number}-two")

    async def try_it(number: int) -> None:
        await database.write(work, number)

    for number in range(120):
        task = asyncio.create_task(try_it(number))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        if number % 3:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    found = await database.read(keys)
    assert {key.partition("-")[0] for key in found if key.endswith("one")} == {
        key.partition("-")[0] for key in found if key.endswith("two")
    }
    assert {f"{number}-one" for number in range(0, 120, 3)} <= found
    await database.write(put, "after")


async def test_writers_of_one_process_take_turns(database: Database):
    def count(tx: Tx) -> None:
        row = tx.row("SELECT value FROM meta WHERE key = 'n'")
        tx.run("INSERT OR REPLACE INTO meta VALUES ('n', ?)", (str(int(row["value"]) + 1 if row else 1),))

    await asyncio.gather(*(database.write(count) for _ in range(100)))
    row = await database.read(lambda tx: tx.row("SELECT value FROM meta WHERE key = 'n'"))
    assert row == {"value": "100"}


async def held_up(database: Database) -> threading.Event:
    """Keep the writer busy until the event is set, so that what comes meanwhile is committed together."""
    inside, go_on = threading.Event(), threading.Event()
    asyncio.get_running_loop().create_task(database.write(lambda _: [inside.set(), go_on.wait(10)]))
    await asyncio.to_thread(inside.wait, 10)
    return go_on


async def test_what_comes_together_is_committed_together(database: Database):
    commits: list[str] = []
    database._writer._conn.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    go_on = await held_up(database)
    writing = asyncio.gather(*(database.write(put, str(number)) for number in range(10)))
    await asyncio.sleep(0)
    go_on.set()
    await writing
    assert commits == ["COMMIT", "COMMIT"]
    assert await database.read(keys) == {str(number) for number in range(10)}


async def test_of_those_committed_together_one_that_fails_takes_only_itself_back(database: Database):
    def work(tx: Tx, number: int) -> int:
        put(tx, str(number))
        if number == 3:
            put(tx, "1")
        return number

    go_on = await held_up(database)
    writing = [asyncio.create_task(database.write(work, number)) for number in range(6)]
    await asyncio.sleep(0)
    go_on.set()
    results = await asyncio.gather(*writing, return_exceptions=True)
    assert isinstance(results.pop(3), sqlite3.IntegrityError)
    assert results == [0, 1, 2, 4, 5]
    assert await database.read(keys) == {"0", "1", "2", "4", "5"}


async def test_of_those_committed_together_none_is_there_when_the_disk_is_full(database: Database):
    (row,) = await database._writer.execute_fetchall("PRAGMA page_count")
    await database._writer.execute_fetchall(f"PRAGMA max_page_count={row['page_count']}")
    go_on = await held_up(database)
    writing = [asyncio.create_task(database.write(put, str(number), "x" * 100_000)) for number in range(3)]
    await asyncio.sleep(0)
    go_on.set()
    for result in await asyncio.gather(*writing, return_exceptions=True):
        assert isinstance(result, Unavailable)
    assert await database.read(keys) == set()
    await database._writer.execute_fetchall("PRAGMA max_page_count=1000000")
    await database.write(put, "a")


async def test_a_caller_who_leaves_takes_nothing_of_the_others_along(database: Database):
    go_on = await held_up(database)
    writing = [asyncio.create_task(database.write(put, str(number))) for number in range(3)]
    await asyncio.sleep(0)
    writing[1].cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(*writing, return_exceptions=True)
    assert {"0", "2"} <= await database.read(keys)


async def test_a_reader_sees_one_moment(database: Database):
    """The two halves of a read are the same, though a write is committed between them."""
    inside, go_on = threading.Event(), threading.Event()

    def look_twice(tx: Tx) -> tuple[set[str], set[str]]:
        first = keys(tx)
        inside.set()
        assert go_on.wait(10)
        return first, keys(tx)

    reading = asyncio.create_task(database.read(look_twice))
    await asyncio.to_thread(inside.wait, 10)
    await database.write(put, "a")
    go_on.set()
    assert await reading == (set(), set())
    assert await database.read(keys) == {"a"}


async def test_a_slow_reader_holds_up_neither_writers_nor_other_readers(database: Database):
    go_on = threading.Event()
    slow = asyncio.create_task(database.read(lambda _: go_on.wait(10)))
    await database.write(put, "a")
    assert await database.read(keys) == {"a"}
    go_on.set()
    assert await slow


async def test_a_reader_cannot_write(database: Database):
    with pytest.raises(Unavailable, match="readonly"):
        await database.read(put, "a")
    assert await database.read(keys) == set()


async def test_a_transaction_has_one_time(tmp_path: Path):
    times = iter(range(1000, 2000))
    async with open_database(tmp_path / "d.sqlite", clock=lambda: next(times)) as database:
        first, second = await database.write(lambda tx: (tx.now, tx.now))
        assert first == second
        assert await database.write(lambda tx: tx.now) == first + 1


# refusals


async def test_a_database_that_stays_locked_is_unavailable(database: Database):
    await database._writer.execute_fetchall("PRAGMA busy_timeout=50")
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Unavailable, match="busy") as refused:
            await database.write(put, "a")
        assert refused.value.type == "database-busy"
    finally:
        other.close()
    await database.write(put, "a")


async def test_a_full_disk_changes_nothing_and_work_goes_on_when_there_is_room(database: Database):
    (row,) = await database._writer.execute_fetchall("PRAGMA page_count")
    await database._writer.execute_fetchall(f"PRAGMA max_page_count={row['page_count']}")

    def too_much(tx: Tx) -> None:
        put(tx, "small")
        put(tx, "big", "x" * 1_000_000)

    with pytest.raises(Unavailable, match="full") as refused:
        await database.write(too_much)
    assert refused.value.type == "database-unwritable"
    assert await database.read(keys) == set()
    await database._writer.execute_fetchall("PRAGMA max_page_count=1000000")
    await database.write(too_much)
    assert await database.read(keys) == {"small", "big"}


async def test_a_number_that_sqlite_cannot_hold_is_no_failure_of_ours(database: Database):
    with pytest.raises(Invalid, match="larger"):
        await database.read(lambda tx: tx.row("SELECT ?", (2**63,)))


# settings of the connections


async def test_every_connection_is_set_up_to_be_safe(database: Database):
    for connection in (database._writer, *database._readers):
        values = {}
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only"):
            (row,) = await connection.execute_fetchall(f"PRAGMA {name}")
            values[name] = next(iter(row.values()))
        reads_only = int(connection is not database._writer)
        assert values == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": 30000,
            "query_only": reads_only,
        }


async def test_a_foreign_key_is_held(database: Database):
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        await database.write(
            lambda tx: tx.run(
                "INSERT INTO tokens (project_id, name, prefix, hash, created_at) VALUES (9, '', '', '', 0)"
            )
        )


def test_the_sqlite_that_is_used_has_no_corruption_bug():
    assert sqlite3.sqlite_version_info >= SAFE_VERSION


# opening and closing


async def test_closing_ends_every_thread(tmp_path: Path):
    before = set(threading.enumerate())
    async with open_database(tmp_path / "d.sqlite", readers=3):
        assert len(set(threading.enumerate()) - before) == 4
    until(lambda: set(threading.enumerate()) <= before)


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path):
    async with open_database(tmp_path / "d.sqlite") as database:
        await database.write(put, "a")
        instance = await database.read(meta.instance)
    async with open_database(tmp_path / "d.sqlite") as database:
        assert await database.read(keys) == {"a"}
        assert await database.read(meta.instance) == instance
        assert len(instance) == 12


async def test_the_folder_is_made(tmp_path: Path):
    async with open_database(tmp_path / "new" / "folder" / "d.sqlite") as database:
        assert database.path.exists()


async def test_nobody_else_may_read_the_database_nor_what_lies_beside_it(tmp_path: Path):
    async with open_database(tmp_path / "d.sqlite") as database:
        await database.write(lambda tx: tx.run("INSERT INTO meta VALUES ('a', '')"))
        assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
            f"d.sqlite{end}": 0o600 for end in ("", "-wal", "-shm")
        }


def _is_a_folder(path: Path) -> None:
    path.mkdir()


def _is_no_database(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)


def _lies_under_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")


def _has_another_schema(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE projects (id INTEGER)")
    connection.close()


@pytest.mark.parametrize("spoil", [_is_a_folder, _is_no_database, _lies_under_a_file, _has_another_schema])
async def test_an_unusable_path_is_one_line_and_leaves_no_thread(tmp_path: Path, spoil):
    before = set(threading.enumerate())
    path = tmp_path / "here" / "d.sqlite"
    path.parent.mkdir()
    spoil(path)
    with pytest.raises(StartupError) as refused:
        async with open_database(path):
            pass
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    until(lambda: set(threading.enumerate()) <= before)


# several processes

START = """
import asyncio, json, sys
from shared.repository.database import open_database
from shared.repository import meta

async def main():
    sys.stdin.readline()
    async with open_database(sys.argv[1]) as database:
        for number in range(20):
            await database.write(lambda tx: tx.run("INSERT INTO meta VALUES (?, '')", (f"{sys.argv[2]}-{number}",)))
        print(json.dumps([await database.read(meta.instance), await database.read(meta.migration)]))

asyncio.run(main())
"""


def test_three_processes_that_start_at_once_make_one_database(tmp_path: Path):
    path = tmp_path / "d.sqlite"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(path), name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("api", "webhooks", "worker")
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], answers
    assert len({out for out, _ in answers}) == 1
    assert json.loads(answers[0][0])[1] >= 1
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("SELECT count(*) FROM meta").fetchone() == (61,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()
