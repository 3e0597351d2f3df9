"""The whole way in a real browser, with the real Codex binary and a scripted model: nobody ever loads a page again."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.visitor import PHONE, Visitor, visiting
from tests.e2e.house import addition, conversation, done, open_house, plan, verdict
from tests.e2e.repositories import make_origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOKEN = "a-token-for-the-whole-way"
PATIENCE_MS = 60_000
# Nothing that one browser shows may come to another one later than this.
SOON_MS = 1_000

# The last turn of each takes a while, as that of a model does: so there is something to watch.
THINKS_S = 3
PLAN = conversation(
    "plan",
    {"reasoning": "**Reading** the repository", "command": "ls"},
    {"message": "I have seen `README.md`. It is **small**.", "command": "cat README.md"},
    {"answer": plan("Greet the world", plan_md="# Greeting\n\n1. Write it\n2. Read it"), "delay_s": THINKS_S},
)
WORK = conversation(
    "execute step 01",
    {"message": "I write the greeting now.", **addition("greeting.txt", ["hello"])},
    {"answer": done("greet the world"), "delay_s": THINKS_S},
    {
        "message": "You want it louder.",
        "patch": "*** Begin Patch\n*** Update File: greeting.txt\n-hello\n+HELLO\n*** End Patch",
    },
    {"answer": done("greet louder"), "delay_s": THINKS_S},
)
QA = conversation("qa step 01", {"command": "cat greeting.txt"}, {"answer": verdict()}, repeat=True)


async def mark(page: Page) -> None:
    """What a page that is loaded again would lose."""
    await page.evaluate("window.neverReloaded = true")


async def was_never_reloaded(page: Page) -> None:
    assert await page.evaluate("window.neverReloaded === true")


async def register(person: Visitor, origin: Path) -> None:
    """A project whose every step a person starts and approves."""
    page = person.page
    await page.get_by_role("link", name="Register a repository").first.click()
    await page.get_by_label("Name", exact=True).fill("greeter")
    await page.get_by_label("Repository", exact=True).fill(str(origin))
    await page.get_by_label("Step by step").check()
    await person.check()
    await page.get_by_role("button", name="Register").click()
    await expect(person.heading("greeter")).to_be_visible()


async def open_protocol(person: Visitor) -> None:
    """A task that is planned at once."""
    page = person.page
    await page.get_by_role("link", name="New protocol").click()
    await page.get_by_label("What is to be done").fill("Greet the **world**.")
    await page.get_by_role("button", name="Open").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("0001-")


async def test_a_person_takes_a_task_from_a_repository_to_completed_and_another_sees_it(
    browser: Browser, tmp_path: Path
) -> None:
    origin = make_origin(tmp_path / "greeter.git", {"README.md": b"# greeter\n"})
    async with (
        open_house(tmp_path / "house", PLAN, WORK, QA, API_TOKEN=TOKEN, API_HOST="127.0.0.1") as house,
        visiting(browser, str(house.http.base_url).rstrip("/")) as person,
        visiting(browser, str(house.http.base_url).rstrip("/"), viewport=PHONE) as other,
    ):
        await person.log_in(TOKEN)
        await other.log_in(TOKEN)
        await register(person, origin)
        await open_protocol(person)
        page, phone = person.page, other.page
        await page.wait_for_load_state()
        await mark(page)
        await phone.goto(page.url)
        await mark(phone)

        # It is planned before their eyes.
        transcript = page.get_by_role("region", name="What the agent does")
        await expect(transcript).to_contain_text("I have seen README.md.", timeout=PATIENCE_MS)
        await person.check()
        approve = page.get_by_role("button", name="Approve the plan")
        await expect(approve).to_be_visible(timeout=PATIENCE_MS)
        await expect(phone.get_by_role("button", name="Approve the plan")).to_be_visible(timeout=SOON_MS)
        await expect(page.get_by_role("heading", name="Greeting")).to_be_visible()
        await person.check()
        await other.check()
        await approve.click()
        await expect(approve).to_have_count(0)

        # The step runs, and QA passes it.
        step = page.locator("li.node", has_text="Greet the world")
        await step.get_by_role("button", name="Run", exact=True).click()
        await expect(transcript).to_contain_text("I write the greeting now.", timeout=PATIENCE_MS)
        await expect(phone.get_by_role("region", name="What the agent does")).to_contain_text(
            "I write the greeting now.", timeout=SOON_MS
        )
        await person.check()
        run_qa = step.get_by_role("button", name="Run QA")
        await expect(run_qa).to_be_visible(timeout=PATIENCE_MS)
        await run_qa.click()
        await expect(step).to_contain_text("QA passed", timeout=PATIENCE_MS)
        await expect(phone.locator("li.node", has_text="Greet the world")).to_contain_text("QA passed", timeout=SOON_MS)

        # The person is not content, says why, and gets it done again.
        await step.get_by_text("Send back", exact=True).first.click()
        await step.get_by_label("What is to be done differently").first.fill("Louder, <b>please</b>.")
        await person.check()
        await step.locator("form[action$=reject]").get_by_role("button", name="Send back").click()
        await expect(transcript).to_contain_text("You want it louder.", timeout=PATIENCE_MS)
        await expect(run_qa).to_be_visible(timeout=PATIENCE_MS)
        await run_qa.click()
        await expect(step).to_contain_text("QA passed", timeout=PATIENCE_MS)
        await step.get_by_text("Approve", exact=True).first.click()
        await step.locator("form[action$=approve]").get_by_role("button", name="Approve").click()
        state = re.compile("completed")
        await expect(page.locator("#state")).to_have_text(state, timeout=PATIENCE_MS)
        await expect(phone.locator("#state")).to_have_text(state, timeout=SOON_MS)
        await person.check()
        await other.check()
        await was_never_reloaded(page)
        await was_never_reloaded(phone)

        # What it came to: the changes of the whole branch, the step's and an attempt's page.
        await page.get_by_role("link", name="of the whole branch").click()
        await expect(page.locator("pre.diff", has_text="HELLO")).to_be_visible()
        await person.check()
        await page.go_back()
        await page.get_by_role("link", name="Greet the world").click()
        await expect(person.heading("Step 1: Greet the world")).to_be_visible()
        await expect(page.locator("#gates")).to_contain_text("approval passed")
        await person.check()
        await page.locator("#attempts a.title").first.click()
        await expect(person.heading("QA, attempt 1")).to_be_visible()
        await person.check()
