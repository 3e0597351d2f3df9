"""A person at a browser, who notices everything that a page should not do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request, expect

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}
PATIENCE_MS = 10_000
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(
    `${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Closed by the browser itself when a page is left, such as a stream.
ABORTED = "net::ERR_ABORTED"


class Visitor:
    """One browser window. `faults` are what went wrong so far: errors, refused resources, foreign addresses."""

    def __init__(self, page: Page, base: str, *, scripts: bool) -> None:
        self.page = page
        self.base = base
        self.scripts = scripts
        self.faults: list[str] = []
        self._refusals: set[int] = set()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        page.on("request", self._asked)
        page.on("requestfailed", self._failed)

    def expects(self, *statuses: int) -> None:
        """Answers of these statuses are what the test is about; the browser's console tells of them as errors."""
        self._refusals |= set(statuses)

    async def go(self, path: str) -> None:
        """Open a page of the service."""
        await self.page.goto(self.base + path)

    async def log_in(self, token: str) -> None:
        """From wherever, by the form."""
        await self.go("/console/login")
        await self.page.get_by_label("Token").fill(token)
        await self.page.get_by_role("button", name="Log in").click()
        await expect(self.page.get_by_role("button", name="Log out")).to_be_visible()

    def heading(self, name: str) -> Locator:
        """The heading with these words."""
        return self.page.get_by_role("heading", name=name, exact=True)

    async def is_live(self) -> None:
        """Wait until the page follows what happens."""
        await expect(self.page.locator("#pulse")).to_have_text("live")

    async def check(self) -> None:
        """Hold the page as it is now against axe, and against what no page may do; it may not scroll sideways."""
        if self.scripts:
            found = await Axe().run(self.page, options={"resultTypes": ["violations"]})
            for each in found.response["violations"]:
                places = "; ".join(str(node["target"]) for node in each["nodes"][:3])
                self.faults.append(f"axe: {each['id']}: {each['help']} at {places}")
            wide = await self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            if wide > 0:
                self.faults.append(f"{self.page.url} is {wide} px too wide")
            violations: list[str] = await self.page.evaluate("window.violations")
            self.faults.extend(f"policy: {each}" for each in violations)
        assert not self.faults, "\n".join(self.faults)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning"}:
            return
        refused = [status for status in self._refusals if f"status of {status} " in message.text]
        if not refused:
            self.faults.append(f"console: {message.text} ({message.location})")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.faults.append(f"asked elsewhere: {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != ABORTED:
            self.faults.append(f"failed: {request.url} {request.failure}")


@asynccontextmanager
async def visiting(browser: Browser, base: str, *, scripts: bool = True, **options: Any) -> AsyncIterator[Visitor]:
    """A window of its own, with no cookies; closed at the end, when nothing may have gone wrong."""
    context = await browser.new_context(java_script_enabled=scripts, **({"viewport": DESK} | options))
    try:
        await context.add_init_script(WATCH)
        visitor = Visitor(await context.new_page(), base, scripts=scripts)
        yield visitor
        assert not visitor.faults, "\n".join(visitor.faults)
    finally:
        await context.close()
