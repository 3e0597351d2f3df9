"""The place for what a button is: its words, its form, and what it does."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from services.api.console.forms import Field
from shared.schemas.requests import Body, Nothing
from shared.workflow.unit import Unit


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What a button does: `hint` tells it, `verb` gets the unit, the thing's id and the form's struct.

    One that `asks` opens first, and says what it does.
    """

    label: str
    hint: str
    verb: Callable[[Unit, int, Any], object]
    body: type[Body] = Nothing
    fields: tuple[Field, ...] = ()
    tone: Literal["main", "plain", "danger"] = "plain"
    admin: bool = False
    asks: bool = False
