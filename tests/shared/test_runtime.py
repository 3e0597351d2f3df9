"""What a service answers on its command line, where it takes nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("services.api", "services.webhooks", "services.worker")


def called(module: str, argument: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, argument], cwd=ROOT, env={}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", SERVICES)
def test_help_needs_no_settings_and_says_where_they_are_listed(module: str) -> None:
    done = called(module, "--help")
    assert done.returncode == 0
    assert f"usage: python -m {module}" in done.stdout
    assert "deploy/SETTINGS.md" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("module", SERVICES)
def test_an_argument_is_refused_and_not_ignored(module: str) -> None:
    done = called(module, "--port=80")
    assert done.returncode == 2
    assert "unrecognized arguments: --port=80" in done.stderr
