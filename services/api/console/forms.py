"""The place where what a form sends becomes the struct that the REST route would have read."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from services.api.console.session import ConsoleRequest
from shared.schemas.problems import Flaw
from shared.schemas.requests import Body
from shared.web.problems import FlawedRequest, bad_body

B = TypeVar("B", bound=Body)

Typed = Mapping[str, str]
# What the inputs of a form are called there, by their names.
Labels = Mapping[str, str]
NO_LABELS: Final[Labels] = {}
_MISSING = re.compile(r"missing required field `([^`]*)`")
_TOO_LONG = re.compile(r"`str` of length <= (\d+)$")
_OTHER_FORM = re.compile(r"`str` matching regex")


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a form; `kind` is how it is drawn, `choices` are (value, words) of a choice."""

    name: str
    label: str
    kind: str = "line"
    hint: str = ""
    needed: bool = False
    choices: tuple[tuple[str, str], ...] = ()


def labels_of(fields: Iterable[Field]) -> Labels:
    """What these inputs are called."""
    return {field.name: field.label for field in fields}


async def typed_of(request: ConsoleRequest) -> dict[str, str]:
    """What was typed, by the names of the inputs."""
    return {name: str(value) for name, value in (await request.form()).items()}


def read(into: type[B], fields: Mapping[str, Any], labels: Labels = NO_LABELS) -> B:
    """The struct of these fields, where an empty text is none; FlawedRequest names the input that is wrong."""
    given = {name: value for name, value in fields.items() if value != ""}
    try:
        return msgspec.convert(given, into, strict=False)
    except msgspec.ValidationError as error:
        if found := _MISSING.search(str(error)):
            raise flawed(found[1], "fill this in.", labels) from error
        refusal = bad_body(error)
        if isinstance(refusal, FlawedRequest) and refusal.flaws[0].field:
            raise flawed(refusal.flaws[0].field, _plain(refusal.flaws[0].message), labels) from error
        raise refusal from error


def _plain(message: str) -> str:
    """What the decoder says of a text, for who typed it."""
    if found := _TOO_LONG.search(message):
        return f"at most {found[1]} characters."
    return "it is not of the form that is needed here." if _OTHER_FORM.search(message) else message


def demand(typed: Typed, name: str, message: str, labels: Labels = NO_LABELS) -> None:
    """Refuse a form that leaves this input empty."""
    if not typed.get(name, "").strip():
        raise flawed(name, message, labels)


def flawed(field: str, message: str, labels: Labels) -> FlawedRequest:
    """The refusal of one input, by what it is called in the form."""
    field = field.partition("[")[0]
    name = field.rpartition(".")[2]
    label = labels.get(name) or name.replace("_", " ").capitalize()
    return FlawedRequest(f"{label}: {message}", [Flaw(field=field, message=message)])


def lines(text: str) -> list[str]:
    """The lines of a text, without empty ones."""
    return [line.strip() for line in text.splitlines() if line.strip()]
