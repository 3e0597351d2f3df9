"""When Codex says that the quota is there again; the texts are those of Codex 0.163.0 and of older ones."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from services.worker.codex.quota import named_time

NOW = datetime(2026, 11, 22, 17, 30, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ("You’ve hit your usage limit. Try again at 8:29 PM.", datetime(2026, 11, 22, 20, 30, tzinfo=UTC)),
        ("Visit https://x.example or try again at 11:59 PM.", datetime(2026, 11, 23, 0, 0, tzinfo=UTC)),
        ("or try again at Nov 25th, 2026 5:29 PM.", datetime(2026, 11, 25, 17, 30, tzinfo=UTC)),
        ("or try again at Dec 1st, 2026 12:05 AM.", datetime(2026, 12, 1, 0, 6, tzinfo=UTC)),
        ("or try again at Feb 22nd, 2027 12:05 PM.", datetime(2027, 2, 22, 12, 6, tzinfo=UTC)),
        ("Try again in 3 days 4 hours 5 minutes.", NOW + timedelta(days=3, hours=4, minutes=5)),
        ("Please try again in 1.5s.", NOW + timedelta(seconds=1.5)),
        ("try again in 250ms", NOW + timedelta(milliseconds=250)),
        ("try again in 2 hours and 1 minute", NOW + timedelta(hours=2, minutes=1)),
    ],
)
def test_a_time_is_read_as_codex_prints_it(said: str, at: datetime) -> None:
    assert named_time(said, NOW) == at


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Quota exceeded. Check your plan and billing details.",
        "You’ve hit your usage limit. Try again later.",
        "try again at 5:29 PM.",
        "try again at Nov 21st, 2026 5:29 PM.",
        "try again at 25:99 PM",
        "try again at Foo 31st, 2026 5:29 PM",
        "try again at Feb 30th, 2027 5:29 PM",
        "try again at Jan 1st, 0000 5:29 PM",
        "try again at Dec 31st, 9999 11:59 PM",
        "try again in 0 seconds",
        "try again in " + "9" * 400 + " days",
        "try again in " + "1 day " * 5000,
        "try again in a while",
    ],
)
def test_what_names_no_time_to_come_names_none(said: str) -> None:
    found = named_time(said, NOW)
    assert found is None or found > NOW + timedelta(days=1000)


def test_the_present_may_be_told_in_any_time_zone() -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert named_time("Try again at 8:29 PM.", tokyo) == datetime(2026, 11, 22, 20, 30, tzinfo=UTC)
