"""The life of a worktree: made, damaged in every way, saved, started over, removed."""

import asyncio
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from services.worker.git.door import Git
from services.worker.git.records import Remote, Worktree
from shared.errors import Category, JobError
from tests.worker.git.conftest import FIRST_FILES, NAME
from tests.worker.git.stage import Origin, everything_below, plain_git


async def test_a_new_worktree_holds_the_commit_on_its_branch(git: Git, tree: Worktree, base: str) -> None:
    assert everything_below(tree.path) == FIRST_FILES
    assert await git.head(1, NAME) == base
    assert plain_git(tree.path, "status", "--porcelain", "--branch") == f"## {NAME}"


async def test_making_it_again_finds_it_as_it_is(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "notes").write_text("kept")
    assert await git.create_worktree(1, NAME, NAME, base) == tree
    assert (tree.path / "notes").read_text() == "kept"


async def test_making_it_again_later_finds_the_commits_on_it(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "new").write_text("x")
    sha = await git.commit(tree, "work", expected_parent=base)
    await git.remove_worktree(1, NAME)
    await git.create_worktree(1, NAME, NAME, base)
    assert await git.head(1, NAME) == sha
    assert (tree.path / "new").read_text() == "x"


async def test_a_start_that_moved_on_loses_nothing_that_was_left(
    git: Git, tree: Worktree, origin: Origin, remote: Remote
) -> None:
    (tree.path / "left").write_text("by an attempt that failed")
    newer = origin.commit({"new.txt": "x"})
    await git.fetch(1, remote)
    await git.create_worktree(1, NAME, NAME, newer)
    assert (tree.path / "left").exists()
    saved = await git.reset_worktree(tree, newer, 12)
    assert await git.head(1, NAME) == newer
    assert everything_below(tree.path) == {**FIRST_FILES, "new.txt": "x"}
    assert saved.ref is not None
    assert plain_git(tree.path, "show", f"{saved.ref}:left") == "by an attempt that failed"


async def test_what_was_half_made_is_made_again(git: Git, tree: Worktree, base: str) -> None:
    (tree.git_dir / "index").unlink()
    (tree.path / "README.md").unlink()
    await git.create_worktree(1, NAME, NAME, base)
    assert everything_below(tree.path) == FIRST_FILES


async def test_a_branch_of_somebody_else_is_not_taken(git: Git, origin: Origin, remote: Remote, base: str) -> None:
    origin.commit({"theirs": "x"}, branch=NAME)
    await git.fetch(1, remote)
    with pytest.raises(JobError, match="exists at the origin and is not ours") as caught:
        await git.create_worktree(1, NAME, NAME, base)
    assert caught.value.category is Category.REPOSITORY


async def test_after_the_loss_of_the_mirror_our_branch_comes_back_from_the_origin(
    git: Git, tree: Worktree, base: str, remote: Remote
) -> None:
    (tree.path / "new").write_text("x")
    sha = await git.commit(tree, "work", expected_parent=base)
    assert sha is not None
    await git.push(1, remote, NAME, sha, None)
    await git.remove_project(1)
    await git.setup_mirror(1, remote, "main")
    again = await git.create_worktree(1, NAME, NAME, base, known_head=sha)
    assert (again.path / "new").read_text() == "x"


async def test_a_branch_that_went_another_way_is_saved_and_begun_again(
    git: Git, tree: Worktree, base: str, origin: Origin
) -> None:
    (tree.path / "new").write_text("x")
    sha = await git.commit(tree, "never accepted", expected_parent=base)
    newer = origin.commit({"else": "x"})
    await git.fetch(1, Remote(origin.url))
    await git.remove_worktree(1, NAME)
    await git.create_worktree(1, NAME, NAME, newer)
    assert await git.head(1, NAME) == newer
    assert everything_below(tree.path) == {**FIRST_FILES, "else": "x"}
    assert plain_git(tree.git_dir.parents[1], "for-each-ref", "--format=%(objectname)", "refs/deksdenflow") == sha


