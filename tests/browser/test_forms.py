"""What a person registers, opens, types, presses, and sees change, in a real browser."""

import pytest
from playwright.async_api import expect

from tests.api.house import ADMIN, TOKEN
from tests.browser.conftest import Visit
from tests.browser.house import Site
from tests.browser.visitor import PHONE

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_project_is_registered_and_a_protocol_opened_by_forms(visit: Visit, site: Site) -> None:
    async with visit() as visitor:
        page = visitor.page
        await visitor.log_in(TOKEN)
        await page.get_by_role("link", name="Register a repository").click()
        await visitor.check()
        await page.get_by_label("Name", exact=True).fill("shop")
        await page.get_by_label("Repository").fill("https://github.com/acme/shop.git")
        await page.get_by_label("By itself").check()
        await page.get_by_role("button", name="Register").click()
        await expect(visitor.heading("shop")).to_be_visible()
        await visitor.check()
        await page.get_by_role("link", name="New protocol").click()
        await page.get_by_label("What is to be done").fill("Add a dark theme.")
        await page.get_by_text("Start planning at once").uncheck()
        await visitor.check()
        await page.get_by_role("button", name="Open").click()
        await page.wait_for_url("**/console/protocols/1")
        (run,) = await site.house.rows("SELECT * FROM protocol_runs")
        assert (run["status"], run["description"]) == ("pending", "Add a dark theme.")


async def test_bad_input_is_said_beside_the_button_and_what_was_typed_stays(visit: Visit, site: Site) -> None:
    await site.house.project("shop")
    async with visit() as visitor:
        page = visitor.page
        visitor.expects(400, 409)
        await visitor.log_in(TOKEN)
        await visitor.go("/console/projects/new")
        await page.get_by_label("Name", exact=True).fill("shop")
        await page.get_by_label("Repository").fill("https://github.com/acme/shop.git")
        await page.get_by_role("button", name="Register").click()
        await expect(page.locator(".said .problem")).to_contain_text("There already is a project named 'shop'")
        await expect(page.get_by_label("Repository")).to_have_value("https://github.com/acme/shop.git")
        await page.get_by_label("Name", exact=True).fill("x" * 101)
        await page.get_by_role("button", name="Register").click()
        await expect(page.get_by_label("Name", exact=True)).to_be_focused()
        await expect(page.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "true")
        await visitor.check()


async def test_two_people_see_the_same_at_once_and_what_is_typed_stays(visit: Visit, site: Site) -> None:
    project = await site.house.project("shop")
    async with visit() as first, visit() as second:
        for visitor in (first, second):
            await visitor.log_in(TOKEN)
            await visitor.go(f"/console/projects/{project}")
            await visitor.is_live()
        await first.page.evaluate("window.same = true")
        again = first.page.get_by_role("button", name="Set up again")
        await again.focus()
        protocol = await site.house.protocol(project, description="Seen by both.")
        for visitor in (first, second):
            await expect(visitor.page.get_by_text("Seen by both.")).to_be_visible(timeout=1000)
        await expect(again).to_be_focused()
        await site.house.client.post(f"/protocols/{protocol}/actions/start", headers=ADMIN)
        for visitor in (first, second):
            await expect(visitor.page.locator(f"#protocol-{protocol} .badge")).to_have_text("queued", timeout=1000)
        assert await first.page.evaluate("window.same"), "the page was loaded anew"
        await first.check()


async def test_a_page_that_lost_its_stream_says_so_and_catches_up(visit: Visit, site: Site) -> None:
    project = await site.house.project("shop")
    async with visit() as visitor:
        await visitor.log_in(TOKEN)
        await visitor.go(f"/console/projects/{project}")
        await visitor.is_live()
        await visitor.page.context.set_offline(True)
        await visitor.page.evaluate("source.close(); source = null; pulse('lost', 'no connection')")
        await expect(visitor.page.locator("#pulse")).to_have_text("no connection")
        await site.house.protocol(project, description="Missed meanwhile.")
        await visitor.page.context.set_offline(False)
        await visitor.page.evaluate("follow()")
        await expect(visitor.page.get_by_text("Missed meanwhile.")).to_be_visible()
        await visitor.is_live()


async def test_a_button_works_in_place_and_says_why_it_was_refused(visit: Visit, site: Site) -> None:
    protocol = await site.house.planned(await site.house.project("shop"))
    async with visit() as visitor:
        page = visitor.page
        await visitor.log_in(TOKEN)
        await visitor.go(f"/console/protocols/{protocol}")
        await visitor.is_live()
        await page.evaluate("window.same = true")
        await page.locator("summary", has_text="Pause").click()
        await page.get_by_role("button", name="Pause", exact=True).click()
        await expect(page.get_by_role("button", name="Resume")).to_be_visible()
        assert await page.evaluate("window.same"), "the page was loaded anew"
        await visitor.go(f"/console/protocols/{protocol}")
        await visitor.is_live()
        await page.evaluate("window.same = true; source.close()")  # what somebody else does now is not seen
        await site.house.client.post(f"/protocols/{protocol}/actions/cancel", headers=ADMIN)
        visitor.expects(409)
        await page.get_by_role("button", name="Resume").click()
        await expect(page.locator(".said .problem")).to_contain_text("It is cancelled now.")
        assert await page.evaluate("window.same"), "the page was loaded anew"
        await visitor.check()


