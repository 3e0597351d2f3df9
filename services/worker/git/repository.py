"""The place for one opened mirror or worktree: its locks, its configuration, and commands bound to these paths."""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from pathlib import Path
from typing import Final

from services.worker.git.failures import is_locked
from services.worker.git.process import GitProcess, Output
from services.worker.git.records import Worktree
from shared.errors import Category, JobError

_POLL_S: Final = 0.02

# The whole configuration of a mirror. The origin's URL is not in it: it is named with each command.
MIRROR_CONFIG: Final = b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"


class Layout:
    """Where everything lies below WORKSPACES_DIR."""

    def __init__(self, workspaces: Path) -> None:
        self.root = workspaces.absolute()
        self.home = self.root / "home"
        self.trash = self.root / "trash"
        self.salvaged = self.root / "salvaged"
        self._locks = self.root / "locks"

    def prepare(self) -> None:
        """Create what every command needs."""
        for folder in (self.root, self.home, self._locks, self.trash, self.salvaged):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def mirror(self, project_id: int) -> Path:
        return self.root / "repos" / f"{project_id}.git"

    def worktree(self, project_id: int, name: str, branch: str) -> Worktree:
        path = self.root / "worktrees" / str(project_id) / name
        return Worktree(project_id, name, path, self.mirror(project_id) / "worktrees" / name, branch)

    def throwaway(self, project_id: int, attempt: int) -> Worktree:
        name = f"qa-{attempt}"
        path = self.root / "qa" / str(attempt)
        return Worktree(project_id, name, path, self.mirror(project_id) / "worktrees" / name, None)

    def throwaways(self) -> list[Worktree]:
        """All that exist, by their private git folders."""
        found = self.root.glob("repos/*.git/worktrees/qa-*")
        return [self.throwaway(int(each.parents[1].stem), int(each.name.removeprefix("qa-"))) for each in found]

    def mirror_lock(self, project_id: int) -> Path:
        return self._locks / f"mirror-{project_id}"

    def worktree_lock(self, project_id: int, name: str) -> Path:
        return self._locks / f"worktree-{project_id}-{name}"


