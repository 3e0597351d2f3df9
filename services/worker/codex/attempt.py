"""The folder of one attempt: what Codex is given in it, and what is kept of it afterwards."""

import contextlib
import os
import pwd
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from services.worker.codex.config import (
    CREDENTIAL_PLACES,
    KEY_VARIABLE,
    OPENAI_BASE_URL,
    CodexConfig,
    Mode,
    render_config,
)
from services.worker.codex.leftovers import RUN_VARIABLE
from services.worker.codex.request import CodexRequest
from services.worker.git.files import remove_below
from shared.errors import Category, JobError
from shared.schemas.codex_events import Usage, parse_token_count

# It becomes part of a command line and of a pattern for file names.
_THREAD_ID = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z-]{0,63}")
# Codex asks git for the state of the worktree, outside of its sandbox, and git runs what the configuration of a nested
# repository tells it to: an agent could leave one there for the next start. Codex works as well without the answers.
_NOT_FOR_CODEX = ("git",)
_SKILL_PLACES = (".agents/skills", ".codex/skills")
_SKILL_FILE = "SKILL.md"
_RUN_SECRETS = Path("/run/secrets")


class AttemptFiles(msgspec.Struct, frozen=True):
    """The names inside an attempt's folder, mode 0700.

    CODEX_HOME is one per attempt: its config names this attempt's paths, a crash harms nobody else, and
    `sessions/` in it is the only complete record of what the agent did. A later attempt that resumes the thread
    takes a copy of the rollout from the folder of the earlier one.
    """

    root: Path

    @property
    def codex_home(self) -> Path:
        """CODEX_HOME, which the agent itself cannot read."""
        return self.root / "codex_home"

    @property
    def tmp(self) -> Path:
        """TMPDIR, the one place outside of the worktree that the agent may write to."""
        return self.root / "tmp"

    @property
    def home(self) -> Path:
        """HOME, inside TMPDIR so that tools may keep their caches there."""
        return self.tmp / "home"

    @property
    def programs(self) -> Path:
        """Programs that Codex itself, not its commands, finds first on PATH."""
        return self.root / "bin"

    @property
    def prompt(self) -> Path:
        """The prompt, as it was sent."""
        return self.root / "prompt.md"

    @property
    def schema(self) -> Path:
        """The JSON schema of the answer."""
        return self.root / "schema.json"

    @property
    def events(self) -> Path:
        """Codex's stdout, redacted."""
        return self.root / "events.jsonl"

    @property
    def stderr(self) -> Path:
        """Codex's stderr, redacted and capped."""
        return self.root / "stderr.txt"

    @property
    def exit(self) -> Path:
        """What the supervisor says of the end."""
        return self.root / "exit.json"


def make_room(request: CodexRequest) -> AttemptFiles:
    """Make the folder itself, for a worktree that exists."""
    if not request.worktree.is_dir():
        raise JobError(Category.REPOSITORY, f"The worktree {request.worktree} does not exist.")
    files = AttemptFiles(request.attempt_dir.resolve())
    files.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return files


def prepare(request: CodexRequest, files: AttemptFiles, redact: Callable[[str], str]) -> None:
    """Fill the folder with everything that Codex reads; the environment comes from `environment_of`."""
    for folder in (files.codex_home, files.programs, files.tmp, files.home):
        folder.mkdir(mode=0o700, exist_ok=True)
    for stale in (files.exit, files.events, files.stderr):
        stale.unlink(missing_ok=True)
    for name in _NOT_FOR_CODEX:
        (files.programs / name).write_text("#!/bin/sh\nexit 1\n")
        (files.programs / name).chmod(0o700)
    files.prompt.write_text(redact(request.prompt), encoding="utf-8")
    files.schema.write_bytes(msgspec.json.encode(request.output_schema))
    (files.codex_home / "config.toml").write_text(render_config(_config(request, files)), encoding="utf-8")
    if request.thread_id is not None:
        _bring_rollout(request, files)
    if request.login_home is not None:
        _lend_login(request.login_home, files)


def environment_of(request: CodexRequest, files: AttemptFiles) -> dict[str, str]:
    """Return the whole environment of Codex: nothing of the worker's own is in it."""
    environment = {
        "LANG": "C.UTF-8",
        **request.environment,
        "PATH": f"{files.programs}:{_path_of(request)}",
        "TZ": "UTC",  # the times in its messages are read by quota.named_time
        "HOME": str(files.home),
        "TMPDIR": str(files.tmp),
        "CODEX_HOME": str(files.codex_home),
        RUN_VARIABLE: str(request.marker),
    }
    if request.api_key is not None:
        environment[KEY_VARIABLE] = request.api_key
    return environment


def tidy(request: CodexRequest, files: AttemptFiles) -> None:
    """Drop what nobody needs afterwards; of CODEX_HOME the config and the sessions stay."""
    if request.login_home is not None:
        _return_login(request.login_home, files)
    rubbish = files.root / "rubbish"
    rubbish.mkdir(exist_ok=True)
    for number, entry in enumerate((files.tmp, files.programs, *files.codex_home.glob("*"))):
        if entry.name not in {"config.toml", "sessions"} and os.path.lexists(entry):
            entry.rename(rubbish / str(number))
    # An agent can make folders deeper than any recursion, and lock them.
    remove_below(rubbish)
    with contextlib.suppress(OSError):
        rubbish.rmdir()


