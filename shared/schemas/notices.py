"""Who is told of what outside, and each message to them: rows, requests and answers."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shared.schemas.answers import Actions, Answer, Time
from shared.schemas.records import Record
from shared.schemas.requests import END, EXAMPLES, Body
from shared.schemas.statuses import EventType

# Stands for whatever puts something on the list of what waits for a person.
ATTENTION = "attention"
DEFAULT = (ATTENTION, EventType.PROTOCOL_COMPLETED.value, EventType.PROTOCOL_FAILED.value)


class NotifierKind(StrEnum):
    """In which form a message goes out."""

    WEBHOOK = "webhook"
    SLACK = "slack"


class NoticeStatus(StrEnum):
    """What became of a message."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"


class Notifier(Record, frozen=True):
    """Somebody outside who is told: the URL and the secret are sealed for `key`, `host` is what of it may be shown.

    `failures` counts the tries since the last one that worked, `failing_since` is set once they are many.
    """

    id: int
    project_id: int | None
    kind: NotifierKind
    key: str
    host: str
    url: bytes
    secret: bytes | None
    events: tuple[str, ...]
    failures: int
    failing_since: int | None
    created_at: int
    disabled_at: int | None


class Notice(Record, frozen=True):
    """One message to one notifier; `about` is what it tells, so that it is told once, `answer` what came back last."""

    id: int
    notifier_id: int
    about: str
    event_type: str
    payload: dict[str, Any]
    status: NoticeStatus
    tries: int
    answer: str | None
    created_at: int
    tried_at: int | None


class NoticeDone(msgspec.Struct, frozen=True, kw_only=True):
    """The report of a message that was taken, with the first line of the answer."""

    answer: str


Wanted = Annotated[str, Meta(pattern=r"^[a-z_]{1,50}" + END, examples=[ATTENTION])]


class CreateNotifier(Body, frozen=True):
    """Have somebody outside told."""

    kind: Annotated[NotifierKind, Meta(description="webhook: signed by Standard Webhooks. slack: an incoming webhook.")]
    url: Annotated[
        str,
        Meta(min_length=1, max_length=2000, description="https; kept sealed and never shown whole."),
    ]
    events: Annotated[
        tuple[Wanted, ...],
        Meta(
            min_length=1,
            max_length=100,
            description="`attention`: what waits for a person; and types of events. Default: that and ends of runs.",
        ),
    ] = DEFAULT


class NotifierAnswer(Answer, frozen=True):
    """Somebody outside who is told; neither the URL nor the secret is shown."""

    id: int
    project_id: Annotated[int | None, Meta(description="Null: told of all projects.")]
    kind: NotifierKind
    host: str
    events: tuple[str, ...]
    status: Literal["ok", "failing", "ended"]
    failures: Annotated[int, Meta(description="Tries that failed since the last one that worked.")]
    failing_since: Time | None
    created_at: Time
    disabled_at: Time | None


class NewNotifierAnswer(NotifierAnswer, frozen=True):
    """Somebody outside who is told from now on."""

    secret: Annotated[
        str | None,
        Meta(description="The signing secret of a webhook. Shown this once; null when the answer is repeated."),
    ]


class NoticeAnswer(Answer, frozen=True):
    """One message that was, or is to be, sent."""

    id: int
    notifier_id: int
    event_type: str
    payload: dict[str, Any]
    status: NoticeStatus
    tries: int
    answer: Annotated[str | None, Meta(description="What came back last, or why nothing did.")]
    allowed_actions: Actions
    created_at: Time
    tried_at: Time | None


EXAMPLES[CreateNotifier] = CreateNotifier(kind=NotifierKind.WEBHOOK, url="https://example.org/hooks/flow")
