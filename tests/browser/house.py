"""A service for browsers: the API's house, listening on a loopback port, with a real database and no worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from shared.web.server import serve
from tests.api.house import House, open_house


class Site:
    """The house and its address."""

    def __init__(self, house: House, url: str) -> None:
        self.house = house
        self.url = url


@asynccontextmanager
async def open_site(folder: Path, **changes: Any) -> AsyncIterator[Site]:
    """A site with an API token unless `changes` say otherwise."""
    async with open_house(folder, streams=True, **changes) as house:
        stop = asyncio.Event()
        bound: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(
            serve(house.app, name="api", host="127.0.0.1", port=0, grace_s=1, stop=stop, bound=bound.set_result)
        )
        try:
            yield Site(house, await bound)
        finally:
            house.app.state.feed.close()
            stop.set()
            await serving
