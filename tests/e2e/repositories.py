"""Repositories for these tests, made without anybody's own git configuration."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in {"NAME": "Robin Baker", "EMAIL": "robin@example.org", "DATE": "2026-03-06T18:30:00Z"}.items()
}
ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    run = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **IDENTITY, **ALONE},
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout.decode()


def make_origin(folder: Path, files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> Path:
    """A bare repository whose branch main has these files; `links` are submodules, by the commit that they are at.

    The files go straight into the object store: twenty thousand of them take a second.
    """
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "--bare", "-b", "main")
    stream = [b"commit refs/heads/main\ncommitter Robin Baker <robin@example.org> 1772821800 +0000\ndata 5\nFirst\n"]
    for path, content in files.items():
        stream.append(b"M 100644 inline " + _quoted(path) + b"\ndata %d\n" % len(content) + content + b"\n")
    stream += [b"M 160000 %s %s\n" % (sha.encode(), _quoted(path)) for path, sha in (links or {}).items()]
    git(folder, "fast-import", "--quiet", stdin=b"".join(stream))
    return folder


def _quoted(path: str) -> bytes:
    return b'"' + path.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def names_in(origin: Path, commit: str) -> set[str]:
    """The paths of all files of a commit."""
    return set(git(origin, "ls-tree", "-r", "-z", "--name-only", commit).split("\0")) - {""}


def content_of(origin: Path, commit: str, path: str) -> str:
    return git(origin, "show", f"{commit}:{path}")


def changed_in(origin: Path, old: str, new: str) -> set[str]:
    """The paths that differ, those of the protocol itself left out."""
    listed = git(origin, "diff", "-z", "--no-renames", "--name-only", old, new, "--", ".", ":(exclude).protocols")
    return set(listed.split("\0")) - {""}
