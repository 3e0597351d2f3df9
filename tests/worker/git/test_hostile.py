"""Traps that somebody with write access to a worktree, and sometimes to more, may set: none of them runs anything.

Each trap is proven first: with plain git it does run.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from services.worker.git.door import Git
from services.worker.git.records import Remote, Worktree
from tests.worker.git.conftest import NAME
from tests.worker.git.stage import Origin, plain_git


class Trap:
    """A command that leaves a mark where it ran."""

    def __init__(self, folder: Path) -> None:
        self._mark = folder / "it ran"
        self.script = folder / "trap.sh"
        self.script.write_text(f"#!/bin/sh\ntouch '{self._mark}'\ncat\nexit 0\n")
        self.script.chmod(0o755)

    @property
    def sprung(self) -> bool:
        return self._mark.exists()

    def prove(self, where: Path, *args: str) -> None:
        plain_git(where, *args, check=False)
        assert self.sprung, f"the trap does not work with plain git {args}"
        self._mark.unlink()

    @property
    def config(self) -> str:
        """Everything in a configuration that names a program."""
        return f"""
[core]
    fsmonitor = {self.script}
    hooksPath = {self.script.parent / "hooks"}
    sshCommand = {self.script}
    editor = {self.script}
    pager = {self.script}
    askPass = {self.script}
    alternateRefsCommand = {self.script}
    gitProxy = {self.script}
[filter "evil"]
    clean = {self.script}
    smudge = {self.script}
    process = {self.script}
    required = true
[diff]
    external = {self.script}
[diff "evil"]
    command = {self.script}
    textconv = {self.script}
[merge "evil"]
    driver = {self.script} %A
[credential]
    helper = {self.script}
[gpg]
    program = {self.script}
[commit]
    gpgSign = true
[push]
    gpgSign = if-asked
[remote "origin"]
    uploadpack = {self.script}
    receivepack = {self.script}
[uploadpack]
    packObjectsHook = {self.script}
[sequence]
    editor = {self.script}
[alias]
    update-index = !{self.script}
