"""What the console's tests may ask for: a browser's side of HTTP, with the house's cookies and its forms' tokens."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.house import TOKEN, House, open_house

HTML = {"accept": "text/html"}


class Window:
    """One browser without a script: cookies, pages, forms. It comes over https unless told otherwise."""

    def __init__(self, house: House, base: str = "https://localhost", **headers: str) -> None:
        transport = httpx.ASGITransport(house.app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url=base, headers=HTML | headers)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(path, headers=headers)

    async def csrf(self) -> str:
        """The token of the forms of a page that everybody sees."""
        page = await self.http.get("/console/nothing-here")
        page = await self.http.get("/console/login") if page.status_code == 303 else page
        found = re.search(r'<meta name="csrf" content="([^"]+)">', page.text)
        assert found, page.text
        return found[1]

    async def post(self, path: str, *, csrf: str | None = None, headers: Any = None, **fields: str) -> httpx.Response:
        """Send a form, with the right token unless another is given."""
        token = await self.csrf() if csrf is None else csrf
        return await self.http.post(path, data={"csrf": token, **fields}, headers=headers)

    async def log_in(self, token: str = TOKEN) -> None:
        answer = await self.post("/console/login", token=token)
        assert answer.status_code == 303, answer.text

    async def is_in(self) -> bool:
        """Whether the first page is shown, and not the login."""
        answer = await self.get("/console")
        assert answer.status_code in {200, 303}, answer.text
        return answer.status_code == 200


@pytest.fixture
def window(house: House) -> Window:
    """A browser that has not logged in."""
    return Window(house)


@pytest.fixture
async def inside(window: Window) -> Window:
    """A browser of the administrator's."""
    await window.log_in()
    return window


@pytest.fixture
async def open_at_home(tmp_path: Path) -> AsyncIterator[House]:
    """A house without an API token, as on one's own machine."""
    async with open_house(tmp_path, api_token=None) as house:
        yield house
