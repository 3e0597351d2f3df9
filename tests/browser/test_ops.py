"""Deliveries, the queue, the service and the charts, in a real browser."""

import pytest
from playwright.async_api import expect

from shared.repository.database import Tx
from tests.api.console.crowd import HOSTILE, crowd, hostile
from tests.api.house import TOKEN
from tests.browser.conftest import Visit
from tests.browser.house import Site
from tests.browser.visitor import DESK, PHONE

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = (
    "/console/deliveries",
    "/console/deliveries/7",
    "/console/queue",
    "/console/service",
    "/console/charts",
    "/console/charts?over=30d",
)
EVERYWHERE = (
    *PAGES,
    "/console",
    "/console/projects",
    "/console/projects/1",
    "/console/protocols/1",
    "/console/steps/1",
)
# Times are measured by `make bench`. What holds on any machine: how many empty pages' time a page takes at its best,
# how many elements it has, and how much is fetched for it.
EMPTY = "data:text/html,<p>-</p>"
PAINT_TIMES, MOST_NODES, MOST_BYTES = 10, 2500, 150_000
PAINTED = """new Promise((done) => new PerformanceObserver((list) => {
    const [paint] = list.getEntriesByName("first-contentful-paint");
    const parts = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    if (paint) done({
        ms: paint.startTime, nodes: document.querySelectorAll("*").length,
        bytes: parts.reduce((sum, each) => sum + each.decodedBodySize, 0),
    });
}).observe({ type: "paint", buffered: true }))"""


def filled(tx: Tx) -> None:
    """Much, and hostile."""
    crowd(tx, events=100, attempts=500)
    hostile(tx)


@pytest.mark.parametrize("view", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_pages_are_fit_for_everybody_and_inert(visit: Visit, site: Site, view: object, scheme: str) -> None:
    await site.house.database.write(filled)
    async with visit(viewport=view, color_scheme=scheme) as visitor:
        await visitor.log_in(TOKEN)
        for path in PAGES:
            await visitor.go(path)
            for each in await visitor.page.locator("details").all():
                await each.evaluate("(each) => { each.open = true; }")
            await visitor.check()


async def test_what_is_hostile_can_be_read(visit: Visit, site: Site) -> None:
    await site.house.database.write(hostile)
    async with visit() as visitor:
        await visitor.log_in(TOKEN)
        await visitor.go("/console/deliveries/7")
        name = HOSTILE.replace("\x1b", "␛").replace("\u202e", "‹U+202E›")
        await expect(visitor.page.get_by_role("heading", level=1)).to_contain_text(name)
        await expect(visitor.page.locator("img[src='x']")).to_have_count(0)


async def test_a_delivery_that_comes_is_seen_without_reload_and_is_applied_again_in_place(
    visit: Visit, site: Site
) -> None:
    async with visit() as visitor:
        await visitor.log_in(TOKEN)
        await visitor.go("/console/deliveries")
        await visitor.is_live()
        number = await site.house.delivery("failed")
        await visitor.page.locator(f"#delivery-{number} a.title").click()
        await visitor.is_live()
        await visitor.page.get_by_role("button", name="Apply again").click()
        await expect(visitor.page.locator("#came")).to_contain_text("It waits for a worker.")
        await expect(visitor.page.get_by_role("button", name="Apply again")).to_have_count(0)


async def test_what_cannot_be_is_told_beside_the_button(visit: Visit, site: Site) -> None:
    number = await site.house.delivery("failed")
    async with visit() as first, visit() as second:
        second.expects(409)
        for visitor in (first, second):
            await visitor.log_in(TOKEN)
            await visitor.go(f"/console/deliveries/{number}")
        # The second one does not hear what the first one does.
        await second.page.evaluate("source?.close(); source = null; clearTimeout(soon)")
        await first.page.get_by_role("button", name="Apply again").click()
        await expect(first.page.get_by_role("button", name="Apply again")).to_have_count(0)
        await second.page.get_by_role("button", name="Apply again").click()
        await expect(second.page.locator(".said .problem")).to_be_visible()
        await second.check()


async def test_the_line_is_stopped_with_a_choice_and_resumed(visit: Visit, site: Site) -> None:
    await site.house.project()
    async with visit(viewport=PHONE) as visitor:
        await visitor.log_in(TOKEN)
        await visitor.go("/console/queue")
        await visitor.page.locator("summary", has_text="Stop the line").click()
        await visitor.page.get_by_label("Park the agents that run, too").check()
        await visitor.check()
        await visitor.page.locator("#line-0-stop-send").click()
        await expect(visitor.page.locator("#line")).to_contain_text("The line is stopped")
        await visitor.check()
        await visitor.page.get_by_role("button", name="Resume the line").click()
        await expect(visitor.page.locator("#line")).to_contain_text("The line runs")


async def test_every_page_is_painted_soon_with_a_hundred_thousand_events(visit: Visit, site: Site) -> None:
    def crowded(tx: Tx) -> None:
        crowd(tx)
        hostile(tx)

    await site.house.database.write(crowded)
    async with visit() as visitor:
        await visitor.log_in(TOKEN)
        for path in EVERYWHERE:
            empty = page = 1e9
            for _ in range(3):
                await visitor.page.goto(EMPTY)
                empty = min(empty, (await visitor.page.evaluate(PAINTED))["ms"])
                await visitor.go(path)
                painted = await visitor.page.evaluate(PAINTED)
                page = min(page, painted["ms"])
            assert page < PAINT_TIMES * empty, f"{path} took {page:.0f} ms, an empty page {empty:.0f} ms"
            assert painted["nodes"] < MOST_NODES, path
            assert painted["bytes"] < MOST_BYTES, path
