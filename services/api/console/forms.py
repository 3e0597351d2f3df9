"""The place where what a form sends becomes the struct that the REST route would have read."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from shared.schemas.problems import Flaw
from shared.schemas.requests import Body
from shared.web.problems import FlawedRequest, bad_body

B = TypeVar("B", bound=Body)

Typed = Mapping[str, str]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a form; `kind` is how it is drawn, `choices` are (value, words) of a choice."""

    name: str
    label: str
    kind: str = "line"
    hint: str = ""
    needed: bool = False
    choices: tuple[tuple[str, str], ...] = ()


def read(into: type[B], fields: Mapping[str, Any]) -> B:
    """The struct of these fields, where an empty text is none; FlawedRequest names the field that is wrong."""
    given = {name: value for name, value in fields.items() if value != ""}
    try:
        return msgspec.convert(given, into, strict=False)
    except msgspec.ValidationError as error:
        flawed = bad_body(error)
        if isinstance(flawed, FlawedRequest):
            flaw = flawed.flaws[0]
            raise FlawedRequest(
                f"{flaw.field}: {flaw.message}" if flaw.field else flaw.message, flawed.flaws
            ) from error
        raise flawed from error


def demand(typed: Typed, name: str, message: str) -> None:
    """Refuse a form that leaves this field empty."""
    if not typed.get(name, "").strip():
        raise FlawedRequest(f"{name}: {message}", [Flaw(field=name, message=message)])


def lines(text: str) -> list[str]:
    """The lines of a text, without empty ones."""
    return [line.strip() for line in text.splitlines() if line.strip()]
