"""The place for what people are shown of an agent's work: Codex's event lines, one item each (pure)."""

import contextlib
import re
import shlex
from typing import Final, Literal

import msgspec

from shared.errors import UNREADABLE
from shared.schemas import codex_events as codex

MAX_TEXT: Final = 20_000
# A longer command is shown with its shell, because taking it apart takes its time.
_MAX_PARTED: Final = 8_000
_WORKTREE: Final = re.compile(r"^/.*?/(?:worktrees/[0-9]+/[^/]+|qa/[0-9]+)/")

Kind = Literal["thread", "message", "reasoning", "command", "patch", "search", "tool", "warning", "error", "tokens"]


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that the agent did or said.

    `place` is where the next line of the file starts, `live` that it has begun and is not over. A command has its
    `text`, `output` and `exit_code`; a patch its `files` as (kind, path); `tokens` the thread's totals.
    """

    place: int
    kind: Kind
    text: str = ""
    live: bool = False
    output: str = ""
    exit_code: int | None = None
    files: tuple[tuple[str, str], ...] = ()
    tokens: codex.Usage | None = None


def read_item(line: bytes, place: int) -> Item | None:
    """What a line of an attempt's event file tells; None for what nobody needs to see. Never raises."""
    match codex.parse_event(line):
        case codex.ThreadStarted(thread_id):
            return Item(place=place, kind="thread", text=thread_id)
        case codex.TurnCompleted(usage):
            return Item(place=place, kind="tokens", tokens=usage)
        case codex.TurnFailed(message) | codex.ErrorNotice(message):
            return Item(place=place, kind="error", text=_cut(message))
        case codex.ItemStarted(codex.CommandExecution() as item):
            return Item(place=place, kind="command", text=_cut(item.command), live=True)
        case codex.ItemCompleted(item):
            return _done(item, place)
        case _:
            return None


def read_items(data: bytes, place: int) -> tuple[list[tuple[int, Item]], int]:
    """The items of the whole lines in `data`, which stands at `place` in the file, each with where its line begins.

    And where the next line begins: what has no end yet is not read.
    """
    found: list[tuple[int, Item]] = []
    *lines, _ = data.split(b"\n")
    for line in lines:
        start, place = place, place + len(line) + 1
        if item := read_item(line, place):
            found.append((start, item))
    return found, place


def _done(item: codex.Item, place: int) -> Item | None:
    match item:
        case codex.AgentMessage(text):
            return Item(place=place, kind="message", text=_cut(text))
        case codex.Reasoning(text):
            return Item(place=place, kind="reasoning", text=_cut(text))
        case codex.CommandExecution(command, output, exit_code):
            return Item(place=place, kind="command", text=_cut(command), output=_cut(output), exit_code=exit_code)
        case codex.FileChange(changes):
            return Item(place=place, kind="patch", files=tuple((change.kind, change.path) for change in changes))
        case codex.WebSearch(query):
            return Item(place=place, kind="search", text=_cut(query))
        case codex.McpToolCall(server, tool, status):
            return Item(place=place, kind="tool", text=_cut(f"{server}.{tool}: {status}"))
        case codex.Warned(message):
            return Item(place=place, kind="warning", text=_cut(message))
        case codex.OtherItem():
            return None


def spoken(item: Item) -> str:
    """What an agent did, without what only machines need: the shell around a command, the worktree before a path, the
    form of an answer.
    """
    if item.files:
        return ", ".join(path_in_worktree(path) for _, path in item.files)
    if item.kind == "command":
        return script_of(item.text)
    if item.kind == "message" and item.text.startswith("{"):
        with contextlib.suppress(*UNREADABLE):
            return msgspec.json.decode(item.text, type=_Answer).summary
    return item.text


class _Answer(msgspec.Struct, frozen=True):
    summary: str


def path_in_worktree(path: str) -> str:
    """A path that an agent names, as its repository has it."""
    return _WORKTREE.sub("", path)


def script_of(command: str) -> str:
    """A command without the shell that Codex gives it to."""
    with contextlib.suppress(ValueError):
        match shlex.split(command) if len(command) <= _MAX_PARTED else ():
            case [shell, "-c" | "-lc", script] if shell.endswith("sh"):
                return script
            case _:
                pass
    return command


def _cut(text: str) -> str:
    """The beginning and the end of what is too long to be looked at."""
    if len(text) <= MAX_TEXT:
        return text
    left_out = len(text) - MAX_TEXT
    return f"{text[: MAX_TEXT // 2]}\n… {left_out} characters left out …\n{text[-MAX_TEXT // 2 :]}"
