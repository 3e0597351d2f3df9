"""The commands: each one documented, and a machine runs the same one as a person."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_make_alone_lists_every_command_with_what_it_does() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = re.findall(r"^  make (\w+) +\S.+$", listed, re.MULTILINE)
    assert named == ["help", "demo", "test", "chaos", "bench", "docs", "picture", "screenshots", "fmt", "lock", "clean"]


def test_a_machine_runs_the_test_command_once_it_has_a_browser_for_it() -> None:
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[:3] == [
        "set -euo pipefail",
        'cd "$(dirname "${BASH_SOURCE[0]}")/.."',
        "export CI=true # without a browser the browser tests fail, instead of being left out",
    ]
    fetching = lines[3:-1]
    assert all("chromium" in line.lower() or line == "fi" for line in fetching)
    assert lines[-1] == "exec make test </dev/null"
