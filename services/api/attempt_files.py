"""The place for reading the files that the worker keeps of an attempt: plain files below the workspaces alone."""

import codecs
import contextlib
import os
import stat
from collections.abc import Generator
from enum import Enum
from pathlib import Path

import msgspec

CHUNK = 1_048_576


class Part(Enum):
    """The files of an attempt."""

    EVENTS = "events.jsonl"
    PROMPT = "prompt.md"
    STDERR = "stderr.txt"
    DIFF = "diff.patch"
    BRANCH = "branch.patch"


class Piece(msgspec.Struct, frozen=True):
    """Some bytes of a file as text; `next` is where the next piece starts."""

    text: str
    next: int
    total: int


def read_part(
    workspaces: Path, directory: str | None, part: Part, *, offset: int, limit: int, tail: bool
) -> Piece | None:
    """A piece of the file; None where there is none. With `tail` the offset counts from the end.

    A piece never ends within a character, if it holds at least one whole one.
    """
    with _opened(workspaces, directory, part) as descriptor:
        if descriptor is None:
            return None
        total = os.fstat(descriptor).st_size
        end = max(0, total - offset) if tail else min(total, offset + limit)
        start = max(0, end - limit) if tail else min(total, offset)
        data = os.pread(descriptor, end - start, start)
    data = _whole_characters(data) if start + len(data) < total else data
    return Piece(text=data.decode(errors="replace"), next=start + len(data), total=total)


def read_bytes(workspaces: Path, directory: str | None, part: Part, *, offset: int, limit: int) -> bytes:
    """At most `limit` bytes of the file from `offset` on; none where there are none yet."""
    with _opened(workspaces, directory, part) as descriptor:
        return b"" if descriptor is None else os.pread(descriptor, limit, offset)


@contextlib.contextmanager
def _opened(workspaces: Path, directory: str | None, part: Part) -> Generator[int | None]:
    """The file, if it is a plain one in its place."""
    descriptor = None if directory is None else _open(workspaces.absolute().resolve(), directory, part)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open(root: Path, directory: str, part: Part) -> int | None:
    folder = (root / directory).resolve()
    if not folder.is_relative_to(root) or folder == root:
        return None
    try:
        descriptor = os.open(folder / part.value, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return descriptor


def _whole_characters(data: bytes) -> bytes:
    """Without the beginning of a character whose rest is in the next piece; garbage stays as it is."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder.decode(data)
    begun = len(decoder.getstate()[0])
    return data[:-begun] if 0 < begun < len(data) else data
