"""The place for the life of a worktree: made, put right, saved and started over, removed.

The private git folder of a worktree (`<mirror>/worktrees/<name>`: HEAD, index, commondir, gitdir, as
gitrepository-layout describes them) is written by us and not by `git worktree`, so that every step can be repeated
after a crash and nothing has to be believed that lies in the worktree itself.
"""
# ruff: noqa: PTH208 - only the names are wanted

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.worker.git.files import move_away, open_up, remove_below
from services.worker.git.pristine import is_pristine
from services.worker.git.records import CommitLimits, Identity, RefusedFile, Salvage, Worktree
from services.worker.git.repository import Layout, Repository, hold_if_free
from services.worker.git.snapshot import Snapshot, spare_index, take
from shared.errors import Category, JobError

SALVAGE_REFS: Final = "refs/deksdenflow/salvage"


def identity_env(author: Identity, committer: Identity) -> dict[str, str]:
    """The environment that makes git write these two into a commit."""
    return {
        "GIT_AUTHOR_NAME": author.name,
        "GIT_AUTHOR_EMAIL": author.email,
        "GIT_COMMITTER_NAME": committer.name,
        "GIT_COMMITTER_EMAIL": committer.email,
    }


async def create(
    repository: Repository, layout: Layout, worktree: Worktree, start_sha: str, known_head: str | None
) -> None:
    """See `door.Git.create_worktree`."""
    branch = f"refs/heads/{worktree.branch}"
    head = await repository.resolve(branch)
    origin = await repository.resolve(f"refs/remotes/origin/{worktree.branch}")
    if head is None and origin not in {None, known_head}:
        raise JobError(
            Category.REPOSITORY,
            f"branch {worktree.branch} exists at the origin and is not ours; choose another name or remove it there",
        )
    start = known_head or start_sha
    if await repository.resolve(start) is None:
        raise JobError(Category.REPOSITORY, f"commit {start[:12]} is not in the repository any more")
    if head is not None and (worktree.git_dir / "index").exists() and worktree.path.is_dir():
        await asyncio.to_thread(put_right, layout, worktree)
        return
    if head is not None and await repository.is_ancestor(start, head):
        start = head
    elif head is not None and not await repository.is_ancestor(head, start):
        await repository.beside_worktree().git("update-ref", f"{SALVAGE_REFS}/{worktree.name}-{head[:12]}", head)
    await start_over(repository, layout, worktree, start)


async def start_over(
    repository: Repository, layout: Layout, worktree: Worktree, sha: str, keep_at: Path | None = None
) -> Path | None:
    """Put the branch (or the detached HEAD) to the commit and make all files anew, in a new folder.

    The old folder goes to `keep_at`, whose new place is returned, or to the trash: nothing in it can be in the way, and
    a process that is still at work in it stays with it.
    """
    kept = await asyncio.to_thread(_set_aside, layout, worktree, keep_at)
    await asyncio.to_thread(put_right, layout, worktree, sha)
    if worktree.branch is not None:
        await repository.git("update-ref", f"refs/heads/{worktree.branch}", sha)
    await repository.git("read-tree", "--reset", "-u", "--end-of-options", sha)
    await asyncio.to_thread(remove_below, layout.trash)
    return kept


async def is_at(repository: Repository, worktree: Worktree, sha: str) -> bool:
    """See `door.Git.is_at`."""
    if worktree.path.is_symlink() or not worktree.path.is_dir() or not (worktree.git_dir / "index").is_file():
        return False
    return await _heads(repository, worktree) == [sha]


async def reset(
    repository: Repository,
    layout: Layout,
    worktree: Worktree,
    sha: str,
    attempt: int,
    *,
    limits: CommitLimits,
    identity: Identity,
) -> Salvage:
    """See `door.Git.reset_worktree`."""
    if await repository.resolve(sha) is None:
        raise JobError(Category.REPOSITORY, f"commit {sha[:12]} is not in the repository any more")
    if not worktree.path.is_dir() or worktree.path.is_symlink():
        await start_over(repository, layout, worktree, sha)
        return Salvage()
    heads = await _heads(repository, worktree)
    sound = await asyncio.to_thread(put_right, layout, worktree)
    await asyncio.to_thread(open_up, worktree.path)
    if sound and heads == [sha] and await is_pristine(repository, worktree, sha):
        return Salvage()
    try:
        saved = await save(repository, worktree, sha, heads, attempt, limits=limits, identity=identity)
    except JobError as error:
        kept = await start_over(repository, layout, worktree, sha, keep_at=layout.salvaged)
        return Salvage(None, (RefusedFile(".", f"git could not read the files: {error.message}"),), kept)
    await start_over(repository, layout, worktree, sha)
    return saved


async def salvage(
    repository: Repository,
    layout: Layout,
    worktree: Worktree,
    sha: str,
    attempt: int,
    *,
    limits: CommitLimits,
    identity: Identity,
) -> Salvage:
    """See `door.Git.salvage`."""
    heads = await _heads(repository, worktree)
    await asyncio.to_thread(put_right, layout, worktree)
    if not heads:
        return Salvage()
    return await save(repository, worktree, sha, heads, attempt, limits=limits, identity=identity)


