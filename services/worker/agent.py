"""Asks Codex for one answer: runs it for a claimed job, has a bad answer corrected once, and counts what it cost."""

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from services.worker.answers import BadAnswer
from services.worker.codex.binary import CodexBinary, SandboxProbe, find_codex
from services.worker.codex.config import Mode, Sandbox
from services.worker.codex.leftovers import RunMarker, scope_of
from services.worker.codex.record import thread_record
from services.worker.codex.request import CodexFailed, CodexRequest, CodexResult
from services.worker.codex.runner import run_codex
from services.worker.git.records import Worktree
from services.worker.lease import Lease
from services.worker.prompts import Prompt, bad_answer_prompt
from shared.failpoints import points
from shared.schemas.codex_events import Event, ThreadStarted
from shared.schemas.codex_events import Usage as Tokens
from shared.schemas.records import Attempt
from shared.schemas.reports import Usage
from shared.settings import Settings

A = TypeVar("A")

# Below an attempt's folder: the second ask, after an answer that could not be used.
AGAIN = "again"


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to ask of Codex; `worktree` is where it looks, `resume` the attempt whose thread goes on."""

    mode: Mode
    worktree: Worktree
    prompt: Prompt
    schema: dict[str, object]
    resume: Attempt | None = None


class Agent:
    """Codex, as the jobs use it."""

    def __init__(self, settings: Settings, redact: Callable[[str], str], *, login_home: Path | None = None) -> None:
        self._settings = settings
        self._redact = redact
        self._login_home = login_home
        self._root = settings.workspaces_dir.absolute()
        self._scope = scope_of(self._root)
        self._asking = asyncio.Lock()
        self._ready: CodexBinary | None = None

    async def ready(self) -> CodexBinary:
        """The binary, found and with a working sandbox; JobError says what is missing and what to do.

        A good answer is kept; a bad one is asked anew, so that what was put right works without a restart.
        """
        async with self._asking:
            if self._ready is None:
                binary = await find_codex(self._settings.codex_bin)
                if self._settings.codex_sandbox == "required":
                    await SandboxProbe(binary.path, self._root / "probe").check()
                self._ready = binary
            return self._ready

    @property
    def sandbox(self) -> str:
        """Whether the sandbox is `required` or was turned `off` by the operator."""
        return self._settings.codex_sandbox

    def folder_of(self, lease: Lease) -> Path:
        """Where everything of the live attempt is kept."""
        attempt = lease.claim.attempt
        return self._root / "attempts" / str(attempt.id if attempt else 0)

    def marker_of(self, job_id: int, token: int) -> RunMarker:
        """What marks the processes of one hold of a job."""
        return RunMarker(self._scope, job_id, token)

    @points
    async def ask(self, lease: Lease, ask: Ask, decode: Callable[[str], A]) -> A:
        """The decoded answer; one that is not accepted is asked for once more in the same thread.

        Raises BadAnswer when the second one is not accepted either, CodexFailed when there was none. What it cost is
        noted on the attempt as it becomes known.
        """
        folder = self.folder_of(lease)
        request = _resumed(await self._request(lease, ask, folder), ask.resume, lease.claim.used)
        first = await self._run(lease, request, ask.prompt, folder, Tokens())
        try:
            return decode(first.message)
        except BadAnswer as complaint:
            lease.check()
            prompt = bad_answer_prompt(ask.prompt.text, str(complaint), secrets.token_hex(8))
            again = msgspec.structs.replace(
                request,
                prompt=prompt.text,
                attempt_dir=folder / AGAIN,
                thread_id=first.thread_id,
                resume_from=folder,
                usage_before=first.usage_total,
            )
            second = await self._run(lease, again, ask.prompt, folder, first.usage)
            return decode(second.message)

    async def _run(
        self, lease: Lease, request: CodexRequest, prompt: Prompt, folder: Path, before: Tokens
    ) -> CodexResult:
        async def on_event(event: Event) -> None:
            if isinstance(event, ThreadStarted) and event.thread_id:
                await lease.note_usage(Usage(thread_id=event.thread_id, prompt_sha256=prompt.version), str(folder))

        try:
            result = await run_codex(request, on_event=on_event, redact=self._redact, stop=lease.stop)
        except CodexFailed as failure:
            await self._note(lease, failure.result, folder, before)
            raise
        await self._note(lease, result, folder, before)
        return result

    async def _note(self, lease: Lease, result: CodexResult, folder: Path, before: Tokens) -> None:
        used = result.usage
        usage = Usage(
            thread_id=result.thread_id,
            exit_code=result.rc,
            input_tokens=before.input_tokens + used.input_tokens,
            cached_input_tokens=before.cached_input_tokens + used.cached_input_tokens,
            output_tokens=before.output_tokens + used.output_tokens,
            reasoning_output_tokens=before.reasoning_output_tokens + used.reasoning_output_tokens,
        )
        await lease.note_usage(usage, str(folder))

    async def _request(self, lease: Lease, ask: Ask, folder: Path) -> CodexRequest:
        settings = self._settings
        binary = await self.ready()
        lock = self._root / "locks" / f"agent-{ask.worktree.project_id}-{ask.worktree.name}"
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = None if settings.codex_api_key is None else settings.codex_api_key.reveal()
        secrets_of_projects = (Path(name) for name in lease.claim.secret_files)
        return CodexRequest(
            binary=binary.path,
            mode=ask.mode,
            worktree=ask.worktree.path,
            main_repository=ask.worktree.git_dir.parent.parent,
            attempt_dir=folder,
            lock_file=lock,
            marker=self.marker_of(lease.job_id, lease.token),
            prompt=ask.prompt.text,
            output_schema=ask.schema,
            model=lease.claim.model,
            base_url=settings.model_base_url,
            api_key=None if self._login_home else key,
            login_home=self._login_home,
            sandbox=Sandbox.OFF if settings.codex_sandbox == "off" else Sandbox.REQUIRED,
            step_timeout_s=settings.step_timeout_s,
            silence_timeout_s=settings.silence_timeout_s,
            denied=(
                self._root,
                *_database_files(settings.db_path.absolute()),
                *settings.secret_files(),
                *secrets_of_projects,
            ),
        )


def folder_of_thread(attempt: Attempt) -> Path | None:
    """The folder with the newest record of an attempt's thread, or None when there is none."""
    if attempt.thread_id is None or attempt.directory is None:
        return None
    folders = (Path(attempt.directory, AGAIN), Path(attempt.directory))
    return next((folder for folder in folders if thread_record(folder, attempt.thread_id)), None)


def _resumed(request: CodexRequest, resume: Attempt | None, used: Usage) -> CodexRequest:
    """The request in the thread that is to go on."""
    folder = resume and folder_of_thread(resume)
    if resume is None or folder is None:
        return request
    return msgspec.structs.replace(request, thread_id=resume.thread_id, resume_from=folder, usage_before=_tokens(used))


def _database_files(path: Path) -> tuple[Path, ...]:
    names = ("", "-wal", "-shm", ".key")
    return tuple(path.with_name(path.name + name) for name in names)


def _tokens(usage: Usage) -> Tokens:
    return Tokens(
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_output_tokens=usage.reasoning_output_tokens,
    )
