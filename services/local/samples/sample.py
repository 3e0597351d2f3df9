"""Makes the sample repository `tabsplit` with its history and its bare origin, as a person might have it."""

import os
import shutil
import subprocess
from pathlib import Path

from msgspec import Struct

_HERE = Path(__file__).parent
# One folder per commit: each adds files to those of the folder before.
_HISTORY = (
    ("1-read", "Read a bill", "2026-03-06T18:30:00Z"),
    ("2-split", "Split the bill among friends", "2026-03-07T11:15:00Z"),
    ("3-report", "Show that a cent gets lost", "2026-03-13T23:40:00Z"),
)
_AUTHOR = {"NAME": "Robin Baker", "EMAIL": "robin@example.org"}


class SamplePaths(Struct, frozen=True):
    """Where the sample is: a clone to look at, the bare `origin` to register, the script that plays a protocol on it.

    `test_command` runs the sample's own tests in a checkout: red before the protocol, green after it.
    """

    repository: Path
    origin: Path
    script: Path
    test_command: tuple[str, ...] = ("sh", "run-tests")
    base_branch: str = "main"


def make_sample(folder: Path) -> SamplePaths:
    """Creates `tabsplit` and `tabsplit.git` in `folder`; the commit ids are the same every time.

    Raises FileExistsError when they are there already, and subprocess.CalledProcessError when git fails.
    """
    repository, origin = folder / "tabsplit", folder / "tabsplit.git"
    repository.mkdir(parents=True)
    origin.mkdir()
    _git(origin, "init", "-q", "--bare")
    _git(origin, "symbolic-ref", "HEAD", "refs/heads/main")
    _git(repository, "init", "-q")
    _git(repository, "symbolic-ref", "HEAD", "refs/heads/main")
    for name, subject, date in _HISTORY:
        shutil.copytree(_HERE / "tabsplit" / name, repository, dirs_exist_ok=True, ignore=_caches)
        _git(repository, "add", "-A")
        _git(repository, "commit", "-q", "-m", subject, date=date)
    _git(repository, "remote", "add", "origin", str(origin))
    _git(repository, "push", "-q", "-u", "origin", "main")
    return SamplePaths(repository=repository, origin=origin, script=_HERE / "tabsplit.toml")


def _caches(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__"}


def _git(folder: Path, *arguments: str, date: str = "") -> None:
    """Git without the person's own configuration, hooks and signing keys."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _AUTHOR.items()}
    when = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date} if date else {}
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TEMPLATE_DIR": ""}
    command = ["git", "-c", "core.autocrlf=false", "-c", "core.fileMode=false", *arguments]
    subprocess.run(command, cwd=folder, env=kept | who | when | alone, check=True, capture_output=True)