"""

    def hooks(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for name in (
            "reference-transaction",
            "post-checkout",
            "post-index-change",
            "pre-commit",
            "pre-push",
            "pre-receive",
            "post-receive",
            "update",
            "proc-receive",
            "post-update",
            "fsmonitor-watchman",
            "pre-auto-gc",
        ):
            (folder / name).write_text(self.script.read_text())
            (folder / name).chmod(0o755)


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    folder = tmp_path / "trap"
    folder.mkdir()
    trap = Trap(folder)
    trap.hooks(folder / "hooks")
    return trap


def mirror_of(tree: Worktree) -> Path:
    return tree.git_dir.parents[1]


async def everything(git: Git, tree: Worktree, base: str, remote: Remote) -> None:
    """All that is ever done in and around a worktree; with the results that it must have."""
    (tree.path / "new file").write_text("x")
    (tree.path / "README.md").write_text("changed")
    changes = await git.changes(tree, base)
    assert {file.path for file in changes.files} >= {"README.md", "new file"}
    assert await git.protect(tree, ["src/app.py"], base) == ()
    await git.salvage(tree, base, 1)
    sha = await git.commit(tree, "work", expected_parent=base)
    assert sha is not None
    assert "changed" in await git.diff(1, base, sha)
    assert len(await git.log(1, base, sha)) == 1
    assert await git.show_file(1, sha, "README.md") == b"changed"
    await git.push(1, remote, NAME, sha, None)
    await git.fetch(1, remote)
    await git.setup_mirror(1, remote, "main")
    async with git.throwaway(1, sha, 2) as copy:
        assert (copy.path / "README.md").read_text() == "changed"
    (tree.path / "README.md").write_text("again")
    await git.reset_worktree(tree, base, 3)
    assert (tree.path / "README.md").read_text() == "# Sample\n"
    await git.remove_worktree(1, tree.name)


def swap_git_file(tree: Worktree, trap: Trap) -> None:
    evil = tree.path / "evil"
    shutil.copytree(mirror_of(tree), evil, ignore=shutil.ignore_patterns("worktrees"))
    (evil / "config").write_text(f"[core]\n\trepositoryformatversion = 0\n{trap.config}")
    (tree.path / ".git").write_text("gitdir: evil\n")
    trap.prove(tree.path, "status")


def git_folder_with_hooks(tree: Worktree, trap: Trap) -> None:
    (tree.path / ".git").unlink()
    plain_git(tree.path, "init", "--quiet")
    trap.hooks(tree.path / ".git/hooks")
    trap.prove(tree.path, "commit", "--allow-empty", "--message", "x")


def filters_by_attributes(tree: Worktree, trap: Trap) -> None:
    (tree.path / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    with (mirror_of(tree) / "config").open("a") as config:
        config.write(trap.config.replace("fsmonitor", "nothing"))
    trap.prove(tree.path, "add", "--dry-run", ".gitattributes")
    trap.prove(tree.path, "hash-object", "README.md")


def configuration_of_the_mirror(tree: Worktree, trap: Trap) -> None:
    with (mirror_of(tree) / "config").open("a") as config:
        config.write(trap.config)
    trap.prove(tree.path, "status")


def configuration_of_the_worktree(tree: Worktree, trap: Trap) -> None:
    with (mirror_of(tree) / "config").open("a") as config:
        config.write("[extensions]\n\tworktreeConfig = true\n")
    (tree.git_dir / "config.worktree").write_text(f"{trap.config}[core]\n\tbare = false\n")
    trap.prove(tree.path, "status")


def another_common_folder(tree: Worktree, trap: Trap) -> None:
    evil = tree.path.parent / "evil"
    shutil.copytree(mirror_of(tree), evil, ignore=shutil.ignore_patterns("worktrees"))
    with (evil / "config").open("a") as config:
        config.write(trap.config)
    (tree.git_dir / "commondir").write_text(f"{evil}\n")
    trap.prove(tree.path, "status")


def hooks_of_the_mirror(tree: Worktree, trap: Trap) -> None:
    trap.hooks(mirror_of(tree) / "hooks")
    trap.prove(tree.path, "update-ref", "refs/heads/proof", "HEAD")


def included_configuration(tree: Worktree, trap: Trap) -> None:
    (tree.path / "innocent.cfg").write_text(trap.config)
    with (mirror_of(tree) / "config").open("a") as config:
        config.write(f"[include]\n\tpath = {tree.path}/innocent.cfg\n")
    trap.prove(tree.path, "status")


def a_nested_repository(tree: Worktree, trap: Trap) -> None:
    """In a folder that is tracked, so that git would take its files for the outer repository's."""
    plain_git(tree.path / "src", "init", "--quiet")
    (tree.path / "src/.git/config").write_text(f"[core]\n\trepositoryformatversion = 0\n{trap.config}")
    trap.prove(tree.path / "src", "status")


@pytest.mark.parametrize(
    "set_trap",
    [
        swap_git_file,
        git_folder_with_hooks,
        filters_by_attributes,
        configuration_of_the_mirror,
        configuration_of_the_worktree,
        another_common_folder,
        hooks_of_the_mirror,
        included_configuration,
        a_nested_repository,
    ],
    ids=lambda set_trap: set_trap.__name__,
)
async def test_nothing_runs_by(
    git: Git, tree: Worktree, base: str, remote: Remote, trap: Trap, set_trap: Callable[[Worktree, Trap], None]
) -> None:
    set_trap(tree, trap)
    await everything(git, tree, base, remote)
    assert not trap.sprung


