"""What changed, what may be committed, and what is given its content back."""

import os
import shutil
import time
from pathlib import Path

import pytest

from services.worker.git.door import Git
from services.worker.git.records import ChangeKind, Changes, CommitLimits, Identity, Remote, Worktree
from shared.errors import Category, JobError
from tests.worker.git.conftest import FIRST_FILES, NAME
from tests.worker.git.stage import Origin, plain_git


def kinds(changes: Changes) -> dict[str, ChangeKind]:
    return {file.path: file.kind for file in changes.files}


async def committed(git: Git, tree: Worktree, parent: str) -> str:
    sha = await git.commit(tree, "work", expected_parent=parent)
    assert sha is not None
    return sha


async def refusals(git: Git, tree: Worktree, base: str) -> dict[str, str]:
    """What a commit is refused for, which is what `changes` has told."""
    told = (await git.changes(tree, base)).refused
    with pytest.raises(JobError, match="may not be committed") as caught:
        await git.commit(tree, "work", expected_parent=base)
    assert caught.value.category is Category.POLICY
    assert all(file.why in caught.value.message for file in told)
    assert await git.head(1, NAME) == base
    return {file.path: file.why for file in told}


async def test_changes_are_told_with_their_kinds_and_lines(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "README.md").write_text("# Sample\nmore\n")
    (tree.path / "src/app.py").unlink()
    (tree.path / "new.bin").write_bytes(b"\0\1\2")
    changes = await git.changes(tree, base)
    assert [(file.path, file.kind, file.additions, file.deletions) for file in changes.files] == [
        ("README.md", ChangeKind.MODIFIED, 1, 0),
        ("new.bin", ChangeKind.ADDED, None, None),
        ("src/app.py", ChangeKind.DELETED, 0, 1),
    ]


async def test_an_untouched_worktree_has_no_changes(git: Git, tree: Worktree, base: str) -> None:
    os.utime(tree.path / "README.md")
    assert (await git.changes(tree, base)).empty


async def test_changes_since_an_older_commit_include_the_commits_between(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "one").write_text("1")
    await committed(git, tree, base)
    (tree.path / "two").write_text("2")
    assert kinds(await git.changes(tree, base)) == {"one": ChangeKind.ADDED, "two": ChangeKind.ADDED}


