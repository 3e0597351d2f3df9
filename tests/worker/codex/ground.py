"""Where a run of Codex takes place in a test, who listens to it, and how its death is seen."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import codex_cli_bin
import msgspec
import pytest

from services.local.scripted_model import Script, parse_script
from services.worker.codex.config import Mode, Sandbox
from services.worker.codex.leftovers import RunMarker
from services.worker.codex.request import CodexRequest
from shared.schemas.codex_events import AgentMessage, Event, ItemCompleted

CODEX = Path(codex_cli_bin.bundled_codex_path())
FAKE = Path(__file__).parents[2] / "fakes" / "codex_fake.py"
ANSWER = {"summary": "done"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"summary": {"type": "string"}},
    "required": ["summary"],
    "additionalProperties": False,
}


def _sandbox_works() -> bool:
    with TemporaryDirectory() as home:
        probe = [CODEX, "sandbox", "--", "/bin/sh", "-c", "true"]
        return subprocess.run(probe, env={"CODEX_HOME": home}, capture_output=True, check=False).returncode == 0


SANDBOX = Sandbox.REQUIRED if _sandbox_works() else Sandbox.OFF
needs_sandbox = pytest.mark.skipif(SANDBOX is Sandbox.OFF, reason="this machine allows no user namespaces")


def script(*turns: dict[str, Any]) -> Script:
    """A script of one conversation that takes every thread."""
    return parse_script({"conversations": [{"turns": list(turns)}]})


class Ground:
    """Workspaces with a mirror, a worktree of it, and folders for attempts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mirror = root / "repos" / "1.git"
        self.worktree = root / "trees" / "1"
        self.lock_file = root / "trees" / "1.lock"
        self._attempts = 0
        source = root / "source"
        self.git("init", "-q", "-b", "main", str(source))
        (source / "calc.py").write_text("def add(a, b):\n    return a - b\n")
        self.git("-C", str(source), "add", ".")
        self.git("-C", str(source), "commit", "-q", "-m", "First")
        self.git("clone", "-q", "--bare", str(source), str(self.mirror))
        self.git("-C", str(self.mirror), "worktree", "add", "-q", "-b", "0001-x", str(self.worktree))

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.org")
        return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout

    def fake(self, mode: str) -> Path:
        """A program that answers as the fake does in this mode."""
        program = self.root / f"codex-{mode}"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} {mode} "$@"\n')
        program.chmod(0o755)
        return program

    def request(self, base_url: str = "http://127.0.0.1:9/v1", **changes: Any) -> CodexRequest:
        """A writing run in the worktree that asks the model at `base_url`; each is a new attempt."""
        self._attempts += 1
        request = CodexRequest(
            binary=CODEX,
            mode=Mode.WRITE,
            worktree=self.worktree,
            main_repository=self.mirror,
            attempt_dir=self.root / "attempts" / str(self._attempts),
            lock_file=self.lock_file,
            marker=RunMarker(self.root.name, 7, self._attempts),
            prompt="DeksdenFlow request: execute step 01\nDo it.",
            output_schema=SCHEMA,
            model="mock-model",
            base_url=base_url,
            api_key="sk-test-key",
            sandbox=SANDBOX,
            step_timeout_s=60,
            silence_timeout_s=60,
            grace_s=1,
        )
        return msgspec.structs.replace(request, **changes)

    def lock_is_free(self) -> bool:
        with self.lock_file.open("w") as file:
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                return False
            flock(file, LOCK_UN)
            return True


class Heard:
    """Keeps the events of a run and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Condition()

    async def __call__(self, event: Event) -> None:
        async with self._more:
            self.events.append(event)
            self._more.notify_all()

    async def wait_for(self, wanted: Callable[[Event], bool], seconds: float = 30) -> Event:
        async with asyncio.timeout(seconds), self._more:
            await self._more.wait_for(lambda: any(map(wanted, self.events)))
        return next(event for event in self.events if wanted(event))

    async def pids(self) -> dict[str, int]:
        """The processes that the fake told of, as soon as it did."""
        event = await self.wait_for(lambda event: _pids(event) is not None)
        return _pids(event) or {}


def _pids(event: Event) -> dict[str, int] | None:
    match event:
        case ItemCompleted(AgentMessage(text)) if text.startswith("{") and "summary" not in text:
            return json.loads(text)
        case _:
            return None


def alive(pid: int) -> bool:
    """Whether a process still runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
