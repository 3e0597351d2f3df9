"""How things stand, for a person: explanations, what waits for somebody, and how that is answered."""

from typing import Annotated

from msgspec import Meta

from shared.schemas.answers import RUN_AND_STEP, Answer, Time
from shared.schemas.awaited import Awaited, Kind, Urgency
from shared.schemas.requests import END, EXAMPLES, Body, Model, SaidText, Sentence
from shared.schemas.statuses import Phase, Reason


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


class WayAnswer(Answer, frozen=True):
    """One answer that a thing accepts."""

    action: Annotated[str, Meta(examples=["approve_plan"])]
    label: Annotated[str, Meta(examples=["Approve the plan"])]
    needs: Annotated[tuple[str, ...], Meta(description="The fields without which it is refused.")]


class AttentionAnswer(Answer, frozen=True, rename=RUN_AND_STEP):
    """One thing that waits for a person."""

    id: Annotated[str, Meta(description="Names it for as long as it waits.", examples=["p12.plan_approval"])]
    kind: Kind
    urgency: Urgency
    project_id: Annotated[int | None, Meta(description="Null for what concerns all projects.")]
    project_name: str | None
    protocol_id: int | None
    protocol_name: str | None
    step_id: int | None
    title: str
    because: str
    since: Time
    evidence: tuple[EvidenceAnswer, ...]
    answers: tuple[WayAnswer, ...]
    version: Annotated[int | None, Meta(description="Of the step or protocol run that it is about.")]


class ResolvedAnswer(Answer, frozen=True):
    """What came of an answer."""

    id: str
    action: str
    settled: Annotated[bool, Meta(description="Whether it does not wait any more.")]


class Resolve(Body, frozen=True):
    """Answer what waits for a person, by one of its `answers`."""

    action: Annotated[str, Meta(min_length=1, max_length=50, examples=["approve"])]
    feedback: Annotated[SaidText | None, Meta(description="What is to be done differently.")] = None
    reason: Annotated[Sentence | None, Meta(description="Why.")] = None
    sha: Annotated[
        Annotated[str, Meta(pattern=r"^[0-9a-f]{40}" + END)] | None, Meta(description="The commit that was looked at.")
    ] = None
    model: Annotated[Model | None, Meta(description="For a retry: another model than before.")] = None
    fresh: Annotated[bool, Meta(description="For a retry: start a new conversation.")] = False
    version: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="The `version` that was read, as If-Match; refused when it has changed since."),
    ] = None


EXAMPLES[Resolve] = Resolve(action="reject", feedback="Keep the old name as an alias.")
