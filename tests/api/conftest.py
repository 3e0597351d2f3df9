"""What the API's tests may ask for: a house to test in, and the administrator's client."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.api.house import ADMIN, House, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """An API with an admin token; its client sends no credential by itself."""
    async with open_house(tmp_path) as running:
        yield running


@pytest.fixture
def admin(house: House) -> httpx.AsyncClient:
    """The house's client, with the administrator's bearer."""
    house.client.headers.update(ADMIN)
    return house.client
