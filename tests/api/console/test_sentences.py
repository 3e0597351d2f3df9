"""Events in words."""

import pytest

from services.api.console.sentences import SENTENCES, tell
from shared.schemas.records import Event
from shared.schemas.statuses import EventType


def event(event_type: EventType, reason: str | None = None, **metadata: object) -> Event:
    about: dict[str, None] = dict.fromkeys(
        ("project_id", "protocol_id", "attempt_id", "job_id", "delivery_id", "from_status", "to_status", "request_id")
    )
    return Event(
        id=1,
        event_type=event_type,
        entity="step",
        step_id=5,
        reason=reason,
        actor="admin",
        metadata=metadata,
        created_at=0,
        **about,
    )


@pytest.mark.parametrize("event_type", list(EventType))
def test_every_type_has_its_sentence_which_needs_nothing_but_the_event(event_type: EventType) -> None:
    assert event_type in SENTENCES
    told = tell(event(event_type), {})
    assert told.sentence.endswith(".")
    assert "{" not in told.sentence


def test_a_sentence_names_the_step_and_the_second_line_says_why() -> None:
    told = tell(event(EventType.STEP_FAILED, "qa_failed", message="Two tests are red."), {5: "Step 2 (Palette)"})
    assert (told.sentence, told.more, told.tone) == ("Step 2 (Palette) failed: QA failed.", "Two tests are red.", "bad")


def test_what_others_wrote_is_never_read_as_a_form() -> None:
    told = tell(event(EventType.GATE_UPDATED, gate="{step.__class__}", state="{0}"), {5: "{gate}"})
    assert told.sentence == "{gate}: the gate {step.__class__} is {0}."


def test_a_name_that_somebody_gave_is_told_as_it_is() -> None:
    assert tell(event(EventType.SECRET_SET, name="forge_token"), {}).sentence == "The secret forge_token was set."
    ignored = event(EventType.DELIVERY_IGNORED, "Unknown fields: log. Known ones are state, target_url.")
    assert (
        tell(ignored, {}).sentence
        == "A delivery was left aside: Unknown fields: log. Known ones are state, target_url."
    )


def test_a_wait_is_told_in_peoples_units() -> None:
    told = tell(event(EventType.JOB_RETRY_SCHEDULED, "rate_limited", delay_s=90.0), {})
    assert told.sentence == "An attempt failed (rate limited); it is tried again in 1 min 30 s."
    assert '"delay_s": 90.0' in told.raw
