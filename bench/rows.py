"""What a measurement gives: lines of the table."""

from collections.abc import Sequence

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One line of a table; `fine` is None where there is no target."""

    what: str
    figure: str
    beside: str = ""
    target: str = ""
    fine: bool | None = None


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
