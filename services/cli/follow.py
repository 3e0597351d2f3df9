"""Keeping up with a run: its events are the bell at which it is read anew, its agent's doings come as they happen."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from services.cli.desk import Desk
from services.cli.ending import CommandError, Exit
from services.cli.picture import Scene
from services.cli.rest import AGAIN_S, LOST_S, Message
from shared.schemas.answers import AttemptAnswer, EventAnswer, ProtocolAnswer
from shared.schemas.transcript import Item

OnEvent = Callable[[EventAnswer, bytes], None]
OnItem = Callable[[AttemptAnswer, Item], None]


class Follower:
    """Reads a run anew whenever something happens to it, and listens to its agent; made by `following`."""

    def __init__(self, desk: Desk, scene: Scene, on_event: OnEvent | None, on_item: OnItem | None) -> None:
        self._desk = desk
        self.scene = scene
        self._on_event = on_event
        self._on_item = on_item
        self._news = asyncio.Event()
        self._changed = asyncio.Condition()
        self._reads = 0
        self._places: dict[int, int] = {}

    async def until(self, over: Callable[[Scene], Awaitable[bool]]) -> None:
        """Wait for a state of the run; it is asked at once and after each change."""
        while True:
            seen = self._reads
            try:
                if await over(self.scene):
                    return
            except CommandError as error:
                if error.code is not Exit.UNREACHABLE:
                    raise
                self._news.set()
            await self._read_since(seen)

    async def _read_since(self, seen: int) -> None:
        """Until the run has been read anew; nothing that came meanwhile is missed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._reads != seen)

    async def hear(self, after: int) -> None:
        """Follow the events."""
        path, query = "/events/stream", {"protocol_run_id": self.scene.protocol.id}
        async with contextlib.aclosing(self._desk.rest.follow(path, query, after=after)) as messages:
            async for message in messages:
                self._take(message)

    def _take(self, message: Message) -> None:
        if message.event != "gap" and self._on_event is not None:
            self._on_event(msgspec.json.decode(message.data, type=EventAnswer), message.data)
        self._news.set()

    async def read(self) -> None:
        """Read the run anew at each bell; several at once are one.

        A server that is away is asked again; `hear` knows when that has been for too long.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                fresh = await read_scene(self._desk, self.scene.protocol.id)
            except CommandError as error:
                if error.code is not Exit.UNREACHABLE:
                    raise
                await asyncio.sleep(AGAIN_S)
                self._news.set()
                continue
            self.scene.protocol, self.scene.steps, self.scene.attempts = fresh.protocol, fresh.steps, fresh.attempts
            self._reads += 1
            async with self._changed:
                self._changed.notify_all()

    async def listen(self) -> None:
        """Follow what the live attempt does, and then the next one's."""
        while True:
            seen, live = self._reads, self.scene.live
            if live is not None:
                await self.listen_to(live)
                self._news.set()
            await self._read_since(seen)

    async def listen_to(self, attempt: AttemptAnswer, on_item: OnItem | None = None) -> None:
        """Follow one attempt to its end."""
        heard = on_item or self._on_item
        path, after = f"/attempts/{attempt.id}/stream", self._places.get(attempt.id)
        async with contextlib.aclosing(self._desk.rest.follow(path, after=after)) as messages:
            async for message in messages:
                self._places[attempt.id] = message.id
                if message.event == "end":
                    return
                item = msgspec.json.decode(message.data, type=Item)
                if item.kind not in {"thread", "tokens"}:
                    self.scene.said[attempt.id] = item
                if heard is not None:
                    heard(attempt, item)


def _tell_lost(lost: bool) -> None:  # noqa: FBT001  its one word
    words = f"the connection is lost; trying again for {LOST_S:.0f} s" if lost else "the connection is back"
    sys.stderr.write(f"deksdenflow: {words}\n")
    sys.stderr.flush()


async def read_scene(desk: Desk, protocol_id: int) -> Scene:
    """A run with its steps and attempts, as they are now."""
    protocol = await desk.rest.get(f"/protocols/{protocol_id}", ProtocolAnswer)
    return Scene(protocol, await desk.steps(protocol_id), await desk.attempts(protocol_id))


@asynccontextmanager
async def following(
    desk: Desk,
    protocol_id: int,
    *,
    on_event: OnEvent | None = None,
    on_item: OnItem | None = None,
    agent: bool = True,
    drawn: bool = False,
) -> AsyncGenerator[Follower]:
    """A follower that keeps up for as long as the body runs; what keeps it from that ends the body.

    Where nothing is `drawn` that shows it, a lost connection is told, and that it is back.
    """
    desk.rest.on_lost = None if drawn else _tell_lost
    events = await desk.rest.some(f"/protocols/{protocol_id}/events", EventAnswer, limit=1)
    follower = Follower(desk, await read_scene(desk, protocol_id), on_event, on_item)
    jobs: list[Any] = [follower.hear(events[0].id if events else 0), follower.read()]
    jobs += [follower.listen()] if agent else []
    body = asyncio.current_task()
    failed: list[BaseException] = []

    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) and body is not None:
            failed.append(error)
            body.cancel()

    tasks = [asyncio.create_task(job) for job in jobs]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield follower
    except asyncio.CancelledError:
        if failed and body is not None:
            body.uncancel()
            raise failed[0] from None
        raise
    finally:
        for task in tasks:
            task.remove_done_callback(ended)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