@pytest.mark.parametrize(("name", "branch"), [("../0001-x", "x"), ("0001-x/..", "x"), ("0001-x", "-x"), ("", "x")])
async def test_an_unsound_name_is_refused(git: Git, base: str, name: str, branch: str) -> None:
    with pytest.raises(JobError) as caught:
        await git.create_worktree(1, name, branch, base)
    assert caught.value.category is Category.CONFIG


async def test_a_commit_with_a_name_that_git_keeps_for_itself_is_not_written(
    git: Git, origin: Origin, remote: Remote
) -> None:
    blob = plain_git(origin.clone, "rev-parse", "HEAD:README.md")
    inner = plain_git(origin.clone, "mktree", stdin=f"100644 blob {blob}\tconfig\n")
    top = plain_git(origin.clone, "mktree", stdin=f"040000 tree {inner}\t.GIT\n")
    evil = plain_git(origin.clone, "commit-tree", "-m", "evil", top)
    plain_git(origin.clone, "push", "--quiet", "origin", f"{evil}:refs/heads/evil")
    base = (await git.setup_mirror(1, remote, "evil")).base_sha
    with pytest.raises(JobError, match="not safe to write") as caught:
        await git.create_worktree(1, NAME, NAME, base)
    assert caught.value.category is Category.REPOSITORY


async def test_a_start_that_is_unknown_is_refused(git: Git, base: str) -> None:
    with pytest.raises(JobError, match="is not in the repository"):
        await git.create_worktree(1, NAME, NAME, "1" * 40)


async def test_a_reset_undoes_everything_and_saves_it_first(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / ".gitignore").write_text("*.cache\n")
    (tree.path / "README.md").write_text("changed")
    (tree.path / "src/app.py").unlink()
    (tree.path / "new dir").mkdir()
    (tree.path / "new dir/ü.txt").write_text("new")
    (tree.path / "x.cache").write_text("ignored")
    salvage = await git.reset_worktree(tree, base, 12)
    assert everything_below(tree.path) == FIRST_FILES
    assert salvage.ref == "refs/deksdenflow/salvage/12"
    assert set(await git.list_files(1, salvage.ref)) == {".gitignore", "README.md", "new dir/ü.txt"}
    assert await git.show_file(1, salvage.ref, "README.md") == b"changed"


async def test_a_reset_of_an_untouched_worktree_touches_and_saves_nothing(git: Git, tree: Worktree, base: str) -> None:
    before = (tree.path / "README.md").stat()
    salvage = await git.reset_worktree(tree, base, 12)
    assert salvage.ref is None
    assert (tree.path / "README.md").stat().st_ino == before.st_ino
    assert plain_git(tree.git_dir.parents[1], "for-each-ref", "refs/deksdenflow") == ""


async def test_a_reset_takes_the_branch_back_and_saves_its_commits(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "new").write_text("x")
    sha = await git.commit(tree, "work", expected_parent=base)
    salvage = await git.reset_worktree(tree, base, 12)
    assert await git.head(1, NAME) == base
    assert everything_below(tree.path) == FIRST_FILES
    assert salvage.ref is not None
    assert plain_git(tree.git_dir.parents[1], "rev-parse", salvage.ref) == sha


async def test_a_reset_saves_commits_that_were_made_behind_our_back(git: Git, tree: Worktree, base: str) -> None:
    plain_git(tree.path, "checkout", "--quiet", "-b", "mine")
    (tree.path / "new").write_text("x")
    plain_git(tree.path, "add", "new")
    plain_git(tree.path, "commit", "--quiet", "--message", "behind your back")
    salvage = await git.reset_worktree(tree, base, 12)
    assert salvage.ref is not None
    assert "behind your back" in plain_git(tree.git_dir.parents[1], "log", "--format=%s", salvage.ref)
    assert plain_git(tree.path, "status", "--porcelain", "--branch") == f"## {NAME}"


