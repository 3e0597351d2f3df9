"""How things look on a terminal: safe texts, times, counts, marks and tables."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from shared.log import on_one_line
from shared.schemas.answers import Usage

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_SHORT = 8

_STYLES = {
    "completed": "green",
    "succeeded": "green",
    "applied": "green",
    "ready": "green",
    "running": "cyan",
    "planning": "cyan",
    "planned": "blue",
    "needs_qa": "yellow",
    "paused": "yellow",
    "stopped": "yellow",
    "parked": "yellow",
    "lost": "yellow",
    "blocked": "red",
    "failed": "red",
    "cancelled": "dim",
    "ignored": "dim",
    "duplicate": "dim",
    "pending": "dim",
    "queued": "dim",
}
_DIFF_STYLES = (
    ("+++", "bold"),
    ("---", "bold"),
    ("@@", "cyan"),
    ("diff ", "bold yellow"),
    ("+", "green"),
    ("-", "red"),
)


def line(text: str | None) -> str:
    """A text as one line; what could colour or turn a terminal is written out."""
    return on_one_line(re.sub(r"\s*[\r\n]+\s*", " ", (text or "").strip()))


def block(text: str) -> str:
    """A text with its lines, in which nothing steers a terminal."""
    return "\n".join(on_one_line(each.removesuffix("\r").expandtabs()) for each in text.split("\n"))


def status(word: str, *notes: str | None) -> Text:
    """A status in its colour, with what it does and why behind it."""
    shown = Text(word, style=_STYLES.get(word, ""))
    for note in filter(None, notes):
        shown.append(f" · {line(note)}", style="dim")
    return shown


def span(seconds: float) -> str:
    """A length of time, such as `1m 12s`."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def ago(moment: datetime | None) -> str:
    """How long ago something was, or how far ahead it is."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"in {span(-seconds)}" if seconds < 0 else f"{span(seconds)} ago"


def lasted(began: datetime | None, ended: datetime | None) -> float:
    """Seconds from one to the other, or to now; 0 for what has not begun."""
    return 0.0 if began is None else ((ended or datetime.now(UTC)) - began).total_seconds()


def tokens(*usages: Usage) -> str:
    """What went to and came from the model."""
    total = sum(usage.input_tokens + usage.output_tokens for usage in usages)
    return f"{total:,} tokens" if total else ""


def commit(sha: str | None) -> str:
    """A commit in short."""
    return (sha or "")[:_SHORT]


def table(*columns: str, rows: Iterable[Sequence[RenderableType | None]], none: str) -> RenderableType:
    """A table with a heading, or the sentence `none` when there is nothing in it. Texts in cells are made safe."""
    drawn = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(column, overflow="fold", justify="right" if column == "#" else "left")
    for row in rows:
        drawn.add_row(*(Text(line(cell)) if isinstance(cell, str | None) else cell for cell in row))
    return drawn if drawn.row_count else Text(none, style="dim")


def facts(pairs: Iterable[tuple[str, RenderableType | None]]) -> RenderableType:
    """Names with what is known of them; what is not known is left out."""
    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            drawn.add_row(name, Text(line(value)) if isinstance(value, str) else value)
    return drawn


def patch(diff: str) -> Text:
    """A diff in colours."""
    shown = Text(no_wrap=True, overflow="ignore")
    for each in block(diff).split("\n"):
        style = next((style for start, style in _DIFF_STYLES if each.startswith(start)), "")
        shown.append(f"{each}\n", style=style)
    shown.rstrip()
    return shown
