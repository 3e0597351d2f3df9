"""The whole way by a person at a browser: register, open, watch, reject, approve, done. The agent is the real Codex."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.visitor import visiting
from tests.e2e.house import addition, answered, conversation, done, open_house, plan, verdict
from tests.e2e.repositories import content_of, make_origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATCH = "*** Begin Patch\n*** Update File: words.txt\n@@\n-one\n+one and two\n*** End Patch"
SCRIPT = (
    answered("plan", plan("Write the words")),
    conversation(
        "execute step 01",
        addition("words.txt", ["one"]),
        {"answer": done("write the words")},
        {"patch": PATCH},
        {"answer": done("write all the words")},
    ),
    answered("qa step 01", verdict(), {"command": "cat words.txt"}) | {"repeat": True},
)


async def test_a_person_goes_the_whole_way_without_a_reload_and_another_one_sees_it(
    browser: Browser, tmp_path: Path
) -> None:
    origin = make_origin(tmp_path / "words.git", {"README.md": b"# Words\n"})
    async with (
        open_house(tmp_path, *SCRIPT) as house,
        visiting(browser, str(house.http.base_url).rstrip("/")) as person,
        visiting(browser, str(house.http.base_url).rstrip("/")) as other,
    ):
        page = person.page
        await person.go("/console")
        await page.get_by_role("link", name="Register a repository").click()
        await page.get_by_label("Name", exact=True).fill("words")
        await page.get_by_label("Repository").fill(str(origin))
        await page.get_by_label("Step by step").check()
        await page.get_by_role("button", name="Register").click()
        await page.get_by_role("link", name="New protocol").click()
        await page.get_by_label("What is to be done").fill("Write the words.")
        await page.get_by_role("button", name="Open").click()
        await page.wait_for_url("**/console/protocols/1")
        await page.evaluate("window.same = true")
        await other.go("/console/protocols/1")

        await page.get_by_role("button", name="Approve the plan").click()
        await page.get_by_role("button", name="Run the next step").click()
        judging = page.locator("#node-1")
        await judging.get_by_role("button", name="Run QA").click()
        back = judging.locator("details", has_text="Send back")
        await expect(judging.get_by_text("QA passed")).to_be_visible()
        await back.locator("summary").click()
        await back.get_by_label("What is to be done differently").fill("Add the second word.")
        await back.get_by_role("button").click()
        await expect(judging.locator(".badge").first).to_have_text("awaiting gates")
        await judging.locator("summary", has_text="Approve").click()
        await judging.get_by_role("button", name="Approve").click()
        for visitor in (person, other):
            await expect(visitor.page.locator("#state")).to_contain_text("completed", timeout=10_000)
            await visitor.check()
        assert await page.evaluate("window.same"), "the page was loaded anew"
        run = await house.get("/protocols/1")
        assert content_of(origin, run["head_sha"], "words.txt") == "one and two\n"
