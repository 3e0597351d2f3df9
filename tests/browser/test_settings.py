"""What an administrator sets, makes and ends on the settings of a project, in a real browser."""

import pytest
from playwright.async_api import Locator, expect

from tests.api.house import ADMIN, TOKEN
from tests.browser.conftest import Visit
from tests.browser.house import Site
from tests.browser.visitor import PHONE, Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

PLACE = "/console/projects/1/settings"
HOSTILE = "<img src=x onerror=alert(1)>\u202e" + "x" * 60


async def open_all(visitor: Visitor) -> None:
    for each in await visitor.page.locator("main details").all():
        await each.evaluate("(each) => { each.open = true; }")


async def fill(site: Site) -> None:
    """One of everything, and one of everything that has ended, with long and hostile names."""
    await site.house.project("shop", default_models={"exec": "gpt-5.5"})
    client = site.house.client
    for body in ({"provider": "github"}, {"provider": "ci"}):
        await client.post("/projects/1/hooks", json=body, headers=ADMIN)
    await client.delete("/projects/1/hooks/2", headers=ADMIN)
    for name in (HOSTILE, "ended"):
        await client.post("/projects/1/tokens", json={"name": name}, headers=ADMIN)
    await client.delete("/projects/1/tokens/2", headers=ADMIN)
    await client.put("/projects/1/secrets/forge_token", json={"file_name": f"/{HOSTILE}"}, headers=ADMIN)
    for _ in range(2):
        told = {"kind": "webhook", "url": f"https://{'long.' * 12}example.org/hook"}
        await client.post("/projects/1/notifiers", json=told, headers=ADMIN)
    await client.post("/notifiers/1/actions/test", headers=ADMIN)
    await site.house.database.write(lambda tx: tx.run("UPDATE notices SET status = 'failed', answer = ?", (HOSTILE,)))
    await client.delete("/notifiers/2", headers=ADMIN)


@pytest.mark.parametrize("look", [{"viewport": PHONE}, {"color_scheme": "dark"}, {}], ids=["phone", "dark", "light"])
async def test_the_settings_are_fit_for_everybody_and_inert(visit: Visit, site: Site, look: dict[str, object]) -> None:
    await fill(site)
    async with visit(**look) as visitor:
        await visitor.log_in(TOKEN)
        for path in (PLACE, "/console/service"):
            await visitor.go(path)
            await visitor.check()
            await open_all(visitor)
            await visitor.check()


async def test_a_project_is_changed_and_what_somebody_else_changed_is_not_lost(visit: Visit, site: Site) -> None:
    await site.house.project("shop")
    async with visit() as visitor:
        page = visitor.page
        form = page.locator("#change-project")
        visitor.expects(400, 412)
        await visitor.log_in(TOKEN)
        await visitor.go("/console/projects/1")
        await page.get_by_role("link", name="Settings", exact=True).click()
        await form.get_by_label("Name", exact=True).fill("store")
        await page.get_by_label("Repairs by itself").fill("99")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#change-project .problem")).to_contain_text("a whole number from 0 to 10.")
        await expect(page.get_by_label("Repairs by itself")).to_be_focused()
        await page.get_by_label("Repairs by itself").fill("2")
        await visitor.check()
        await page.get_by_role("button", name="Save").click()
        await expect(visitor.heading("store")).to_be_visible()
        await page.get_by_role("link", name="Settings", exact=True).click()
        await site.house.client.patch("/projects/1", json={"name": "theirs"}, headers=ADMIN | {"if-match": "*"})
        await form.get_by_label("Name", exact=True).fill("mine")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#change-project .problem")).to_contain_text("is at version 3, not 2")
        await expect(form.get_by_label("Name", exact=True)).to_have_value("mine")
        (row,) = await site.house.rows("SELECT name, policy FROM projects")
        assert (row["name"], '"auto_fix":2' in row["policy"]) == ("theirs", True)


