"""The place where what a form of filters sends becomes what a list is narrowed by."""

from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import urlencode

from services.api.params import read_number
from shared.errors import Invalid
from shared.repository import projects
from shared.repository.database import Tx

E = TypeVar("E", bound=StrEnum)

# Among more nobody finds one in a list: its number is typed.
MOST_OFFERED: Final = 200


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
    found = read_number(text)
    if not found:
        raise Invalid(f"{name}: the number of one.")
    return found


def query(**fields: object) -> str:
    """The filters that are set, as the end of an address."""
    given = {name: value for name, value in fields.items() if value not in {None, ""}}
    return f"?{urlencode(given)}" if given else ""


def offered(tx: Tx, scope: int | None) -> list[tuple[str, str]] | None:
    """The projects to choose from as (number, name); None where there are too many."""
    found = projects.by_name(tx, scope, limit=MOST_OFFERED + 1)
    return [(str(key), name) for key, name in found] if len(found) <= MOST_OFFERED else None