async def test_a_change_that_keeps_size_and_time_is_seen(git: Git, tree: Worktree, base: str) -> None:
    file = tree.path / "README.md"
    before = file.stat()
    file.write_text("# SAMPLE\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert kinds(await git.changes(tree, base)) == {"README.md": ChangeKind.MODIFIED}


async def test_a_commit_holds_exactly_the_files(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "README.md").write_text("changed")
    (tree.path / "src/app.py").unlink()
    (tree.path / "new").write_text("x")
    sha = await committed(git, tree, base)
    assert await git.head(1, NAME) == sha
    assert await git.list_files(1, sha) == ("README.md", "new")
    assert plain_git(tree.path, "status", "--porcelain") == ""
    assert (await git.changes(tree, sha)).empty


async def test_a_commit_has_its_message_author_and_parent(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "new").write_text("x")
    message = "feat(x): größer [protocol-0001/01]\n\nWhy.\n\nDeksdenflow-Run: 1\n"
    sha = await git.commit(tree, message, expected_parent=base, author=Identity("Zoë", "zoe@example.org"))
    assert sha is not None
    (commit,) = await git.log(1, base, sha)
    assert (commit.sha, commit.parents, commit.author, commit.author_email) == (sha, (base,), "Zoë", "zoe@example.org")
    assert (commit.subject, commit.message) == ("feat(x): größer [protocol-0001/01]", message.rstrip())
    assert plain_git(tree.path, "log", "-1", "--format=%cn <%ce>") == "DeksdenFlow <deksdenflow@localhost>"
    assert abs(commit.committed_at / 1000 - time.time()) < 60


async def test_a_message_that_looks_like_an_option_or_holds_nul_is_a_message(
    git: Git, tree: Worktree, base: str
) -> None:
    (tree.path / "new").write_text("x")
    await git.commit(tree, "--amend\0 \ud800", expected_parent=base)
    assert plain_git(tree.path, "log", "-1", "--format=%s") == "--amend ?"


async def test_without_changes_there_is_no_commit(git: Git, tree: Worktree, base: str) -> None:
    os.utime(tree.path / "README.md")
    (tree.path / "empty folder").mkdir()
    assert await git.commit(tree, "nothing", expected_parent=base) is None
    assert await git.head(1, NAME) == base


async def test_a_commit_on_a_branch_that_moved_is_refused(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "one").write_text("1")
    first = await committed(git, tree, base)
    (tree.path / "two").write_text("2")
    with pytest.raises(JobError) as caught:
        await git.commit(tree, "late", expected_parent=base)
    assert caught.value.category is Category.DIVERGED
    assert await git.head(1, NAME) == first


async def test_only_the_named_files_and_folders_are_committed(git: Git, tree: Worktree, base: str) -> None:
    for name in ("plan/a.md", "plan/b.md", "planner.md", "top.md"):
        await git.write_files(tree, {name: "x"})
    sha = await git.commit(tree, "plan", expected_parent=base, only=["plan", "top.md"])
    assert sha is not None
    assert set(await git.list_files(1, sha)) == {*FIRST_FILES, "plan/a.md", "plan/b.md", "top.md"}
    assert kinds(await git.changes(tree, sha)) == {"planner.md": ChangeKind.ADDED}


async def test_names_may_hold_anything_that_a_file_name_can(git: Git, tree: Worktree, base: str) -> None:
    names = ["a b", "ä/ö ü.txt", "tab\there", "line\nbreak", '"quoted"', ":(top)x", "*", "-rf", "日本/語", "x" * 255]
    for name in names:
        file = tree.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
    (tree.path / os.fsdecode(b"latin-\xe9")).write_text("x")
    changes = await git.changes(tree, base)
    assert set(kinds(changes)) == {*names, "latin-\\xe9"}
    assert set(await git.list_files(1, await committed(git, tree, base))) == {*names, "latin-\\xe9", *FIRST_FILES}


async def test_names_that_differ_in_case_only_are_two_files(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "readme.MD").write_text("other")
    sha = await committed(git, tree, base)
    assert await git.show_file(1, sha, "readme.MD") == b"other"
    assert await git.show_file(1, sha, "README.md") == b"# Sample\n"


async def test_line_ends_are_kept_as_they_are(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "dos.txt").write_bytes(b"a\r\nb\r\n")
    sha = await committed(git, tree, base)
    assert await git.show_file(1, sha, "dos.txt") == b"a\r\nb\r\n"
    async with git.throwaway(1, sha, 3) as copy:
        assert (copy.path / "dos.txt").read_bytes() == b"a\r\nb\r\n"


async def test_executable_bits_are_part_of_a_change(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "src/app.py").chmod(0o755)
    sha = await committed(git, tree, base)
    async with git.throwaway(1, sha, 3) as copy:
        assert os.access(copy.path / "src/app.py", os.X_OK)


async def test_a_file_may_become_a_folder_and_a_folder_a_file(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "README.md").unlink()
    await git.write_files(tree, {"README.md/deep": "x"})
    shutil.rmtree(tree.path / "src")
    (tree.path / "src").write_text("a file")
    sha = await committed(git, tree, base)
    assert set(await git.list_files(1, sha)) == {"README.md/deep", "src"}


async def test_a_folder_may_become_a_link_within_the_repository(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "src").rename(tree.path / "lib")
    (tree.path / "src").symlink_to("lib")
    sha = await committed(git, tree, base)
    assert set(await git.list_files(1, sha)) == {"README.md", "lib/app.py", "src"}
    assert (await git.diff(1, base, sha)).count("120000") == 1


async def test_ignored_files_stay_out(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / ".gitignore").write_text("*.log\nbuild/\n")
    await git.write_files(tree, {"x.log": "x", "build/out": "x"})
    assert set(kinds(await git.changes(tree, base))) == {".gitignore"}


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../outside", "src/../../x", "..", ".git/config", "src/../.GIT/x", "/", "way/.."]
)
async def test_a_link_that_leads_out_is_refused(git: Git, tree: Worktree, base: str, target: str) -> None:
    (tree.path / "a/b").mkdir(parents=True)
    (tree.path / "way").symlink_to("a/..")  # the root itself; `way/..` is above it, though its words are not
    (tree.path / "link").symlink_to(target)
    told = await refusals(git, tree, base)
    assert told == {"link": "it is a symbolic link that leads out of the repository"}


@pytest.mark.parametrize("target", ["README.md", "src/../README.md", "not there yet", "."])
async def test_a_link_that_stays_within_is_committed(git: Git, tree: Worktree, base: str, target: str) -> None:
    (tree.path / "src/link").symlink_to(target)
    assert await committed(git, tree, base)


async def test_a_nested_repository_is_refused(git: Git, tree: Worktree, base: str) -> None:
    for name in ("with commit", "without"):
        (tree.path / name).mkdir()
        (tree.path / name / "file").write_text("x")
        plain_git(tree.path / name, "init", "--quiet")
    plain_git(tree.path / "with commit", "commit", "--quiet", "--allow-empty", "--message", "x")
    told = await refusals(git, tree, base)
    assert set(told) == {"with commit/", "without/"}


