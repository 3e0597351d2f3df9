"""The buttons of a project, of what opens doors to it, and of who is told; a part of the table of actions."""

from typing import Annotated, Final

from msgspec import Meta

from services.api.console.button import Action
from services.api.console.forms import Field
from services.api.params import LAST_ID
from shared.schemas.requests import Body
from shared.workflow import notices, projects, sync


class OneOf(Body, frozen=True):
    """Which of a thing's parts is meant."""

    part: Annotated[int, Meta(ge=1, le=LAST_ID)]


class NamedSecret(Body, frozen=True):
    """Which secret is meant."""

    name: str


PART = Field(name="part", label="", kind="hidden")

PROJECTS: Final = {
    "setup": Action(
        label="Set up again",
        hint="The repository is cloned again and its base branch looked for.",
        verb=lambda unit, key, _: projects.set_up_project(unit, key),
    ),
    "sync": Action(
        label="Look at the forge",
        hint="For deliveries of open protocols that never came.",
        verb=lambda unit, key, _: sync.sync_project(unit, key),
    ),
    "disable_hook": Action(
        label="End",
        hint="Nothing more is taken at this address, at once and for good. What came stays.",
        verb=lambda unit, key, data: projects.disable_hook(unit, key, data.part),
        body=OneOf,
        fields=(PART,),
        tone="danger",
        admin=True,
        asks=True,
    ),
    "revoke_token": Action(
        label="Revoke",
        hint="Whoever uses it is let in no more, at once and for good.",
        verb=lambda unit, key, data: projects.revoke_token(unit, key, data.part),
        body=OneOf,
        fields=(PART,),
        tone="danger",
        admin=True,
        asks=True,
    ),
    "delete_secret": Action(
        label="Delete",
        hint="It is forgotten. Where the service has such a token of its own, that is taken from now on.",
        verb=lambda unit, key, data: projects.delete_secret(unit, key, data.name),
        body=NamedSecret,
        fields=(Field(name="name", label="", kind="hidden"),),
        tone="danger",
        admin=True,
        asks=True,
    ),
}

NOTIFIERS: Final = {
    "test": Action(
        label="Send a test",
        hint="A message that says that messages come.",
        verb=lambda unit, key, _: notices.probe_notifier(unit, key),
        admin=True,
    ),
    "remove": Action(
        label="Remove",
        hint="It is told nothing more. What was sent stays to be seen.",
        verb=lambda unit, key, _: notices.remove_notifier(unit, key),
        tone="danger",
        admin=True,
        asks=True,
    ),
    "retry": Action(
        label="Send again",
        hint="The same message is queued again.",
        verb=lambda unit, key, data: notices.retry_notice(unit, key, data.part),
        body=OneOf,
        fields=(PART,),
        admin=True,
    ),
}
