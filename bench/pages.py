"""First paint: how soon a browser shows each page of the console when everything is many, large and hostile."""

import asyncio
import re
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from playwright.async_api import Browser, CDPSession, async_playwright

from bench import crowded, stage
from bench.rows import Row
from services.api.console.door import ROUTES
from tests.browser.chromium import MISSING, find_chromium
from tests.browser.visitor import Visitor, visiting
from tests.processes.services import Service

ROUNDS = 7
TARGET_MS = 300
PAGES = {
    "home": "",
    "projects": "/projects",
    "new project": "/projects/new",
    "project": "/projects/1",
    "project, hostile": "/projects/7",
    "project's settings": "/projects/7/settings",
    "new protocol": "/projects/1/protocols/new",
    "protocol, 500 steps": "/protocols/99",
    "protocol, hostile": "/protocols/507",
    "plan, 1 MB in a line": "/protocols/99/plan",
    "events, 10,000": "/protocols/99/events",
    "branch's diff": "/protocols/99/diff",
    "branch's diff, 5,000 lines": "/protocols/99/diff?file=1&line=2000",
    "step at work": "/steps/99250",
    "step with a diff": "/steps/99249",
    "step, hostile": "/steps/70007",
    "step's diff, 5,000 lines": "/steps/99249/diff?file=1",
    "attempt, 1 MB lines": "/attempts/99249",
    "attempt at work": "/attempts/99250",
    "attempt, 2,000 commands": "/attempts/99249?before=5000000",
    "deliveries": "/deliveries",
    "delivery, 250 kB in a line": "/deliveries/7",
    "delivery, 1 MB": "/deliveries/101",
    "queue": "/queue",
    "service": "/service",
    "notifiers": "/service/notifiers",
    "charts": "/charts",
    "charts, 30 days": "/charts?over=30d",
}
# What a GET below /console gives beside these pages; a part of the settings is their page, too.
NO_PAGES = (
    "/login",
    "/static/",
    "/stream",
    "/attempts/{attempt_id:int}/stream",
    "/attempts/{attempt_id:int}/items",
    "/projects/{project_id:int}/settings/{part:str}",
)
EMPTY = b"<!doctype html><meta charset=utf-8><title>-</title><link rel=icon href=data:,><p>-</p>"
SEEN = """() => new Promise((done) => new PerformanceObserver((list) => {
    const [paint] = list.getEntriesByName("first-contentful-paint");
    const [page] = performance.getEntriesByType("navigation");
    if (paint) done({
        paint: paint.startTime, server: page.responseStart - page.requestStart, bytes: page.decodedBodySize,
        nodes: document.querySelectorAll("*").length,
    });
}).observe({ type: "paint", buffered: true }))"""


class Sight(msgspec.Struct, frozen=True):
    """One visit, in milliseconds: to the first byte, to the first paint, of the server's CPU, of style and layout."""

    server: float
    paint: float
    bytes: int
    nodes: int
    cpu: float
    layout: float


class Window:
    """A visitor's window and what it costs whom."""

    def __init__(self, visitor: Visitor, gauge: CDPSession, pid: int) -> None:
        self.visitor, self._gauge, self._pid = visitor, gauge, pid

    async def see(self, path: str) -> Sight:
        """Visit a page."""
        cpu = _cpu_ms(self._pid)
        answer = await self.visitor.page.goto(self.visitor.base + path)
        if answer is None or not answer.ok:
            raise RuntimeError(f"{path}: {answer and answer.status}")
        found: dict[str, Any] = await self.visitor.page.evaluate(SEEN)
        told = await self._gauge.send("Performance.getMetrics")  # of this page alone
        known = {each["name"]: each["value"] for each in told["metrics"]}
        layout = (known["LayoutDuration"] + known["RecalcStyleDuration"]) * 1000
        return Sight(**found, cpu=_cpu_ms(self._pid) - cpu, layout=layout)


