"""What the browser tests may ask for: one browser for the session, a site for each test, and visitors to it."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.chromium import MISSING, find_chromium
from tests.browser.house import Site, open_site
from tests.browser.visitor import Visitor, visiting

Visit = Callable[..., AbstractAsyncContextManager[Visitor]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser of this machine. Where there is none the tests are skipped, but not where a machine runs them."""
    path = find_chromium()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=path, args=["--disable-gpu"])
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site(tmp_path: Path, redis_url: str) -> AsyncIterator[Site]:
    """A service with an API token."""
    async with open_site(tmp_path, redis=redis_url) as running:
        yield running


@pytest.fixture
def visit(browser: Browser, site: Site) -> Visit:
    """Opens windows on the site."""
    return partial(visiting, browser, site.url)
