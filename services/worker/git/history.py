"""The place for reading commits: differences, logs and files, without any program that a repository could name."""

from collections.abc import Iterable
from typing import Final

from services.worker.git.records import ChangeKind, Commit, FileChange
from services.worker.git.repository import Repository
from services.worker.git.snapshot import shown
from shared.errors import Category, JobError

_KINDS: Final = {
    b"A": ChangeKind.ADDED,
    b"M": ChangeKind.MODIFIED,
    b"D": ChangeKind.DELETED,
    b"T": ChangeKind.TYPE_CHANGED,
}
_LOG_FORMAT: Final = "--format=%H%n%P%n%an%n%ae%n%ct%n%B"
_LOG_FIELDS: Final = 6


async def diff(repository: Repository, old: str, new: str, max_bytes: int) -> str:
    """The difference as text; binary files are named only, and a last line tells when it was cut."""
    said = await repository.git(
        "diff-tree",
        "-r",
        "-p",
        "--find-renames",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        "--submodule=short",
        "--end-of-options",
        old,
        new,
        "--",
        max_bytes=max_bytes,
    )
    text = said.out.decode("utf-8", "replace")
    return f"{text}\n[… cut after {max_bytes} bytes]\n" if said.cut else text


async def changed_files(repository: Repository, old: str, new: str) -> tuple[FileChange, ...]:
    """Which files differ between two commits or trees, in the order of their names; a rename is two of them."""
    said = await repository.git(
        "diff-tree", "-r", "-z", "--raw", "--numstat", "--no-renames", "--end-of-options", old, new, "--"
    )
    fields = iter(said.out.split(b"\0"))
    kinds: dict[bytes, ChangeKind] = {}
    lines: dict[bytes, tuple[int | None, int | None]] = {}
    for field in fields:
        if field.startswith(b":"):
            kinds[next(fields)] = _KINDS.get(field.rsplit(b" ", 1)[-1][:1], ChangeKind.MODIFIED)
        elif field:
            added, deleted, path = field.split(b"\t", 2)
            lines[path] = (None, None) if added == b"-" else (int(added), int(deleted))
    return tuple(FileChange(shown(path), kind, *lines.get(path, (None, None))) for path, kind in kinds.items())


async def log(repository: Repository, after: str | None, until: str, limit: int) -> tuple[Commit, ...]:
    """The commits that `until` has and `after` has not, newest first."""
    span = [until] if after is None else [f"{after}..{until}"]
    said = await repository.git(
        "log", "-z", "--no-color", "--no-decorate", f"--max-count={limit}", _LOG_FORMAT, "--end-of-options", *span, "--"
    )
    return tuple(_commits(said.out.decode("utf-8", "replace")))


def _commits(text: str) -> Iterable[Commit]:
    for record in text.split("\0"):
        if record:
            sha, parents, author, email, seconds, message = record.split("\n", _LOG_FIELDS - 1)
            yield Commit(sha, tuple(parents.split()), author, email, int(seconds) * 1000, message.rstrip("\n"))


async def show_file(repository: Repository, commit: str, path: str, max_bytes: int) -> bytes | None:
    """The content of a file in a commit, as it is stored; None when there is no file of this name."""
    entry = (await repository.git("ls-tree", "-z", "--long", "--full-tree", "--end-of-options", commit, path)).out
    head, _, _ = entry.partition(b"\t")
    if not head.startswith(b"100"):
        return None
    _, _, blob, size = head.split()
    if int(size) > max_bytes:
        raise JobError(Category.POLICY, f"{path} has {int(size)} bytes, more than {max_bytes}")
    return (await repository.git("cat-file", "blob", blob.decode())).out


async def list_files(repository: Repository, commit: str) -> tuple[str, ...]:
    """The names of all files in a commit."""
    said = await repository.git("ls-tree", "-r", "-z", "--name-only", "--full-tree", "--end-of-options", commit)
    return tuple(shown(path) for path in said.out.split(b"\0") if path)
