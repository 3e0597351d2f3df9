"""scripts/venv.sh: which interpreter it takes, what it refuses, and when it has nothing to do.

The interpreters are shell stubs that answer as a Python of some version would; no package is installed.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-codex.lock", "requirements-dev.lock")

# `-c` answers the version or the check for venv; `-m venv` makes an environment whose python is a copy of this stub;
# `-m pip` notes that it was asked, and does what the test says.
STUB = """#!/bin/sh
case "$1 $2" in
    "-c import sys"*) echo {version} ;;
    "-c import ensurepip"*) exit {venv_status} ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip") echo "$*" >>"{notes}"; printf '%s\\n' '{pip_says}'; exit {pip_status} ;;
    *) exit 99 ;;
esac
"""


UTILITIES = (
    "bash",
    "sh",
    "cat",
    "cp",
    "cut",
    "dirname",
    "env",
    "flock",
    "grep",
    "head",
    "make",
    "mkdir",
    "mv",
    "rm",
    "sed",
    "sha256sum",
    "tail",
)


class Clone:
    """A copy of what venv.sh touches, with a PATH that has the base utilities and the stubs that a test adds."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "clone"
        self.bin = folder / "bin"
        self.notes = folder / "pip-was-asked"
        (self.root / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "scripts/venv.sh", self.root / "scripts")
        shutil.copy(ROOT / "Makefile", self.root)
        for lock in LOCKS:
            (self.root / lock).write_text("a==1 \\\n    --hash=sha256:00\nb==2 ; sys_platform == 'win32'\n")
        for name in UTILITIES:
            if found := shutil.which(name):
                (self.bin / name).symlink_to(found)

    def add_python(
        self, name: str, version: str, *, venv_status: int = 0, pip_status: int = 0, pip_says: str = "done"
    ) -> None:
        stub = self.bin / name
        stub.unlink(missing_ok=True)
        stub.write_text(
            STUB.format(
                version=version, venv_status=venv_status, pip_status=pip_status, pip_says=pip_says, notes=self.notes
            )
        )
        stub.chmod(0o755)

    def add_broken_shim(self, name: str) -> None:
        (self.bin / name).write_text("#!/bin/sh\necho 'version is not selected' >&2\nexit 127\n")
        (self.bin / name).chmod(0o755)

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.root,
            env={"PATH": str(self.bin), "HOME": str(self.root), "LC_ALL": "C", **env},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def make_venv(self, lock: str = "requirements-dev.lock", **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("scripts/venv.sh", lock, **env)

    @property
    def installs(self) -> int:
        return len(self.notes.read_text().splitlines()) if self.notes.exists() else 0

    @property
    def version(self) -> str:
        return self.run(".venv/bin/python", "-c", "import sys").stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.10"])
def test_an_older_python_is_refused_with_one_line(clone: Clone, version: str) -> None:
    clone.add_python("python3", version)
    done = clone.make_venv()
    assert done.returncode == 2
    assert done.stdout == (
        f"DeksdenFlow needs Python 3.11, 3.12 or 3.13, and python3 here is {version}"
        " (PYTHON=/path/to/python chooses one)\n"
    )
    assert done.stderr == ""
    assert not (clone.root / ".venv").exists()


def test_make_says_only_that_line_and_stops_with_2(clone: Clone) -> None:
    clone.add_python("python3", "3.9")
    done = clone.run("make", "demo")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "needs Python 3.11, 3.12 or 3.13, and python3 here is 3.9" in done.stderr


def test_no_python_at_all_is_refused_with_one_line(clone: Clone) -> None:
    done = clone.make_venv()
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (2, 1, "")
    assert "there is no python3 on PATH" in done.stdout


def test_a_newer_python_is_tried_with_a_warning(clone: Clone) -> None:
    clone.add_python("python3", "3.15")
    done = clone.make_venv()
    assert done.returncode == 0
    assert done.stderr.startswith("warning: python3 is Python 3.15, newer than")
    assert clone.installs == 1


def test_the_newest_tested_python_that_runs_is_taken(clone: Clone) -> None:
    clone.add_broken_shim("python3.13")
    clone.add_python("python3.12", "3.12")
    clone.add_python("python3.11", "3.11")
    clone.add_python("python3", "3.14")
    done = clone.make_venv()
    assert done.returncode == 0
    assert "warning" not in done.stderr
    assert clone.version == "3.12"


def test_a_python_without_the_venv_module_is_passed_over(clone: Clone) -> None:
    clone.add_python("python3.13", "3.13", venv_status=1)
    clone.add_python("python3.11", "3.11")
    assert clone.make_venv().returncode == 0
    assert clone.version == "3.11"


def test_when_only_the_venv_module_is_missing_the_line_says_how_to_get_it(clone: Clone) -> None:
    clone.add_python("python3.11", "3.11", venv_status=1)
    done = clone.make_venv()
    assert done.returncode == 2
    assert done.stdout.startswith("python3.11 comes without the venv module: install it")


def test_python_may_be_chosen(clone: Clone) -> None:
    clone.add_python("python3.13", "3.13")
    clone.add_python("mine", "3.11")
    assert clone.make_venv(PYTHON="mine").returncode == 0
    assert clone.version == "3.11"


def test_python_may_be_chosen_on_makes_command_line_too(clone: Clone) -> None:
    clone.add_python("python3", "3.9")
    done = clone.run("make", "docs", "PYTHON=/nowhere/python")
    assert "PYTHON=/nowhere/python does not run" in done.stderr


def test_choosing_another_python_makes_the_environment_anew(clone: Clone) -> None:
    clone.add_python("python3.13", "3.13")
    clone.add_python("mine", "3.11")
    clone.make_venv()
    assert clone.make_venv(PYTHON="mine").returncode == 0
    assert clone.version == "3.11"


def test_a_chosen_python_that_does_not_run_is_refused(clone: Clone) -> None:
    clone.add_python("python3.13", "3.13")
    done = clone.make_venv(PYTHON="/nowhere/python")
    assert done.returncode == 2
    assert "PYTHON=/nowhere/python does not run" in done.stdout


def test_the_second_call_does_nothing_and_says_nothing(clone: Clone) -> None:
    clone.add_python("python3", "3.12")
    assert "installing 1 packages into .venv (first time only)" in clone.make_venv().stderr
    done = clone.make_venv()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert clone.installs == 1


def test_a_larger_lock_serves_for_a_smaller_one(clone: Clone) -> None:
    clone.add_python("python3", "3.12")
    clone.make_venv("requirements-dev.lock")
    clone.make_venv("requirements-codex.lock")
    assert clone.installs == 1


def test_a_smaller_lock_does_not_serve_for_a_larger_one(clone: Clone) -> None:
    clone.add_python("python3", "3.12")
    clone.make_venv("requirements-codex.lock")
    clone.make_venv("requirements-dev.lock")
    assert clone.installs == 2


def test_a_changed_lock_is_installed_again(clone: Clone) -> None:
    clone.add_python("python3", "3.12")
    clone.make_venv()
    (clone.root / "requirements-dev.lock").write_text("a==2 --hash=sha256:11\n")
    done = clone.make_venv()
    assert done.stderr.startswith("installing 1 packages into .venv…")
    assert clone.installs == 2


def test_an_interrupted_install_is_begun_again_from_nothing(clone: Clone) -> None:
    clone.add_python("python3", "3.12", pip_status=1)
    assert clone.make_venv().returncode == 2
    (clone.root / ".venv/half-written").touch()
    clone.add_python("python3", "3.12")
    assert clone.make_venv().returncode == 0
    assert not (clone.root / ".venv/half-written").exists()


def test_a_moved_environment_is_made_anew(clone: Clone) -> None:
    clone.add_python("python3", "3.12")
    clone.make_venv()
    clone.root = clone.root.rename(clone.root.with_name("elsewhere"))
    assert "first time only" in clone.make_venv().stderr


def test_an_environment_whose_python_is_gone_is_made_anew(clone: Clone) -> None:
    clone.add_python("python3", "3.12")
    clone.make_venv()
    (clone.root / ".venv/bin/python").unlink()
    assert clone.make_venv().returncode == 0
    assert clone.installs == 2


def test_without_a_network_the_line_says_so(clone: Clone) -> None:
    clone.add_python(
        "python3", "3.12", pip_status=1, pip_says="NewConnectionError: Temporary failure in name resolution"
    )
    done = clone.make_venv()
    assert done.returncode == 2
    assert done.stdout.startswith("the package index cannot be reached: check the network")


def test_pip_is_held_to_the_hashes_and_to_wheels(clone: Clone) -> None:
    clone.add_python("python3", "3.12")
    clone.make_venv()
    asked = clone.notes.read_text()
    assert "--require-hashes" in asked
    assert "--only-binary :all:" in asked


@pytest.mark.skipif(shutil.which("flock") is None, reason="without flock nobody waits")
def test_two_calls_at_once_install_once(clone: Clone) -> None:
    clone.add_python("python3", "3.12")
    env = {"PATH": str(clone.bin), "HOME": str(clone.root)}
    both = [
        subprocess.Popen(
            ["scripts/venv.sh", "requirements-dev.lock"], cwd=clone.root, env=env, stderr=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    assert [each.wait(timeout=30) for each in both] == [0, 0]
    assert clone.installs == 1
    assert os.access(clone.root / ".venv/.installed", os.R_OK)