async def test_a_tracked_file_that_became_a_repository_is_refused(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "README.md").unlink()
    (tree.path / "README.md").mkdir()
    plain_git(tree.path / "README.md", "init", "--quiet")
    plain_git(tree.path / "README.md", "commit", "--quiet", "--allow-empty", "--message", "x")
    told = await refusals(git, tree, base)
    assert set(told) >= {"README.md"}


@pytest.mark.parametrize("name", [".GIT/x", "a/.Git/hooks/x", "git~1/x", ".git ./x", "sub/.git\u200c/x"])
async def test_a_name_that_git_keeps_for_itself_is_refused(git: Git, tree: Worktree, base: str, name: str) -> None:
    file = tree.path / name
    file.parent.mkdir(parents=True)
    file.write_text("x")
    assert await refusals(git, tree, base) == {name: "git keeps this name for itself"}


async def test_a_file_that_became_something_else_is_refused(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "README.md").unlink()
    os.mkfifo(tree.path / "README.md")
    assert await refusals(git, tree, base) == {"README.md": "it is neither a file nor a symbolic link"}


async def test_a_file_that_is_too_large_is_refused(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "core").write_bytes(b"\0" * 1_000_001)
    assert await refusals(git, tree, base) == {"core": "it has 1000001 bytes, more than 1000000"}


async def test_too_much_at_once_is_refused(git: Git, tree: Worktree, base: str) -> None:
    for number in range(5):
        (tree.path / f"{number}.bin").write_bytes(bytes([number]) * 900_000)
    assert await refusals(git, tree, base) == {"4.bin": "with it the change has more than 4000000 bytes"}


async def test_too_many_files_are_refused(git: Git, tree: Worktree, base: str, tmp_path: Path) -> None:
    strict = Git(
        "git", tmp_path / "ours", allow_local=True, redact=lambda text: text, limits=CommitLimits(max_files=10)
    )
    await git.write_files(tree, {f"{number}.txt": "x" for number in range(11)})
    assert await refusals(strict, tree, base) == {".": "11 files were changed, more than 10"}


async def test_a_large_file_that_was_there_before_is_no_obstacle(git: Git, origin: Origin, remote: Remote) -> None:
    (origin.clone / "video.bin").write_bytes(os.urandom(3_000_000))
    start = origin.commit_all()
    await git.setup_mirror(1, remote, "main")
    tree = await git.create_worktree(1, NAME, NAME, start)
    (tree.path / "new").write_text("x")
    sha = await committed(git, tree, start)
    assert (await git.reset_worktree(tree, sha, 2)).ref is None


