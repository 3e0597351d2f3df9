"""Writing and reading in a folder that somebody hostile may have prepared."""

import os
from pathlib import Path

import pytest

from services.worker.git.files import is_reserved, move_away, open_up, read_bytes, remove_below, write_texts
from shared.errors import Category, JobError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("outside")
    return outside


def test_texts_are_written_with_their_folders_and_read_back(root: Path) -> None:
    write_texts(root, {"a/b c/ü.md": "größer\n", "top.md": ""})
    assert read_bytes(root, "a/b c/ü.md", 100) == "größer\n".encode()
    assert read_bytes(root, "top.md", 100) == b""
    assert sorted(path.name for path in root.rglob("*")) == ["a", "b c", "top.md", "ü.md"]


def test_what_is_not_there_is_none(root: Path) -> None:
    assert read_bytes(root, "nothing", 10) is None
    assert read_bytes(root, "no/where/nothing", 10) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../../b",
        "a/..",
        "/etc/x",
        "a//b",
        "./a",
        "a/",
        "a\0b",
        "a\nb",
        ".git",
        ".git/hooks/x",
        "a/.GIT/x",
        "git~1/x",
        ".git /x",
        ".g\u200cit/x",
        ".git::$INDEX_ALLOCATION/x",
        "x" * 300,
        "ü" * 200,
    ],
)
def test_an_unsound_name_is_refused(root: Path, name: str) -> None:
    for act in (lambda: write_texts(root, {name: "x"}), lambda: read_bytes(root, name, 10)):
        with pytest.raises(JobError, match="not an accepted path") as caught:
            act()
        assert caught.value.category is Category.POLICY
    assert list(root.iterdir()) == []


def test_a_linked_folder_on_the_way_is_refused(root: Path, outside: Path) -> None:
    (root / "way").symlink_to(outside)
    with pytest.raises(JobError, match="'way' on its way is not a folder"):
        write_texts(root, {"way/file": "x"})
    with pytest.raises(JobError, match="'way' on its way is not a folder"):
        read_bytes(root, "way/file", 100)
    assert (outside / "file").read_text() == "outside"


def test_a_link_in_the_place_of_a_file_is_replaced_and_never_read(root: Path, outside: Path) -> None:
    (root / "file").symlink_to(outside / "file")
    with pytest.raises(JobError, match="tampered"):
        read_bytes(root, "file", 100)
    write_texts(root, {"file": "ours"})
    assert not (root / "file").is_symlink()
    assert (outside / "file").read_text() == "outside"


def test_a_file_that_has_another_name_outside_is_replaced_and_never_read(root: Path, outside: Path) -> None:
    os.link(outside / "file", root / "file")
    with pytest.raises(JobError, match="not a plain file of its own"):
        read_bytes(root, "file", 100)
    write_texts(root, {"file": "ours"})
    assert (outside / "file").read_text() == "outside"


def test_a_pipe_is_refused_without_waiting_for_a_writer(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(JobError, match="not a plain file"):
        read_bytes(root, "pipe", 100)


def test_a_file_over_the_limit_is_refused(root: Path) -> None:
    write_texts(root, {"file": "12345"})
    assert read_bytes(root, "file", 5) == b"12345"
    with pytest.raises(JobError, match="5 bytes, more than 4"):
        read_bytes(root, "file", 4)


def test_a_folder_in_the_place_of_a_file_is_refused_and_nothing_is_left(root: Path) -> None:
    (root / "file").mkdir()
    with pytest.raises(JobError, match="cannot be written"):
        write_texts(root, {"file": "x"})
    with pytest.raises(JobError, match="not a plain file"):
        read_bytes(root, "file", 10)
    assert [path.name for path in root.iterdir()] == ["file"]


@pytest.mark.parametrize("part", [".gitignore", ".github", "git", "agit", ".gi", "git~2", ".git-blame-ignore-revs"])
def test_names_that_are_only_like_gits_are_free(part: str) -> None:
    assert not is_reserved(part)


def test_moving_away_takes_a_link_and_not_what_it_points_to(root: Path, outside: Path) -> None:
    (root / "link").symlink_to(outside)
    trash = root / "trash"
    trash.mkdir()
    moved = move_away(root / "link", trash)
    assert moved is not None
    assert moved.is_symlink()
    assert move_away(root / "link", trash) is None
    remove_below(trash)
    assert (outside / "file").exists()
    assert list(trash.iterdir()) == []


def test_removing_is_stopped_by_nothing(root: Path, outside: Path) -> None:
    write_texts(root, {"a/b/c": "x", "d/e": "x"})
    (root / "a/link").symlink_to(outside)
    os.mkfifo(root / "a/pipe")
    (root / "a/b").chmod(0)
    (root / "a").chmod(0o500)
    remove_below(root)
    assert list(root.iterdir()) == []
    assert (outside / "file").exists()


def test_opening_up_gives_the_owner_access_and_follows_no_link(root: Path, outside: Path) -> None:
    write_texts(root, {"a/file": "x"})
    (root / "link").symlink_to(outside)
    outside.chmod(0o500)
    (root / "a/file").chmod(0)
    (root / "a").chmod(0)
    open_up(root)
    assert (root / "a/file").stat().st_mode & 0o777 == 0o600
    assert outside.stat().st_mode & 0o777 == 0o500
