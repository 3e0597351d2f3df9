"""The place where explanations and what waits for somebody become answers."""

from collections.abc import Iterable

from services.api.showing import time
from shared.schemas.steering import AttentionAnswer, EvidenceAnswer, ExplanationAnswer, WayAnswer
from shared.states.attention import Item
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


def attention(item: Item, project_name: str | None) -> AttentionAnswer:
    """One thing that waits for a person."""
    return AttentionAnswer(
        id=item.id,
        kind=item.kind,
        urgency=item.kind.urgency,
        project_id=item.project_id,
        project_name=project_name,
        protocol_id=item.protocol_id,
        protocol_name=item.protocol_name,
        step_id=item.step_id,
        title=item.title,
        because=item.because,
        since=time(item.since),
        evidence=evidence(item.evidence),
        answers=tuple(WayAnswer(action=way.action, label=way.label, needs=way.needs) for way in item.ways),
        version=item.version,
    )


def evidence(found: Iterable[Evidence]) -> tuple[EvidenceAnswer, ...]:
    """What there is to look at."""
    return tuple(EvidenceAnswer(text=each.text, url=each.url) for each in found)
