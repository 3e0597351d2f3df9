"""The feed of events: one listener in a process, whatever the number of its readers."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Generator, Sequence
from itertools import takewhile

import msgspec
import structlog

from services.api import showing
from shared.errors import Unavailable
from shared.queue import Queue, end_tasks
from shared.repository import events as table
from shared.repository.database import Database, Tx
from shared.schemas.records import Event
from shared.workflow.door import NEWS

log = structlog.stdlib.get_logger(__name__)


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """How much and how often; times in seconds."""

    # Kept for readers that are up to date; whoever is further behind reads from the table, page by page.
    kept: int = 2000
    page: int = 500
    # Where a message of Redis was lost, or nobody can send one, the table is looked at after this time.
    poll_s: float = 2.0
    # Proxies close what is silent for long, and a reader that went away is noticed by it.
    pause_s: float = 15.0
    # Ordinary requests must find a connection left.
    readers: int = 300


class Wanted(msgspec.Struct, frozen=True):
    """Which events a reader wants; what is None (or empty) does not narrow."""

    project_id: int | None = None
    protocol_id: int | None = None
    step_id: int | None = None
    types: frozenset[str] = frozenset()

    def has(self, event: Event) -> bool:
        """Whether the reader wants this one."""
        return (
            self.project_id in {None, event.project_id}
            and self.protocol_id in {None, event.protocol_id}
            and self.step_id in {None, event.step_id}
            and (not self.types or event.event_type in self.types)
        )


class Told(msgspec.Struct, frozen=True):
    """An event as it is sent: its number and its answer in JSON."""

    event: Event
    data: bytes

    @property
    def id(self) -> int:
        """The number that a reader goes on from."""
        return self.event.id


class Gap(msgspec.Struct, frozen=True):
    """What a reader asked to go on from is not there any more: it missed what lies between."""

    asked: int
    first: int


class Feed:
    """Reads each new event once and wakes whoever follows; `run` is its life, `close` ends all that is read of it."""

    def __init__(self, database: Database, queue: Queue, measure: Measure | None = None) -> None:
        self.measure = measure or Measure()
        self._database = database
        self._queue = queue
        self._recent: deque[Told] = deque()
        self._floor = 0
        self._head = 0
        self._readers = 0
        self._streams = 0
        self._beginning = asyncio.Lock()
        self._begun = False
        self._news = asyncio.Event()
        self._rung = asyncio.Event()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the service is about to stop."""
        return self._closed

    @property
    def readers(self) -> int:
        """How many follow the events: whatever happens from now on is told to them."""
        return self._readers if self._begun else 0

    def demand_room(self) -> None:
        """Raise `Unavailable` when so many streams are open that ordinary requests would find no connection left."""
        if self._streams >= self.measure.readers:
            raise Unavailable(f"{self._streams} streams are open already; close one, or poll instead.")

    @contextlib.contextmanager
    def counted(self) -> Generator[None]:
        """Count a stream, of events or of a transcript, for as long as it is open."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        self._wake()

    async def run(self) -> None:
        """Listen until cancelled; polls too, because a message may be lost."""
        listening = asyncio.create_task(self._listen(), name="feed listens")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.measure.poll_s):
                        await self._rung.wait()
                self._rung.clear()
                if self._begun:
                    try:
                        await self._look()
                    except Unavailable as refusal:
                        log.warning("feed_waits", error=str(refusal))
        finally:
            await end_tasks(listening)

    async def follow(self, wanted: Wanted, after: int | None) -> AsyncGenerator[Gap | Sequence[Told]]:
        """What happens after event `after` (None: from now on), oldest first, until the feed is closed.

        An empty sequence comes after a pause without news.
        """
        self._readers += 1
        try:
            async with self._beginning:  # whoever comes meanwhile waits for the same start
                if not self._begun:
                    await self._begin()
            place = self._head if after is None else after
            if gap := await self._database.read(_gap, place):
                yield gap
                place = gap.first - 1
            while not self._closed:
                news, head = self._news, self._head
                if place >= self._floor:
                    found: Sequence[Told] = [each for each in reversed(self._since(place)) if wanted.has(each.event)]
                    place = max(place, head)
                else:
                    found, place = await self._database.read(_page, wanted, place, self.measure.page)
                if found:
                    yield found
                elif place >= self._head:
                    try:
                        async with asyncio.timeout(self.measure.pause_s):
                            await news.wait()
                    except TimeoutError:
                        yield ()
        finally:
            self._readers -= 1
            self._begun = self._begun and self._readers > 0

    def _since(self, place: int) -> Sequence[Told]:
        """What is kept of it, newest first: most readers lack only the newest."""
        return list(takewhile(lambda each: each.id > place, reversed(self._recent)))

    async def _listen(self) -> None:
        async with contextlib.aclosing(self._queue.listen(NEWS)) as line:
            async for _ in line:
                self._rung.set()

    async def _begin(self) -> None:
        """Start anew where the table ends; nobody was there to read what lies between."""
        self._recent.clear()
        self._head = self._floor = await self._database.read(table.last_id)
        self._begun = True

    async def _look(self) -> None:
        while True:
            found = await self._database.read(_after, self._head, self.measure.page)
            self._recent.extend(found)
            while len(self._recent) > self.measure.kept:
                self._floor = self._recent.popleft().id
            if found:
                self._head = found[-1].id
                self._wake()
            if len(found) < self.measure.page:
                return

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _told(tx: Tx, rows: Sequence[Event]) -> list[Told]:
    show = showing.event_names(tx)
    return [Told(row, msgspec.json.encode(show(row))) for row in rows]


def _after(tx: Tx, place: int, limit: int) -> list[Told]:
    return _told(tx, table.following(tx, after=place, limit=limit))


def _page(tx: Tx, wanted: Wanted, place: int, limit: int) -> tuple[list[Told], int]:
    """A page of the table, narrowed as far as an index goes; and the place that it ends at."""
    rows = table.following(
        tx,
        after=place,
        limit=limit,
        project_id=wanted.project_id,
        protocol_id=wanted.protocol_id,
        step_id=wanted.step_id,
    )
    end = rows[-1].id if len(rows) == limit else max(place, table.last_id(tx))
    return _told(tx, [row for row in rows if wanted.has(row)]), end


def _gap(tx: Tx, place: int) -> Gap | None:
    """Pruned before `place` went on, or a number that this table never gave out."""
    first, last = table.first_id(tx), table.last_id(tx)
    if place > last:
        return Gap(asked=place, first=last + 1)
    return Gap(asked=place, first=first) if 0 < place + 1 < first else None
