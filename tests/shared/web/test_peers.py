"""Who is at the other end, and how often it may guess."""

import pytest

from shared.web.peers import FailureLimit, Peers


def scope(client: str | None, *forwarded: str) -> dict[str, object]:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"client": (client, 1) if client else None, "headers": headers}


@pytest.mark.parametrize(
    ("client", "forwarded", "peer"),
    [
        ("203.0.113.1", [], "203.0.113.1"),
        ("203.0.113.1", ["198.51.100.1"], "203.0.113.1"),
        ("10.0.0.2", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", ["198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.2", ["10.9.9.9"], "10.9.9.9"),
        ("10.0.0.2", [], "10.0.0.2"),
        ("10.0.0.2", ["not an address"], "not an address"),
        (None, ["198.51.100.1"], ""),
    ],
)
def test_a_forwarded_address_is_believed_as_far_as_trusted_proxies_wrote_it(
    client: str | None, forwarded: list[str], peer: str
) -> None:
    assert Peers(("10.0.0.0/8",)).peer(scope(client, *forwarded)) == peer


def test_without_trusted_proxies_nothing_that_is_forwarded_counts() -> None:
    assert Peers(()).peer(scope("10.0.0.2", "1.1.1.1")) == "10.0.0.2"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_failures_over_the_limit_have_to_wait_until_the_window_ends() -> None:
    clock = Clock()
    limit = FailureLimit(allowed=2, window_s=60, clock=clock)
    assert [limit.failed("a") for _ in range(3)] == [0, 0, 61]
    clock.now = 59
    assert limit.failed("a") == 2
    clock.now = 60
    assert limit.failed("a") == 0


def test_peers_are_counted_apart() -> None:
    limit = FailureLimit(allowed=1, clock=Clock())
    assert [limit.failed("a"), limit.failed("b"), limit.failed("a") > 0] == [0, 0, True]


def test_the_memory_of_peers_is_bounded() -> None:
    limit = FailureLimit(allowed=1, clock=Clock())
    for number in range(20_000):
        limit.failed(str(number))
    assert len(limit._failures) == 10_000
