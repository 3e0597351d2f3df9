"""The place where the files of a worktree become a tree: what changed, what may not enter, and the index in between.

`git add` and `git status` are not used: they look into submodules with the configuration that lies there.
"""
# ruff: noqa: PTH115, PTH118, PTH120 - names are git's own bytes here, which pathlib does not take

import asyncio
import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import AsyncGenerator, Iterable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from services.worker.git.files import is_reserved, open_up
from services.worker.git.records import CommitLimits, RefusedFile
from services.worker.git.repository import Repository

MANY_FILES: Final = 256  # from here on one pack, which git makes of "big" files, is written faster than a file for each
_GITLINK: Final = b"160000"


class Survey(Struct, frozen=True):
    """What differs between the index and the files, as git's own bytes."""

    changed: tuple[bytes, ...]
    gone: tuple[bytes, ...]
    refused: tuple[RefusedFile, ...]


class Snapshot(Struct, frozen=True):
    """The files as a tree, and the index file that describes it."""

    tree: str
    index: Path
    refused: tuple[RefusedFile, ...]


@contextlib.asynccontextmanager
async def spare_index(repository: Repository, git_dir: Path, *, read_from: str | None = None) -> AsyncGenerator[Path]:
    """A copy of the worktree's index (or a new one from a commit), gone afterwards unless it was renamed."""
    spare = git_dir / f"index.{secrets.token_hex(6)}"
    try:
        if read_from is not None:
            await repository.git("read-tree", "--end-of-options", read_from, env={"GIT_INDEX_FILE": str(spare)})
        elif (git_dir / "index").exists():
            # With its time: by that git knows which entries were written too late to be judged by their times.
            await asyncio.to_thread(shutil.copy2, git_dir / "index", spare)
        yield spare
    finally:
        spare.unlink(missing_ok=True)


async def take(
    repository: Repository,
    root: Path,
    index: Path,
    limits: CommitLimits,
    *,
    only: Sequence[str] | None = None,
    rescue: bool = False,
) -> Snapshot:
    """Bring the spare index up to the files and write its tree; what is refused is left out and told.

    `only` are files or folders. To `rescue` is to save whatever can be: links that lead outside, and files of nested
    repositories.
    """
    await asyncio.to_thread(open_up, root)
    survey = await _look(repository, root, index, limits, only=only, rescue=rescue)
    env = {"GIT_INDEX_FILE": str(index)}
    if survey.gone:
        await repository.git("update-index", "-z", "--force-remove", "--stdin", stdin=_listed(survey.gone), env=env)
    if survey.changed:
        await repository.git(
            "update-index",
            "-z",
            "--add",
            "--remove",
            "--replace",
            "--stdin",
            stdin=_listed(survey.changed),
            env=env,
            config={"core.bigFileThreshold": "1"} if len(survey.changed) > MANY_FILES else None,
        )
    tree = (await repository.git("write-tree", env=env)).text
    return Snapshot(tree, index, survey.refused)


def shown(path: bytes) -> str:
    """A path as text that can always be stored and sent."""
    return path.decode("utf-8", "backslashreplace")


async def _look(
    repository: Repository,
    root: Path,
    index: Path,
    limits: CommitLimits,
    *,
    only: Sequence[str] | None,
    rescue: bool,
) -> Survey:
    env = {"GIT_INDEX_FILE": str(index)}
    differing = await repository.git("diff-files", "-z", "--raw", "--no-renames", "--ignore-submodules=all", env=env)
    others = await repository.git("ls-files", "-z", "--others", "--exclude-standard", env=env)
    where = os.fsencode(root)
    return await asyncio.to_thread(_sort_out, where, differing.out, others.out, limits, only=only, rescue=rescue)


