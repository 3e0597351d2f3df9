"""The place where what a form of filters sends becomes what a list is narrowed by."""

from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from services.api.params import LAST_ID
from shared.errors import Invalid

E = TypeVar("E", bound=StrEnum)


def choice(name: str, text: str, among: type[E]) -> E | None:
    """The word of a closed set; an empty text narrows nothing."""
    if not text:
        return None
    try:
        return among(text)
    except ValueError as error:
        raise Invalid(f"{name}: one of {', '.join(among)}.") from error


def number(name: str, text: str) -> int | None:
    """The id of a thing; an empty text narrows nothing."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= LAST_ID):
        raise Invalid(f"{name}: the number of one.")
    return int(text)


def query(**fields: object) -> str:
    """The filters that are set, as the end of an address."""
    given = {name: value for name, value in fields.items() if value not in {None, ""}}
    return f"?{urlencode(given)}" if given else ""
