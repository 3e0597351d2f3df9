"""What the demo knows at this moment: the driver writes it, the screen and the checks read it."""

import re
import shlex
import time
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from shared.schemas.answers import AttemptAnswer, EventAnswer, ProjectAnswer, ProtocolAnswer, StepAnswer
from shared.schemas.codex_events import (
    AgentMessage,
    CommandExecution,
    FileChange,
    ItemCompleted,
    ItemStarted,
    LineSplitter,
    Reasoning,
    TurnFailed,
    parse_event,
)
from shared.schemas.statuses import AttemptState, JobKind

Said = Literal["thinks", "says", "runs", "edits", "answers", "fails"]

_LINE_CHARS = 200


class AgentLine(msgspec.Struct, frozen=True):
    """One thing that the agent did, in one line; `outcome` is the exit code of a command that is over."""

    kind: Said
    text: str
    outcome: int | None = None


class Scene:
    """The present state of the story; `done` are the preparations by name and outcome."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.about = ""
        self.now_doing = ""
        self.done: list[tuple[str, str]] = []
        self.project: ProjectAnswer | None = None
        self.protocol: ProtocolAnswer | None = None
        self.steps: tuple[StepAnswer, ...] = ()
        self.events: tuple[EventAnswer, ...] = ()
        self.attempts: dict[int, AttemptAnswer] = {}
        self.lines: dict[int, tuple[AgentLine, ...]] = {}

    @property
    def elapsed_s(self) -> float:
        """Seconds since the curtain rose."""
        return time.monotonic() - self.began

    def attempts_of(self, step_id: int | None) -> list[AttemptAnswer]:
        """The attempts for one step, or with None for the plan, oldest first."""
        return [attempt for _, attempt in sorted(self.attempts.items()) if attempt.step_id == step_id]

    @property
    def live(self) -> AttemptAnswer | None:
        """The attempt that is under way."""
        return next((each for each in self.attempts.values() if each.state is AttemptState.RUNNING), None)

    @property
    def tokens(self) -> int:
        """Everything that went to and came from the model so far."""
        return sum(each.usage.input_tokens + each.usage.output_tokens for each in self.attempts.values())


def seconds_of(attempts: Sequence[AttemptAnswer], kind: JobKind) -> float:
    """How long the attempts of one kind took; one that is under way counts up to now."""
    total = 0.0
    for attempt in attempts:
        if attempt.kind is kind:
            end = attempt.finished_at.timestamp() if attempt.finished_at else time.time()
            total += max(0.0, end - attempt.started_at.timestamp())
    return total


def agent_lines(log: str) -> tuple[AgentLine, ...]:
    """The readable lines of an attempt's raw log, which is Codex's JSONL."""
    lines: list[AgentLine] = []
    splitter = LineSplitter()
    for raw in (*splitter.feed(log.encode()), *splitter.close()):
        match parse_event(raw) if isinstance(raw, bytes) else None:
            case ItemCompleted(AgentMessage(text)):
                summary = _summary_of(text)
                lines.append(AgentLine("says", _one_line(text)) if summary is None else AgentLine("answers", summary))
            case ItemCompleted(Reasoning(text)):
                lines.append(AgentLine("thinks", _one_line(re.sub(r"\*\*(.+?)\*\*\s*", r"\1: ", text))))
            case ItemStarted(CommandExecution(command)):
                lines.append(AgentLine("runs", _one_line(_without_shell(command))))
            case ItemCompleted(CommandExecution(command, _, code)):
                lines = [line for line in lines if line.kind != "runs" or line.outcome is not None]
                lines.append(AgentLine("runs", _one_line(_without_shell(command)), code))
            case ItemCompleted(FileChange(changes)):
                names = ", ".join(PurePosixPath(change.path).name for change in changes)
                lines.append(AgentLine("edits", _one_line(names)))
            case TurnFailed(message):
                lines.append(AgentLine("fails", _one_line(message)))
            case _:
                pass
    return tuple(lines)


class _Answer(msgspec.Struct, frozen=True):
    summary: str


def _summary_of(text: str) -> str | None:
    """What a structured answer says in short; None when the text is none."""
    try:
        return _one_line(msgspec.json.decode(text, type=_Answer).summary)
    except msgspec.MsgspecError:
        return None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LINE_CHARS]


def _without_shell(command: str) -> str:
    """`/bin/bash -lc 'make test'` is `make test` to a person."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    match words:
        case [shell, flag, script] if shell.endswith("sh") and flag in {"-c", "-lc"}:
            return script
        case _:
            return command
