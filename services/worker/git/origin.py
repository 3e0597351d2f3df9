"""The place for everything that talks to a project's origin: looking, cloning, fetching and pushing, with its token."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from services.worker.git.failures import told_by_push
from services.worker.git.process import GitProcess
from services.worker.git.records import MirrorInfo, PushResult, Remote
from services.worker.git.repository import Repository
from shared.errors import Category, JobError
from shared.schemas.names import url_host

MAX_BRANCHES_NAMED: Final = 20
_SHA1_CHARS: Final = 40

# Our own branches are refs/heads/*, so nothing that happens at the origin can touch them here.
_FETCHED: Final = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")


class Heads(Struct, frozen=True):
    """The branches of an origin, and the one that its HEAD names."""

    by_branch: dict[str, str]
    default: str | None


async def look(process: GitProcess, remote: Remote) -> Heads:
    """Ask the origin for its branches."""
    async with _access(remote) as (config, fds):
        said = await process.run(
            [
                "ls-remote",
                "--symref",
                *_upload_pack(process, remote),
                "--end-of-options",
                remote.url,
                "HEAD",
                "refs/heads/*",
            ],
            config=config,
            fds=fds,
            timeout_s=process.network_timeout_s,
        )
    by_branch: dict[str, str] = {}
    default = None
    for line in said.text.splitlines():
        left, _, ref = line.partition("\t")
        if left.startswith("ref: refs/heads/") and ref == "HEAD":
            default = left.removeprefix("ref: refs/heads/")
        elif ref.startswith("refs/heads/"):
            by_branch[ref.removeprefix("refs/heads/")] = left
    if any(len(sha) != _SHA1_CHARS for sha in by_branch.values()):
        raise JobError(Category.REPOSITORY, "the repository uses SHA-256 object names, which are not supported")
    return Heads(by_branch, default if default in by_branch else None)


async def set_up(repository: Repository, remote: Remote, base_branch: str) -> MirrorInfo:
    """Create the mirror or bring it up to date; the mirror must be held alone."""
    heads = await look(repository.process, remote)
    if not heads.by_branch:
        raise JobError(Category.REPOSITORY, "the repository is empty; push a first commit to it")
    if base_branch not in heads.by_branch:
        raise JobError(Category.REPOSITORY, f"base branch {base_branch!r} does not exist; it has: {_some(heads)}")
    if repository.mirror.exists():
        await fetch(repository, remote)
    else:
        await _clone(repository, remote)
    base = await repository.resolve(f"refs/remotes/origin/{base_branch}")
    if base is None:
        raise JobError(Category.GIT, f"base branch {base_branch!r} vanished while it was fetched")
    return MirrorInfo(base, heads.default, tuple(sorted(heads.by_branch)))


async def fetch(repository: Repository, remote: Remote) -> None:
    """Bring refs/remotes/origin/* and the tags up to date; what is gone at the origin goes here too."""
    process = repository.process
    async with _access(remote) as (config, fds):
        await repository.git(
            "fetch",
            "--quiet",
            "--prune",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-gc",
            "--no-recurse-submodules",
            *_upload_pack(process, remote),
            "--end-of-options",
            remote.url,
            *_FETCHED,
            config=config,
            more_fds=fds,
            timeout_s=process.network_timeout_s,
        )


async def push(
    repository: Repository, remote: Remote, branch: str, sha: str, expected_remote: str | None, over: str | None
) -> PushResult:
    """See `door.Git.push`."""
    ref = f"refs/heads/{branch}"
    before = (await look(repository.process, remote)).by_branch.get(branch)
    if before != sha and (before is None or before != over):
        await _refuse_foreign_move(repository, branch, sha, expected_remote, before)
    if before != sha:
        await _send(repository, remote, ref, sha, before)
    await repository.git("update-ref", f"refs/remotes/origin/{branch}", sha)
    return PushResult(sha, before, already=before == sha)


async def _refuse_foreign_move(
    repository: Repository, branch: str, sha: str, expected: str | None, before: str | None
) -> None:
    if before is None and expected is not None:
        raise JobError(Category.DIVERGED, f"branch {branch} was deleted at the origin; it was at {expected[:12]}")
    if before is not None and not await repository.is_ancestor(before, sha):
        was, instead = "not there", "remove it there and try again, or cancel"
        if expected is not None:
            was, instead = f"at {expected[:12]}", "adopt it, reset it or cancel"
        raise JobError(
            Category.DIVERGED,
            f"branch {branch} at the origin is at {before[:12]}, which {sha[:12]} does not contain (it was {was});"
            f" {instead}",
        )


async def _send(repository: Repository, remote: Remote, ref: str, sha: str, before: str | None) -> None:
    """The lease makes it fail should the branch move between our look, which found this allowed, and the push."""
    process = repository.process
    async with _access(remote) as (config, fds):
        said = await repository.git(
            "push",
            "--porcelain",
            "--quiet",
            "--no-verify",
            "--no-follow-tags",
            "--no-recurse-submodules",
            "--no-signed",
            f"--force-with-lease={ref}:{before or ''}",
            *_receive_pack(process, remote),
            "--end-of-options",
            remote.url,
            f"{sha}:{ref}",
            config=config,
            more_fds=fds,
            ok=(0, 1),
            timeout_s=process.network_timeout_s,
        )
    if said.code:
        raise told_by_push(process.redact(f"{said.text}\n{said.stderr}"))


async def _clone(repository: Repository, remote: Remote) -> None:
    """Into a folder of another name first, so that a clone that was cut off is never taken for a mirror."""
    mirror = repository.mirror
    half = mirror.with_name(f".{mirror.stem}.{secrets.token_hex(6)}.half")
    half.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    process = repository.process
    await process.run(
        ["init", "--quiet", "--bare", "--template=", "--object-format=sha1", "--end-of-options", str(half)]
    )
    fresh = Repository(process, half, None, repository.locks)
    await fresh.git("symbolic-ref", "HEAD", "refs/heads/none")
    fresh.restore_config()
    await fetch(fresh, remote)
    await asyncio.to_thread(half.rename, mirror)


def half_clones(mirror: Path) -> list[Path]:
    """What clones of this mirror that were cut off left behind."""
    return list(mirror.parent.glob(f".{mirror.stem}.*.half"))


@contextlib.asynccontextmanager
async def _access(remote: Remote) -> AsyncGenerator[tuple[dict[str, str], list[int]]]:
    """Configuration and file descriptors that let git answer this origin, and no other, with the token.

    The token goes through a pipe that only this command inherits: it is in no argument, no environment and no file.
    """
    if remote.url.startswith("-"):
        raise JobError(Category.REPOSITORY, "git_url must not start with '-'")
    if remote.credential is None or not remote.url.startswith(("https:", "http:")):
        yield {}, []
        return
    if remote.credential.host != url_host(remote.url):
        raise JobError(
            Category.CONFIG, f"the stored token is for {remote.credential.host}, not for this repository's host"
        )
    answer = f"username={remote.credential.username}\npassword={remote.credential.token.reveal()}\n".encode()
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(answer)  # a token is far smaller than what a pipe holds
        parts = urlsplit(remote.url)
        helper = f'!f() {{ test "$1" = get && cat /dev/fd/{reader}; }}; f'
        yield {f"credential.{parts.scheme}://{parts.netloc}.helper": helper}, [reader]
    finally:
        os.close(reader)


def _upload_pack(process: GitProcess, remote: Remote) -> list[str]:
    """A local origin is read by a git of ours: with our settings, whatever its own configuration says."""
    return [f"--upload-pack={process.quoted} {_LOCAL} upload-pack"] if remote.url.startswith("/") else []


def _receive_pack(process: GitProcess, remote: Remote) -> list[str]:
    """Likewise; the hooks of a local origin do not run, because an agent might have been able to write them."""
    if not remote.url.startswith("/"):
        return []
    careful = f"{_LOCAL} -c receive.denyCurrentBranch=refuse -c receive.autogc=false"
    return [f"--receive-pack={process.quoted} {careful} receive-pack"]


_LOCAL: Final = (
    "-c 'safe.directory=*' -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.alternateRefsCommand=:"
)


def _some(heads: Heads) -> str:
    names = sorted(heads.by_branch)
    more = len(names) - MAX_BRANCHES_NAMED
    return ", ".join(names[:MAX_BRANCHES_NAMED]) + (f" and {more} more" if more > 0 else "")