async def test_an_attempt_that_is_reset_twice_keeps_both(git: Git, tree: Worktree, base: str) -> None:
    refs: list[str | None] = []
    for text in ("first", "second"):
        (tree.path / "new").write_text(text)
        refs.append((await git.reset_worktree(tree, base, 12)).ref)
    assert refs == ["refs/deksdenflow/salvage/12", "refs/deksdenflow/salvage/12-2"]
    assert [await git.show_file(1, ref or "", "new") for ref in refs] == [b"first", b"second"]


def delete_git_file(tree: Worktree) -> None:
    (tree.path / ".git").unlink()


def replace_git_file_by_folder(tree: Worktree) -> None:
    (tree.path / ".git").unlink()
    plain_git(tree.path, "init", "--quiet")


def replace_git_file_by_link(tree: Worktree) -> None:
    (tree.path / ".git").unlink()
    (tree.path / ".git").symlink_to("/etc/passwd")


def point_git_file_elsewhere(tree: Worktree) -> None:
    plain_git(tree.path.parent, "init", "--quiet", "--bare", "evil.git")
    (tree.path / ".git").write_text(f"gitdir: {tree.path.parent}/evil.git\n")


def lock_index(tree: Worktree) -> None:
    (tree.git_dir / "index.lock").touch()


def spoil_index(tree: Worktree) -> None:
    (tree.git_dir / "index").write_bytes(b"DIRC nonsense")


def remove_index(tree: Worktree) -> None:
    (tree.git_dir / "index").unlink()


def spoil_head(tree: Worktree) -> None:
    (tree.git_dir / "HEAD").write_text("nonsense")


def remove_private_folder(tree: Worktree) -> None:
    shutil.rmtree(tree.git_dir)


def remove_everything(tree: Worktree) -> None:
    shutil.rmtree(tree.path)


def be_a_file(tree: Worktree) -> None:
    shutil.rmtree(tree.path)
    tree.path.write_text("a file")


def be_a_link(tree: Worktree) -> None:
    elsewhere = tree.path.with_name("elsewhere")
    tree.path.rename(elsewhere)
    tree.path.symlink_to(elsewhere)


def hide_a_repository_in_a_tracked_folder(tree: Worktree) -> None:
    plain_git(tree.path / "src", "init", "--quiet")


def nest_a_repository(tree: Worktree) -> None:
    (tree.path / "vendor").mkdir()
    plain_git(tree.path / "vendor", "init", "--quiet")
    plain_git(tree.path / "vendor", "commit", "--quiet", "--allow-empty", "--message", "x")


def take_rights_away(tree: Worktree) -> None:
    (tree.path / "locked/in").mkdir(parents=True)
    (tree.path / "locked/in/file").write_text("x")
    (tree.path / "locked/in/file").chmod(0)
    for folder in ("locked/in", "locked", "src", "."):
        (tree.path / folder).chmod(0)


def go_deep(tree: Worktree) -> None:
    where = os.open(tree.path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(1500):
        os.mkdir("deep", dir_fd=where)
        deeper = os.open("deep", os.O_RDONLY | os.O_DIRECTORY, dir_fd=where)
        os.close(where)
        where = deeper
    os.close(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=where))
    os.close(where)


def link_a_tracked_folder_away(tree: Worktree) -> None:
    outside = tree.path.parent / "outside"
    outside.mkdir()
    (outside / "app.py").write_text("outside")
    shutil.rmtree(tree.path / "src")
    (tree.path / "src").symlink_to(outside)


def put_odd_things(tree: Worktree) -> None:
    os.mkfifo(tree.path / "pipe")
    (tree.path / "README.md").unlink()
    os.mkfifo(tree.path / "README.md")
    (tree.path / os.fsdecode(b"bad-\xff-name\n")).write_text("x")
    (tree.path / "loop").symlink_to("loop")


