"""What was ordered and what it costs, in cents."""

import re
from dataclasses import dataclass

LINE = re.compile(r"(?P<name>\S.*?)\s+(?P<whole>\d+)[.,](?P<cents>\d\d)")


class BadLine(ValueError):
    """A line of a bill that is neither empty nor a comment nor a name with a price."""


@dataclass(frozen=True)
class Item:
    """One line of a bill."""

    name: str
    cents: int


def read_bill(text):
    """The items of a bill, in their order; BadLine names the first line that is none."""
    items = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = LINE.fullmatch(line)
        if not found:
            raise BadLine(f"line {number}: {line!r} is not a name with a price")
        items.append(Item(found["name"], int(found["whole"]) * 100 + int(found["cents"])))
    return items


def total(items):
    """What the whole bill comes to, in cents."""
    return sum(item.cents for item in items)


def money(cents):
    """1234 as 12.34."""
    return f"{cents // 100}.{cents % 100:02}"