async def save(
    repository: Repository,
    worktree: Worktree,
    base: str,
    heads: list[str],
    attempt: int,
    *,
    limits: CommitLimits,
    identity: Identity,
) -> Salvage:
    """Keep all files and commits that `base` does not have under a ref of this attempt."""
    heads = heads or [base]
    snapshot = await _rescue(repository, worktree, heads[0], limits)
    if snapshot is None:
        return Salvage()
    kept = await _kept(repository, attempt)
    commit = heads[0]
    if snapshot.tree != await tree_of(repository, commit) or len(heads) > 1:
        if ref := kept.get(f"{snapshot.tree} {' '.join(heads)}"):
            return Salvage(ref, snapshot.refused)
        parents = [part for head in heads for part in ("-p", head)]
        said = await repository.git(
            "commit-tree",
            *parents,
            snapshot.tree,
            stdin=f"What attempt {attempt} left behind\n".encode(),
            env=identity_env(identity, identity),
        )
        commit = said.text
    if commit == base or commit in kept:
        return Salvage(kept.get(commit), snapshot.refused)
    ref = _free_ref(attempt, kept)
    await repository.git("update-ref", ref, commit)
    return Salvage(ref, snapshot.refused)


async def tree_of(repository: Repository, commit: str) -> str:
    """The id of a commit's tree."""
    return (await repository.git("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")).text


def put_right(layout: Layout, worktree: Worktree, sha: str | None = None) -> bool:
    """Make the folder, its private git folder and its `.git` file what they must be; return whether they were.

    A detached worktree stays at its commit, unless `sha` names another.
    """
    path, git_dir = worktree.path, worktree.git_dir
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_symlink() or not path.is_dir():
        move_away(path, layout.trash)
        path.mkdir(mode=0o755)
    path.chmod(path.stat().st_mode | 0o700)
    if git_dir.is_symlink() or not git_dir.is_dir():
        move_away(git_dir, layout.trash)
        git_dir.mkdir(mode=0o755, parents=True)
    for left in [*git_dir.glob("*.lock"), *git_dir.glob("index.*")]:  # by a killed git: a living one holds the worktree
        left.unlink(missing_ok=True)
    head = f"ref: refs/heads/{worktree.branch}" if worktree.branch else sha
    wanted = {
        git_dir / "commondir": "../..",
        git_dir / "gitdir": str(path / ".git"),
        path / ".git": f"gitdir: {git_dir}",
        **({git_dir / "HEAD": head} if head else {}),
    }
    return all([_write_line(layout, file, line) for file, line in wanted.items()])  # noqa: C419  each must be written


def _write_line(layout: Layout, file: Path, line: str) -> bool:
    content = os.fsencode(f"{line}\n")
    if not file.is_symlink() and file.is_file() and file.read_bytes() == content:
        return True
    move_away(file, layout.trash)
    file.write_bytes(content)
    return False


def _set_aside(layout: Layout, worktree: Worktree, keep_at: Path | None) -> Path | None:
    """The index first: without it a folder that was left half made is known to hold nothing of value."""
    (worktree.git_dir / "index").unlink(missing_ok=True)
    return move_away(worktree.path, keep_at or layout.trash)


async def _heads(repository: Repository, worktree: Worktree) -> list[str]:
    """Where HEAD and the branch are, HEAD first; the two differ when somebody else has moved one of them."""
    if not worktree.git_dir.is_dir():
        return []
    found = [await repository.resolve_head()]
    if worktree.branch is not None:
        found.append(await repository.resolve(f"refs/heads/{worktree.branch}"))
    return list(dict.fromkeys(sha for sha in found if sha is not None))


async def _rescue(repository: Repository, worktree: Worktree, head: str, limits: CommitLimits) -> Snapshot | None:
    """A tree of whatever is there; with an index made anew when git cannot read the one that is there."""
    has_index = (worktree.git_dir / "index").exists()
    if not has_index and not any(name != ".git" for name in os.listdir(worktree.path)):
        return None
    if has_index:
        with contextlib.suppress(JobError):
            async with spare_index(repository, worktree.git_dir) as index:
                return await take(repository, worktree.path, index, limits, rescue=True)
    async with spare_index(repository, worktree.git_dir, read_from=head) as index:
        return await take(repository, worktree.path, index, limits, rescue=True)


async def _kept(repository: Repository, attempt: int) -> dict[str, str]:
    """The salvage refs of an attempt, by their commit and by `tree parents` of it."""
    form = "%(refname)%09%(objectname)%09%(tree) %(parent)"
    said = await repository.git(
        "for-each-ref", f"--format={form}", f"{SALVAGE_REFS}/{attempt}", f"{SALVAGE_REFS}/{attempt}-*"
    )
    lines = [line.split("\t") for line in said.text.splitlines()]
    return {key: ref for ref, *keys in lines for key in keys}


def _free_ref(attempt: int, kept: Mapping[str, str]) -> str:
    """An attempt that leaves something else a second time keeps both."""
    taken = set(kept.values())
    ref = f"{SALVAGE_REFS}/{attempt}"
    number = 1
    while ref in taken:
        number += 1
        ref = f"{SALVAGE_REFS}/{attempt}-{number}"
    return ref


def remove(layout: Layout, worktree: Worktree) -> None:
    """Take the files and the private git folder away; the branch and its commits stay."""
    move_away(worktree.path, layout.trash)
    move_away(worktree.git_dir, layout.trash)
    remove_below(layout.trash)


def prune(layout: Layout) -> None:
    """See `door.Git.prune`."""
    for worktree in layout.throwaways():
        with hold_if_free(layout, worktree) as free:
            if free:
                remove(layout, worktree)
    remove_below(layout.trash)


def remove_mirror(layout: Layout, project_id: int) -> None:
    """Take a project's mirror and all its worktrees away."""
    move_away(layout.mirror(project_id), layout.trash)
    move_away(layout.root / "worktrees" / str(project_id), layout.trash)
    remove_below(layout.trash)