@pytest.mark.parametrize("scripts", [True, False], ids=["script", "plain"])
async def test_what_opens_a_door_is_shown_once_beside_the_button_or_on_a_page(
    visit: Visit, site: Site, scripts: bool
) -> None:
    await site.house.project("shop")
    async with visit(scripts=scripts) as visitor:
        page = visitor.page
        await visitor.log_in(TOKEN)

        async def shown(form: str) -> str:
            once = page.locator(f"{form} [data-shown] .once" if scripts else "[data-shown] .once").first
            await expect(once).to_be_visible()
            text = await once.inner_text()
            assert text not in page.url
            await visitor.check()
            await visitor.go(PLACE)
            assert text not in await page.content()
            return text

        async def opened(form: str) -> Locator:
            await visitor.go(PLACE)
            await page.locator(f"{form} summary").first.click()
            return page.locator(form)

        form = await opened("#make-tokens")
        await form.get_by_label("Name").fill("nightly")
        await form.get_by_label("It ends").select_option("30")
        await form.get_by_role("button", name="Make a token").click()
        token = await shown("#make-tokens")
        held = {"x-project-token": token}
        assert (await site.house.client.get("/projects/1", headers=held)).status_code == 200

        form = await opened("#make-hooks")
        await form.get_by_role("button", name="Make an address").click()
        first = await shown("#make-hooks")
        form = await opened("#make-rotate1")
        await form.get_by_role("button", name="New secret").click()
        assert await shown("#make-rotate1") != first
        await page.locator("#test-1").get_by_role("button", name="Test").click()
        await expect(page.get_by_role("heading", name="It does not work yet")).to_be_visible()
        await visitor.check()

        form = await opened("#make-notifiers")
        await form.get_by_label("Address").fill("https://example.org/hook")
        await form.get_by_label("a protocol that failed").uncheck()
        await form.get_by_role("button", name="Tell somebody").click()
        assert (await shown("#make-notifiers")).startswith("whsec_")
        (told,) = (await site.house.client.get("/projects/1/notifiers", headers=ADMIN)).json()
        assert told["events"] == ["attention", "protocol_completed"]

        form = await opened("#make-secrets")
        await form.get_by_label("Its value").fill("ghp_secret")
        await form.get_by_role("button", name="Set a secret").click()
        await expect(page.locator("#secret-forge_token")).to_contain_text("stored encrypted")
        assert "ghp_secret" not in await page.content()

        await page.locator("#token-1 summary").click()
        await page.locator("#token-1").get_by_role("button", name="Revoke").click()
        await expect(page.get_by_text("1 revoked")).to_be_visible()
        assert (await site.house.client.get("/projects/1", headers=held)).status_code == 401


async def test_what_is_shown_once_stays_while_the_page_follows_what_happens(visit: Visit, site: Site) -> None:
    await site.house.project("shop")
    async with visit() as visitor:
        page = visitor.page
        await visitor.log_in(TOKEN)
        await visitor.go(PLACE)
        await visitor.is_live()
        await page.locator("#make-hooks summary").first.click()
        await page.get_by_role("button", name="Make an address").click()
        once = page.locator("#make-hooks [data-shown] .once").first
        await expect(once).to_be_visible()
        await expect(page.locator("#make-hooks [data-shown]")).to_be_focused()
        await page.locator("#hook-1 summary", has_text="New secret").click()
        await page.locator("#make-rotate1-send").click()
        inner = page.locator("#make-rotate1 [data-shown] .once").first
        text = await inner.inner_text()
        await site.house.client.post("/projects/1/hooks", json={"provider": "ci"}, headers=ADMIN)
        await expect(page.locator("#hook-2")).to_be_visible()
        await expect(once).to_be_visible()
        await expect(inner).to_have_text(text)
        await inner.click()
        assert await page.evaluate("getSelection().toString()") == text
        await visitor.check()
        await page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
        assert text not in await page.content(), "who goes back finds the page without it"
