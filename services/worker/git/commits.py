"""The place where accepted changes become a commit, and protected files get their content back."""

import asyncio
import os
from collections.abc import Sequence
from typing import Final

from services.worker.git.files import move_away
from services.worker.git.history import changed_files
from services.worker.git.records import Changes, CommitLimits, Identity, RefusedFile, Worktree
from services.worker.git.repository import Layout, Repository
from services.worker.git.snapshot import shown, spare_index, take
from services.worker.git.worktree import identity_env, tree_of
from shared.errors import Category, JobError

MAX_REFUSED_NAMED: Final = 10


async def changes(repository: Repository, worktree: Worktree, since: str, limits: CommitLimits) -> Changes:
    """See `door.Git.changes`."""
    async with spare_index(repository, worktree.git_dir) as index:
        snapshot = await take(repository, worktree.path, index, limits)
        return Changes(await changed_files(repository, since, snapshot.tree), snapshot.refused)


async def commit(
    repository: Repository,
    worktree: Worktree,
    message: str,
    *,
    expected_parent: str,
    only: Sequence[str] | None,
    author: Identity,
    committer: Identity,
    limits: CommitLimits,
) -> str | None:
    """See `door.Git.commit`."""
    branch = f"refs/heads/{worktree.branch}"
    head = await repository.resolve(branch)
    if head != expected_parent:
        raise JobError(
            Category.DIVERGED,
            f"branch {worktree.branch} is at {(head or 'nothing')[:12]}, not at {expected_parent[:12]} where it began",
        )
    async with spare_index(repository, worktree.git_dir) as index:
        snapshot = await take(repository, worktree.path, index, limits, only=only)
        if snapshot.refused:
            raise JobError(Category.POLICY, _why_not(snapshot.refused))
        if snapshot.tree == await tree_of(repository, expected_parent):
            return None
        said = await repository.git(
            "commit-tree",
            "-p",
            expected_parent,
            snapshot.tree,
            stdin=_stored(message),
            env=identity_env(author, committer),
        )
        await repository.git("update-ref", branch, said.text, expected_parent)
        index.replace(worktree.git_dir / "index")
        return said.text


async def protect(
    repository: Repository, layout: Layout, worktree: Worktree, paths: Sequence[str], sha: str
) -> tuple[str, ...]:
    """See `door.Git.protect`."""
    if not paths:
        return ()
    await repository.git("update-index", "-q", "--ignore-submodules", "--refresh", ok=(0, 1))
    differing = await repository.git(
        "diff-index", "-z", "--name-only", "--no-renames", "--ignore-submodules=all", sha, "--", *paths
    )
    others = await repository.git("ls-files", "-z", "--others", "--", *paths)
    kept = await repository.git("ls-tree", "-r", "-z", "--name-only", "--full-tree", "--end-of-options", sha, *paths)
    known = set(_names(kept.out))
    altered = sorted({*_names(differing.out), *_names(others.out)})
    for path in altered:
        if path not in known:
            await asyncio.to_thread(move_away, worktree.path / os.fsdecode(path.rstrip(b"/")), layout.trash)
    back = [path for path in altered if path in known]
    if back:
        await repository.git(
            "checkout",
            "--quiet",
            "--force",
            "--no-recurse-submodules",
            "--no-overlay",
            "--pathspec-from-file=-",
            "--pathspec-file-nul",
            sha,
            stdin=b"\0".join(back),
        )
    return tuple(shown(path) for path in altered)


async def uncommit(repository: Repository, worktree: Worktree, sha: str) -> bool:
    """See `door.Git.uncommit`."""
    branch = f"refs/heads/{worktree.branch}"
    moved = await repository.resolve(branch) != sha
    if moved:
        await repository.git("update-ref", branch, sha)
    return moved


def _stored(message: str) -> bytes:
    return message.replace("\0", "").rstrip("\n").encode("utf-8", "replace") + b"\n"


def _why_not(refused: Sequence[RefusedFile]) -> str:
    named = "; ".join(f"{file.path}: {file.why}" for file in refused[:MAX_REFUSED_NAMED])
    more = f"; and {len(refused) - MAX_REFUSED_NAMED} more" if len(refused) > MAX_REFUSED_NAMED else ""
    return f"{len(refused)} of the changes may not be committed: {named}{more}"


def _names(listed: bytes) -> list[bytes]:
    return [path for path in listed.split(b"\0") if path]
