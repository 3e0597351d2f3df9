"""The place where figures become charts: bars in a field of 100 by 100, and the words beside them (pure)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from services.api.console.text import as_time, count, duration
from shared.repository.database import Row

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
# How wide a bar is of the room that its piece has.
FILLED: Final = 0.72
# What one chart tells apart by colour; the rest is added up.
MOST_PARTS: Final = 5
OTHERS: Final = "others"


class Range(msgspec.Struct, frozen=True):
    """A time that can be charted: `pieces` pieces of `width` milliseconds, the last of which is not over yet."""

    name: str
    words: str
    width: int
    pieces: int

    def since(self, now: int) -> int:
        """When the first piece begins."""
        return now // self.width * self.width - (self.pieces - 1) * self.width

    def label(self, since: int, piece: int) -> str:
        """The piece in words; UTC."""
        at = as_time(since + piece * self.width)
        return f"{at:%H:%M}" if self.width < DAY_MS else f"{at:%b} {at.day}"


RANGES: Final = (
    Range("24h", "24 hours", HOUR_MS, 24),
    Range("7d", "7 days", DAY_MS, 7),
    Range("30d", "30 days", DAY_MS, 30),
)


class Series(msgspec.Struct, frozen=True):
    """One colour of a chart: its name, its class of colour, and a value for each piece."""

    name: str
    tone: str
    values: Sequence[float]

    @property
    def total(self) -> float:
        """All of them together."""
        return sum(self.values)


class Bar(msgspec.Struct, frozen=True):
    """A rectangle; `top` is its distance from the upper edge."""

    x: float
    top: float
    width: float
    height: float
    tone: str
    says: str


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart with everything that is drawn of it; `rows` are the same figures as a table."""

    key: str
    title: str
    about: str
    summary: str
    series: Sequence[Series]
    bars: Sequence[Bar]
    top: str
    labels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.bars


def chart(
    key: str,
    title: str,
    about: str,
    series: Sequence[Series],
    labels: Sequence[str],
    *,
    summary: str,
    shown: Callable[[float], str] = lambda value: count(round(value)),
    mode: Literal["stacked", "behind", "beside"] = "stacked",
) -> Chart:
    """Draw series over the pieces that `labels` names; `behind` draws the first series first, for others to cover."""
    columns = [[each.values[piece] for each in series] for piece in range(len(labels))]
    stacked = mode == "stacked"
    highest = max((sum(column) if stacked else max(column, default=0) for column in columns), default=0)
    room = 100 / max(len(labels), 1)
    width = room * FILLED / (max(len(series), 1) if mode == "beside" else 1)
    bars: list[Bar] = []
    for piece, column in enumerate(columns):
        below = 0.0
        for place, (each, value) in enumerate(zip(series, column, strict=True)):
            if value <= 0:
                continue
            height = 100 * value / highest
            x = piece * room + room * (1 - FILLED) / 2 + (place * width if mode == "beside" else 0)
            says = f"{labels[piece]}: {each.name} {shown(value)}"
            bars.append(_bar(x, 100 - below - height, width, height, each.tone, says))
            below += height if stacked else 0
    rows = [
        (labels[piece], [shown(value) if value else "–" for value in column])
        for piece, column in enumerate(columns)
        if any(column)
    ]
    return Chart(
        key=key,
        title=title,
        about=about,
        summary=summary,
        series=series,
        bars=bars,
        top=shown(highest) if highest else "",
        labels=labels,
        rows=rows,
    )


def _bar(x: float, top: float, width: float, height: float, tone: str, says: str) -> Bar:
    return Bar(round(x, 2), round(top, 2), round(width, 2), round(height, 2), tone, says)


def spread(rows: Sequence[Row], pieces: int, value: str = "count", **of: Any) -> list[float]:
    """The values of the rows that have these fields, one for each piece, 0 where there is no row."""
    values = [0.0] * pieces
    for row in rows:
        if 0 <= row["piece"] < pieces and all(row[name] == wanted for name, wanted in of.items()):
            values[row["piece"]] += row[value] or 0
    return values


