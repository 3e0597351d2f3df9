"""The real Codex CLI in a repository of its own, pointed at a scripted model."""

import asyncio
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from codex_cli_bin import bundled_codex_path

CONFIG = """\
model_provider = "scripted"
approval_policy = "never"
check_for_update_on_startup = false
web_search = "disabled"
allow_login_shell = false
[analytics]
enabled = false
[feedback]
enabled = false
[features]
plugins = false
apps = false
multi_agent = false
goals = false
hooks = false
shell_snapshot = false
view_image = false
tool_search = false
unbounded_connection_retries = false
[skills.bundled]
enabled = false
[shell_environment_policy]
inherit = "core"
[model_providers.scripted]
name = "scripted"
base_url = "{base_url}"
wire_api = "responses"
env_key = "CODEX_JOB_KEY"
supports_websockets = false
request_max_retries = {retries}
stream_max_retries = {retries}
[projects."{repo}"]
trust_level = "untrusted"
"""


@dataclass
class Run:
    """What one `codex exec --json` did."""

    code: int
    events: list[dict[str, Any]]
    stderr: str
    items: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.items = [event["item"] for event in self.events if event["type"] == "item.completed"]

    @property
    def thread(self) -> str:
        return self.events[0]["thread_id"]

    @property
    def messages(self) -> list[str]:
        return [item["text"] for item in self.items if item["type"] == "agent_message"]

    @property
    def commands(self) -> list[tuple[int, str]]:
        ran = [item for item in self.items if item["type"] == "command_execution"]
        return [(item["exit_code"], item["aggregated_output"]) for item in ran]

    @property
    def failure(self) -> str:
        return next(event["error"]["message"] for event in self.events if event["type"] == "turn.failed")


@dataclass
class Codex:
    """Runs Codex in `repo`; its home lasts as long as the test, so that a thread can be resumed."""

    home: Path
    repo: Path

    async def run(
        self,
        base_url: str,
        prompt: str,
        *,
        model: str = "gpt-5.5",
        schema: dict[str, Any] | None = None,
        resume: str | None = None,
        retries: int = 0,
        sandbox: str = "workspace-write",
    ) -> Run:
        config = CONFIG.format(base_url=base_url, retries=retries, repo=self.repo)
        (self.home / "config.toml").write_text(config)
        options = ["--json", "-m", model, "-s", sandbox, "-C", str(self.repo)]
        if schema is not None:
            (self.home / "schema.json").write_text(json.dumps(schema))
            options += ["--output-schema", str(self.home / "schema.json")]
        tail = ["resume", resume, "-"] if resume else ["-"]
        process = await asyncio.create_subprocess_exec(
            bundled_codex_path(),
            "exec",
            *options,
            *tail,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "CODEX_HOME": str(self.home),
                "CODEX_JOB_KEY": "x",
            },
            start_new_session=True,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(prompt.encode()), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Run(process.returncode, [json.loads(line) for line in out.splitlines()], err.decode())


@pytest.fixture
def codex(tmp_path: Path) -> Codex:
    """Codex with a repository that holds `calc.py`."""
    home, repo = tmp_path / "home", tmp_path / "repo"
    home.mkdir(mode=0o700)
    repo.mkdir()
    (repo / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    subprocess.run(["git", "init", "-q", repo], check=True)
    return Codex(home, repo)
