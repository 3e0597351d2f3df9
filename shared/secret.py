"""The place for the type of a secret text, so that no `repr`, log line or error can show one by accident."""

import hmac
from pathlib import Path
from typing import Final

# What a signing secret of Standard Webhooks, and so a signing token of GitLab, begins with.
SIGNING_PREFIX: Final = "whsec_"


class Secret:
    """A text that does not show itself: `repr` and `str` are `***`, only `reveal()` tells it.

    `file` is where it was read from, if it was: whom the text must not reach, must not reach the file either.
    """

    __slots__ = ("_text", "file")

    def __init__(self, text: str, file: Path | None = None) -> None:
        self._text = text
        self.file = file

    def reveal(self) -> str:
        """The text itself; ask where it is used, and do not keep the answer."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(
            self._text.encode(errors="surrogatepass"), other.reveal().encode(errors="surrogatepass")
        )

    def __hash__(self) -> int:
        return hash(self._text)