def parts(rows: Sequence[Row], pieces: int, by: str, unnamed: str) -> list[Series]:
    """A series for each value of a field, the largest first; what is too many for colours is one at the end."""
    sums: dict[str, list[float]] = {}
    for row in rows:
        if 0 <= row["piece"] < pieces and row["count"]:
            sums.setdefault(row[by] or unnamed, [0.0] * pieces)[row["piece"]] += row["count"]
    ordered = sorted(sums.items(), key=lambda item: (-sum(item[1]), item[0]))
    found = [Series(name, f"c{number}", values) for number, (name, values) in enumerate(ordered[:MOST_PARTS], 1)]
    rest = [values for _, values in ordered[MOST_PARTS:]]
    if rest:
        found.append(Series(OTHERS, "c0", [sum(column) for column in zip(*rest, strict=True)]))
    return found


def all_charts(found: Mapping[str, Sequence[Row]], over: Range, now: datetime) -> list[Chart]:
    """Every chart of the page, from the rows of the statements by their names."""
    since = over.since(round(now.timestamp() * 1000))
    labels = [over.label(since, piece) for piece in range(over.pieces)]
    return [
        _throughput(found, over, labels),
        _durations(found, over, labels),
        _verdicts(found, over, labels, "qa", "QA", "Commits that QA judged, by its last word on each."),
        _verdicts(found, over, labels, "ci", "CI", "Commits that the CI judged, by its last word on each."),
        _tokens(found, over, labels, "model", "Tokens by model", "the model that Codex chose"),
        _tokens(found, over, labels, "project", "Tokens by project", ""),
    ]


def _throughput(found: Mapping[str, Sequence[Row]], over: Range, labels: Sequence[str]) -> Chart:
    steps = Series("steps done", "c1", spread(found["steps_done"], over.pieces))
    runs = Series("runs completed", "good", spread(found["runs_ended"], over.pieces, status="completed"))
    ended = [spread(found["runs_ended"], over.pieces, status=status) for status in ("failed", "cancelled")]
    others = Series("runs given up", "bad", [sum(column) for column in zip(*ended, strict=True)])
    return chart(
        "throughput",
        "Throughput",
        "Steps that were completed, and runs that ended.",
        [steps, runs, others],
        labels,
        summary=f"{_counted(steps, 'step')} done, {_counted(runs, 'run')} completed,"
        f" {count(int(others.total))} given up",
        mode="beside",
    )


def _counted(series: Series, word: str) -> str:
    total = int(series.total)
    return f"{count(total)} {word}{'s' if total != 1 else ''}"


def _durations(found: Mapping[str, Sequence[Row]], over: Range, labels: Sequence[str]) -> Chart:
    rows = found["durations"]
    slow = Series("9 of 10 within (p90)", "pale", spread(rows, over.pieces, "p90"))
    half = Series("half within (p50)", "c1", spread(rows, over.pieces, "p50"))
    amount = sum(row["count"] for row in rows)
    return chart(
        "durations",
        "How long an execution takes",
        "Of executions that succeeded, by when they began.",
        [slow, half],
        labels,
        summary=f"{count(amount)} executions",
        shown=lambda ms: duration(timedelta(milliseconds=ms)),
        mode="behind",
    )


def _verdicts(
    found: Mapping[str, Sequence[Row]], over: Range, labels: Sequence[str], name: str, title: str, about: str
) -> Chart:
    rows = found["verdicts"]
    passed = Series("passed", "good", spread(rows, over.pieces, name=name, state="passed"))
    failed = Series("failed", "bad", spread(rows, over.pieces, name=name, state="failed"))
    judged = passed.total + failed.total
    share = f"{passed.total / judged:.0%} of {count(int(judged))} passed" if judged else "nothing judged"
    return chart(name, f"{title} pass rate", about, [passed, failed], labels, summary=share)


def _tokens(
    found: Mapping[str, Sequence[Row]], over: Range, labels: Sequence[str], by: str, title: str, unnamed: str
) -> Chart:
    series = parts(found["tokens"], over.pieces, by, unnamed)
    total = sum(each.total for each in series)
    return chart(
        f"tokens-{by}",
        title,
        "What agents read and wrote, by when they began.",
        series,
        labels,
        summary=f"{count(int(total))} tokens",
    )