def _cpu_ms(pid: int) -> float:
    """CPU time of a process's threads so far, as the scheduler counts it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks) / 1e6


@asynccontextmanager
async def _window(browser: Browser, base: str, pid: int) -> AsyncIterator[Window]:
    async with visiting(browser, base) as visitor:
        gauge = await visitor.page.context.new_cdp_session(visitor.page)
        await gauge.send("Performance.enable")
        yield Window(visitor, gauge, pid)


@asynccontextmanager
async def _empty_page() -> AsyncIterator[str]:
    """The address of a page with nothing on it: what the browser and this machine need by themselves."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = (
            f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(EMPTY)}\r\nconnection: close\r\n\r\n"
        )
        writer.write(head.encode() + EMPTY)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def forgotten() -> list[str]:
    """The pages of the console that are not visited."""
    paths = [path for route in ROUTES if "GET" in route.http_methods for path in route.paths]
    visited = [path.partition("?")[0] or "/" for path in PAGES.values()]
    patterns = {path: re.sub(r"\{\w+:int\}", r"\\d+", path) for path in paths if not path.startswith(NO_PAGES)}
    return [path for path, pattern in patterns.items() if not any(re.fullmatch(pattern, each) for each in visited)]


async def measured(folder: Path, redis_url: str) -> list[Row]:
    """The lines of the table."""
    chromium = find_chromium()
    if chromium is None:
        return [Row("first paint of the console's pages", "not measured", MISSING, fine=False)]
    environment = stage.environment(folder, redis_url)
    scratch = folder / "scratch"
    scratch.mkdir()
    database, workspaces = (Path(environment[f"DEKSDENFLOW_{name}"]) for name in ("DB_PATH", "WORKSPACES_DIR"))
    await crowded.fill(database, workspaces, scratch)
    async with Service("api", environment, folder) as api, async_playwright() as playwright, _empty_page() as empty:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--disable-gpu"])
        try:
            return await _visited(browser, api, empty)
        finally:
            await browser.close()


async def _visited(browser: Browser, api: Service, empty: str) -> list[Row]:
    """Every page in turns, so that a machine that drifts treats all of them alike; the first round only warms up."""
    nothing: list[Sight] = []
    seen: dict[str, list[Sight]] = {name: [] for name in (*PAGES, "login", "login, nothing kept")}
    async with (
        _window(browser, empty, api.pid) as elsewhere,
        _window(browser, api.url, api.pid) as inside,
        _window(browser, api.url, api.pid) as outside,
    ):
        await inside.visitor.log_in(stage.TOKEN)
        for _ in range(ROUNDS + 1):
            nothing.append(await elsewhere.see(""))
            for name, path in PAGES.items():
                seen[name].append(await inside.see(f"/console{path}"))
            seen["login"].append(await outside.see("/console/login"))
            async with _window(browser, api.url, api.pid) as stranger:
                seen["login, nothing kept"].append(await stranger.see("/console/login"))
    base = statistics.median(each.paint for each in nothing[1:])
    rows = [_row(name, sights[1:], base) for name, sights in seen.items()]
    rows += [Row(path, "not measured", "bench/pages.py does not visit it", fine=False) for path in forgotten()]
    return [Row("an empty page", f"p50 {base:.0f} ms", "the same browser, in turns with the others"), *rows]


def _row(name: str, sights: list[Sight], base: float) -> Row:
    def p50(of: Callable[[Sight], float]) -> float:
        return statistics.median(of(each) for each in sights)

    paint, worst = p50(lambda each: each.paint), max(each.paint for each in sights)
    return Row(
        name,
        f"p50 {paint:.0f}, worst {worst:.0f} ms; {paint / base:.1f} × empty",
        f"first byte {p50(lambda each: each.server):.0f} ms, CPU {p50(lambda each: each.cpu):.0f} ms;"
        f" {sights[0].bytes / 1000:.0f} kB, {sights[0].nodes} nodes, layout {p50(lambda each: each.layout):.0f} ms",
        f"all under {TARGET_MS} ms",
        worst < TARGET_MS,
    )
