"""Single values of deliveries: what is kept of them, and what becomes of those that are no such value."""

from typing import Any

import pytest

from shared.forges.fields import branch_of, clean, context_of, repository_at, repository_of, sha_of, time_of, url_of
from shared.schemas.forge import Repository

NEW_YEAR_MS = 1_546_336_800_000  # 2019-01-01 10:00:00 UTC


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2019-01-01T10:00:00Z", NEW_YEAR_MS),
        ("2019-01-01 10:00:00 UTC", NEW_YEAR_MS),
        ("2019-01-01T10:00:00.548Z", NEW_YEAR_MS + 548),
        ("2019-01-01T10:00:00.5Z", NEW_YEAR_MS + 500),
        ("2019-01-01T10:00:00.123456789Z", NEW_YEAR_MS + 123),
        ("2019-01-01T12:00:00+02:00", NEW_YEAR_MS),
        ("2019-01-01 08:00:00 -0200", NEW_YEAR_MS),
        ("2019-01-01T10:00:00", NEW_YEAR_MS),
        ("1960-01-01T10:00:00Z", 0),
        ("0001-01-01T00:00:00+23:59", 0),
        ("9999-12-31T23:59:59-23:59", 0),
        ("2019-13-01T10:00:00Z", 0),
        ("2019-01-01T10:00:00+99:00", 0),
        ("2019-01-01", 0),
        ("\u0662\u0660\u0661\u0669-01-01T10:00:00Z", 0),
        ("yesterday", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_a_time_is_read_as_either_forge_writes_it(text: str | None, ms: int) -> None:
    assert time_of(text) == ms


def test_of_several_times_the_latest_counts() -> None:
    assert time_of(None, "2019-01-01T10:00:00Z", "2018-01-01 10:00:00 UTC", "rubbish") == NEW_YEAR_MS
    assert time_of() == 0


@pytest.mark.parametrize(
    ("text", "sha"),
    [
        ("aB" * 20, "ab" * 20),
        ("aB" * 32, "ab" * 32),
        ("a" * 39, None),
        ("a" * 41, None),
        ("a" * 50, None),
        ("g" * 40, None),
        ("0" * 40, None),
        ("0" * 64, None),
        ("a" * 40 + "\n", None),
        ("\uff41" * 40, None),
        ("", None),
        (None, None),
    ],
)
def test_a_commit_is_forty_or_sixty_four_hexadecimal_digits(text: str | None, sha: str | None) -> None:
    assert sha_of(text) == sha


@pytest.mark.parametrize("name", ["0001-pears", "feature/größe", "a" * 255])
def test_the_name_of_a_branch_is_kept_as_it_is(name: str) -> None:
    assert branch_of(name) == name


@pytest.mark.parametrize("name", [None, "", "a b", "a\nb", "a\0b", "a\u202eb", "\ud800", "a" * 256])
def test_what_git_would_not_take_is_no_branch(name: str | None) -> None:
    assert branch_of(name) is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://ci.example.test/a?b=c#d", True),
        ("http://ci.example.test/", True),
        ("https://" + "a" * 1992, True),
        ("https://" + "a" * 1993, False),
        ("javascript:alert(1)", False),
        ("HTTPS:javascript", False),
        ("ftp://ci.example.test/", False),
        ("//ci.example.test/", False),
        (" https://ci.example.test/", False),
        ("https://ci.example.test/\n", False),
        ("https://ci.example.test/a b", False),
        ("https://ci.example.test/\ud800", False),
        ("", False),
        (None, False),
    ],
)
def test_an_address_is_kept_whole_or_not_at_all(text: str | None, kept: bool) -> None:
    assert url_of(text) == (text if kept else None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("unit tests", "unit tests"),
        ("  two\n\tlines ", "two lines"),
        ("a\0b\x1b[31m", "a b [31m"),
        ("\ud800", ""),
        ("x" * 1_000_000, "x" * 200),
        (None, ""),
    ],
)
def test_a_name_is_one_printable_line_of_two_hundred_characters(text: str | None, shown: str) -> None:
    assert clean(text) == shown


def test_contexts_of_different_checks_differ_however_long_or_strange_their_names_are() -> None:
    names = [
        "a",
        "a/b",
        "a b",
        "a  b",
        "a\nb",
        "a\0b",
        "x" * 200,
        "x" * 201,
        "x" * 200 + "y",
        "x" * 1_000_000,
        "\ud800",
    ]
    contexts = [context_of("status", name) for name in names]
    assert len(set(contexts)) == len(names)
    assert max(map(len, contexts)) < 250
    assert all(context.isprintable() for context in contexts)
    assert contexts[:3] == ["status/a", "status/a/b", "status/a b"]


@pytest.mark.parametrize(
    ("address", "repository"),
    [
        ("https://GitHub.com/orchard/pears", ("orchard/pears", "github.com")),
        ("https://github.com/orchard/pears.git", ("orchard/pears", "github.com")),
        ("https://job:secret@lab.example.test:8443/a/b/c.git", ("a/b/c", "lab.example.test:8443")),
        ("http://localhost:3000/a/b/", ("a/b", "localhost:3000")),
        ("ssh://git@lab.example.test/a/b.git", ("a/b", "lab.example.test")),
        ("git@github.com:orchard/pears.git", ("orchard/pears", "github.com")),
    ],
)
def test_a_repository_is_known_by_its_address_for_the_web_and_for_git(
    address: str, repository: tuple[str, str]
) -> None:
    assert repository_at(address) == Repository(id=None, full_name=repository[0], host=repository[1])


@pytest.mark.parametrize(
    "address",
    [None, "", "pears", "/srv/pears", "https://", "https://h:99999/a", "https://h:x/a", "http://[::1/a", "a:b"],
)
def test_what_is_no_address_names_no_repository(address: Any) -> None:
    assert repository_at(address) is None
    assert repository_at(address, 4) == Repository(id="4")
    assert repository_of(4, "a/b", address) == Repository(id="4", full_name="a/b")


def test_a_repository_without_id_and_path_is_none() -> None:
    assert repository_of(None, "", "https://github.com/a/b") is None
