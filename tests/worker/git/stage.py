"""The stage of the git tests: an origin that somebody else works on, and the plain git of that somebody."""

import os
import subprocess
from pathlib import Path

PEOPLES_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_ALLOW_PROTOCOL": "file",
}


def plain_git(where: Path, *args: str, check: bool = True, stdin: str = "") -> str:
    """What anybody's `git` says in this folder, as an agent's or a person's would."""
    done = subprocess.run(
        ["git", *args],
        cwd=where,
        env=PEOPLES_ENV,
        check=check,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    return done.stdout.strip()


class Origin:
    """A bare repository, and somebody's clone of it to work in; a copy of the folder is another one."""

    def __init__(self, folder: Path) -> None:
        self.bare = folder / "origin.git"
        self.clone = folder / "somebody"
        if folder.exists():
            return
        self.clone.mkdir(parents=True)
        plain_git(self.clone, "init", "--quiet", "--initial-branch=main")
        plain_git(folder, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
        plain_git(self.clone, "remote", "add", "origin", "../origin.git")

    @property
    def url(self) -> str:
        return str(self.bare)

    def commit(self, texts: dict[str, str], *, branch: str = "main", message: str = "somebody's work") -> str:
        """Somebody commits these files on a branch (a new one starts where they are) and pushes it; the commit's id."""
        if head := self.head(branch):
            plain_git(self.clone, "fetch", "--quiet", "origin", f"refs/heads/{branch}")
            plain_git(self.clone, "checkout", "--quiet", "--detach", head)
        for name, text in texts.items():
            file = self.clone / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        return self.commit_all(branch=branch, message=message)

    def commit_all(self, *, branch: str = "main", message: str = "somebody's work") -> str:
        plain_git(self.clone, "add", "--all")
        plain_git(self.clone, "commit", "--quiet", "--allow-empty", "--message", message)
        plain_git(self.clone, "push", "--quiet", "origin", f"+HEAD:refs/heads/{branch}")
        return plain_git(self.clone, "rev-parse", "HEAD")

    def head(self, branch: str) -> str:
        return plain_git(self.bare, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", check=False)


def everything_below(root: Path) -> dict[str, str]:
    """All files by their paths, `.git` left out, with their content or `-> target`."""
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != ".git" or Path(folder) != root]
        for name in names + [each for each in folders if (Path(folder) / each).is_symlink()]:
            path = Path(folder) / name
            if name == ".git" and Path(folder) == root:
                continue
            text = f"-> {path.readlink()}" if path.is_symlink() else path.read_bytes().decode("utf-8", "replace")
            found[str(path.relative_to(root))] = text
    return found
