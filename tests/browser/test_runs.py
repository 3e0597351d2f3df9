"""The pages of runs in a real browser: hostile words stay words, and without a script only the movement is missing."""

import pytest
from playwright.async_api import expect

from tests.api.console import scenes
from tests.api.console.crowd import HOSTILE
from tests.api.house import TOKEN
from tests.browser.conftest import Visit
from tests.browser.house import Site
from tests.browser.visitor import PHONE

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_hostile_words_do_nothing_and_break_no_page(visit: Visit, site: Site) -> None:
    house = site.house
    run = await scenes.planned(house, await house.project(), HOSTILE, plan_md=HOSTILE, description=HOSTILE)
    events = [scenes.command(HOSTILE, HOSTILE * 50), scenes.message(HOSTILE), scenes.message("x" * 1_000_000)]
    patch = f"diff --git a/x.html b/x.html\n--- a/x.html\n+++ b/x.html\n@@ -0,0 +1 @@\n+{HOSTILE}\n"
    folder = scenes.files(house, "evil", EVENTS="\n".join(events) + "\n", STDERR=HOSTILE, DIFF=patch, BRANCH=patch)
    claim = await scenes.begin(house, run, folder)
    async with visit(viewport=PHONE) as visitor:
        await visitor.log_in(TOKEN)
        await visitor.go(f"/console/protocols/{run}")
        await visitor.is_live()
        await visitor.check()
        step = await scenes.finish(house, claim, "d" * 40, HOSTILE)
        await scenes.judged(house, step, "d" * 40, "fail", next_actions=(HOSTILE,))
        await expect(visitor.page.locator("#state")).to_contain_text("blocked")
        await visitor.page.locator("li.node").get_by_text("Retry", exact=True).first.click()
        await visitor.check()
        for path in (
            f"protocols/{run}",
            f"protocols/{run}/diff",
            f"steps/{step}",
            "attempts/2",
            f"protocols/{run}/plan",
        ):
            await visitor.go(f"/console/{path}")
            assert await visitor.page.locator("img:not([src^='/console/static/'])").count() == 0
            await visitor.check()


async def test_without_a_script_all_of_it_can_be_read_and_done(visit: Visit, site: Site) -> None:
    house = site.house
    run, _ = await scenes.busy(house, await house.project())
    async with visit(scripts=False) as visitor:
        await visitor.log_in(TOKEN)
        await visitor.go(f"/console/protocols/{run}")
        await expect(visitor.page.locator(".transcript")).to_contain_text("I collect the colours")
        await visitor.page.locator("#explain").get_by_text("Pause", exact=True).first.click()
        await visitor.page.locator("#explain form[action$=pause]").get_by_role("button", name="Pause").click()
        await expect(visitor.page.locator("#state")).to_contain_text("paused")
