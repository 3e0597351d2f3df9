"""The files of `deploy/` as their readers see them: compose.yaml as the real compose resolves it, the rest parsed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def tool(name: str, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A program of the development environment, run from the root of the repository."""
    return subprocess.run(
        [BIN / name, *args],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | (env or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """compose.yaml with the settings of .env.example, as `docker compose config` gives it."""
    resolved = tool(
        "docker-compose", "--env-file", "deploy/.env.example", "-f", "deploy/compose.yaml", "config", "--format=json"
    )
    assert resolved.returncode == 0, resolved.stderr
    return json.loads(resolved.stdout)


@pytest.fixture(scope="session")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return compose["services"]


@pytest.fixture(scope="session")
def stages() -> dict[str, list[str]]:
    """The instructions of the Dockerfile by stage, comments left out and continued lines joined."""
    text = "\n".join(line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    found: dict[str, list[str]] = {}
    for instruction in text.replace("\\\n", " ").splitlines():
        words = instruction.split()
        if words[:1] == ["FROM"]:
            found[words[3]] = [f"FROM {words[1]}"]
        elif words and found:
            found[list(found)[-1]].append(" ".join(words))
    return found


def line_of(stages: dict[str, list[str]], name: str) -> list[str]:
    """The instructions of a stage with those of the stages that it is built from."""
    parent = stages[name][0].removeprefix("FROM ")
    return [*(line_of(stages, parent) if parent in stages else ()), *stages[name]]
