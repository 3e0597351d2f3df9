"""What stays although the page around it changes: what was typed, what is being looked at, and who looks."""

import pytest
from playwright.async_api import Page, expect

from services.api.attempt_files import Part
from tests.api.console import scenes
from tests.api.house import ADMIN, TOKEN
from tests.browser.conftest import Visit
from tests.browser.house import Site
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

FEEDBACK = "What is to be done differently"
# A list above the buttons goes, a paragraph comes: the field below is the same one.
MORPHED = """() => {
    const made = (inner) => new DOMParser().parseFromString(`<section>${inner}</section>`, "text/html").body.firstChild;
    const have = document.body.appendChild(document.adoptNode(made(
        '<p>a</p><ul><li>b</li></ul><div class="line"></div><div class="acts"><textarea></textarea></div><p>z</p>')));
    const field = have.querySelector("textarea");
    morph(have, made('<p>a</p><p class="new">c</p><div class="acts"><textarea></textarea></div><ul><li>d</li></ul>'));
    const after = have.innerHTML;
    have.remove();
    return [field === have.querySelector("textarea"), after];
}"""
LOOKED_AT = """(seen) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => !seen });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


async def end_session(page: Page) -> None:
    """As after twelve hours, when something happens."""
    await page.context.clear_cookies()
    await page.evaluate("refreshSoon()")


async def log_in_beside(visitor: Visitor) -> None:
    """In another tab of the same browser."""
    page = await visitor.page.context.new_page()
    beside = Visitor(page, visitor.base, scripts=True)
    await beside.log_in(TOKEN)
    await page.close()


async def test_what_was_typed_outlives_the_button_that_it_was_for(visit: Visit, site: Site) -> None:
    run, step = await site.house.executed(await site.house.project("shop"))
    async with visit() as visitor:
        page = visitor.page
        visitor.expects(409)
        await visitor.log_in(TOKEN)
        await visitor.go(f"/console/steps/{step}")
        await visitor.is_live()
        await page.locator("summary", has_text="Send back").click()
        field = page.get_by_label(FEEDBACK).first
        await field.fill("Keep the old colours.")
        await site.house.client.post(f"/protocols/{run}/actions/pause", headers=ADMIN)
        await expect(page.get_by_role("button", name="Run QA")).to_have_count(0)
        await expect(field).to_have_value("Keep the old colours.")
        await page.locator("form[action$=reject]").get_by_role("button", name="Send back").click()
        await expect(page.locator(".said .problem")).to_be_visible()
        await site.house.client.post(f"/protocols/{run}/actions/resume", headers=ADMIN)
        await expect(page.get_by_role("button", name="Run QA")).to_have_count(1)
        await expect(field).to_have_value("Keep the old colours.")
        await page.locator("form[action$=reject]").get_by_role("button", name="Send back").click()
        await expect(page.get_by_label(FEEDBACK)).to_have_count(0)
        await expect(page.locator("#done")).to_have_text("Send back: done.")
        assert (await site.house.rows("SELECT feedback FROM step_runs"))[0]["feedback"] == "Keep the old colours."
        assert await page.evaluate(MORPHED) == [
            True,
            '<p>a</p><p class="new">c</p><div class="acts"><textarea></textarea></div><ul><li>d</li></ul>',
        ]
        await visitor.check()


async def test_a_session_that_ends_takes_nothing_along_that_was_typed(visit: Visit, site: Site) -> None:
    project = await site.house.project("shop")
    async with visit() as visitor:
        page = visitor.page
        visitor.expects(401)
        await visitor.log_in(TOKEN)
        await visitor.go(f"/console/projects/{project}/protocols/new")
        await page.get_by_label("What is to be done").fill("A task of many words.")
        await page.get_by_text("Start planning at once").uncheck()
        await end_session(page)
        await expect(page.get_by_text("Your session has ended.")).to_be_visible()
        await visitor.check()
        await page.get_by_role("button", name="Open").click()
        await expect(page.locator(".said .problem")).to_contain_text("Log in again")
        await log_in_beside(visitor)
        visitor.expects(403)  # the form still has the token of the session that ended; it is sent once more
        await page.get_by_role("button", name="Open").click()
        await page.wait_for_url("**/console/protocols/1")
        (run,) = await site.house.rows("SELECT description FROM protocol_runs")
        assert run["description"] == "A task of many words."
        await end_session(page)  # where nothing was typed the page gives way
        await page.wait_for_url("**/console/login?next=%2Fconsole%2Fprotocols%2F1")


async def test_a_page_that_nobody_looks_at_holds_no_connection_and_catches_up(visit: Visit, site: Site) -> None:
    run, _ = await scenes.busy(site.house, await site.house.project())
    events = site.house.settings.workspaces_dir / "attempts" / "two" / Part.EVENTS.value
    async with visit() as visitor:
        page = visitor.page
        await visitor.log_in(TOKEN)
        await visitor.go(f"/console/protocols/{run}")
        await visitor.is_live()
        assert await page.evaluate("[source !== null, growing.size]") == [True, 1]
        await page.evaluate(LOOKED_AT, False)
        assert await page.evaluate("[source !== null, growing.size]") == [False, 0]
        with events.open("a") as more:
            more.write(scenes.message("Said meanwhile.") + "\n")
        await page.evaluate(LOOKED_AT, True)
        await expect(page.locator(".transcript")).to_contain_text("Said meanwhile.")
        await visitor.is_live()
        assert await page.evaluate("growing.size") == 1


async def test_a_page_without_a_stream_says_when_nothing_answers_and_when_it_does_again(visit: Visit) -> None:
    async with visit() as visitor:
        page = visitor.page
        await visitor.log_in(TOKEN)
        await visitor.go("/console/service")
        await page.context.set_offline(True)
        await page.evaluate("refresh()")
        await expect(page.locator("#pulse")).to_have_text("no connection")
        await page.context.set_offline(False)
        await page.evaluate("refresh()")
        await expect(page.locator("#pulse")).to_be_empty()
        visitor.faults.clear()  # the browser tells of each request that it could not make