def _sort_out(
    root: bytes, differing: bytes, others: bytes, limits: CommitLimits, *, only: Sequence[str] | None, rescue: bool
) -> Survey:
    changed: list[bytes] = []
    gone: list[bytes] = []
    refused: list[RefusedFile] = []
    budget = limits.max_total_bytes
    for path, deleted, told in [*_differing(differing), *_others(root, others, rescue=rescue)]:
        if only is not None and not _is_below(path, only):
            continue
        if deleted:
            gone.append(path)
            continue
        size, flaw = (0, told) if told else _judge(root, path, limits, rescue=rescue)
        budget -= size
        if flaw or budget < 0:
            why = flaw or f"with it the change has more than {limits.max_total_bytes} bytes"
            refused.append(RefusedFile(shown(path), why))
        else:
            changed.append(path)
    count = len(changed) + len(gone)
    if count > limits.max_files:
        refused.append(RefusedFile(".", f"{count} files were changed, more than {limits.max_files}"))
        changed, gone = [], []
    return Survey(tuple(changed), tuple(gone), tuple(refused))


def _differing(raw: bytes) -> Iterable[tuple[bytes, bool, str]]:
    """(path, deleted, why it is refused) of each `:<mode> <mode> <id> <id> <status>` and path that diff-files gave."""
    fields = raw.split(b"\0")
    for head, path in zip(fields[::2], fields[1::2], strict=False):
        old, new, _, _, status = head.lstrip(b":").split(b" ")
        if new == _GITLINK and old != _GITLINK:
            yield path, False, "it is a repository of its own (a nested .git)"
        else:
            yield path, status == b"D", ""


def _others(root: bytes, listed: bytes, *, rescue: bool) -> Iterable[tuple[bytes, bool, str]]:
    for path in listed.split(b"\0"):
        if not path.endswith(b"/"):
            if path:
                yield path, False, ""
        elif not rescue:
            yield path, False, "it is a repository of its own (a nested .git)"
        else:
            for inner in _files_of_nested(root, path.rstrip(b"/")):
                yield inner, False, ""


def _files_of_nested(root: bytes, top: bytes) -> Iterable[bytes]:
    pending = [top]
    while pending:
        folder = pending.pop()
        with contextlib.suppress(OSError), os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                path = os.path.join(folder, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    if not is_reserved(os.fsdecode(entry.name)):
                        pending.append(path)
                else:
                    yield path


def _judge(root: bytes, path: bytes, limits: CommitLimits, *, rescue: bool) -> tuple[int, str]:
    """(size in bytes, why it is refused or nothing)."""
    if any(is_reserved(os.fsdecode(part)) for part in path.split(b"/")):
        return 0, "git keeps this name for itself"
    try:
        found = os.lstat(os.path.join(root, path))
    except OSError:
        return 0, ""  # it vanished just now; git will take it as deleted
    if stat.S_ISLNK(found.st_mode):
        return 0, "it is a symbolic link that leads out of the repository" if leads_out(
            root, path
        ) and not rescue else ""
    if stat.S_ISDIR(found.st_mode):
        return 0, ""
    if not stat.S_ISREG(found.st_mode):
        return 0, "it is neither a file nor a symbolic link"
    if found.st_size > limits.max_file_bytes:
        return 0, f"it has {found.st_size} bytes, more than {limits.max_file_bytes}"
    return found.st_size, ""


def leads_out(root: bytes, path: bytes) -> bool:
    """Whether a symbolic link below root leads out of it, by its words or by where it really ends, or into a `.git`."""
    target = os.readlink(os.path.join(root, path))
    worded = os.path.normpath(os.path.join(os.path.dirname(path), target))
    if target.startswith(b"/") or worded.split(b"/")[0] == b"..":
        return True
    if any(is_reserved(os.fsdecode(part)) for part in worded.split(b"/")):
        return True
    real_root = os.path.realpath(root)
    real = os.path.realpath(os.path.join(root, path))
    return real != real_root and not real.startswith(real_root + b"/")


def _is_below(path: bytes, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip(b"/") + b"/") for place in map(os.fsencode, places))


def _listed(paths: Iterable[bytes]) -> bytes:
    return b"".join(path + b"\0" for path in paths)
