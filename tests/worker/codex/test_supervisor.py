"""The supervisor as a program: its lock, its deadline, its lifeline, its account of the end."""

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from services.worker.codex import supervisor
from tests.waiting import until
from tests.worker.codex.ground import FAKE, alive

PYTHON = [sys.executable, "-I", "-S"]


class Supervised:
    """One supervisor in a folder, started as the worker starts it."""

    def __init__(
        self,
        folder: Path,
        *command: str,
        deadline_s: float = 60,
        grace_s: float = 0.3,
        begin: bool = True,
        **options: Any,
    ) -> None:
        self.folder = folder
        self.exit_file = folder / "exit.json"
        stdin = folder / "stdin"
        stdin.write_text("the prompt\n")
        names = [str(folder / "lock"), str(self.exit_file), str(stdin), str(deadline_s), str(grace_s)]
        self.process = subprocess.Popen(
            [*supervisor.program(sys.executable), *names, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={"DEKSDENFLOW_RUN": "test:1/1"},
            bufsize=0,
            **options,
        )
        if begin:
            self.process.stdin.write(b"\n")

    def pids(self) -> dict[str, int]:
        assert self.process.stdout is not None
        self.process.stdout.readline()
        return json.loads(json.loads(self.process.stdout.readline())["item"]["text"])

    def ended(self) -> dict[str, Any]:
        self.process.wait(20)
        return json.loads(self.exit_file.read_text())


Supervise = Callable[..., Supervised]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    started: list[Supervised] = []

    def start(*command: str, **options: Any) -> Supervised:
        started.append(Supervised(tmp_path, *command, **options))
        return started[-1]

    yield start
    for run in started:
        run.process.kill()
        with run.process:
            pass


def fake(mode: str) -> list[str]:
    return [*PYTHON, str(FAKE), mode]


@pytest.mark.parametrize(("script", "rc", "code"), [("exit 0", 0, 0), ("exit 3", 3, 3), ("kill -9 $$", -9, 137)])
def test_the_end_of_the_command_is_told_by_file_and_code(supervise: Supervise, script: str, rc: int, code: int) -> None:
    run = supervise("/bin/sh", "-c", script)
    ended = run.ended()
    assert (ended["rc"], ended["why"], ended["run"]) == (rc, "ended", "test:1/1")
    assert ended["started_at"] <= ended["ended_at"]
    assert run.process.returncode == code
    assert list(run.folder.glob("exit.json.*")) == []


@pytest.mark.parametrize("how", ["lifeline", "stopped"])
def test_until_it_is_told_to_begin_it_starts_nothing_and_holds_no_lock(
    supervise: Supervise, tmp_path: Path, how: str
) -> None:
    waiting = supervise("/bin/touch", str(tmp_path / "began"), begin=False)
    until(lambda: _hears_signals(waiting.process.pid))
    assert supervise("/bin/true").ended()["rc"] == 0
    waiting.exit_file.unlink()
    if how == "lifeline":
        waiting.process.stdin.close()
    else:
        waiting.process.send_signal(signal.SIGTERM)
    assert waiting.process.wait(20) == 0
    assert not waiting.exit_file.exists()
    assert not (tmp_path / "began").exists()


def _hears_signals(pid: int) -> bool:
    """Whether the process handles SIGTERM by now; until then its end would have another code."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_the_command_reads_the_file_and_writes_to_the_workers_pipes(supervise: Supervise) -> None:
    run = supervise("/bin/sh", "-c", "cat; echo problem >&2")
    assert (run.process.stdout.read(), run.process.stderr.read()) == (b"the prompt\n", b"problem\n")


@pytest.mark.parametrize("how", ["lifeline", "stopped", "deadline"])
def test_nobody_of_the_tree_survives_however_it_is_ended(supervise: Supervise, how: str) -> None:
    run = supervise(*fake("stubborn"), deadline_s=1 if how == "deadline" else 60)
    pids = run.pids()
    assert set(pids) == {"codex", "child", "session", "orphan"}
    assert run.process.stdin is not None
    match how:
        case "lifeline":
            run.process.stdin.close()
        case "stopped":
            run.process.send_signal(signal.SIGTERM)
        case _:
            pass
    ended = run.ended()
    assert (ended["why"], ended["rc"], ended["killed"]) == (how, -9, 4)
    assert not [name for name, pid in pids.items() if alive(pid)]


def test_a_tree_that_ends_on_request_is_not_killed_nor_waited_for(supervise: Supervise) -> None:
    run = supervise("/bin/sh", "-c", "echo begun; exec sleep 300", grace_s=30)
    run.process.stdout.readline()
    begun = time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    ended = run.ended()
    assert (ended["rc"], ended["killed"]) == (-15, 0)
    assert time.monotonic() - begun < 5


def test_a_child_without_our_marker_is_found_all_the_same(supervise: Supervise) -> None:
    run = supervise(*fake("hides_from_its_marker"))
    hidden = run.pids()["hidden"]
    until(lambda: Path(f"/proc/{hidden}/comm").read_text() == "sleep\n")
    assert Path(f"/proc/{hidden}/environ").read_bytes() == b""
    run.process.send_signal(signal.SIGTERM)
    run.ended()
    assert not alive(hidden)


def test_the_death_of_the_supervisor_is_the_death_of_the_command(supervise: Supervise) -> None:
    run = supervise(*fake("stubborn"))
    codex = run.pids()["codex"]
    run.process.kill()
    run.process.wait()
    until(lambda: not alive(codex))
    for pid in holders(run.folder / "lock"):
        os.kill(pid, signal.SIGKILL)


def holders(lock: Path) -> set[int]:
    """The processes that have the file open."""
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if any(fd.samefile(lock) for fd in (entry / "fd").iterdir()):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def test_the_lock_is_taken_once_and_held_by_the_whole_tree(supervise: Supervise) -> None:
    first = supervise(*fake("stubborn"))
    pids = first.pids()
    assert holders(first.folder / "lock") == {first.process.pid, *pids.values()}
    second = supervise("/bin/true")
    assert second.process.wait(10) == supervisor.EX_TEMPFAIL
    assert not second.exit_file.exists()
    first.process.send_signal(signal.SIGTERM)
    first.ended()
    assert supervise("/bin/true").ended()["rc"] == 0


def test_a_command_that_cannot_be_started_is_told(supervise: Supervise) -> None:
    run = supervise("/nothing/here")
    assert run.ended()["rc"] == supervisor.CANNOT_RUN
    assert b"No such file or directory" in run.process.stderr.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_can_run_it() -> None:
    nobody = pwd.getpwnam("nobody")
    with TemporaryDirectory(dir="/var/tmp") as folder:
        try:
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        except OSError:
            pytest.skip("there is nobody else in this user namespace")
        names = [f"{folder}/lock", f"{folder}/exit.json", "/dev/null", "60", "1"]
        reading, lifeline = os.pipe()
        os.write(lifeline, b"\n")
        command = ["/bin/sh", "-c", "sleep 300 & setsid sleep 301 & id -u"]
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, str(nobody.pw_uid), *names, *command],
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=reading,
            capture_output=True,
            check=False,
        )
        os.close(reading)
        os.close(lifeline)
        assert (done.returncode, done.stdout) == (0, f"{nobody.pw_uid}\n".encode())
        assert json.loads((Path(folder) / "exit.json").read_text())["killed"] == 2


# The Python of a developer may be out of reach for others, so it changes its user only after its imports.
_AS_NOBODY = """
import os, sys
from services.worker.codex import supervisor
os.setgroups([])
os.setuid(int(sys.argv[1]))
sys.exit(supervisor.main(sys.argv[2:]))
"""


def test_it_starts_in_a_moment(supervise: Supervise) -> None:
    def once() -> float:
        begun = time.perf_counter()
        supervise("/bin/true").process.wait()
        return time.perf_counter() - begun

    # 20 ms on an idle machine; the best of several, since others run beside it.
    assert min(once() for _ in range(5)) < 0.2
