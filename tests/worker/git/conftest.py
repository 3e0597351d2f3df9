"""What the git tests may ask for: an origin with two files, the door, and a worktree on a branch of its own."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from services.worker.git.door import Git
from services.worker.git.records import CommitLimits, Remote, Worktree
from tests.disk import quick_disk
from tests.worker.git.stage import Origin

FIRST_FILES = {"README.md": "# Sample\n", "src/app.py": "print('hello')\n"}
NAME = "0001-greet"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Repositories are many files, and no agent looks at these."""
    with TemporaryDirectory(prefix="deksdenflow-test-", dir=quick_disk(), ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def _first_origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "theirs"
    Origin(folder).commit(FIRST_FILES)
    return folder


@pytest.fixture
def origin(tmp_path: Path, _first_origin: Path) -> Origin:
    return Origin(shutil.copytree(_first_origin, tmp_path / "theirs"))


@pytest.fixture
def remote(origin: Origin) -> Remote:
    return Remote(origin.url)


@pytest.fixture
def git(tmp_path: Path) -> Iterator[Git]:
    limits = CommitLimits(max_file_bytes=1_000_000, max_total_bytes=4_000_000)
    yield Git("git", tmp_path / "ours", allow_local=True, redact=lambda text: text, limits=limits)
    subprocess.run(["rm", "-rf", tmp_path / "ours"], check=True)  # pytest cannot remove folders that are too deep


@pytest.fixture
async def base(git: Git, remote: Remote) -> str:
    """The commit that work starts from, in the mirror of project 1."""
    return (await git.setup_mirror(1, remote, "main")).base_sha


@pytest.fixture
async def tree(git: Git, base: str) -> Worktree:
    return await git.create_worktree(1, NAME, NAME, base)
