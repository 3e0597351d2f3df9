"""The place where explanations and what waits for somebody become answers."""

from collections.abc import Iterable

from services.api.showing import shown, time
from shared.schemas.notices import NewNotifierAnswer, Notice, NoticeAnswer, NoticeStatus, Notifier, NotifierAnswer
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


def notifier(record: Notifier) -> NotifierAnswer:
    """Somebody who is told outside."""
    return shown(NotifierAnswer, record, status=_health(record))


def new_notifier(record: Notifier, secret: str | None) -> NewNotifierAnswer:
    """Somebody who is told from now on."""
    return shown(NewNotifierAnswer, record, status=_health(record), secret=secret)


def notice(record: Notice, *, ended: bool = False) -> NoticeAnswer:
    """A message to somebody; `ended` tells that its notifier was removed and is sent nothing more."""
    again = record.status is NoticeStatus.FAILED and not ended
    return shown(NoticeAnswer, record, allowed_actions=("retry",) if again else ())


def _health(record: Notifier) -> str:
    if record.disabled_at is not None:
        return "ended"
    return "ok" if record.failing_since is None else "failing"


def evidence(found: Iterable[Evidence]) -> tuple[EvidenceAnswer, ...]:
    """What there is to look at."""
    return tuple(EvidenceAnswer(text=each.text, url=each.url) for each in found)
