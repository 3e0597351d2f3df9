"""The one door to the database: opens it, migrates it, and runs whole transactions in one hop to its thread."""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import aiosqlite
import msgspec

from shared.errors import Invalid, StartupError, Unavailable
from shared.repository.migrations import apply_migrations
from shared.repository.place import check_file_system, make_file

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=msgspec.Struct)

Row = dict[str, Any]
Clock = Callable[[], int]

SAFE_VERSION = (3, 51, 3)
# So that a crowd keeps other processes from their turn only for a moment.
WRITES_AT_ONCE = 32
_JSON_COLUMNS = frozenset(
    {
        "default_models",
        "policy",
        "files",
        "depends_on",
        "payload",
        "result",
        "details",
        "evidence",
        "metadata",
        "events",
        "headers",
    }
)


def wall_clock() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class Tx:
    """One open transaction; `now` is its one time, in milliseconds, for everything that it writes."""

    __slots__ = ("_connection", "now")

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._connection = connection
        self.now = now

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """All rows that the statement gives."""
        return self._connection.execute(sql, params).fetchall()

    def row(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        """The first row that the statement gives."""
        return self._connection.execute(sql, params).fetchone()

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run a statement; gives the number of rows that it changed."""
        return self._connection.execute(sql, params).rowcount

    def insert(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run an INSERT; gives the new row's id."""
        rowid = self._connection.execute(sql, params).lastrowid
        return rowid or 0

    def load(self, record: type[R], sql: str, params: Sequence[Any] = ()) -> R | None:
        """The first row as a record."""
        row = self.row(sql, params)
        return None if row is None else as_record(record, row)

    def load_all(self, record: type[R], sql: str, params: Sequence[Any] = ()) -> list[R]:
        """All rows as records."""
        return [as_record(record, row) for row in self.rows(sql, params)]


def as_record(record: type[R], row: Row) -> R:
    """A row as its frozen record; columns that hold JSON are decoded, columns that the record lacks are left out."""
    decoded = {name: msgspec.json.decode(text) for name in _json_columns(record) if (text := row.get(name)) is not None}
    return msgspec.convert(row | decoded if decoded else row, record)


@cache
def _json_columns(record: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(name for name in record.__struct_fields__ if name in _JSON_COLUMNS)


def as_json(value: object) -> str:
    """A value as JSON text for a column."""
    return msgspec.json.encode(value).decode()


class _Write(Generic[T]):
    """One write transaction on its way: what it is to do, and what came of it."""

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.work = work
        self.results: list[T] = []
        self.error: BaseException | None = None

    def run(self, connection: sqlite3.Connection, *, alone: bool) -> None:
        """Do it inside the open transaction; what fails takes only itself back, unless SQLite gave up the whole."""
        if alone:
            self.results.append(self.work(connection))
            return
        connection.execute("SAVEPOINT one")
        try:
            self.results.append(self.work(connection))
        except BaseException as error:
            self.error = error
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")

    def outcome(self) -> T:
        """Its result, once it is committed; or whatever kept it from that."""
        if self.error is not None:
            raise self.error
        return self.results[0]


class _Connection(aiosqlite.Connection):
    """Runs a whole function in its thread, so that a transaction is one hop.

    It runs to its end or rolls back whatever becomes of the caller: one who is cancelled may find it all committed.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection], iter_chunk_size: int) -> None:
        super().__init__(connector, iter_chunk_size)
        self._waiting: deque[_Write[Any]] = deque()

    async def transact(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` between `begin` and COMMIT; any exception rolls back."""
        return await self._execute(_transact, self._conn, begin, work)  # pyright: ignore[reportUnknownMemberType]  untyped there

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in an immediate transaction, which it shares with whatever else waits by then."""
        write = _Write(work)
        self._waiting.append(write)
        # One call for each: when it comes back, this write was committed by it or by one before it.
        await self._execute(_write_waiting, self._conn, self._waiting)  # pyright: ignore[reportUnknownMemberType]
        return write.outcome()


def _write_waiting(connection: sqlite3.Connection, waiting: deque[_Write[Any]]) -> None:
    """Commit what waits, oldest first, all at once: what comes together waits for the disk once, and is as durable."""
    writes = [waiting.popleft() for _ in range(min(len(waiting), WRITES_AT_ONCE))]
    if not writes:
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        for write in writes:
            write.run(connection, alone=len(writes) == 1)
        connection.execute("COMMIT")
    except BaseException as error:  # noqa: BLE001  it is raised where each of them is waited for
        connection.rollback()
        for write in writes:
            write.error = write.error or error


def _transact(connection: sqlite3.Connection, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute(begin)
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
    return result


def _dict_row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


class Database:
    """One writer and a few readers on one SQLite file; made by `open_database`."""

    def __init__(self, path: Path, writer: _Connection, readers: Sequence[_Connection], clock: Clock) -> None:
        self.path = path
        self.clock = clock
        self._writer = writer
        self._readers = readers
        self._free: asyncio.Queue[_Connection] = asyncio.Queue()
        for reader in readers:
            self._free.put_nowait(reader)

    async def write(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(tx, …)` in an immediate transaction; it awaits nothing and may be run to its end after a cancel.

        It is all or nothing by itself, and committed when this returns.
        """

        def work(connection: sqlite3.Connection) -> T:
            return fn(Tx(connection, self.clock()), *args, **kwargs)

        with _clear_refusals():
            return await self._writer.write(work)

    async def read(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(tx, …)` on one snapshot that cannot be written to."""

        def work(connection: sqlite3.Connection) -> T:
            return fn(Tx(connection, self.clock()), *args, **kwargs)

        reader = await self._free.get()
        try:
            with _clear_refusals():
                return await reader.transact("BEGIN", work)
        finally:
            self._free.put_nowait(reader)

    async def close(self) -> None:
        """Close every connection; one that stays open would keep its thread, and so the process, alive."""
        for connection in (*self._readers, self._writer):
            await connection.close()


class _clear_refusals:  # noqa: N801  reads as a verb where it is used
    """Turns what SQLite says of a busy or full disk, or of a number that it cannot hold, into a refusal."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OverflowError) and "SQLite INTEGER" in str(error):
            raise Invalid("A number in the request is larger than any that is stored.") from error
        if not isinstance(error, sqlite3.OperationalError):
            return
        text = str(error)
        if "locked" in text or "busy" in text:
            raise Unavailable("The database is busy. Nothing was changed; try again.", type="database-busy") from error
        if any(word in text for word in ("full", "disk I/O", "readonly", "unable to open")):
            message = f"The database cannot be written ({text}). Nothing was changed; free space or mend the disk."
            raise Unavailable(message, type="database-unwritable") from error


def _check_version() -> None:
    if sqlite3.sqlite_version_info < SAFE_VERSION:
        message = (
            f"SQLite {sqlite3.sqlite_version} can corrupt a database that several processes write; 3.51.3 is needed"
        )
        raise StartupError(message)


class Examined(msgspec.Struct, frozen=True):
    """A database as it lies: its migration, what a check of its pages complains of, the time of its newest event."""

    migration: int
    complaints: tuple[str, ...]
    newest_event: int


def examine(path: Path) -> Examined:
    """Look at a database without changing it; StartupError says in one line why it cannot be used."""
    _check_version()
    check_file_system(path)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            complaints = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)") if row[0] != "ok"]
            (migration,) = connection.execute("SELECT coalesce(max(number), 0) FROM schema_migrations").fetchone()
            (newest,) = connection.execute("SELECT coalesce(max(created_at), 0) FROM events").fetchone()
    except sqlite3.Error as error:
        raise StartupError(f"the database {path} cannot be used: {error}") from error
    return Examined(migration, tuple(complaints), newest)


async def _connect(path: Path, *, query_only: bool) -> _Connection:
    connection = _Connection(lambda: sqlite3.connect(path, isolation_level=None, check_same_thread=False), 64)
    await connection
    try:
        connection.row_factory = _dict_row  # pyright: ignore[reportAttributeAccessIssue]  any callable will do
        for pragma in (
            "PRAGMA busy_timeout=30000",
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=FULL",
            "PRAGMA foreign_keys=ON",
            "PRAGMA temp_store=MEMORY",
            "PRAGMA journal_size_limit=67108864",
            f"PRAGMA query_only={int(query_only)}",
        ):
            await connection.execute_fetchall(pragma)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _open(path: Path, readers: int, clock: Clock) -> Database:
    connections: list[_Connection] = []
    try:
        connections.append(await _connect(path, query_only=False))
        await connections[0].transact("BEGIN IMMEDIATE", lambda connection: apply_migrations(connection, clock()))
        for _ in range(readers):
            connections.append(await _connect(path, query_only=True))  # noqa: PERF401  those that are open are closed when the next one fails
    except BaseException:
        for connection in connections:
            await connection.close()
        raise
    return Database(path, connections[0], connections[1:], clock)


@asynccontextmanager
async def open_database(path: str | Path, *, readers: int = 3, clock: Clock = wall_clock) -> AsyncGenerator[Database]:
    """Open and migrate the database for one process; StartupError says in one line why it cannot be used."""
    path = Path(path).absolute()
    _check_version()
    check_file_system(path)
    try:
        make_file(path)
        # Refused in a connection's own thread, it would be a traceback of that thread beside the one clear line.
        sqlite3.connect(path).close()
        database = await _open(path, readers, clock)
    except (sqlite3.Error, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise StartupError(f"the database {path} cannot be used: {why}") from error
    try:
        yield database
    finally:
        await database.close()
