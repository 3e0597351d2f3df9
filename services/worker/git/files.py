"""The place for files in a folder that somebody hostile may have written: no symbolic link is ever followed."""
# ruff: noqa: PTH101, PTH104, PTH106, PTH108, PTH118 - names are git's and the disk's own bytes here, and calls relative to an open folder

import contextlib
import os
import secrets
import stat
from collections.abc import Generator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from shared.errors import Category, JobError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_NAME_BYTES: Final = 255


def write_texts(root: Path, texts: Mapping[str, str]) -> None:
    """Write each text to its path below root, creating folders; each file is replaced in one piece or not at all."""
    for name, text in texts.items():
        folders, leaf = _parts(name)
        with _walk(root, folders, name, create=True) as folder:
            _replace(folder, leaf, text.encode(), name)


def read_bytes(root: Path, name: str, max_bytes: int) -> bytes | None:
    """The content of a regular file below root, or None when there is none; anything odd in its place is refused."""
    folders, leaf = _parts(name)
    try:
        with _walk(root, folders, name, create=False) as folder:
            file = os.open(leaf, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _odd(name, f"it cannot be read ({error.strerror})") from error
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise _odd(name, "it is not a plain file of its own")
        if found.st_size > max_bytes:
            raise _odd(name, f"it has {found.st_size} bytes, more than {max_bytes}")
        with os.fdopen(file, "rb", closefd=False) as opened:
            return opened.read(max_bytes)
    finally:
        os.close(file)


def is_reserved(part: str) -> bool:
    """Whether git, on any system, could take this path component for its own folder."""
    plain = "".join(char for char in part if char.isprintable()).lower().rstrip(" .").partition(":")[0]
    return plain in {".git", "git~1"}


def open_up(root: Path) -> None:
    """Give us (the owner) access to everything below root, whatever an agent has set; names that are too long stay."""
    pending = [os.fsencode(root)]
    while pending:
        folder = pending.pop()
        with contextlib.suppress(OSError):
            _allow(folder, 0o700)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        _allow(entry.path, 0o600)


def move_away(path: Path, to: Path) -> Path | None:
    """Move whatever is at path into the folder `to`, and return where it is now.

    One rename: nothing in it is touched, and a process that is still at work in it stays with it.
    """
    if not os.path.lexists(path):
        return None
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
    target = to / f"{path.name}.{secrets.token_hex(6)}"
    path.rename(target)
    return target


def remove_below(root: Path) -> None:
    """Remove everything in root, however deep, locked or oddly named; what cannot be removed stays for another time."""
    pending: list[bytes] = [os.fsencode(root)]
    flat = os.fsencode(root)
    while pending:
        folder = pending.pop()
        with contextlib.suppress(OSError):
            _allow(folder, 0o700)
            for entry in list(os.scandir(folder)):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                elif folder == flat:
                    pending.append(entry.path)
                else:  # no path grows longer than two levels, so depth is no obstacle
                    _allow(entry.path, 0o700)
                    risen = os.path.join(flat, secrets.token_hex(8).encode())
                    os.rename(entry.path, risen)
                    pending.append(risen)
        if folder != flat:
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _allow(path: bytes | str, bits: int) -> None:
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    if mode & bits != bits:
        os.chmod(path, mode | bits)


def _parts(name: str) -> tuple[list[str], str]:
    parts = list(PurePosixPath(name).parts)
    sound = (
        parts
        and not name.startswith("/")
        and "/".join(parts) == name
        and ".." not in parts
        and all(part.isprintable() and len(part.encode()) <= _MAX_NAME_BYTES for part in parts)
    )
    if not sound or any(is_reserved(part) for part in parts):
        raise JobError(Category.POLICY, f"{name!r} is not an accepted path of a file in the worktree")
    return parts[:-1], parts[-1]


@contextlib.contextmanager
def _walk(root: Path, folders: list[str], name: str, *, create: bool) -> Generator[int]:
    """Descend one folder at a time, each opened in the one before, so that no link on the way is followed."""
    current = os.open(root, _FOLDER)
    try:
        for part in folders:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=current)
            try:
                deeper = os.open(part, _FOLDER, dir_fd=current)
            except NotADirectoryError as error:  # a link too: O_DIRECTORY | O_NOFOLLOW
                raise _odd(name, f"{part!r} on its way is not a folder") from error
            os.close(current)
            current = deeper
        yield current
    finally:
        os.close(current)


def _replace(folder: int, leaf: str, content: bytes, name: str) -> None:
    fresh = f".{secrets.token_hex(8)}.tmp"
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder)
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(content)
        os.rename(fresh, leaf, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        os.unlink(fresh, dir_fd=folder)
        raise _odd(name, f"it cannot be written ({error.strerror})") from error


def _odd(name: str, why: str) -> JobError:
    return JobError(Category.POLICY, f"{name!r} in the worktree was tampered with: {why}")