async def test_what_is_being_typed_outlives_every_change_of_the_page(visit: Visit, site: Site) -> None:
    _, step = await site.house.executed(await site.house.project("shop"))
    async with visit() as visitor:
        page = visitor.page
        await visitor.log_in(TOKEN)
        await visitor.go(f"/console/steps/{step}")
        await visitor.is_live()
        await page.locator("summary", has_text="Send back").click()
        field = page.get_by_label("What is to be done differently").first
        await field.fill("Keep the old")
        await field.evaluate("field => field.setSelectionRange(5, 8)")
        await site.house.client.post(f"/steps/{step}/actions/run_qa", headers=ADMIN)
        await expect(page.locator(".badge.p-qa_queued").first).to_be_visible()
        await expect(field).to_be_focused()
        await expect(field).to_have_value("Keep the old")
        assert await field.evaluate("field => [field.selectionStart, field.selectionEnd]") == [5, 8]
        await visitor.check()


async def test_everything_is_reached_by_keys(visit: Visit, site: Site) -> None:
    project = await site.house.project("shop")
    await site.house.protocol(project, description="One.")
    await site.house.protocol(project, description="Two.")
    async with visit() as visitor:
        page = visitor.page
        await visitor.log_in(TOKEN)
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("g")
        await page.keyboard.press("p")
        await expect(visitor.heading("Projects")).to_be_visible()
        await page.keyboard.press("j")
        await expect(page.get_by_role("link", name="shop")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(visitor.heading("shop")).to_be_visible()
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await expect(page.locator("[data-row]").nth(1)).to_be_focused()
        await page.keyboard.press("k")
        await expect(page.locator("[data-row]").nth(0)).to_be_focused()
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog")).to_be_visible()
        await visitor.check()
        await page.keyboard.press("Escape")
        await page.keyboard.press("n")
        await expect(visitor.heading("New protocol")).to_be_visible()
        field = page.get_by_label("What is to be done")
        await field.press_sequentially("gp?nj")
        await expect(field).to_have_value("gp?nj")


async def test_single_keys_can_be_switched_off(visit: Visit) -> None:
    async with visit() as visitor:
        page = visitor.page
        await visitor.log_in(TOKEN)
        await page.get_by_role("button", name="Keys").click()
        await page.get_by_role("button", name="Switch single keys off").click()
        await page.keyboard.press("g")
        await page.keyboard.press("p")
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        assert page.url.endswith("/console")


async def test_without_a_script_everything_works_too(visit: Visit, site: Site) -> None:
    async with visit(scripts=False) as visitor:
        page = visitor.page
        visitor.expects(400)
        await visitor.log_in(TOKEN)
        await visitor.go("/console/projects/new")
        await page.get_by_label("Name", exact=True).fill("shop")
        await page.get_by_label("Repository").fill("nowhere")
        await page.get_by_role("button", name="Register").click()
        await expect(page.get_by_role("alert")).to_contain_text("git_url")
        await expect(page.get_by_label("Name", exact=True)).to_have_value("shop")
        await page.get_by_label("Repository").fill("https://github.com/acme/shop.git")
        await page.get_by_role("button", name="Register").click()
        await expect(visitor.heading("shop")).to_be_visible()
        await page.get_by_role("link", name="New protocol").click()
        await page.get_by_label("What is to be done").fill("Add a dark theme.")
        await page.get_by_text("Start planning at once").uncheck()
        await page.get_by_role("button", name="Open").click()
        await expect(page).to_have_url(f"{site.url}/console/protocols/1")
        assert len(await site.house.rows("SELECT * FROM protocol_runs")) == 1


@pytest.mark.parametrize("look", [{"viewport": PHONE}, {"color_scheme": "dark"}, {}], ids=["phone", "dark", "light"])
async def test_every_page_is_readable_everywhere(visit: Visit, site: Site, look: dict[str, object]) -> None:
    project = await site.house.project("a-project-with-a-name-that-is-longer-than-a-phone-is-wide-" + "x" * 30)
    await site.house.executed(project, description="x" * 400)
    await site.house.project_token(project)
    await site.house.delivery("applied", project_id=project)
    async with visit(**look) as visitor:
        await visitor.log_in(TOKEN)
        for path in ("", "/projects", "/projects/new", "/projects/1", "/projects/1/protocols/new"):
            await visitor.go(f"/console{path}")
            await visitor.check()


async def test_the_theme_that_was_chosen_stays(visit: Visit) -> None:
    async with visit() as visitor:
        await visitor.log_in(TOKEN)
        await visitor.page.get_by_role("button", name="dark theme").click()
        await visitor.go("/console/projects")
        await expect(visitor.page.locator("html")).to_have_attribute("data-theme", "dark")
        color = await visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert color == "rgb(17, 21, 27)"
        await visitor.check()
