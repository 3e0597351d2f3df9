"""The place where explanations and what waits for somebody become answers."""

from collections.abc import Iterable

from services.api.showing import time
from shared.schemas.steering import EvidenceAnswer, ExplanationAnswer
from shared.states.explain import Explanation
from shared.states.waiting import Evidence


def explanation(found: Explanation) -> ExplanationAnswer:
    """An explanation."""
    return ExplanationAnswer(
        moving=found.moving,
        status=found.status,
        phase=found.phase,
        reason=found.reason,
        because=found.because,
        waiting_for=found.waiting_for,
        since=None if found.since is None else time(found.since),
        until=None if found.until is None else time(found.until),
        if_nobody_acts=found.if_nobody_acts,
        actions=found.actions,
        evidence=evidence(found.evidence),
    )


def evidence(found: Iterable[Evidence]) -> tuple[EvidenceAnswer, ...]:
    """What there is to look at."""
    return tuple(EvidenceAnswer(text=each.text, url=each.url) for each in found)
