"""Setting up and fetching a mirror."""

import asyncio
import os
import shutil
import stat
from pathlib import Path

import pytest

from services.worker.git.door import Git
from services.worker.git.records import Remote
from shared.errors import Category, JobError
from tests.worker.git.stage import Origin, plain_git


def mirror_of(git: Git, project_id: int = 1) -> Path:
    return git.worktree(project_id, "0001-x", "x").git_dir.parents[1]


async def test_a_mirror_knows_the_base_commit_and_the_branches(git: Git, origin: Origin, remote: Remote) -> None:
    dev = origin.commit({"dev.txt": "x"}, branch="dev")
    info = await git.setup_mirror(1, remote, "dev")
    assert (info.base_sha, info.default_branch, info.branches) == (dev, "main", ("dev", "main"))


async def test_a_second_set_up_brings_it_up_to_date(git: Git, origin: Origin, remote: Remote, base: str) -> None:
    newer = origin.commit({"new.txt": "x"})
    assert base != newer
    assert (await git.setup_mirror(1, remote, "main")).base_sha == newer


async def test_a_missing_base_branch_is_answered_with_the_branches_there_are(
    git: Git, origin: Origin, remote: Remote
) -> None:
    origin.commit({"dev.txt": "x"}, branch="dev")
    with pytest.raises(JobError, match=r"base branch 'master' does not exist; it has: dev, main") as caught:
        await git.setup_mirror(1, remote, "master")
    assert caught.value.category is Category.REPOSITORY


async def test_an_empty_repository_is_named_as_such(git: Git, tmp_path: Path) -> None:
    plain_git(tmp_path, "init", "--quiet", "--bare", "empty.git")
    with pytest.raises(JobError, match="is empty; push a first commit") as caught:
        await git.setup_mirror(1, Remote(str(tmp_path / "empty.git")), "main")
    assert caught.value.category is Category.REPOSITORY


async def test_a_path_without_a_repository_is_a_permanent_error(git: Git, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="no repository there") as caught:
        await git.setup_mirror(1, Remote(str(tmp_path / "nothing")), "main")
    assert caught.value.category is Category.REPOSITORY
    assert "nothing" in caught.value.stderr_tail


async def test_a_repository_with_sha256_names_is_refused(git: Git, tmp_path: Path) -> None:
    plain_git(tmp_path, "init", "--quiet", "--object-format=sha256", "--initial-branch=main", "modern")
    plain_git(tmp_path / "modern", "commit", "--quiet", "--allow-empty", "--message", "first")
    with pytest.raises(JobError, match="SHA-256"):
        await git.setup_mirror(1, Remote(str(tmp_path / "modern")), "main")


async def test_a_local_path_is_refused_where_local_repositories_are_not_allowed(tmp_path: Path, origin: Origin) -> None:
    strict = Git("git", tmp_path / "strict", allow_local=False, redact=lambda text: text)
    with pytest.raises(JobError, match="not allowed") as caught:
        await strict.setup_mirror(1, Remote(origin.url), "main")
    assert caught.value.category is Category.REPOSITORY


@pytest.mark.parametrize("url", ["ext::sh -c 'touch /tmp/x'", "git://127.0.0.1:1/x", "http://127.0.0.1:1/x", "fd::7"])
async def test_other_transports_are_refused_by_git_itself(git: Git, url: str) -> None:
    with pytest.raises(JobError, match="not allowed"):
        await git.setup_mirror(1, Remote(url), "main")


async def test_a_url_is_never_taken_for_an_option(git: Git, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="must not start with '-'"):
        await git.setup_mirror(1, Remote(f"--upload-pack=touch {tmp_path}/ran"), "main")
    assert not (tmp_path / "ran").exists()


async def test_a_changed_url_is_followed(git: Git, origin: Origin, base: str, tmp_path: Path) -> None:
    moved = tmp_path / "moved.git"
    origin.bare.rename(moved)
    assert (await git.setup_mirror(1, Remote(str(moved)), "main")).base_sha == base


async def test_a_path_with_spaces_quotes_and_umlauts_is_a_path(git: Git, tmp_path: Path) -> None:
    origin = Origin(tmp_path / 'it\'s "Bücher" $HOME; x')
    first = origin.commit({"ä b.txt": "x"})
    assert (await git.setup_mirror(1, Remote(origin.url), "main")).base_sha == first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository away")
async def test_a_local_repository_of_another_user_can_be_read_and_written(
    git: Git, origin: Origin, remote: Remote
) -> None:
    for path in [origin.bare, *origin.bare.rglob("*")]:
        os.chown(path, 65534, 65534)
    assert plain_git(origin.clone, "ls-remote", "origin", check=False) == ""
    base = (await git.setup_mirror(1, remote, "main")).base_sha
    assert (await git.push(1, remote, "0001-x", base, None)).sha == base


@pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh")
async def test_ssh_is_started_with_options_that_it_knows(git: Git, free_port: int) -> None:
    with pytest.raises(JobError, match="Connection refused") as caught:
        await git.remote_head(Remote(f"ssh://git@127.0.0.1:{free_port}/x"), "main")
    assert caught.value.category is Category.NETWORK


async def test_what_is_gone_at_the_origin_goes_and_our_branches_stay(
    git: Git, origin: Origin, remote: Remote, base: str
) -> None:
    origin.commit({"x": "x"}, branch="side")
    await git.fetch(1, remote)
    assert await git.origin_head(1, "side") is not None
    await git.create_worktree(1, "0002-own", "0002-own", base)
    plain_git(origin.bare, "update-ref", "-d", "refs/heads/side")
    origin.commit({"y": "y"}, branch="side/deeper")  # a folder where a branch was
    await git.fetch(1, remote)
    assert await git.origin_head(1, "side") is None
    assert await git.origin_head(1, "side/deeper") is not None
    assert await git.head(1, "0002-own") == base


async def test_a_clone_that_was_cut_off_leaves_no_mirror_and_the_next_one_works(
    git: Git, origin: Origin, remote: Remote, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    cut.write_text('#!/bin/sh\nfor arg; do [ "$arg" = fetch ] && kill -9 $$; done\nexec git "$@"\n')
    cut.chmod(cut.stat().st_mode | stat.S_IXUSR)
    dying = Git(str(cut), tmp_path / "ours", allow_local=True, redact=lambda text: text)
    with pytest.raises(JobError, match="killed by signal 9") as caught:
        await dying.setup_mirror(1, remote, "main")
    assert caught.value.retryable
    assert not mirror_of(git).exists()
    assert list(mirror_of(git).parent.iterdir()) != []
    await git.setup_mirror(1, remote, "main")
    assert [each.name for each in mirror_of(git).parent.iterdir()] == ["1.git"]


async def test_a_project_without_a_mirror_says_so(git: Git) -> None:
    with pytest.raises(JobError, match="has no mirror yet"):
        await git.head(5, "main")


async def test_set_ups_and_fetches_at_once_do_no_harm(git: Git, origin: Origin, remote: Remote, tmp_path: Path) -> None:
    other = Git("git", tmp_path / "ours", allow_local=True, redact=lambda text: text)
    infos = await asyncio.gather(*(door.setup_mirror(1, remote, "main") for door in (git, other, git, other)))
    assert len({info.base_sha for info in infos}) == 1
    origin.commit({"z": "z"})
    await asyncio.gather(*(door.fetch(1, remote) for door in (git, other)), return_exceptions=True)
    await git.fetch(1, remote)
    assert await git.origin_head(1, "main") == origin.head("main")


async def test_lock_files_of_a_killed_git_are_removed(git: Git, remote: Remote, base: str, origin: Origin) -> None:
    mirror = mirror_of(git)
    newer = origin.commit({"new": "x"})
    (mirror / "refs/remotes/origin/main.lock").touch()
    (mirror / "packed-refs.lock").touch()
    await git.fetch(1, remote)
    assert await git.origin_head(1, "main") == newer


async def test_tags_come_along(git: Git, origin: Origin, remote: Remote, base: str) -> None:
    plain_git(origin.clone, "tag", "v1")
    plain_git(origin.clone, "push", "--quiet", "origin", "v1")
    await git.fetch(1, remote)
    assert plain_git(mirror_of(git), "tag") == "v1"


async def test_the_head_at_the_origin_is_read_without_a_mirror(git: Git, origin: Origin, remote: Remote) -> None:
    assert await git.remote_head(remote, "main") == origin.head("main")
    assert await git.remote_head(remote, "ma") is None


async def test_packing_a_mirror_keeps_branches_worktrees_and_salvage(git: Git, base: str) -> None:
    tree = await git.create_worktree(1, "0001-x", "0001-x", base)
    (tree.path / "README.md").write_text("agent's")
    salvage = await git.reset_worktree(tree, base, 7)
    (tree.path / "new").write_text("kept")
    await git.tidy(1)
    assert salvage.ref is not None
    assert await git.show_file(1, salvage.ref, "README.md") == b"agent's"
    assert await git.commit(tree, "x", expected_parent=base)


async def test_a_removed_project_leaves_nothing(git: Git, base: str, tmp_path: Path) -> None:
    await git.create_worktree(1, "0001-x", "0001-x", base)
    await git.remove_project(1)
    assert not list((tmp_path / "ours").glob("repos/*"))
    assert not list((tmp_path / "ours").glob("worktrees/*"))
