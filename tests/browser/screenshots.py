"""Takes pictures of the console while the demo's world is at work: `make screenshots`, or with ARGS=FOLDER.

The services, git and Codex are the real ones; only the model is played from the demo's script.
"""

import asyncio
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, async_playwright, expect

from tests.browser.chromium import MISSING, find_chromium
from tests.browser.visitor import DESK, PHONE, visiting

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180.0
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESK, "color_scheme": "light"},
    "dark": {"viewport": DESK, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "device_scale_factor": 2},
}
# What is done while the pictures of each view are taken.
TASKS = (
    ("Add a tip in percent, and show it in the README.", "0004-add-a-tip"),
    ("Print the shares as a table.", "0005-shares-as-a-table"),
    ("Read bills in other currencies.", "0006-currencies"),
)
AUTO = {"progression": "auto", "plan_approval": False, "auto_qa_after_exec": True}


class World:
    """The demo's API, its webhook service, and what is asked of them."""

    def __init__(self, api: str, webhooks: str) -> None:
        self.api = api
        self.webhooks = webhooks
        self._http = httpx.AsyncClient(base_url=api, timeout=30)

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """The decoded answer; anything but a success ends the program."""
        answer = await self._http.request(method, path, json=body)
        if answer.is_error:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    async def until(self, path: str, field: str, *wanted: str) -> Any:
        """The first answer with one of these words in the field."""
        give_up_at = time.monotonic() + PATIENCE_S
        while (found := await self.ask("GET", path))[field] not in wanted:
            if time.monotonic() > give_up_at:
                raise SystemExit(f"{path} is not {' or '.join(wanted)} but {found[field]}")
            await asyncio.sleep(0.1)
        return found

    async def report(self, hook: Any, **said: object) -> None:
        """A signed report of a CI job."""
        body = json.dumps(said).encode()
        signature = hmac.new(hook["secret"].encode(), body, hashlib.sha256).hexdigest()
        answer = await self._http.post(
            f"{self.webhooks}{hook['url']}",
            content=body,
            headers={"content-type": "application/json", "x-hub-signature-256": f"sha256={signature}"},
        )
        answer.raise_for_status()

    async def open(self, description: str, name: str, **policy: object) -> int:
        """A protocol run whose planning has begun."""
        body = {"description": description, "protocol_name": name, "policy": policy}
        number: int = (await self.ask("POST", "/projects/1/protocols", body))["id"]
        await self.ask("POST", f"/protocols/{number}/actions/start")
        return number


@asynccontextmanager
async def demo() -> AsyncGenerator[World]:
    """The demo, once its own run is completed; ended by Ctrl-C as a person would."""
    # Not below /tmp, where Codex would refuse to make its little programs.
    (ROOT / ".deksdenflow").mkdir(exist_ok=True)
    own = tempfile.mkdtemp(dir=ROOT / ".deksdenflow")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.local", "demo", "--keep", "--no-color"),
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": own},
        stdout=asyncio.subprocess.PIPE,
    )
    said = ""
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while "It runs until Ctrl-C" not in said:
                line = await process.stdout.readline()
                if not line:
                    raise SystemExit(f"the demo ended: {said}")
                said += line.decode()
        found = dict[str, str](re.findall(r"(API|webhooks)\s+(http://[\d.:]+)", said))
        yield World(found["API"], found["webhooks"])
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()
        shutil.rmtree(own)


async def set_the_scene(world: World) -> dict[str, str]:
    """Runs in every state that a person meets, and the places to look at; the last run is at work."""
    hook = await world.ask("POST", "/projects/1/hooks", {"provider": "ci"})
    done = await world.ask("GET", "/protocols/1")
    for sha, outcome in ((done["head_sha"], "success"), ("b" * 40, "failure")):
        await world.report(hook, sha=sha, branch=done["branch"], state=outcome, context="tests")
    waiting = await world.open(
        "Say in the README how cents are rounded.", "0002-rounding-in-the-readme", plan_approval=True
    )
    await world.until(f"/protocols/{waiting}", "phase", "awaiting_plan_approval")
    judged = await world.open(
        "Let a bill be split by shares, not heads.", "0003-split-by-shares", judged_by="qa_and_approval"
    )
    await world.until(f"/protocols/{judged}", "status", "planned")
    step = await world.ask("POST", f"/protocols/{judged}/actions/run_next_step")
    await world.until(f"/steps/{step['id']}", "status", "needs_qa")
    await world.ask("POST", f"/steps/{step['id']}/actions/run_qa")
    await world.until(f"/steps/{step['id']}", "phase", "awaiting_gates")
    return {
        "protocol": "/console/protocols/1",
        "step": f"/console/steps/{step['id']}",
        "attempt": "/console/attempts/2",
        "deliveries": "/console/deliveries",
        "queue": "/console/queue",
        "charts": "/console/charts?over=24h",
        "service": "/console/service",
        "project": "/console/projects/1",
        "settings": "/console/projects/1/settings",
    }


async def photograph(browser: Browser, world: World, view: str, places: dict[str, str], folder: Path) -> None:
    """Every place, as far as it can be scrolled; on the first page once an agent has said something."""
    async with visiting(browser, world.api, **VIEWS[view]) as visitor:
        for name, path in places.items():
            await visitor.go(path)
            if name == "home":
                await expect(visitor.page.locator("#running .says").first).not_to_have_text(
                    "…", timeout=1000 * PATIENCE_S
                )
            await visitor.page.screenshot(path=folder / f"{name}-{view}.png", full_page=True)


async def take(folder: Path) -> None:
    """All pictures; those of the first page and of a run while an agent is at work."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit(MISSING)
    folder.mkdir(parents=True, exist_ok=True)
    async with demo() as world, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--disable-gpu"])
        places = await set_the_scene(world)
        for view, task in zip(VIEWS, TASKS, strict=True):
            number = await world.open(*task, **AUTO)
            await world.until(f"/protocols/{number}", "status", "running")
            running = f"/console/protocols/{number}"
            await photograph(browser, world, view, {"home": "/console", "running": running}, folder)
            await world.until(f"/protocols/{number}", "status", "completed")
            await photograph(browser, world, view, places, folder)
        await browser.close()
    sys.stdout.write(f"{len(list(folder.glob('*.png')))} pictures are in {folder}\n")


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1] if len(sys.argv) > 1 else ".deksdenflow/screenshots")))
