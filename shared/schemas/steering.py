"""The answers that tell a person how things stand: explanations, and what waits for somebody."""

from typing import Annotated

from msgspec import Meta

from shared.schemas.answers import Answer, Time
from shared.schemas.statuses import Awaited, Phase, Reason


class EvidenceAnswer(Answer, frozen=True, omit_defaults=True):
    """Something to look at."""

    text: str
    url: str | None = None


class ExplanationAnswer(Answer, frozen=True):
    """Why a protocol run or a step moves or does not, whom it waits for, and what comes of it."""

    moving: Annotated[bool, Meta(description="Whether it goes on without anybody's help.")]
    status: Annotated[str, Meta(examples=["blocked"])]
    phase: Phase | None
    reason: Reason | None
    because: Annotated[
        str,
        Meta(
            description="What happened, and what to do about it.",
            examples=["Step 2 failed: the CI is red on its commit. Look at the CI; …"],
        ),
    ]
    waiting_for: Awaited
    since: Time | None
    until: Annotated[Time | None, Meta(description="When it goes on by itself, where that is known.")]
    if_nobody_acts: Annotated[str, Meta(examples=["It stays as it is for as long as nobody acts."])]
    actions: Annotated[tuple[str, ...], Meta(description="The actions that would not be refused now.")]
    evidence: tuple[EvidenceAnswer, ...]
