"""Which addresses outside may be told something, and what of them is shown."""

import pytest

from shared.schemas.outside import shown_host


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.slack.com/services/T0/B0/secret", "https://hooks.slack.com"),
        ("https://example.org:8443/a?token=x", "https://example.org:8443"),
        ("https://[2001:db8::1]/a", "https://[2001:db8::1]"),
        ("http://127.0.0.1:9000/hook", "http://127.0.0.1:9000"),
    ],
)
def test_only_the_host_is_shown(url: str, shown: str):
    assert shown_host(url, allow_http=True) == shown


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/hook",
        "ftp://example.org/",
        "https://",
        "https://user:word@example.org/",
        "https://example.org/#part",
        "https://example.org/a b",
        "https://example.org/\n",
        "https://[::1/",
        "https://example.org:99999/",
        "//example.org",
    ],
)
def test_other_addresses_are_refused(url: str):
    with pytest.raises(ValueError, match="url: "):
        shown_host(url, allow_http=True)


def test_http_goes_to_this_machine_only_where_it_is_ones_own():
    with pytest.raises(ValueError, match="https"):
        shown_host("http://127.0.0.1:9000/hook", allow_http=False)
