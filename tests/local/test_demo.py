"""`python -m services.local demo` as a person starts it: its story, its exit codes, and what it leaves behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import codex_cli_bin
import httpx
import pytest

from services.local.demo.check import agent_processes
from tests.waiting import until

ROOT = Path(__file__).parents[2]
ESCAPE = "\x1b"


@contextmanager
def demo(home: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The program, whose output is no terminal, with a HOME of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "services.local", "demo", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def folders_in(home: Path) -> list[Path]:
    return list((home / ".cache" / "deksdenflow").glob("demo-*"))


def codex_without_sandbox(folder: Path) -> Path:
    """A Codex as on a machine without user namespaces."""
    codex = folder / "codex-without-sandbox"
    codex.write_text(
        '#!/bin/sh\n[ "$1" = sandbox ] && echo "bwrap: Creating new namespace failed" >&2 && exit 1\n'
        f'exec {codex_cli_bin.bundled_codex_path()} "$@"\n'
    )
    codex.chmod(0o755)
    return codex


def test_the_demo_tells_its_story_holds_its_claims_and_leaves_nothing(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    with demo(tmp_path, "--record", str(picture)) as process:
        told, said = process.communicate(timeout=110)
    assert process.returncode == 0, said + told
    assert said == ""
    assert ESCAPE not in told
    for part in (
        "planned             planning → planned  3 steps",
        "protocol_completed  running → completed",
        "fix(split): give the odd cents to the first friends [protocol-0001/01]",
        "Deksdenflow-Attempt: ",
        "Codex-Thread: ",
        "11 tests: FAILED (failures=1)",
        "16 tests: OK",
        "all of it holds",
        "make demo ARGS=--real",
    ):
        assert part in told
    assert "✘" not in told
    assert told.index("$ sh run-tests") < told.index("step_completed")
    assert folders_in(tmp_path) == []
    svg = picture.read_text()
    assert svg.startswith("<svg")
    assert "http" not in svg.replace("http://www.w3.org/", ""), "nothing is fetched from elsewhere"


def test_kept_it_answers_at_the_addresses_that_it_names_until_ctrl_c(tmp_path: Path) -> None:
    with demo(tmp_path, "--keep") as process:
        assert process.stdout is not None
        told: list[str] = []

        def kept() -> bool:
            told.append(process.stdout.readline())
            return "until Ctrl-C" in told[-1] or process.poll() is not None

        until(kept, within=110)
        curl = next(line for line in told if "curl http://" in line).split()[-1]
        run = httpx.get(curl, trust_env=False).json()
        assert (run["status"], run["reason"]) == ("completed", "steps_done")
        console = next(line for line in told if line.split()[:1] == ["console"]).split()[-1]
        assert "tabsplit" in httpx.get(console, trust_env=False).text
        process.send_signal(signal.SIGINT)
        last, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert last.endswith("stopped, and nothing is left running\n")
    (folder,) = folders_in(tmp_path)
    assert f"folder    {folder}" in "".join(told)
    assert (folder / "sample" / "tabsplit.git").is_dir()


def test_where_no_sandbox_is_possible_the_demo_says_so_and_runs_its_own_script_without(tmp_path: Path) -> None:
    codex = codex_without_sandbox(tmp_path)
    with demo(tmp_path, DEKSDENFLOW_CODEX_BIN=str(codex)) as process:
        told, said = process.communicate(timeout=110)
    assert process.returncode == 0, said + told
    assert "This machine allows no sandbox" in told
    assert "Real projects are refused here" in told
    assert "all of it holds" in told


@pytest.mark.parametrize("moment", ["Codex: ", "planning_started", "$ "])
def test_ctrl_c_at_any_moment_ends_everything_with_130(tmp_path: Path, moment: str) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        until(lambda: moment in process.stdout.readline(), within=60)
        workspaces = [folder / "workspaces" for folder in folders_in(tmp_path)]
        process.send_signal(signal.SIGINT)
        told, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "nothing is left running" in told
    assert folders_in(tmp_path) == []
    assert [agent_processes(folder) for folder in workspaces] == [[] for _ in workspaces]


def test_real_without_a_login_or_a_key_says_how_to_get_one(tmp_path: Path) -> None:
    with demo(tmp_path, "--real") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "codex login" in said
    assert "CODEX_API_KEY" in said
    assert folders_in(tmp_path) == []


def test_real_is_refused_where_no_sandbox_is_possible(tmp_path: Path) -> None:
    codex = codex_without_sandbox(tmp_path)
    with demo(tmp_path, "--real", DEKSDENFLOW_CODEX_BIN=str(codex), CODEX_API_KEY="sk-nobody") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "allows no sandbox" in said


def test_without_codex_it_says_how_to_install_it(tmp_path: Path) -> None:
    with demo(tmp_path, DEKSDENFLOW_CODEX_BIN="/nonexistent/codex") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "pip install openai-codex-cli-bin" in said


@pytest.mark.parametrize("arguments", [["--model", "a b"], ["--record", "no/such/folder/x.svg"], ["--bogus"]])
def test_a_bad_argument_is_named(tmp_path: Path, arguments: list[str]) -> None:
    with demo(tmp_path, *arguments) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert arguments[-1] in said
    assert "Traceback" not in said
