"""The one door to git: what the jobs ask for, in their words. Errors are `JobError`s; text in them is redacted."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

from services.worker.git import commits, files, history, origin, worktree
from services.worker.git.process import GitProcess
from services.worker.git.records import (
    Changes,
    Commit,
    CommitLimits,
    FileChange,
    Identity,
    MirrorInfo,
    PushResult,
    Remote,
    Salvage,
    Worktree,
)
from services.worker.git.repository import Layout, Repository, hold_worktree, open_mirror, open_worktree
from shared.errors import Category, JobError
from shared.failpoints import points
from shared.schemas.names import check_branch, check_protocol_name

SECURE_PROTOCOLS = frozenset({"https", "ssh"})


class Git:
    """Mirrors, worktrees and commits below one folder. Several of these, in several processes, may share the folder.

    `allow_local` admits origins that are paths of this machine. `extra_env` is for proxies, certificate
    files and the socket of an ssh agent.
    Submodules: their entries are carried along unchanged; their content is neither fetched nor looked into.
    """

    def __init__(
        self,
        binary: str,
        workspaces: Path,
        *,
        allow_local: bool,
        redact: Callable[[str], str],
        identity: Identity = Identity(),  # noqa: B008  it is frozen
        limits: CommitLimits = CommitLimits(),  # noqa: B008  likewise
        protocols: frozenset[str] = SECURE_PROTOCOLS,
        extra_env: Mapping[str, str] | None = None,
        local_timeout_s: float = 300.0,
        network_timeout_s: float = 1800.0,
    ) -> None:
        self._layout = Layout(workspaces)
        self._layout.prepare()
        self._identity = identity
        self._limits = limits
        self._process = GitProcess(
            binary,
            self._layout.home,
            protocols=protocols | {"file"} if allow_local else protocols,
            redact=redact,
            extra_env=extra_env or {},
            local_timeout_s=local_timeout_s,
            network_timeout_s=network_timeout_s,
        )

    async def version(self) -> str:
        """What `git --version` says, such as `git version 2.39.5`."""
        return (await self._process.run(["--version"])).text

    # Mirrors and origins

    def has_mirror(self, project_id: int) -> bool:
        """Whether the repository was cloned, and is still here."""
        return self._layout.mirror(project_id).is_dir()

    @points
    async def setup_mirror(self, project_id: int, remote: Remote, base_branch: str) -> MirrorInfo:
        """Clone the repository, or bring the mirror up to date; REPOSITORY when it is empty or has no such branch."""
        async with self._mirror(project_id, alone=True) as mirror:
            for half in origin.half_clones(mirror.mirror):
                await asyncio.to_thread(files.move_away, half, self._layout.trash)
            info = await origin.set_up(mirror, remote, base_branch)
            await asyncio.to_thread(files.remove_below, self._layout.trash)
            return info

    @points
    async def fetch(self, project_id: int, remote: Remote) -> None:
        """Bring what we know of the origin up to date."""
        async with self._mirror(project_id) as mirror:
            await origin.fetch(mirror, remote)

    @points
    async def remote_head(self, remote: Remote, branch: str) -> str | None:
        """Where the branch is at the origin now, or None."""
        return (await origin.look(self._process, remote)).by_branch.get(branch)

    @points
    async def push(
        self,
        project_id: int,
        remote: Remote,
        branch: str,
        sha: str,
        expected_remote: str | None,
        *,
        over: str | None = None,
    ) -> PushResult:
        """Bring the branch at the origin to `sha`; history there is never replaced.

        `expected_remote` is where the branch was left (None: it was not there yet). DIVERGED when it was deleted since,
        or holds commits that `sha` does not contain. A branch that is there already, or that `sha` contains, is no
        error: a push whose answer was lost can be repeated.

        `over` is what a person has seen there and gives up: this one commit may be replaced, and no other.
        """
        async with self._mirror(project_id) as mirror:
            return await origin.push(mirror, remote, branch, sha, expected_remote, over)

    async def tidy(self, project_id: int) -> None:
        """Pack a mirror's objects; takes its time, so not between two steps."""
        async with self._mirror(project_id) as mirror:
            await mirror.git("gc", "--quiet", "--prune=2.weeks.ago", config={"gc.worktreePruneExpire": "never"})

    async def remove_project(self, project_id: int) -> None:
        """Remove the mirror of a project with all its worktrees."""
        async with self._mirror(project_id, alone=True):
            await asyncio.to_thread(worktree.remove_mirror, self._layout, project_id)

    # Worktrees

    def worktree(self, project_id: int, name: str, branch: str) -> Worktree:
        """Where the worktree of a protocol run is, whether or not it exists."""
        try:
            check_protocol_name(name)
            check_branch(branch)
        except ValueError as error:
            raise JobError(Category.CONFIG, str(error)) from error
        return self._layout.worktree(project_id, name, branch)

    @points
    async def create_worktree(
        self, project_id: int, name: str, branch: str, start_sha: str, *, known_head: str | None = None
    ) -> Worktree:
        """Make the branch at `start_sha` and its worktree, or find them as they are, wherever that is.

        What somebody left in a worktree is not for this to lose: `reset_worktree` saves it, and brings it to the start.
        Where there is none any more, a branch that contains the start stays where it is, and one that went another
        way, from work that was never accepted, is saved under a salvage ref.

        `known_head` is the last commit that we recorded on the branch: with it a branch that is only at the origin any
        more (the mirror was lost) is known to be ours. REPOSITORY when such a branch of others is there.
        """
        tree = self.worktree(project_id, name, branch)
        async with open_worktree(self._process, self._layout, tree) as repository:
            await worktree.create(repository, self._layout, tree, start_sha, known_head)
        return tree

    @points
    async def is_at(self, tree: Worktree, sha: str) -> bool:
        """Whether the worktree is there, and neither its HEAD nor its branch was moved away from the commit."""
        async with open_worktree(self._process, self._layout, tree) as repository:
            return await worktree.is_at(repository, tree, sha)

    @points
    async def reset_worktree(self, tree: Worktree, sha: str, attempt: int) -> Salvage:
        """Put branch, index and files to the commit, with nothing else there: no ignored file, no nested repository.

        Whatever is lost by it is saved first, under `refs/deksdenflow/salvage/<attempt>`. Heals any damage.
        """
        async with open_worktree(self._process, self._layout, tree) as repository:
            return await worktree.reset(
                repository, self._layout, tree, sha, attempt, limits=self._limits, identity=self._identity
            )

    @points
    async def salvage(self, tree: Worktree, since: str, attempt: int) -> Salvage:
        """Save everything that the commit does not have, as a reset would; the worktree stays as it is."""
        async with self._work(tree) as repository:
            return await worktree.salvage(
                repository, self._layout, tree, since, attempt, limits=self._limits, identity=self._identity
            )

    async def remove_worktree(self, project_id: int, name: str) -> None:
        """Remove the files; the branch and its commits stay. What is not there is removed already."""
        tree = self.worktree(project_id, name, name)
        async with open_worktree(self._process, self._layout, tree):
            await asyncio.to_thread(worktree.remove, self._layout, tree)

    @contextlib.asynccontextmanager
    async def throwaway(self, project_id: int, sha: str, attempt: int) -> AsyncGenerator[Worktree]:
        """A worktree at a commit, without a branch, that is removed at the end whatever was done to it."""
        tree = self._layout.throwaway(project_id, attempt)
        async with hold_worktree(self._layout, tree) as lock:
            async with self._mirror(project_id) as mirror:
                repository = Repository(self._process, mirror.mirror, tree, [*mirror.locks, lock])
                await worktree.start_over(repository, self._layout, tree, sha)
            try:
                yield tree
            finally:
                await asyncio.to_thread(worktree.remove, self._layout, tree)

    async def prune(self) -> None:
        """Remove what dead processes left behind: throw-away worktrees that nobody holds, and the trash."""
        await asyncio.to_thread(worktree.prune, self._layout)

    # Changes and commits

    @points
    async def changes(self, tree: Worktree, since: str) -> Changes:
        """How the files differ from a commit, ignored ones left out; and what `commit` would refuse, and why."""
        async with self._work(tree) as repository:
            return await commits.changes(repository, tree, since, self._limits)

    @points
    async def commit(
        self,
        tree: Worktree,
        message: str,
        *,
        expected_parent: str,
        only: Sequence[str] | None = None,
        author: Identity | None = None,
    ) -> str | None:
        """Commit all changed files, or `only` these files and folders; None when nothing differs from the parent.

        DIVERGED when the branch is not at `expected_parent`. POLICY when a change must not enter: links that lead out,
        nested repositories, names that git keeps for itself, too many or too large files.
        """
        async with self._work(tree) as repository:
            return await commits.commit(
                repository,
                tree,
                message,
                expected_parent=expected_parent,
                only=only,
                author=author or self._identity,
                committer=self._identity,
                limits=self._limits,
            )

    @points
    async def uncommit(self, tree: Worktree, sha: str) -> bool:
        """Put the branch back to a commit and leave the files alone; True when somebody had moved it.

        For an agent without a sandbox that commits by itself: its commits become ordinary changes again.
        """
        async with self._work(tree) as repository:
            return await commits.uncommit(repository, tree, sha)

    @points
    async def protect(self, tree: Worktree, paths: Sequence[str], sha: str) -> tuple[str, ...]:
        """Give files the content (or absence) that they have in the commit; return the names of those that differed."""
        async with self._work(tree) as repository:
            return await commits.protect(repository, self._layout, tree, paths, sha)

    @points
    async def write_files(self, tree: Worktree, texts: Mapping[str, str]) -> None:
        """Write texts by their paths in the worktree; POLICY when a path is unsound or leads through a link."""
        await asyncio.to_thread(files.write_texts, tree.path, texts)

    @points
    async def read_file(self, tree: Worktree, path: str, *, max_bytes: int = 1_000_000) -> bytes | None:
        """A file as it lies in the worktree, or None; POLICY when something odd is in its place."""
        return await asyncio.to_thread(files.read_bytes, tree.path, path, max_bytes)

    # History

    async def head(self, project_id: int, branch: str) -> str | None:
        """Where our own branch is."""
        async with self._mirror(project_id) as mirror:
            return await mirror.resolve(f"refs/heads/{branch}")

    @points
    async def has_commit(self, project_id: int, sha: str) -> bool:
        """Whether the mirror has the commit, wherever it is from."""
        async with self._mirror(project_id) as mirror:
            return await mirror.resolve(sha) is not None

    async def origin_head(self, project_id: int, branch: str) -> str | None:
        """Where the origin's branch was when we last fetched or pushed."""
        async with self._mirror(project_id) as mirror:
            return await mirror.resolve(f"refs/remotes/origin/{branch}")

    @points
    async def is_ancestor(self, project_id: int, old: str, new: str) -> bool:
        """Whether `new` contains `old`."""
        async with self._mirror(project_id) as mirror:
            return await mirror.is_ancestor(old, new)

    @points
    async def diff(self, project_id: int, old: str, new: str, *, max_bytes: int = 1_000_000) -> str:
        """The difference as text; binary files are named only, and a last line tells when it was cut."""
        async with self._mirror(project_id) as mirror:
            return await history.diff(mirror, old, new, max_bytes)

    async def diff_stat(self, project_id: int, old: str, new: str) -> tuple[FileChange, ...]:
        """Which files differ, and by how many lines; a rename is a deletion and an addition."""
        async with self._mirror(project_id) as mirror:
            return await history.changed_files(mirror, old, new)

    async def log(self, project_id: int, after: str | None, until: str, *, limit: int = 100) -> tuple[Commit, ...]:
        """The commits that `until` has and `after` has not, newest first."""
        async with self._mirror(project_id) as mirror:
            return await history.log(mirror, after, until, limit)

    @points
    async def show_file(self, project_id: int, commit: str, path: str, *, max_bytes: int = 1_000_000) -> bytes | None:
        """The content of a file in a commit; None when there is no file of this name."""
        async with self._mirror(project_id) as mirror:
            return await history.show_file(mirror, commit, path, max_bytes)

    async def list_files(self, project_id: int, commit: str) -> tuple[str, ...]:
        """The names of all files in a commit."""
        async with self._mirror(project_id) as mirror:
            return await history.list_files(mirror, commit)

    def _mirror(self, project_id: int, *, alone: bool = False) -> contextlib.AbstractAsyncContextManager[Repository]:
        return open_mirror(self._process, self._layout, project_id, alone=alone)

    @contextlib.asynccontextmanager
    async def _work(self, tree: Worktree) -> AsyncGenerator[Repository]:
        """A worktree that must be there, with its private folder put right first."""
        async with open_worktree(self._process, self._layout, tree) as repository:
            if not tree.path.is_dir() or not (tree.git_dir / "index").exists():
                raise JobError(Category.GIT, f"the worktree {tree.name} is not complete; a reset makes it anew")
            await asyncio.to_thread(worktree.put_right, self._layout, tree)
            yield repository