DAMAGES = [
    delete_git_file,
    replace_git_file_by_folder,
    replace_git_file_by_link,
    point_git_file_elsewhere,
    lock_index,
    spoil_index,
    remove_index,
    spoil_head,
    remove_private_folder,
    remove_everything,
    be_a_file,
    be_a_link,
    hide_a_repository_in_a_tracked_folder,
    nest_a_repository,
    take_rights_away,
    go_deep,
    link_a_tracked_folder_away,
    put_odd_things,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_a_reset_heals(
    git: Git, tree: Worktree, base: str, damage: Callable[[Worktree], None], tmp_path: Path
) -> None:
    damage(tree)
    await git.reset_worktree(tree, base, 12)
    assert everything_below(tree.path) == FIRST_FILES
    assert not tree.path.is_symlink()
    assert not list(tree.path.rglob(".git/*"))
    assert plain_git(tree.path, "status", "--porcelain", "--ignored", "--branch") == f"## {NAME}"
    assert not list((tmp_path / "ours/trash").iterdir())


async def test_a_reset_leaves_what_a_link_pointed_to_alone(git: Git, tree: Worktree, base: str) -> None:
    link_a_tracked_folder_away(tree)
    await git.reset_worktree(tree, base, 12)
    assert (tree.path.parent / "outside/app.py").read_text() == "outside"


async def test_files_of_a_nested_repository_are_saved(git: Git, tree: Worktree, base: str) -> None:
    nest_a_repository(tree)
    (tree.path / "vendor/precious.txt").write_text("hours of work")
    salvage = await git.reset_worktree(tree, base, 12)
    assert salvage.ref is not None
    assert await git.show_file(1, salvage.ref, "vendor/precious.txt") == b"hours of work"


async def test_a_file_that_is_too_large_is_left_out_of_the_salvage_and_named(
    git: Git, tree: Worktree, base: str
) -> None:
    (tree.path / "core").write_bytes(b"\0" * 1_000_001)
    (tree.path / "small").write_text("x")
    salvage = await git.reset_worktree(tree, base, 12)
    assert [file.path for file in salvage.left_out] == ["core"]
    assert salvage.ref is not None
    assert "small" in await git.list_files(1, salvage.ref)


async def test_a_spoilt_index_costs_nothing_of_the_salvage(git: Git, tree: Worktree, base: str) -> None:
    spoil_index(tree)
    (tree.path / "README.md").write_text("changed")
    salvage = await git.reset_worktree(tree, base, 12)
    assert salvage.ref is not None
    assert await git.show_file(1, salvage.ref, "README.md") == b"changed"


async def test_a_salvage_leaves_the_worktree_as_it_is(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "README.md").write_text("changed")
    salvage = await git.salvage(tree, base, 12)
    assert salvage.ref is not None
    assert (tree.path / "README.md").read_text() == "changed"
    assert (await git.changes(tree, base)).files[0].path == "README.md"


async def test_what_is_saved_already_is_not_saved_again(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "new").write_text("x")
    ref = "refs/deksdenflow/salvage/12"
    assert (await git.salvage(tree, base, 12)).ref == ref
    assert (await git.salvage(tree, base, 12)).ref == ref
    assert (await git.reset_worktree(tree, base, 12)).ref == ref
    (tree.path / "new").write_text("x")
    sha = await git.commit(tree, "work", expected_parent=base)
    assert (await git.salvage(tree, base, 12)).ref == f"{ref}-2", "a commit that the base does not have"
    assert (await git.reset_worktree(tree, base, 12)).ref == f"{ref}-2"
    assert plain_git(tree.git_dir.parents[1], "rev-parse", f"{ref}-2") == sha


async def test_a_worktree_is_at_its_commit_until_somebody_moves_it(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "new").write_text("x")
    assert await git.is_at(tree, base)
    sha = await git.commit(tree, "work", expected_parent=base)
    assert not await git.is_at(tree, base)
    assert await git.is_at(tree, sha or "")
    (tree.git_dir / "HEAD").write_text(base + "\n")
    assert not await git.is_at(tree, sha or ""), "HEAD and the branch differ"
    (tree.git_dir / "HEAD").write_text(f"ref: refs/heads/{NAME}\n")
    (tree.git_dir / "index").unlink()
    assert not await git.is_at(tree, sha or ""), "it was left half made"


async def test_a_process_that_lives_on_in_the_old_folder_cannot_write_into_the_new_one(
    git: Git, tree: Worktree, base: str
) -> None:
    old = os.open(tree.path, os.O_RDONLY | os.O_DIRECTORY)
    (tree.path / "README.md").write_text("changed")
    await git.reset_worktree(tree, base, 12)
    with pytest.raises(FileNotFoundError):
        os.open("late", os.O_WRONLY | os.O_CREAT, dir_fd=old)
    os.close(old)
    assert everything_below(tree.path) == FIRST_FILES


async def test_a_removed_worktree_is_gone_and_its_commits_stay(git: Git, tree: Worktree, base: str) -> None:
    await git.remove_worktree(1, NAME)
    await git.remove_worktree(1, NAME)
    assert not tree.path.exists()
    assert not tree.git_dir.exists()
    assert await git.head(1, NAME) == base


async def test_work_in_a_worktree_that_is_not_there_is_refused(git: Git, tree: Worktree, base: str) -> None:
    await git.remove_worktree(1, NAME)
    with pytest.raises(JobError, match="not complete"):
        await git.commit(tree, "all is deleted", expected_parent=base)


async def test_a_throwaway_worktree_shows_a_commit_and_is_gone_afterwards(git: Git, base: str, tmp_path: Path) -> None:
    async with git.throwaway(1, base, 5) as tree:
        assert everything_below(tree.path) == FIRST_FILES
        assert plain_git(tree.path, "rev-parse", "HEAD") == base
        assert plain_git(tree.path, "branch", "--show-current") == ""
        take_rights_away(tree)
    assert not list((tmp_path / "ours/qa").iterdir())
    assert not tree.git_dir.exists()


async def test_a_throwaway_worktree_goes_when_its_user_fails(git: Git, base: str, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with git.throwaway(1, base, 5):
            raise ZeroDivisionError
    assert not list((tmp_path / "ours/qa").iterdir())


async def test_pruning_takes_what_the_dead_left_and_not_what_the_living_hold(
    git: Git, base: str, tmp_path: Path
) -> None:
    async with git.throwaway(1, base, 5) as dead:
        shutil.copytree(dead.git_dir, tmp_path / "git_dir")
        shutil.copytree(dead.path, tmp_path / "files", symlinks=True)
    shutil.copytree(tmp_path / "git_dir", dead.git_dir)
    shutil.copytree(tmp_path / "files", dead.path)
    async with git.throwaway(1, base, 6) as living:
        await git.prune()
        assert everything_below(living.path) == FIRST_FILES
        assert not dead.path.exists()
        assert not dead.git_dir.exists()


async def test_while_one_works_in_a_worktree_another_waits(git: Git, tree: Worktree, base: str, tmp_path: Path) -> None:
    lock = os.open(next((tmp_path / "ours/locks").glob(f"worktree-1-{NAME}")), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    waiting = asyncio.create_task(git.reset_worktree(tree, base, 12))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    os.close(lock)
    assert (await waiting).ref is None


async def test_two_protocols_of_one_project_work_at_once(git: Git, base: str) -> None:
    async def work(number: int) -> str | None:
        name = f"000{number}-x"
        tree = await git.create_worktree(1, name, name, base)
        (tree.path / "own").write_text(name)
        return await git.commit(tree, name, expected_parent=base)

    shas = await asyncio.gather(*(work(number) for number in range(1, 5)))
    assert [await git.head(1, f"000{number}-x") for number in range(1, 5)] == shas
