"""The place that knows what a secret looks like: takes secrets out of texts before they are logged, stored or shown."""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, cast
from urllib.parse import quote_from_bytes

import msgspec

MARK = "***"

# Shorter ones would black out ordinary words; outside `local` no token that short is accepted.
MIN_SECRET_CHARS = 4
MIN_ENCODED_BYTES = 8
MIN_LINE_CHARS = 16
MAX_DEPTH = 8
MAX_NODES = 10_000
INTEGER_BITS = 64

SECRET_NAME = re.compile(r"token|secret|passw|authorization|api_?key|cookie|credential|private_?key", re.IGNORECASE)


class Shape(msgspec.Struct, frozen=True):
    """A pattern, tried only on texts that contain one of the needles (lower case): the search for those is quick."""

    needles: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str] = MARK


def _without_login(match: re.Match[str]) -> str:
    """`ssh://git@host` names nobody's secret; a password, or a token in the user's place, is one."""
    login = match[1]
    return match[0] if ":" not in login and len(login) < MIN_LINE_CHARS else f"://{MARK}@"


def _without_basic(match: re.Match[str]) -> str:
    """Prose may follow the word `basic`; credentials decode to something with a colon."""
    padded = match[2] + "=" * (-len(match[2]) % 4)
    try:
        is_login = b":" in base64.b64decode(padded, altchars=b"-_")
    except binascii.Error:
        is_login = False
    return match[1] + MARK if is_login else match[0]


SHAPES = (
    Shape(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), re.compile(r"gh[pousr]_[A-Za-z0-9_.-]{16,}")),
    Shape(("github_pat_",), re.compile(r"github_pat_[A-Za-z0-9_]{16,}")),
    Shape(("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-"), re.compile(r"gl(?:pat|[a-z]{1,4}t)-[\w.-]{16,}")),
    Shape(("sk-",), re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,}")),
    Shape(("whsec_",), re.compile(r"whsec_[A-Za-z0-9+/=_-]{16,}")),
    Shape(("dfp_", "dfw_"), re.compile(r"df[pw]_[A-Za-z0-9_-]{16,}")),
    Shape(("eyj",), re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")),
    Shape(
        ("private key-----",),
        re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{0,20000}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"),
    ),
    Shape(("://",), re.compile(r"://([^/\s@\"'<>]{1,512})@"), _without_login),
    Shape(("bearer",), re.compile(r"(?i)(bearer[ \t]+)(?=\S*\d|\S{20})[\w.~+/-]{6,}=*"), rf"\1{MARK}"),
    Shape(("basic",), re.compile(r"(?i)(\bbasic[ \t]+)([\w+/-]{4,}={0,2})"), _without_basic),
    Shape(
        ("authorization", "-token"),
        re.compile(
            r"(?i)((?:authorization|-token)\\?[\"']?[ \t]*:[ \t]*\\?[\"']?(?:(?:bearer|basic|token)[ \t]+)?)"
            r"(?!(?:bearer|basic|token)[ \t])[^\s\"',;*\\]{4,}"
        ),
        rf"\1{MARK}",
    ),
    Shape(
        ("token", "secret", "passw", "api_key", "apikey"),
        re.compile(
            r"(?i)((?:token|secret|passw(?:or)?d|api_?key)[\w-]{0,20}\\?\"[ \t]*:[ \t]*\\?\")(?!\*\*\*)[^\"\\\s]{4,}"
        ),
        rf"\1{MARK}",
    ),
    Shape(
        ("token", "secret", "passw", "api_key", "apikey"),
        re.compile(r"((?:TOKEN|SECRET|PASSWORD|API_KEY)[A-Z0-9_]{0,20}=[\"']?)[^\s\"';&*$]{4,}"),
        rf"\1{MARK}",
    ),
    Shape(
        ("token=", "secret=", "password=", "key="),
        re.compile(r"(?i)([?&][\w-]{0,40}(?:token|secret|password|api_?key)=)[^\s\"'&#*]{4,}"),
        rf"\1{MARK}",
    ),
)

