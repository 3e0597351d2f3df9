"""The folder in memory that tests use: none where their files would not fit, or not run."""

import os
from pathlib import Path

import pytest

from tests.disk import ROOM_BYTES, has_room, quick_disk


@pytest.mark.parametrize(
    ("free_bytes", "flags", "fits"),
    [
        (ROOM_BYTES, 0, True),
        (ROOM_BYTES - 1, 0, False),
        (ROOM_BYTES, os.ST_NOEXEC, False),
        (ROOM_BYTES, os.ST_RDONLY, False),
    ],
)
def test_files_must_fit_and_run(free_bytes: int, flags: int, fits: bool) -> None:
    assert has_room(os.statvfs_result((1, 1, 0, free_bytes, free_bytes, 0, 0, 0, flags, 255))) is fits


def test_without_such_a_folder_there_is_none(tmp_path: Path) -> None:
    assert quick_disk(tmp_path / "none") is None
