"""What is shown of what others wrote: nothing of it does anything, and nothing of it hides."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.console import text

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("invoice\u202efdp.exe", "invoice‹U+202E›fdp.exe"),
        ("a\u200bb\ufeff\u2066", "a‹U+200B›b‹U+FEFF›‹U+2066›"),
        ("nul\x00bell\x07del\x7fc1\x9b", "nul␀bell␇del␡c1‹U+009B›"),
        ("carriage\rreturn", "carriage␍return"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("👩\u200d💻 می\u200cخواهم שלום", "👩\u200d💻 می\u200cخواهم שלום"),
    ],
)
def test_what_would_not_be_seen_is_shown_as_a_mark(written: str, shown: str) -> None:
    assert text.visible(written) == shown


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](java\tscript:alert(1))",
    "[click](&#106;avascript:alert(1))",
    "[click](\x01javascript:alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "[click](vbscript:msgbox(1))",
    "[click](file:///etc/passwd)",
    "<javascript:alert(1)>",
    "![picture](https://tracker.example/pixel.png)",
    "![picture](javascript:alert(1))",
    "[ref]\n\n[ref]: javascript:alert(1)",
    '<a href="javascript:alert(1)">x</a>',
    "```<img onerror=x>\n<script>\n```",
    '`"onmouseover="alert(1)`',
    '[x](https://ok.example "\\" onmouseover=\\"alert(1)")',
    "<style>*{display:none}</style>",
    "| <b>x</b> |\n|---|\n| <iframe src=x> |",
]


@pytest.mark.parametrize("written", HOSTILE)
def test_hostile_markdown_is_inert(written: str) -> None:
    held(text.markdown(written))
    held(text.inline(written))


@given(
    st.lists(
        st.sampled_from([*HOSTILE, "[", "](", ")", "<", ">", "&", '"', "'", "`", "\n", "|", "#", "javascript:", "\\"])
    )
)
def test_no_mixture_of_hostile_markdown_does_anything(parts: list[str]) -> None:
    written = "".join(parts)
    held(text.markdown(written))
    held(text.inline(written))


def held(html: str) -> None:
    """Only elements and attributes that do nothing, and links that lead to where links may."""

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag in ELEMENTS, tag
            for name, value in attrs:
                assert name in {"href", "rel", "title", "class", "start"}, name
                assert name != "href" or text.safe_url(value or ""), value
                assert name != "class" or tag in {"code", "span", "td", "th"}

    Reader().feed(html)


ELEMENTS = {
    *("p", "a", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "span"),
    *("h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}


def test_markdown_is_drawn_below_our_own_headings() -> None:
    html = text.markdown("# Plan\n\n- **one**\n- [two](https://a.example/x?y=1)\n\n~~no~~ `code`")
    assert "<h3>Plan</h3>" in html
    assert '<a href="https://a.example/x?y=1" rel="noopener noreferrer">two</a>' in html
    assert "<s>no</s>" in html


def test_a_line_of_markdown_is_no_paragraph() -> None:
    assert text.inline("`split` *rounds*") == "<code>split</code> <em>rounds</em>"


def test_a_picture_is_named_and_not_fetched() -> None:
    assert text.markdown("![a cat](https://tracker.example/x.png)").count("[picture: a cat]") == 1


def test_a_text_without_end_is_cut() -> None:
    html = text.markdown("x" * (text.MAX_MARKDOWN + 7))
    assert "7 characters are left out" in html


def test_columns_are_aligned_without_a_style() -> None:
    html = text.markdown("|a|b|\n|:-:|--:|\n|1|2|")
    assert "style" not in html
    assert '<td class="right">2</td>' in html


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://x.example/a:b", True),
        ("HTTP://x.example", True),
        ("mailto:a@b.example", True),
        ("docs/a.md", True),
        ("/console", True),
        ("?a=b:c", True),
        ("#x", True),
        ("javascript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("\x00javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("ssh://git@host/x", False),
    ],
)
def test_where_links_may_lead(url: str, safe: bool) -> None:
    assert text.safe_url(url) is safe


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "now"),
        (4, "now"),
        (42, "42 s ago"),
        (150, "2 min ago"),
        (7300, "2 h ago"),
        (200_000, "2 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_how_long_ago(seconds: int, shown: str) -> None:
    assert text.ago(NOW - timedelta(seconds=seconds), NOW) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0.0 s"),
        (0.34, "0.3 s"),
        (9.96, "10.0 s"),
        (12.4, "12 s"),
        (75, "1 min 15 s"),
        (3599.7, "1 h 0 min"),
        (7320, "2 h 2 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_how_long(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (12_345, "12.3 k"),
        (999_949, "999.9 k"),
        (999_950, "1 M"),
        (2_340_000, "2.3 M"),
    ],
)
def test_how_many(number: int, shown: str) -> None:
    assert text.count(number) == shown
