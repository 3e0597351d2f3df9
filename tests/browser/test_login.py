"""Coming in and going, in a real browser."""

import pytest
from playwright.async_api import expect

from tests.api.house import TOKEN
from tests.browser.conftest import Visit
from tests.browser.house import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_who_is_not_logged_in_is_led_to_the_login_and_back(visit: Visit) -> None:
    async with visit() as visitor:
        await visitor.go("/console/projects")
        await expect(visitor.heading("Log in")).to_be_visible()
        await visitor.check()
        await visitor.page.get_by_label("Token").fill(TOKEN)
        await visitor.page.keyboard.press("Enter")
        await expect(visitor.heading("Projects")).to_be_visible()
        await visitor.is_live()
        await visitor.check()


async def test_a_wrong_token_is_refused_in_words(visit: Visit) -> None:
    async with visit() as visitor:
        visitor.expects(401)
        await visitor.go("/console/login")
        await visitor.page.get_by_label("Token").fill("guessed")
        await visitor.page.get_by_role("button", name="Log in").click()
        await expect(visitor.page.get_by_role("alert")).to_contain_text("not valid, was revoked or has expired")
        await visitor.check()


async def test_who_logs_out_is_out(visit: Visit) -> None:
    async with visit() as visitor:
        await visitor.log_in(TOKEN)
        await visitor.page.get_by_role("button", name="Log out").click()
        await expect(visitor.heading("Log in")).to_be_visible()
        await visitor.go("/console")
        await expect(visitor.heading("Log in")).to_be_visible()


async def test_a_link_from_another_site_leads_in_although_the_cookie_is_strict(visit: Visit) -> None:
    async with visit() as visitor:
        await visitor.log_in(TOKEN)
        await visitor.page.goto(f"data:text/html,<a href='{visitor.base}/console/projects'>there</a>")
        await visitor.page.get_by_role("link", name="there").click()
        await expect(visitor.heading("Projects")).to_be_visible()


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(visit: Visit) -> None:
    async with visit() as visitor:
        await visitor.log_in(TOKEN)
        (cookie,) = await visitor.page.context.cookies()
        assert cookie["name"] == "__Host-deksdenflow"
        assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (True, True, "Strict", "/")
        assert await visitor.page.evaluate("document.cookie") == ""


async def test_a_projects_token_opens_its_project_alone(visit: Visit, site: Site) -> None:
    first, other = await site.house.project("first"), await site.house.project("other")
    async with visit() as visitor:
        visitor.expects(403, 404)
        await visitor.log_in(await site.house.project_token(first))
        await visitor.go("/console/projects")
        await expect(visitor.page.get_by_role("link", name="first")).to_be_visible()
        await expect(visitor.page.get_by_role("link", name="other")).to_have_count(0)
        await visitor.go(f"/console/projects/{other}")
        await expect(visitor.heading("Not found")).to_be_visible()
        await visitor.go("/console/projects/new")
        await expect(visitor.heading("This credential may not do that")).to_be_visible()
        await visitor.check()
