"""The place for how text, times and numbers are shown to people; what others wrote is inert here (pure)."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

# What moves, hides or recolours text instead of being seen: controls but tab and line breaks, and bidi and zero-width
# marks. The joiners stay, which Persian and many emoji are written with.
_UNSEEN = re.compile(
    "\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_SAFE_SCHEME = re.compile(r"^(https?|mailto)$", re.IGNORECASE)
_SCHEME = re.compile(r"^\s*([^/?#]*?):")
# A longer text is cut before it is drawn as Markdown.
MAX_MARKDOWN: Final = 200_000
MAX_INLINE: Final = 4_000
_HEADINGS_DOWN: Final = 2
_DEEPEST_HEADING: Final = 6
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WIRE_NAME = re.compile("[a-z0-9_]+")
_SHORT: Final = {"ci": "CI", "pr": "PR", "qa": "QA"}
_THOUSAND, _MILLION = 1000, 1_000_000


def visible(text: str) -> str:
    """The text with a mark where a character would not be seen: ␛ for an escape, ‹U+202E› for an override."""
    return _UNSEEN.sub(_mark, text) if _UNSEEN.search(text) else text


def _mark(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:  # noqa: PLR2004  the controls of ASCII have pictures of their own
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"‹U+{code:04X}›"  # noqa: PLR2004  DEL


def finalize(value: Any) -> Any:
    """What every expression of a template goes through before it is escaped; None is shown as nothing."""
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def safe_url(url: str) -> bool:
    """Whether a link may lead there: http, https, mailto, or a place on this site."""
    found = _SCHEME.match(visible(url))
    return found is None or _SAFE_SCHEME.match(found[1]) is not None


def markdown(text: str | None) -> Markup:
    """Markdown as HTML: no HTML of its own, no pictures, links to safe places only, headings below ours."""
    shown = visible(text or "")
    if len(shown) > MAX_MARKDOWN:
        shown = f"{shown[:MAX_MARKDOWN]}\n\n… {len(shown) - MAX_MARKDOWN} characters are left out here."
    return Markup(_MARKDOWN.render(shown))  # noqa: S704  the renderer escapes; `html` is off


def inline(text: str | None) -> Markup:
    """A line or two of Markdown as HTML: what `markdown` does with the inside of a paragraph."""
    return Markup(_MARKDOWN.renderInline(visible(text or "")[:MAX_INLINE]))  # noqa: S704  likewise


def _image(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    return f'<span class="picture">[picture: {escape(tokens[index].content or "without a title")}]</span>'


def _link(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, _: Any) -> str:
    tokens[index].attrSet("rel", "noopener noreferrer")
    return renderer.renderToken(tokens, index, options, _)


def _heading(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, _: Any) -> str:
    level = min(int(tokens[index].tag[1:]) + _HEADINGS_DOWN, _DEEPEST_HEADING)
    tokens[index].tag = f"h{level}"
    return renderer.renderToken(tokens, index, options, _)


def _cell(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, _: Any) -> str:
    tokens[index].attrs = {"class": "right"} if "right" in str(tokens[index].attrs.get("style", "")) else {}
    return renderer.renderToken(tokens, index, options, _)


def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    reader.validateLink = safe_url
    reader.add_render_rule("image", _image)
    reader.add_render_rule("link_open", _link)
    reader.add_render_rule("heading_open", _heading)
    reader.add_render_rule("heading_close", _heading)
    reader.add_render_rule("th_open", _cell)  # our policy allows no style in it
    reader.add_render_rule("td_open", _cell)
    return reader


_MARKDOWN: Final = _reader()


def as_time(moment: datetime | int) -> datetime:
    """A time, where the database's milliseconds are taken for one too."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment) if isinstance(moment, int) else moment


def ago(moment: datetime | int, now: datetime) -> str:
    """How long ago that was, or how soon it will be, in the largest unit that fits."""
    seconds = (now - as_time(moment)).total_seconds()
    if abs(seconds) < 5:  # noqa: PLR2004  what was just done
        return "now"
    length = _rough(abs(seconds))
    return f"{length} ago" if seconds > 0 else f"in {length}"


def _rough(seconds: float) -> str:
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def duration(length: timedelta | float) -> str:
    """A length of time (a number counts seconds) in its two largest units."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    if seconds < 10:  # noqa: PLR2004  below this a tenth tells something
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def count(number: int) -> str:
    """A large number in few characters."""
    if number < _THOUSAND:
        return str(number)
    size, unit = (_MILLION, "M") if number >= 999_950 else (_THOUSAND, "k")  # noqa: PLR2004  rounds to 1 M
    return f"{number / size:.1f}".removesuffix(".0") + f" {unit}"


def words(name: str) -> str:
    """A name of the wire as words; what is no such name stays as it is."""
    if not _WIRE_NAME.fullmatch(name):
        return name
    return " ".join(_SHORT.get(word, word) for word in name.split("_"))
