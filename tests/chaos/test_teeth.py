"""The storm would see what it looks for: two agents in one worktree."""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.fakes import codex_fake


def test_an_agent_that_finds_another_one_in_its_worktree_tells(tmp_path: Path) -> None:
    for name in ("agents", "overlaps", "journal", "home", "tree"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / "config.toml").write_text('model = "fake"\n')
    tree = tmp_path / "tree"
    lock = tmp_path / "agents" / hashlib.sha256(os.fsencode(tree.resolve())).hexdigest()[:16]
    command = [sys.executable, "-I", "-S", codex_fake.__file__, "works", str(tmp_path), "/bin/false", "-C", str(tree)]
    environment = {"CODEX_HOME": str(tmp_path / "home"), "DEKSDENFLOW_RUN": "test:1/3"}  # one that leaves no grandchild

    def run() -> list[Path]:
        prompt = "DeksdenFlow request: plan"
        subprocess.run(command, env=environment, input=prompt, text=True, capture_output=True, check=True, timeout=60)
        return list((tmp_path / "overlaps").iterdir())

    assert not run()
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert len(run()) == 1
