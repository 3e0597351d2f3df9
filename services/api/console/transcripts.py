"""The place where an attempt's event file becomes what a person reads: pages of it, and what came since."""

import re
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import msgspec
from markupsafe import Markup

from services.api.attempt_files import Part, read_bytes, read_part
from services.api.console.sentences import pretty
from services.api.console.text import markdown
from shared.errors import UNREADABLE
from shared.schemas.codex_events import Usage
from shared.schemas.transcript import Item, path_in_worktree, read_items, script_of

WINDOW: Final = 2_097_152
# A line that is longer than this is passed over.
MAX_LINE: Final = 16 * WINDOW
SHOWN: Final = 200
NEWS: Final = 1000
# What one page shows at most, beside its count of items.
MAX_CHARS: Final = 200_000
# A longer message is shown as it is, because Markdown takes its time.
MAX_DRAWN: Final = 8_000
# What terminals colour by: nothing is lost without it. Other controls are shown as marks.
_COLOUR: Final = re.compile(r"\x1b\[[0-9;:]*[mK]")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One item as it is shown; `said` is Markdown that was drawn, `data` an answer of the model in JSON."""

    place: int
    kind: str
    text: str
    said: Markup
    data: str
    output: str
    exit_code: int | None
    files: Sequence[tuple[str, str]]
    tokens: Usage | None
    live: bool


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Some items of the file; `end` is where what comes later goes on, `earlier` where what came before ends, or 0."""

    entries: Sequence[Entry] = ()
    end: int = 0
    earlier: int = 0


def last(workspaces: Path, directory: str | None, *, limit: int, before: int | None = None) -> Window:
    """The last items of what is there, or of what stands before a place."""
    size = read_part(workspaces, directory, Part.EVENTS, offset=0, limit=1, tail=True)
    if size is None:
        return Window()
    end = size.total if before is None else min(before, size.total)
    start = max(0, end - WINDOW)
    data = read_bytes(workspaces, directory, Part.EVENTS, offset=start, limit=end - start)
    place = start
    if start:
        begun = data.find(b"\n") + 1
        data, place = data[begun:], place + begun
    found, end = read_items(data, place)
    kept = found[-_fitting(found, limit) :]
    earlier = kept[0][0] if len(kept) < len(found) else start
    return Window(entries=_entries(item for _, item in kept), end=end, earlier=earlier)


def news(workspaces: Path, directory: str | None, *, after: int) -> Window:
    """The items behind a place."""
    data = read_bytes(workspaces, directory, Part.EVENTS, offset=after, limit=WINDOW)
    stop = after + MAX_LINE
    while len(data) == WINDOW and b"\n" not in data and after < stop:
        after += WINDOW
        data = read_bytes(workspaces, directory, Part.EVENTS, offset=after, limit=WINDOW)
    found, end = read_items(data, after)
    kept = found[:NEWS]
    return Window(entries=_entries(item for _, item in kept), end=kept[-1][1].place if kept else end)


def _fitting(found: Sequence[tuple[int, Item]], limit: int) -> int:
    """How many of the last items a page has room for: one at least."""
    sizes = accumulate(len(item.text) + len(item.output) for _, item in reversed(found))
    return max(1, min(limit, sum(size <= MAX_CHARS for size in sizes)))


def _entries(items: Any) -> list[Entry]:
    """The items without those that have begun and are told once more when they are over."""
    shown = list(items)
    over = {item.text for item in shown if item.kind == "command" and not item.live}
    return [_entry(item) for item in shown if not (item.live and item.text in over)]


def _entry(item: Item) -> Entry:
    text, data, said = plain(item.text), "", Markup("")
    if item.kind == "message":
        text, data = _answer(text)
    if item.kind == "command":
        text = script_of(text)
    if item.kind in {"message", "reasoning"} and len(text) <= MAX_DRAWN:
        said = markdown(text)
    return Entry(
        place=item.place,
        kind=item.kind,
        text=text,
        said=said,
        data=data,
        output=plain(item.output),
        exit_code=item.exit_code,
        files=[(kind, path_in_worktree(path)) for kind, path in item.files],
        tokens=item.tokens,
        live=item.live,
    )


def _answer(text: str) -> tuple[str, str]:
    """What a message says, and the whole of it where it is an answer in JSON."""
    if not text.startswith("{"):
        return text, ""
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
        whole = pretty(found)
    except UNREADABLE:
        return text, ""
    summary = found.get("summary")
    return (summary if isinstance(summary, str) else "An answer."), whole


def plain(text: str | None) -> str:
    """Text of a terminal without its colours."""
    return _COLOUR.sub("", text or "")