async def test_nothing_runs_by_a_submodule_that_became_a_repository(
    git: Git, origin: Origin, remote: Remote, trap: Trap, tmp_path: Path
) -> None:
    filled = tmp_path / "filled"
    filled.mkdir()
    plain_git(filled, "init", "--quiet")
    (filled / "file").write_text("one")
    (filled / ".gitattributes").write_text("* filter=evil\n")
    plain_git(filled, "add", "--all")
    plain_git(filled, "commit", "--quiet", "--message", "x")
    at = plain_git(filled, "rev-parse", "HEAD")
    plain_git(origin.clone, "update-index", "--add", "--cacheinfo", f"160000,{at},sub")
    plain_git(origin.clone, "commit", "--quiet", "--message", "sub")
    plain_git(origin.clone, "push", "--quiet", "origin", "+HEAD:refs/heads/main")
    base = (await git.setup_mirror(1, remote, "main")).base_sha
    tree = await git.create_worktree(1, NAME, NAME, base)

    def set_trap() -> None:
        shutil.copytree(filled, tree.path / "sub", dirs_exist_ok=True)
        (tree.path / "sub/file").write_text("two")
        (tree.path / "sub/.git/config").write_text(f"[core]\n\trepositoryformatversion = 0\n{trap.config}")

    set_trap()
    trap.prove(tree.path, "-c", "core.fsmonitor=false", "status")
    assert await git.protect(tree, ["sub"], base) == ()
    await git.reset_worktree(tree, base, 9)
    assert list((tree.path / "sub").iterdir()) == []
    set_trap()
    await everything(git, tree, base, remote)
    assert not trap.sprung


async def test_nothing_runs_by_hooks_and_configuration_of_a_local_origin(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin, trap: Trap
) -> None:
    with (origin.bare / "config").open("a") as config:
        config.write(trap.config)
    trap.hooks(origin.bare / "hooks")
    trap.prove(origin.clone, "push", "origin", "HEAD:refs/heads/proof")
    await everything(git, tree, base, remote)
    assert not trap.sprung


async def test_the_environment_of_the_service_changes_nothing(
    git: Git,
    tree: Worktree,
    base: str,
    remote: Remote,
    trap: Trap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tmp_path = trap.script.parent
    (tmp_path / ".gitconfig").write_text(trap.config)
    for name, value in {
        "HOME": str(tmp_path),
        "GIT_DIR": str(tmp_path / "nowhere"),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_EXTERNAL_DIFF": str(trap.script),
        "GIT_SSH_COMMAND": str(trap.script),
        "GIT_ASKPASS": str(trap.script),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(trap.script),
        "GIT_TRACE": str(tmp_path / "trace"),
    }.items():
        monkeypatch.setenv(name, value)
    await everything(git, tree, base, remote)
    assert not trap.sprung
    assert not (tmp_path / "trace").exists()


async def test_nothing_runs_by_configuration_in_the_home_of_our_git(
    git: Git, tree: Worktree, base: str, remote: Remote, trap: Trap, tmp_path: Path
) -> None:
    home = tmp_path / "ours/home"
    (home / "git").mkdir()
    for file in (home / ".gitconfig", home / "git/config"):
        file.write_text(trap.config)
    (home / "git/attributes").write_text("* filter=evil\n")
    (home / "git/ignore").write_text("*\n")
    await everything(git, tree, base, remote)
    assert not trap.sprung


async def test_a_replaced_object_is_not_believed(git: Git, tree: Worktree, base: str) -> None:
    blob = plain_git(tree.path, "rev-parse", f"{base}:README.md")
    (tree.path / "fake").write_text("fake")
    plain_git(tree.path, "replace", blob, plain_git(tree.path, "hash-object", "-w", "fake"))
    assert plain_git(tree.path, "show", f"{base}:README.md") == "fake"
    assert await git.show_file(1, base, "README.md") == b"# Sample\n"


async def test_a_url_rewritten_in_the_mirror_does_not_redirect_a_push(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin, tmp_path: Path
) -> None:
    plain_git(tmp_path, "init", "--quiet", "--bare", "thief.git")
    with (mirror_of(tree) / "config").open("a") as config:
        config.write(f'[url "{tmp_path}/thief.git"]\n\tinsteadOf = {origin.url}\n\tpushInsteadOf = {origin.url}\n')
    (tree.path / "new").write_text("x")
    sha = await git.commit(tree, "x", expected_parent=base)
    assert sha is not None
    await git.push(1, remote, NAME, sha, None)
    assert origin.head(NAME) == sha
    assert plain_git(tmp_path / "thief.git", "for-each-ref") == ""
