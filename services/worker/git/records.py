"""The place for what the git door takes and answers: frozen structs, no I/O."""

from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from shared.secret import Secret


class Credential(Struct, frozen=True):
    """A token for one host (`host` or `host:port`, as `shared.schemas.names.url_host` says); no other host gets it."""

    host: str
    token: Secret
    username: str = "x-access-token"


class Remote(Struct, frozen=True):
    """Where a project's repository lives: a URL that `check_git_url` accepted, and the token for it."""

    url: str
    credential: Credential | None = None


class Identity(Struct, frozen=True):
    """Who authors or commits."""

    name: str = "DeksdenFlow"
    email: str = "deksdenflow@localhost"


class CommitLimits(Struct, frozen=True):
    """What one commit may hold at most."""

    max_files: int = 50_000
    max_file_bytes: int = 50 * 1024 * 1024
    max_total_bytes: int = 500 * 1024 * 1024


class MirrorInfo(Struct, frozen=True):
    """A mirror that is up to date; `default_branch` is None when the origin's HEAD points nowhere."""

    base_sha: str
    default_branch: str | None
    branches: tuple[str, ...]


class Worktree(Struct, frozen=True):
    """The files of one protocol run; `path/.git` is never believed: `git_dir` is where index and HEAD really are."""

    project_id: int
    name: str
    path: Path
    git_dir: Path
    branch: str | None  # None: detached, for QA


class ChangeKind(StrEnum):
    """What happened to a file."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    TYPE_CHANGED = "type_changed"


class FileChange(Struct, frozen=True):
    """One changed file; lines are None for a binary file. Bytes of a path that are not UTF-8 are shown as escapes."""

    path: str
    kind: ChangeKind
    additions: int | None
    deletions: int | None


class RefusedFile(Struct, frozen=True):
    """A file that stays out of a commit, and why."""

    path: str
    why: str


class Changes(Struct, frozen=True):
    """What a commit of everything would hold, and what it would be refused for."""

    files: tuple[FileChange, ...]
    refused: tuple[RefusedFile, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing was changed at all."""
        return not self.files and not self.refused


class Salvage(Struct, frozen=True):
    """What a reset saved: a commit under `ref` (None: there was nothing to save), and what it leaves out.

    `kept_at` is the folder that holds everything as it was, when git could not read it any more.
    """

    ref: str | None = None
    left_out: tuple[RefusedFile, ...] = ()
    kept_at: Path | None = None


class Commit(Struct, frozen=True):
    """One commit; times are milliseconds UTC."""

    sha: str
    parents: tuple[str, ...]
    author: str
    author_email: str
    committed_at: int
    message: str

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0]


class PushResult(Struct, frozen=True):
    """The branch at the origin is at `sha` now; `before` is where it was, `already` whether nothing had to be sent."""

    sha: str
    before: str | None
    already: bool
