"""Reads an attempt's event file as it grows: the worker writes it, line by line, while the agent runs."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Final

from services.api.attempt_files import CHUNK, Part, read_bytes
from shared.repository import attempts
from shared.repository.database import Database, Tx
from shared.schemas.records import Attempt
from shared.schemas.statuses import AttemptState
from shared.schemas.transcript import Item, read_items

# The file is on the same host; a look at its size costs less than telling everybody about every line.
LOOK_S: Final = 0.25
# How often the row is asked whether the attempt is over.
ASK_S: Final = 1.0
# A line that is longer is passed over.
MAX_LINE: Final = 32 * CHUNK


class Tail:
    """The items of one attempt from `place` on; `over` once the attempt has ended and all was read."""

    def __init__(self, database: Database, workspaces: Path, attempt_id: int, place: int) -> None:
        self._database = database
        self._workspaces = workspaces
        self._attempt_id = attempt_id
        self._begun = b""
        self.place = place
        self.over = False

    async def follow(self, pause_s: float, closed: Callable[[], bool]) -> AsyncGenerator[Sequence[Item]]:
        """Items as they come, an empty sequence after `pause_s` seconds without any; ends when the attempt has."""
        attempt = await self._read()
        asked_at = said_at = time.monotonic()
        while not closed():
            ended = attempt.state is not AttemptState.RUNNING
            grew, items = await asyncio.to_thread(self._take, attempt.directory)
            if items or time.monotonic() - said_at >= pause_s:
                said_at = time.monotonic()
                yield items
            if grew:
                continue
            if ended:
                self.over = True
                return
            await asyncio.sleep(LOOK_S)
            if time.monotonic() - asked_at >= ASK_S:
                attempt, asked_at = await self._read(), time.monotonic()

    def _take(self, directory: str | None) -> tuple[bool, list[Item]]:
        """The items of the lines that were completed since, and whether there was anything new."""
        start = self.place + len(self._begun)
        data = read_bytes(self._workspaces, directory, Part.EVENTS, offset=start, limit=CHUNK)
        if not data:
            return False, []
        whole = self._begun + data
        found, end = read_items(whole, self.place)
        self._begun, self.place = whole[end - self.place :], end
        if len(self._begun) > MAX_LINE:
            self.place += len(self._begun)
            self._begun = b""
        return True, [item for _, item in found]

    async def _read(self) -> Attempt:
        def read(tx: Tx) -> Attempt:
            attempt = attempts.get(tx, self._attempt_id)
            if attempt is None:
                raise LookupError(f"attempt {self._attempt_id}")
            return attempt

        return await self._database.read(read)
