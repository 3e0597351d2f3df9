"""What the worker asks of Codex and what it gets back."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from services.worker.codex.config import Mode, Sandbox
from services.worker.codex.leftovers import RunMarker
from shared.errors import Category, JobError
from shared.schemas.codex_events import Usage


class CodexRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One run of Codex in one worktree; all paths absolute, all times in seconds.

    `main_repository` is the git directory that the worktree belongs to. `attempt_dir` is made if it is missing and
    must not lie in /tmp. `lock_file` is the lock of the worktree, the same for every attempt in it.

    Who asks the model: `login_home` (a folder with the auth.json of a person's own login) or else `base_url` (None:
    OpenAI's) with `api_key` (None: a gateway that needs none).

    With `thread_id` the thread is resumed; `resume_from` is then the attempt folder that last ran it, and
    `usage_before` the total that it had used.

    `denied` are folders and files that the agent must not read: one that contains the worktree or the repository
    hides everything in it but those. `environment` is added to Codex's own (a proxy, a CA file),
    `command_environment` to that of the commands it runs; PATH is the worker's unless `environment` has one.
    """

    binary: Path
    mode: Mode
    worktree: Path
    main_repository: Path
    attempt_dir: Path
    lock_file: Path
    marker: RunMarker
    prompt: str
    output_schema: Mapping[str, object]
    model: str
    base_url: str | None = None
    api_key: str | None = None
    login_home: Path | None = None
    thread_id: str | None = None
    resume_from: Path | None = None
    usage_before: Usage = Usage()
    sandbox: Sandbox = Sandbox.REQUIRED
    step_timeout_s: float = 3600.0
    silence_timeout_s: float = 600.0
    grace_s: float = 10.0
    denied: tuple[Path, ...] = ()
    environment: Mapping[str, str] = {}
    command_environment: Mapping[str, str] = {}


class CodexResult(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run that is over, also of one that failed.

    `message` is the agent's last message, the answer; `usage` what this run used, `usage_total` what the thread has.
    A run that was killed within a turn may have used more than its usage says. `rc` is negative for a signal, None
    when nobody learnt it.
    """

    thread_id: str | None
    message: str
    usage: Usage
    usage_total: Usage
    rc: int | None
    commands: int
    file_changes: int
    duration_s: float
    stderr_tail: str = ""


class CodexFailed(JobError):
    """A run that gave no answer; `result` still has the thread to resume and what was used."""

    def __init__(self, category: Category, message: str, result: CodexResult) -> None:
        super().__init__(category, message, stderr_tail=result.stderr_tail)
        self.result = result
