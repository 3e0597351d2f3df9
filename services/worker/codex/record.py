"""What is kept of a run while it goes on: the facts of its events, and redacted files."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, assert_never

import msgspec

from services.worker.codex.attempt import AttemptFiles
from services.worker.codex.failures import STDERR_TAIL, Cut, Ending
from services.worker.codex.request import CodexResult
from shared.schemas.codex_events import (
    AgentMessage,
    CommandExecution,
    ErrorNotice,
    Event,
    FileChange,
    ItemCompleted,
    ItemStarted,
    McpToolCall,
    ThreadStarted,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    Unknown,
    Usage,
)

Redact = Callable[[str], str]


class Story:
    """What a run has told so far."""

    def __init__(self, thread_id: str | None) -> None:
        self.thread_id = thread_id
        self.message = ""
        self.usage_total: Usage | None = None
        self.completed = False
        self.failed: str | None = None
        self.notice: str | None = None
        self.commands = 0
        self.file_changes = 0
        self.events = 0
        self.heard_at = time.monotonic()
        self.tool_runs = False

    def add(self, event: Event) -> None:
        """Take note of one event."""
        self.heard_at = time.monotonic()
        self.events += not isinstance(event, Unknown)
        # A command may be silent for long: while it is the last thing we heard of, only the wall clock counts.
        self.tool_runs = isinstance(event, ItemStarted) and isinstance(event.item, CommandExecution | McpToolCall)
        match event:
            case ThreadStarted(thread_id):
                self.thread_id = thread_id or self.thread_id
            case TurnStarted():
                self.message, self.completed, self.failed = "", False, None
            case TurnCompleted(usage):
                self.completed, self.usage_total = True, usage
            case TurnFailed(message):
                self.failed = message
            case ErrorNotice(message):
                self.notice = message
            case ItemCompleted(AgentMessage(text)):
                self.message = text
            case ItemCompleted(FileChange()):
                self.file_changes += 1
            case ItemStarted(CommandExecution()):
                self.commands += 1
            case ItemStarted() | ItemCompleted() | Unknown():
                pass
            case _:
                assert_never(event)

    def result(
        self, rc: int | None, duration_s: float, usage_before: Usage, stderr_tail: str, redact: Redact
    ) -> CodexResult:
        """Return what is handed on of the run."""
        usage_total = self.usage_total or usage_before
        return CodexResult(
            thread_id=self.thread_id,
            message=redact(self.message),
            usage=usage_total.since(usage_before),
            usage_total=usage_total,
            rc=rc,
            commands=self.commands,
            file_changes=self.file_changes,
            duration_s=round(duration_s, 3),
            stderr_tail=stderr_tail,
        )

    def ending(self, rc: int | None, cut: Cut | None, stderr_tail: str) -> Ending:
        """Return the facts by which the end of the run is judged."""
        return Ending(
            rc=rc,
            cut=cut,
            completed=self.completed,
            message=self.message,
            failed=self.failed,
            notice=self.notice,
            events=self.events,
            stderr_tail=stderr_tail,
        )


def thread_record(folder: Path, thread_id: str) -> Path | None:
    """Return Codex's own record of a thread in an attempt's folder."""
    return next(AttemptFiles(folder).codex_home.glob(f"sessions/**/rollout-*-{thread_id}.jsonl"), None)


def is_whole(record: Path) -> bool:
    """Whether a record can be read to its end: one whose writer was killed may end in the middle of a line."""
    last = b""
    with record.open("rb") as lines:
        for last in lines:
            try:
                msgspec.json.decode(last)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return False
    return last.endswith(b"\n")


class RedactedLog:
    """A file that takes redacted lines up to a limit, and the tail of all of them.

    It takes whole lines only, so that no secret is cut in two where a chunk ends.
    """

    def __init__(self, path: Path, *, limit: int, limit_notice: bytes, redact: Redact) -> None:
        self._file: BinaryIO = path.open("wb", buffering=0)
        self._left = limit
        self._limit_notice = limit_notice
        self._redact = redact
        self.tail = ""

    def write(self, line: bytes) -> None:
        """Append a line, given without its newline, if it fits; say once that the rest is left out."""
        clean = self._redact(line.decode("utf-8", "replace")) + "\n"
        self.tail = (self.tail + clean)[-STDERR_TAIL:]
        if self._left <= 0:
            return
        data = clean.encode("utf-8", "replace")
        self._left -= len(data)
        self._file.write(data if self._left > 0 else self._limit_notice)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