def usage_by_record(thread_id: str, files: AttemptFiles) -> Usage | None:
    """Read the thread's total from its own record: for a run that ended before it told."""
    last: Usage | None = None
    for rollout in files.codex_home.glob(f"sessions/**/rollout-*-{thread_id}.jsonl"):
        with rollout.open("rb") as lines:
            for line in lines:
                if b'"token_count"' in line:
                    last = parse_token_count(line) or last
    return last


def shut_out(paths: Sequence[Path], keep: Sequence[Path]) -> Iterator[Path]:
    """Yield what to deny so that `paths` are hidden while `keep` stays readable.

    A denied folder hides all that is below it, so one that contains a kept path is replaced by its other children.
    Paths that do not exist are left out.
    """
    for path in paths:
        if any(path == kept or path in kept.parents for kept in keep):
            if path not in keep and path.is_dir():
                yield from shut_out(sorted(path.iterdir()), keep)
        elif path.exists():
            yield path


def skills_of(worktree: Path) -> Iterator[Path]:
    """Yield the files that Codex takes for skills of the repository, through symbolic links as it does."""
    seen: set[Path] = set()
    for place in _SKILL_PLACES:
        for folder, folders, names in os.walk(worktree / place, followlinks=True):
            here = Path(folder).resolve()
            if here in seen:
                folders.clear()
                continue
            seen.add(here)
            if _SKILL_FILE in names:
                yield (here / _SKILL_FILE).resolve()


def _config(request: CodexRequest, files: AttemptFiles) -> CodexConfig:
    if request.login_home is None and request.api_key is None and request.base_url is None:
        message = "No model can be asked: set DEKSDENFLOW_CODEX_API_KEY, or DEKSDENFLOW_MODEL_BASE_URL for a gateway."
        raise JobError(Category.AUTH, message)
    worktree, mirror = request.worktree.resolve(), request.main_repository.resolve()
    # A path that the agent may write to stays reachable below a denied one; a path that it may only read does not.
    keep = [mirror] if request.mode is Mode.WRITE else [mirror, worktree]
    denied = shut_out([files.root, *(path.resolve() for path in request.denied), *_credentials()], keep)
    login = request.login_home is not None
    return CodexConfig(
        mode=request.mode,
        sandbox=request.sandbox,
        model=request.model,
        base_url=None if login else request.base_url or OPENAI_BASE_URL,
        with_key=request.api_key is not None,
        # Codex takes the parent of the common git directory for the repository's root.
        untrusted=(worktree, mirror, mirror.parent),
        denied=tuple(dict.fromkeys(denied)),
        skills=tuple(skills_of(worktree)),
        command_environment={
            "PATH": _path_of(request),
            **request.command_environment,
            RUN_VARIABLE: str(request.marker),
        },
        stream_idle_timeout_s=min(120.0, request.silence_timeout_s),
    )


def _path_of(request: CodexRequest) -> str:
    """Return where programs are found: as the worker finds them, unless the request says otherwise.

    An entry relative to the current directory would let a file of the repository run in place of a program.
    """
    asked = request.environment.get("PATH")
    entries = os.get_exec_path() if asked is None else asked.split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if entry.startswith("/"))


def _credentials() -> Iterator[Path]:
    for home in _homes():
        yield from ((home / place).resolve() for place in CREDENTIAL_PLACES)
    yield _RUN_SECRETS


def _homes() -> Iterator[Path]:
    """HOME and the account's home, which need be neither the same nor there."""
    with contextlib.suppress(RuntimeError):
        yield Path.home()
    with contextlib.suppress(KeyError):  # a container may run us under a number that no account has
        yield Path(pwd.getpwuid(os.getuid()).pw_dir)


def _lend_login(login_home: Path, files: AttemptFiles) -> None:
    source = login_home / "auth.json"
    if not source.is_file():
        raise JobError(Category.AUTH, f"There is no Codex login in {login_home}. Run `codex login` first.")
    shutil.copy2(source, files.codex_home / "auth.json")


def _return_login(login_home: Path, files: AttemptFiles) -> None:
    """Give tokens back that Codex renewed meanwhile: the old ones may no longer be good."""
    lent, source = files.codex_home / "auth.json", login_home / "auth.json"
    if lent.is_file() and source.is_file() and lent.stat().st_mtime_ns > source.stat().st_mtime_ns:
        draft = source.with_name(f"auth.json.{os.getpid()}")
        shutil.copy2(lent, draft)
        draft.replace(source)


def _bring_rollout(request: CodexRequest, files: AttemptFiles) -> None:
    """Copy the thread's record, without which Codex cannot resume it, unless it is already here."""
    lost = JobError(Category.SESSION_LOST, f"The record of Codex thread {request.thread_id!r} is gone.")
    if not _THREAD_ID.fullmatch(request.thread_id or ""):
        raise lost
    pattern = f"sessions/**/rollout-*-{request.thread_id}.jsonl"
    if any(files.codex_home.glob(pattern)):
        return
    earlier = AttemptFiles((request.resume_from or files.root).resolve()).codex_home
    for rollout in earlier.glob(pattern):
        target = files.codex_home / rollout.relative_to(earlier)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(".draft")  # half a record must never be taken for a whole one
        shutil.copy2(rollout, draft)
        draft.replace(target)
        return
    raise lost