# One look at a text tells whether any shape is worth a try: nearly none is, and every log record has a dozen texts.
ANY_NEEDLE = re.compile("|".join(sorted(re.escape(needle) for shape in SHAPES for needle in shape.needles)))


class Redactor:
    """Takes out the secrets it was told, in the forms they travel in, and everything that looks like a token."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._forms: tuple[str, ...] = ()
        for secret in known:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """One more text that must never be shown, such as a token that was just decrypted."""
        forms = {form for form in _forms(secret) if len(form) >= MIN_SECRET_CHARS}
        if not forms <= set(self._forms):
            self._forms = tuple(sorted({*self._forms, *forms}, key=len, reverse=True))

    def redact(self, text: str) -> str:
        """The text with `***` for every secret; fast enough for megabytes."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MARK)
        lowered = text.lower()
        if not ANY_NEEDLE.search(lowered):
            return text
        for shape in SHAPES:
            if any(needle in lowered for needle in shape.needles):
                text = shape.pattern.sub(shape.replacement, text)
        return text

    def clean(self, value: object) -> Any:
        """The value in plain JSON types, with redacted texts and no text at all under a key that names a secret.

        Never raises, whatever the value is made of; what is too deep or too much becomes `…`.
        """
        return self._clean(value, 0, [MAX_NODES])

    def _clean(self, value: object, depth: int, left: list[int]) -> Any:
        left[0] -= 1
        if depth > MAX_DEPTH or left[0] < 0:
            return "…"
        match value:
            case None | bool():
                return value
            case int() | float():
                return value if _fits_json(value) else repr_of(value)
            case str():
                return self.redact(value)
            case bytes() | bytearray():
                return self.redact(value.decode(errors="replace"))
            case dict():
                items = cast("dict[object, object]", value).items()
                return {name: self._named(name, each, depth, left) for name, each in self._names(items, left)}
            case list() | tuple() | set() | frozenset():
                parts = islice(cast("Iterable[object]", value), max(left[0], 0))
                return [self._clean(each, depth + 1, left) for each in parts]
            case _:
                return self.redact(repr_of(value))

    def _names(self, items: Iterable[tuple[object, object]], left: list[int]) -> Iterator[tuple[str, object]]:
        for name, each in islice(items, max(left[0], 0)):
            yield self.redact(name if isinstance(name, str) else repr_of(name)), each

    def _named(self, name: str, value: object, depth: int, left: list[int]) -> Any:
        if isinstance(value, str | bytes) and value and SECRET_NAME.search(name):
            return MARK
        return self._clean(value, depth + 1, left)


def repr_of(value: object) -> str:
    """Its `repr`, or the name of its type where even that fails."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  what a foreign __repr__ raises is not known, and a record must be written
        return f"<{type(value).__name__}>"


def _fits_json(number: float) -> bool:
    return math.isfinite(number) if isinstance(number, float) else number.bit_length() < INTEGER_BITS


def _forms(secret: str) -> Iterator[str]:
    """The secret as it stands in a text, a URL, a JSON string, a Basic header."""
    yield secret
    yield from (line for line in secret.splitlines() if len(line) >= MIN_LINE_CHARS)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    data = secret.encode(errors="surrogatepass")
    yield quote_from_bytes(data)
    yield quote_from_bytes(data, safe="")
    yield quote_from_bytes(data, safe=" ").replace(" ", "+")
    if len(data) >= MIN_ENCODED_BYTES:
        # Inside a longer text its base64 depends on where it starts; the characters it shares with others are left out.
        for shift, first in ((0, 0), (1, 2), (2, 3)):
            encoded = base64.b64encode(bytes(shift) + data).decode()[first : (shift + len(data)) * 8 // 6]
            yield encoded
            yield encoded.replace("+", "-").replace("/", "_")
