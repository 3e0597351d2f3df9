"""The place for what became of a delivery, told to people (pure)."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from markupsafe import Markup, escape
from pygments.lexers.data import JsonLexer
from pygments.token import Keyword, Name, Number, String

from services.api.console.text import visible, words
from shared.schemas.hook_answers import DeliveryAnswer
from shared.schemas.statuses import DeliveryStatus

# What a body has beyond this is shown without colours: they cost more than the text.
MAX_COLOURED: Final = 60_000
MAX_REASON: Final = 2_000
REASONS: Final[Mapping[str, str]] = {
    "foreign_commit": "No protocol run has this commit.",
    "foreign_protocol": "It names a protocol run of another project.",
    "foreign_repository": "It is about another repository than that of the hook's project.",
    "fork": "It comes from a fork, which cannot speak for the project.",
    "incomplete": "What is needed to know what it is about is missing.",
    "no_action": "Nothing happened to the merge request.",
    "no_branch": "It is not about a branch.",
    "no_commit": "It names no commit.",
    "note": "Comments change nothing here.",
    "other_branch": "It is about a branch that belongs to no protocol run.",
    "other_event": "Events of this kind change nothing here.",
    "other_request": "It is about another pull or merge request than the protocol run's.",
    "ping": "The forge only tried whether the address works. It does.",
    "system_hook": "System hooks are not read; set up a hook of the project.",
    "tag": "It is about a tag.",
    "unknown_repository": "No registered project has this repository.",
}
EFFECTS: Final[Mapping[str, str]] = {
    "diverged": "Somebody else moved the branch; the protocol run is blocked until a person decides.",
    "nothing new": "It told nothing that was not known already.",
}
_CLASSES: Final = ((Name.Tag, "k"), (String, "s"), (Number, "m"), (Keyword, "b"))


def outcome(delivery: DeliveryAnswer) -> str:
    """What became of it, in a sentence."""
    if delivery.status is DeliveryStatus.RECEIVED:
        return "It waits for a worker."
    if delivery.effect:
        return EFFECTS.get(delivery.effect, words(delivery.effect))
    if delivery.reason:
        return REASONS.get(delivery.reason, words(delivery.reason[:MAX_REASON]))
    return ""


def pretty(body: Mapping[str, Any]) -> Markup:
    """A decoded body as coloured JSON, escaped."""
    text = visible(json.dumps(body, indent=2, ensure_ascii=False))
    head, tail = text[:MAX_COLOURED], text[MAX_COLOURED:]
    return Markup("").join([*_coloured(head), escape(tail)])


def _coloured(text: str) -> Iterator[Markup]:
    for kind, piece in JsonLexer(ensurenl=False, stripnl=False).get_tokens(text):
        name = next((name for family, name in _CLASSES if kind in family), "")
        yield Markup('<span class="{}">{}</span>').format(name, piece) if name else escape(piece)
