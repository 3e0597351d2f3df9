"""One git command: its limits, its end, and what is told of it. The git is a shell script that misbehaves."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from services.worker.git.process import GitProcess
from shared.errors import Category, JobError
from tests.waiting import eventually

Make = Callable[[str], GitProcess]


@pytest.fixture
def git_that_does(tmp_path: Path) -> Make:
    def make(script: str) -> GitProcess:
        binary = tmp_path / "git"
        binary.write_text(f"#!/bin/sh\n{script}\n")
        binary.chmod(0o755)
        return GitProcess(
            str(binary),
            tmp_path,
            protocols=frozenset(),
            redact=lambda text: text.replace("hunter2", "***"),
            extra_env={"HTTPS_PROXY": "http://proxy:1", "GIT_TERMINAL_PROMPT": "1"},
            local_timeout_s=20,
            network_timeout_s=20,
        )

    return make


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def pid_in(file: Path) -> int:
    async def read() -> str:
        return file.read_text().strip() if file.exists() else ""

    return int(await eventually(read))


async def ends(pid: int) -> None:
    async def is_gone() -> bool:
        return not is_alive(pid)

    await eventually(is_gone)


async def test_a_command_that_takes_too_long_is_ended_with_its_children(git_that_does: Make, tmp_path: Path) -> None:
    git = git_that_does("sleep 60 &\necho $! > child\nwait")
    with pytest.raises(JobError, match=r"git fetch took longer than 0\.3 seconds") as caught:
        await git.run(["--git-dir=x", "fetch"], timeout_s=0.3)
    assert caught.value.category is Category.TIMEOUT
    await ends(await pid_in(tmp_path / "child"))


async def test_a_cancelled_command_is_ended(git_that_does: Make, tmp_path: Path) -> None:
    running = asyncio.create_task(git_that_does("echo $$ > self\nexec sleep 60").run(["gc"]))
    pid = await pid_in(tmp_path / "self")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not is_alive(pid)


async def test_output_is_read_to_the_limit_and_the_command_is_ended(git_that_does: Make) -> None:
    said = await git_that_does("while :; do echo 0123456789; done").run(["diff"], max_bytes=25)
    assert (said.out, said.cut) == (b"0123456789\n0123456789\n012", True)


async def test_endless_complaints_do_not_fill_the_memory(git_that_does: Make) -> None:
    git = git_that_does("yes fatal: no | head -c 3000000 >&2\necho 'fatal: the end' >&2\nexit 1")
    with pytest.raises(JobError) as caught:
        await git.run(["diff"])
    assert caught.value.stderr_tail.endswith("fatal: the end")
    assert len(caught.value.stderr_tail) <= 2000


async def test_an_error_names_the_command_and_is_redacted(git_that_does: Make) -> None:
    git = git_that_does("echo 'hint: x' >&2; echo 'fatal: hunter2 is wrong' >&2; exit 3")
    with pytest.raises(JobError, match=r"git diff failed with exit code 3: fatal: \*\*\* is wrong") as caught:
        await git.run(["--git-dir=x", "diff"])
    assert caught.value.category is Category.GIT
    assert "hunter2" not in caught.value.stderr_tail


async def test_a_git_that_is_not_there_is_a_matter_of_configuration(tmp_path: Path) -> None:
    git = GitProcess(
        str(tmp_path / "no-git"),
        tmp_path,
        protocols=frozenset(),
        redact=lambda text: text,
        extra_env={},
        local_timeout_s=1,
        network_timeout_s=1,
    )
    with pytest.raises(JobError, match="git cannot be started") as caught:
        await git.run(["version"])
    assert caught.value.category is Category.CONFIG


async def test_it_has_no_terminal_and_no_input(git_that_does: Make) -> None:
    assert (await git_that_does("cat; tty || true").run(["x"])).text == "not a tty"


async def test_input_that_is_not_read_is_no_error(git_that_does: Make) -> None:
    assert (await git_that_does("exit 0").run(["x"], stdin=b"x" * 1_000_000)).code == 0


async def test_extra_variables_reach_it_and_cannot_override_what_is_fixed(git_that_does: Make) -> None:
    said = await git_that_does('echo "$HTTPS_PROXY $GIT_TERMINAL_PROMPT"').run(["x"])
    assert said.text == "http://proxy:1 0"


async def test_the_environment_of_the_service_does_not_reach_it(
    git_that_does: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEKSDENFLOW_SECRET_KEY", "canary")
    assert "canary" not in (await git_that_does("env").run(["x"])).text