async def test_pointers_of_large_file_storage_stay_pointers(git: Git, origin: Origin, remote: Remote) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"
    start = origin.commit({".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "big.bin": pointer})
    await git.setup_mirror(1, remote, "main")
    tree = await git.create_worktree(1, NAME, NAME, start)
    assert (tree.path / "big.bin").read_text() == pointer
    (tree.path / "big.bin").write_text(pointer.replace("12", "13"))
    sha = await committed(git, tree, start)
    assert await git.show_file(1, sha, "big.bin") == pointer.replace("12", "13").encode()


def add_submodule(origin: Origin) -> str:
    """A repository with a submodule `sub`, whose content is somewhere else."""
    origin.commit({".gitmodules": '[submodule "sub"]\n\tpath = sub\n\turl = https://example.org/sub\n'})
    plain_git(origin.clone, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    plain_git(origin.clone, "commit", "--quiet", "--message", "sub")
    plain_git(origin.clone, "push", "--quiet", "origin", "+HEAD:refs/heads/main")
    return plain_git(origin.clone, "rev-parse", "HEAD")


async def test_a_submodule_is_carried_along_unchanged(git: Git, origin: Origin, remote: Remote) -> None:
    start = add_submodule(origin)
    await git.setup_mirror(1, remote, "main")
    tree = await git.create_worktree(1, NAME, NAME, start)
    assert list((tree.path / "sub").iterdir()) == []
    (tree.path / "new").write_text("x")
    sha = await committed(git, tree, start)
    assert f"160000 commit {'1' * 40}\tsub" in plain_git(tree.path, "ls-tree", sha)
    assert (await git.reset_worktree(tree, sha, 2)).ref is None


async def test_a_submodule_whose_folder_is_gone_or_filled_is_no_change(
    git: Git, origin: Origin, remote: Remote
) -> None:
    start = add_submodule(origin)
    await git.setup_mirror(1, remote, "main")
    tree = await git.create_worktree(1, NAME, NAME, start)
    (tree.path / "sub").rmdir()
    assert (await git.changes(tree, start)).empty
    (tree.path / "sub").mkdir()
    plain_git(tree.path / "sub", "init", "--quiet")
    plain_git(tree.path / "sub", "commit", "--quiet", "--allow-empty", "--message", "x")
    assert (await git.changes(tree, start)).empty
    await git.reset_worktree(tree, start, 2)
    assert list((tree.path / "sub").iterdir()) == []


async def test_a_file_in_the_place_of_a_submodule_stays_out(git: Git, origin: Origin, remote: Remote) -> None:
    start = add_submodule(origin)
    await git.setup_mirror(1, remote, "main")
    tree = await git.create_worktree(1, NAME, NAME, start)
    (tree.path / "sub").rmdir()
    (tree.path / "sub").write_text("x")
    assert (await git.changes(tree, start)).empty
    await git.reset_worktree(tree, start, 2)
    assert list((tree.path / "sub").iterdir()) == []


async def test_protected_files_get_their_content_back_and_are_named(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "README.md").write_text("tampered")
    (tree.path / "src/app.py").unlink()
    (tree.path / "intruder.md").write_text("x")
    (tree.path / "mine").write_text("x")
    altered = await git.protect(tree, ["README.md", "src/app.py", "intruder.md", "absent.md"], base)
    assert altered == ("README.md", "intruder.md", "src/app.py")
    assert kinds(await git.changes(tree, base)) == {"mine": ChangeKind.ADDED}


async def test_protected_files_that_were_only_touched_are_not_named(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "README.md").write_text("# Sample\n")
    assert await git.protect(tree, ["README.md"], base) == ()


async def test_a_protected_file_behind_a_link_comes_back_without_following_it(
    git: Git, tree: Worktree, base: str
) -> None:
    outside = tree.path.parent / "outside"
    (tree.path / "src").rename(outside)
    (outside / "app.py").write_text("outside")
    (tree.path / "src").symlink_to(outside)
    assert await git.protect(tree, ["src/app.py"], base) == ("src/app.py",)
    assert (outside / "app.py").read_text() == "outside"
    assert not (tree.path / "src").is_symlink()
    assert (tree.path / "src/app.py").read_text() == FIRST_FILES["src/app.py"]


async def test_a_protected_file_that_became_a_folder_or_a_repository_comes_back(
    git: Git, tree: Worktree, base: str
) -> None:
    for name in ("README.md", "src/app.py"):
        (tree.path / name).unlink()
        (tree.path / name).mkdir()
        (tree.path / name / "x").write_text("x")
    plain_git(tree.path / "src/app.py", "init", "--quiet")
    await git.protect(tree, ["README.md", "src/app.py"], base)
    assert (await git.changes(tree, base)).empty
    assert (tree.path / "README.md").read_text() == FIRST_FILES["README.md"]


async def test_commits_of_an_agent_can_be_made_ordinary_changes_again(git: Git, tree: Worktree, base: str) -> None:
    (tree.path / "new").write_text("x")
    plain_git(tree.path, "add", "new")
    plain_git(tree.path, "commit", "--quiet", "--message", "by the agent")
    assert await git.uncommit(tree, base)
    assert not await git.uncommit(tree, base)
    sha = await committed(git, tree, base)
    assert [commit.message for commit in await git.log(1, base, sha)] == ["work"]


async def test_a_conflict_that_an_agent_left_is_committed_as_its_files_are(git: Git, tree: Worktree, base: str) -> None:
    for branch, text in (("one", "1\n"), ("two", "2\n")):
        plain_git(tree.path, "checkout", "--quiet", "-b", branch, base)
        (tree.path / "README.md").write_text(text)
        plain_git(tree.path, "commit", "--quiet", "--all", "--message", branch)
    plain_git(tree.path, "merge", "one", check=False)
    assert "<<<<" in (tree.path / "README.md").read_text()
    (tree.path / "README.md").write_text("settled\n")
    sha = await committed(git, tree, base)
    assert await git.show_file(1, sha, "README.md") == b"settled\n"
    assert await git.list_files(1, sha) == ("README.md", "src/app.py")


async def test_thousands_of_new_files_are_stored_as_one_pack(git: Git, tree: Worktree, base: str) -> None:
    """A file for each object is what makes 20,000 files slow: half a minute instead of two seconds."""
    for number in range(2000):
        (tree.path / f"{number} ü.txt").write_text(f"line {number}\n")
    assert len((await git.changes(tree, base)).files) == 2000
    sha = await committed(git, tree, base)
    assert len(await git.diff_stat(1, base, sha)) == 2000
    loose = int(plain_git(tree.path, "count-objects").split()[0])
    assert loose < 20
