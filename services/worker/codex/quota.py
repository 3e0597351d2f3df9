"""When a quota that is used up is there again, as far as Codex's message names it (pure)."""

import re
from datetime import UTC, datetime, timedelta

# Codex 0.163.0: "try again at 8:29 PM." on the same day, else "try again at Nov 25th, 2026 5:29 PM."; in the time zone
# of its environment, which is ours to set: UTC.
_AT = re.compile(
    r"try again at (?:(?P<date>[a-z]{3} \d{1,2})(?:st|nd|rd|th), (?P<year>\d{4}) )?(?P<clock>\d{1,2}:\d{2} [ap]m)\b",
    re.IGNORECASE,
)
_IN = re.compile(
    r"try again in ((?:\d+(?:\.\d+)?\s*(?:days?|hours?|minutes?|seconds?|ms|[dhms])\b[\s,]*(?:and )?)+)", re.IGNORECASE
)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(days?|hours?|minutes?|seconds?|ms|[dhms])\b", re.IGNORECASE)
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
# The minute is named, not the second within it.
_ROUNDED = timedelta(minutes=1)


def named_time(message: str, now: datetime) -> datetime | None:
    """The time that the message names, in UTC; None when it names none, or one that is over."""
    try:
        if found := _AT.search(message):
            at = _at(found, now.astimezone(UTC)) + _ROUNDED
        elif found := _IN.search(message):
            at = now.astimezone(UTC) + sum((_span(*part) for part in _PART.findall(found[1])), timedelta())
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return at if at > now else None


def _at(found: re.Match[str], now: datetime) -> datetime:
    day = now.strftime("%b %d %Y") if found["date"] is None else f"{found['date']} {found['year']}"
    return datetime.strptime(f"{day} {found['clock']} +0000", "%b %d %Y %I:%M %p %z")


def _span(number: str, unit: str) -> timedelta:
    if unit.lower() == "ms":
        return timedelta(milliseconds=float(number))
    return timedelta(seconds=float(number) * _SECONDS[unit[0].lower()])
