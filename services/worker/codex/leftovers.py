"""Finding and killing the processes of earlier runs of a job, by the marker in their environment."""

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from shared.errors import Category, JobError

RUN_VARIABLE = "DEKSDENFLOW_RUN"
_POLL_S = 0.02


class RunMarker(msgspec.Struct, frozen=True):
    """Which run a process belongs to; `scope` keeps two installations on one host apart (see `scope_of`)."""

    scope: str
    job: int
    token: int

    def __str__(self) -> str:
        return f"{self._of_job()}{self.token}"

    def _of_job(self) -> str:
        return f"{self.scope}:{self.job}/"

    def marks(self, environ: bytes) -> bool:
        """Whether an environment as in /proc/PID/environ is one of this run."""
        return f"{RUN_VARIABLE}={self}".encode() in environ.split(b"\0")

    def marks_other_token(self, environ: bytes) -> bool:
        """Whether an environment is one of the same job, but of another token."""
        prefix = f"{RUN_VARIABLE}={self._of_job()}".encode()
        return any(entry.startswith(prefix) for entry in environ.split(b"\0")) and not self.marks(environ)


def scope_of(workspaces_dir: Path) -> str:
    """Name an installation by the one thing that two of them cannot share: the directory of its workspaces."""
    return hashlib.sha256(os.fsencode(workspaces_dir.resolve())).hexdigest()[:12]


async def kill_earlier_runs(marker: RunMarker, *, patience_s: float = 5.0) -> tuple[int, ...]:
    """Kill every process of another token of the same job; return their pids once they are dead."""
    return await asyncio.to_thread(_kill, marker.marks_other_token, patience_s)


async def kill_run(marker: RunMarker, *, patience_s: float = 5.0) -> tuple[int, ...]:
    """Kill every process of this very run: for when its supervisor is gone and cannot."""
    return await asyncio.to_thread(_kill, marker.marks, patience_s)


def _kill(matches: Callable[[bytes], bool], patience_s: float) -> tuple[int, ...]:
    killed: set[int] = set()
    give_up_at = time.monotonic() + patience_s
    while living := _find(matches):
        if time.monotonic() > give_up_at:
            message = f"Processes {living} of an earlier run do not die; the worktree cannot be used beside them."
            raise JobError(Category.BUSY, message)
        for pid in living:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.add(pid)
        time.sleep(_POLL_S)
    return tuple(sorted(killed))


def _find(matches: Callable[[bytes], bool]) -> list[int]:
    """Return the pids whose environment matches; dead ones have none, those of other users cannot be read."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        if matches(environ):
            found.append(int(entry.name))
    return found