class Repository:
    """A mirror, or a worktree of it, that this task holds the locks of.

    Every command inherits the locks: should this process die, they are free when the last git command has ended too.
    """

    def __init__(self, process: GitProcess, mirror: Path, worktree: Worktree | None, locks: Sequence[int]) -> None:
        self.process = process
        self.mirror = mirror
        self.worktree = worktree
        self.locks = tuple(locks)

    async def git(
        self,
        *args: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        config: Mapping[str, str] | None = None,
        ok: Sequence[int] = (0,),
        timeout_s: float | None = None,
        max_bytes: int | None = None,
        more_fds: Sequence[int] = (),
    ) -> Output:
        """Run git here; see `GitProcess.run`. Lock files that a killed git left behind are removed, once."""

        async def run() -> Output:
            return await self.process.run(
                [*self._place(), *args],
                cwd=self.mirror,  # git itself goes to the worktree where it needs one
                env={"GIT_COMMON_DIR": str(self.mirror)} | dict(env or {}),
                config=config,
                stdin=stdin,
                fds=[*self.locks, *more_fds],
                ok=ok,
                timeout_s=timeout_s,
                max_bytes=max_bytes,
            )

        try:
            return await run()
        except JobError as error:
            if not is_locked(error):
                raise
        await self._remove_stale_locks()
        return await run()

    async def resolve(self, name: str) -> str | None:
        """The commit that a full ref name or a commit id stands for in the mirror, or None."""
        return await _resolve(self.beside_worktree(), name)

    async def resolve_head(self) -> str | None:
        """The commit of the worktree's HEAD, or None when it has none or is damaged."""
        return await _resolve(self, "HEAD")

    async def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` contains `old`; a commit that is not here is contained in nothing."""
        said = await self.beside_worktree().git("merge-base", "--is-ancestor", old, new, ok=(0, 1, 128))
        return said.code == 0

    def beside_worktree(self) -> "Repository":
        """The same locks, but the mirror itself, for what needs no files and may not depend on their state."""
        return Repository(self.process, self.mirror, None, self.locks)

    def restore_config(self) -> None:
        """What a configuration can name (filters, hooks, rewritten URLs, …) would run as us: it is ours to the byte."""
        config = self.mirror / "config"
        if _read(config) == MIRROR_CONFIG:
            return
        if config.is_dir() and not config.is_symlink():
            shutil.rmtree(config)
        fresh = self.mirror / f"config.{secrets.token_hex(6)}"
        fresh.write_bytes(MIRROR_CONFIG)
        fresh.replace(config)

    def _place(self) -> list[str]:
        if self.worktree is None:
            return [f"--git-dir={self.mirror}"]
        return [f"--git-dir={self.worktree.git_dir}", f"--work-tree={self.worktree.path}"]

    async def _remove_stale_locks(self) -> None:
        """Only while no other git command is at work in this mirror, so that no lock of a living one is taken away."""
        shared = self.locks[0]
        await _acquire(shared, fcntl.LOCK_EX, "the mirror", wait_s=10)
        try:
            await asyncio.to_thread(_remove_lock_files, self.mirror)
        finally:
            await _acquire(shared, fcntl.LOCK_SH, "the mirror", wait_s=10)


async def _resolve(repository: Repository, name: str) -> str | None:
    said = await repository.git(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", ok=(0, 1, 128)
    )
    return said.text if said.code == 0 else None


@contextlib.asynccontextmanager
async def open_mirror(
    process: GitProcess, layout: Layout, project_id: int, *, alone: bool = False
) -> AsyncGenerator[Repository]:
    """The mirror, shared with others or (to create it) alone; a configuration that is not ours is put right first."""
    mirror = layout.mirror(project_id)
    async with _locked(layout.mirror_lock(project_id), fcntl.LOCK_EX if alone else fcntl.LOCK_SH, "the mirror") as lock:
        repository = Repository(process, mirror, None, [lock])
        if mirror.exists():
            repository.restore_config()
        elif not alone:
            raise JobError(Category.GIT, f"project {project_id} has no mirror yet; its setup job makes one")
        yield repository


@contextlib.asynccontextmanager
async def open_worktree(process: GitProcess, layout: Layout, worktree: Worktree) -> AsyncGenerator[Repository]:
    """The worktree, alone, in a mirror that is shared with others."""
    async with open_mirror(process, layout, worktree.project_id) as mirror, hold_worktree(layout, worktree) as lock:
        yield Repository(process, mirror.mirror, worktree, [*mirror.locks, lock])


def hold_worktree(layout: Layout, worktree: Worktree) -> contextlib.AbstractAsyncContextManager[int]:
    """The lock of a worktree, as a file descriptor, without the mirror's."""
    return _locked(layout.worktree_lock(worktree.project_id, worktree.name), fcntl.LOCK_EX, f"worktree {worktree.name}")


@contextlib.contextmanager
def hold_if_free(layout: Layout, worktree: Worktree) -> Generator[bool]:
    """The lock of a worktree if nobody has it; the value tells."""
    lock = os.open(
        layout.worktree_lock(worktree.project_id, worktree.name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        yield _try_lock(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)


@contextlib.asynccontextmanager
async def _locked(path: Path, mode: int, what: str) -> AsyncGenerator[int]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await _acquire(lock, mode, what, wait_s=60)
        yield lock
    finally:
        os.close(lock)


async def _acquire(lock: int, mode: int, what: str, *, wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            while not _try_lock(lock, mode):  # noqa: ASYNC110  the kernel's lock rings no event of ours
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise JobError(Category.BUSY, f"{what} is in use by another git command for {wait_s:g} seconds") from error


def _try_lock(lock: int, mode: int) -> bool:
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> bytes | None:
    if path.is_symlink():
        return None
    try:
        return path.read_bytes()
    except OSError:
        return None


def _remove_lock_files(mirror: Path) -> None:
    for pattern in ("*.lock", "refs/**/*.lock", "worktrees/*/*.lock", "objects/info/*.lock"):
        for lock in mirror.glob(pattern):
            lock.unlink(missing_ok=True)
