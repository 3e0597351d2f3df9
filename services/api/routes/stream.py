"""Routes that stay open: what happens, and what an agent does, as it comes (server-sent events)."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Final

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from services.api.auth import ApiRequest
from services.api.desk import Desk
from services.api.feed import Feed, Gap, Wanted
from services.api.params import LAST_ID, AttemptId, OfProject, OfProtocol, read_number
from services.api.transcript import Tail
from shared.errors import Invalid
from shared.repository import tokens
from shared.repository.database import Database, Tx
from shared.schemas.statuses import EventType
from shared.workflow import find
from shared.workflow.unit import Caller

RETRY_MS: Final = 1000

OfStep = Annotated[int | None, QueryParameter(ge=1, le=LAST_ID, description="Only this step's.")]
OfType = Annotated[
    list[EventType] | None, QueryParameter(description="Only events of this type; may be given several times.")
]
After = Annotated[
    int | None, QueryParameter(ge=0, le=LAST_ID, description="Go on behind this event; default: from now on.")
]
LastEventId = Annotated[
    str | None, HeaderParameter(name="Last-Event-ID", description="As `after`; sent by a browser that comes back.")
]
HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
TEXT = {200: ResponseSpec(str, description="The stream.", media_type="text/event-stream")}


@get("/events/stream", tags=["events"], responses=TEXT)
async def stream_events(  # noqa: PLR0917  Litestar passes by name
    request: ApiRequest,
    desk: NamedDependency[Desk],
    feed: NamedDependency[Feed],
    project_id: OfProject = None,
    protocol_run_id: OfProtocol = None,
    step_run_id: OfStep = None,
    event_type: OfType = None,
    after: After = None,
    last_event_id: LastEventId = None,
) -> Stream:
    """Follow what happens, oldest first, as server-sent events; `gap` tells that some are not there any more.

    Each message's `id` is the event's, its data the event as `GET /events` shows it. A comment comes every 15 s.
    """
    wanted = Wanted(project_id, protocol_run_id, step_run_id, frozenset(event_type or ()))
    return await open_stream(request.user, desk.database, feed, wanted, place_of(last_event_id, after))


async def open_stream(caller: Caller, database: Database, feed: Feed, wanted: Wanted, after: int | None) -> Stream:
    """The stream, once it is known that the caller may see what it asks for; another project's things are not found."""
    feed.demand_room()
    narrowed = await database.read(_narrowed, caller.project_id, wanted)
    return _stream(_events(feed, narrowed, after, _Leave(database, caller, feed.measure.pause_s)))


@get("/attempts/{attempt_id:int}/stream", tags=["attempts"], responses=TEXT)
async def stream_attempt(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    feed: NamedDependency[Feed],
    attempt_id: AttemptId,
    after: After = None,
    last_event_id: LastEventId = None,
) -> Stream:
    """Follow what an agent does, from its first event on: messages, commands, patches and tokens.

    Each message's `id` is the place in the attempt's event file behind it. `end` comes when the attempt is over.
    """
    return await open_transcript(request.user, desk, feed, attempt_id, place_of(last_event_id, after) or 0)


async def open_transcript(caller: Caller, desk: Desk, feed: Feed, attempt_id: int, place: int) -> Stream:
    """The stream of one attempt that the caller may see."""
    feed.demand_room()
    await desk.database.read(find.attempt, caller.project_id, attempt_id)
    tail = Tail(desk.database, desk.settings.workspaces_dir, attempt_id, place)
    return _stream(_transcript(tail, feed, _Leave(desk.database, caller, feed.measure.pause_s)))


class _Leave:
    """Whether the caller may still listen: a project's token may be revoked or expire while a stream is open."""

    def __init__(self, database: Database, caller: Caller, every_s: float) -> None:
        self._every_s = every_s
        self._database = database
        self._caller = caller
        self._asked_at = time.monotonic()

    async def holds(self) -> bool:
        """Looked up every now and then, not for every event."""
        if self._caller.project_id is None or time.monotonic() - self._asked_at < self._every_s:
            return True
        self._asked_at = time.monotonic()
        token_id = int(self._caller.actor.rpartition(":")[2])
        return await self._database.read(tokens.is_live, self._caller.project_id, token_id)


async def _events(feed: Feed, wanted: Wanted, after: int | None, leave: _Leave) -> AsyncGenerator[bytes]:
    with feed.counted():
        yield f"retry: {RETRY_MS}\n\n".encode()
        async with aclosing(feed.follow(wanted, after)) as news:
            async for found in news:
                if not await leave.holds():
                    return
                if isinstance(found, Gap):
                    yield _frame("gap", found.first - 1, msgspec.json.encode(found))
                elif found:
                    yield b"".join(_frame("", each.id, each.data) for each in found)
                else:
                    yield b":\n\n"


async def _transcript(tail: Tail, feed: Feed, leave: _Leave) -> AsyncGenerator[bytes]:
    with feed.counted():
        yield f"retry: {RETRY_MS}\n\n".encode()
        async for items in tail.follow(feed.measure.pause_s, lambda: feed.closed):
            if not await leave.holds():
                return
            if items:
                yield b"".join(_frame("", each.place, msgspec.json.encode(each)) for each in items)
            else:
                yield b":\n\n"
        if tail.over:
            yield _frame("end", tail.place, b"{}")


def _stream(frames: AsyncGenerator[bytes]) -> Stream:
    return Stream(frames, media_type="text/event-stream", headers=HEADERS)


def _frame(kind: str, place: int, data: bytes) -> bytes:
    name = f"event: {kind}\n" if kind else ""
    return f"id: {place}\n{name}data: ".encode() + data + b"\n\n"


def place_of(last_event_id: str | None, after: int | None) -> int | None:
    """Where a stream goes on; a browser's own word goes first: it knows where it was cut."""
    if not last_event_id:
        return after
    place = read_number(last_event_id)
    if place is None:
        raise Invalid("Last-Event-ID: the id of an event that this stream has sent.")
    return place


def _narrowed(tx: Tx, scope: int | None, wanted: Wanted) -> Wanted:
    seen = find.narrowed(tx, scope, wanted.project_id, wanted.protocol_id)
    if wanted.step_id is not None:
        find.step(tx, scope, wanted.step_id)
    return msgspec.structs.replace(wanted, project_id=seen)


ROUTES = [stream_events, stream_attempt]
