"""The place for one question: whether the files of a worktree are exactly those of a commit."""
# ruff: noqa: PTH118, PTH120 - names are git's own bytes here, which pathlib does not take

import asyncio
import os
from collections.abc import Iterable

from services.worker.git.records import Worktree
from services.worker.git.repository import Repository
from shared.errors import JobError


async def is_pristine(repository: Repository, worktree: Worktree, sha: str) -> bool:
    """Whether the files are exactly the commit's and nothing else is there, ignored or hidden from git."""
    if not (worktree.git_dir / "index").exists():
        return False
    try:
        staged = await repository.git(
            "diff-index", "--cached", "--quiet", "--ignore-submodules=none", sha, "--", ok=(0, 1)
        )
        changed = await repository.git("diff-files", "--quiet", "--ignore-submodules=all", ok=(0, 1))
        tracked = await repository.git("ls-files", "-z", "--stage")
    except JobError:  # an index that git cannot read
        return False
    if staged.code or changed.code:
        return False
    return await asyncio.to_thread(_holds_only, os.fsencode(worktree.path), tracked.out)


def _holds_only(root: bytes, staged: bytes) -> bool:
    """Whether nothing lies below root but what the index names. A submodule is an empty folder.

    Git is not asked: it keeps silent about empty folders, a `.git` among tracked files, and paths too long for it.
    """
    files: set[bytes] = set()
    folders: set[bytes] = {b""}
    for line in staged.split(b"\0"):
        head, _, path = line.partition(b"\t")
        (folders if head.startswith(b"160000") else files).add(path)
        while (path := os.path.dirname(path)) not in folders:
            folders.add(path)
    try:
        return all(
            path == b".git" or path in (folders if is_folder else files) for path, is_folder in _walk(root, folders)
        )
    except OSError:
        return False


def _walk(root: bytes, folders: set[bytes]) -> Iterable[tuple[bytes, bool]]:
    """Everything below root and whether it is a folder; only the given folders are entered."""
    pending = [b""]
    while pending:
        folder = pending.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                path = os.path.join(folder, entry.name)
                is_folder = entry.is_dir(follow_symlinks=False)
                yield path, is_folder
                if is_folder and path in folders:
                    pending.append(path)
