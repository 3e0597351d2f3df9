"""Verbs on who is told outside: what a transaction brought about becomes messages in the same transaction."""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from shared.errors import Conflict, Invalid, NotFound
from shared.repository import notices, projects, protocols
from shared.schemas.notices import ATTENTION, Notice, NoticeDone, NoticeStatus, Notifier
from shared.schemas.records import Event, Job
from shared.schemas.reports import Ending, Failed
from shared.schemas.statuses import EventType, JobKind, JobState, StopRequest
from shared.states.attention import Item
from shared.states.causes import CAUSES
from shared.workflow import attention, find
from shared.workflow.line import at
from shared.workflow.moves import stop_job
from shared.workflow.unit import Unit

# A message is sent after all other work that is due.
LAST = 9
TRIES = 7
# How long is waited after each try that failed, in seconds.
PAUSES_S = (5, 30, 120, 600, 1800, 3600)
# After so many tries that failed, one after the other, a notifier is called failing.
FAILING = 5
# What waited for longer is not sent to one that is failing.
PATIENCE_MS = sum(PAUSES_S) * 1000
_BESIDE = frozenset({EventType.JOB_FAILED, EventType.KILL_UNCONFIRMED})
_HELD = frozenset({EventType.LINE_STOPPED, EventType.QUOTA_PARKED})


def notifier_seal_context(key: str) -> str:
    """What the URL and the secret of the notifier with this key are sealed for."""
    return f"notifier:{key}"


def add_notifier(unit: Unit, notifier: Notifier) -> Notifier:
    """Have somebody told, of one project or of all."""
    if notifier.project_id is not None:
        find.project(unit.tx, unit.caller.project_id, notifier.project_id)
    if unknown := sorted(set(notifier.events) - {ATTENTION, *EventType}):
        raise Invalid(f"events: there is no event {unknown[0]!r}.")
    added = notices.add_notifier(unit.tx, notifier)
    unit.say(EventType.NOTIFIER_CREATED, added, notifier=added.id, kind=added.kind, host=added.host)
    return added


def remove_notifier(unit: Unit, notifier_id: int) -> None:
    """Tell it nothing more, also not what is queued; what was sent stays to be seen."""
    notifier = _live(unit, notifier_id)
    notices.disable(unit.tx, notifier_id)
    _end(unit, notices.open_jobs(unit.tx, notifier_id), "Not sent: the notifier was removed before this was taken.")
    unit.say(EventType.NOTIFIER_REMOVED, notifier, notifier=notifier_id, host=notifier.host)


def probe_notifier(unit: Unit, notifier_id: int) -> Notice:
    """Queue a message that says that messages come."""
    notifier = _live(unit, notifier_id)
    text = "DeksdenFlow can reach you. Nothing happened; somebody asked for this test."
    data = {"title": "A test", "because": text, "actor": unit.caller.actor}
    sent = _queue(unit, notifier, f"test.{unit.now}", "test", data, notifier.project_id)
    if sent is None:
        raise Conflict("A test was asked for at this very moment.", type="already-queued")
    return sent


def retry_notice(unit: Unit, notifier_id: int, notice_id: int) -> Notice:
    """Queue a message again that could not be sent."""
    notifier = _live(unit, notifier_id)
    notice = notices.get(unit.tx, notice_id)
    if notice is None or notice.notifier_id != notifier_id:
        raise NotFound(f"Notifier {notifier_id} was sent no message {notice_id}.")
    if notice.status is not NoticeStatus.FAILED:
        message = f"Message {notice_id} is {notice.status}: only one that failed is sent again."
        raise Conflict(message, status_now=notice.status, allowed_actions=())
    again = notices.reopen(unit.tx, notice_id)
    _send(unit, notifier, again.id, again.payload["data"].get("project_id"))
    return again


def retry_job(unit: Unit, job: Job) -> None:
    """Send the message of a failed or cancelled job again; to whom is told of it is the administrator's business."""
    notice = notices.expect(unit.tx, job.payload["notice"])
    retry_notice(unit, notice.notifier_id, notice.id)


def post(unit: Unit) -> None:
    """Queue what the events of this transaction tell to whom; the caller does this at its very end.

    What became of a message is told to nobody, or it would never end.
    """
    said = [event for event, kind in unit.said if kind is not JobKind.NOTIFY and event.entity != "notifier"]
    listening = notices.live(unit.tx) if said else ()
    if not listening:
        return
    for event in said:
        for notifier in listening:
            if event.event_type in notifier.events and notifier.project_id in {None, event.project_id}:
                data = _event_data(unit, event)
                _queue(unit, notifier, f"event.{event.id}", event.event_type, data, event.project_id)
    if any(ATTENTION in notifier.events for notifier in listening):
        for item in _items(unit, said):
            for notifier in listening:
                fits = ATTENTION in notifier.events and notifier.project_id in {None, item.project_id}
                if fits and item.since >= notifier.created_at:
                    about = f"{item.id}@{item.since}"
                    _queue(unit, notifier, about, ATTENTION, _item_data(unit, item), item.project_id)


def tried(unit: Unit, job: Job, ending: Ending) -> Ending:
    """A worker has tried to send a message: keep what came of it; gives the same ending with the time of the next try.

    Whoever takes none is left alone for a while, later and later: all messages to it wait, so that one of them at a
    time finds out whether it is back, and those to others are in nobody's queue.
    """
    notice = notices.expect(unit.tx, job.payload["notice"])
    notifier = notices.expect_notifier(unit.tx, notice.notifier_id)
    match ending:
        case NoticeDone():
            notices.settle(unit.tx, notice.id, NoticeStatus.SENT, ending.answer, tried=True)
            notices.note_health(unit.tx, notifier.id, 0, None)
            notices.bring_on(unit.tx, notifier.id)
            if notifier.failing_since is not None:
                unit.say(EventType.NOTIFIER_RECOVERED, notifier, notifier=notifier.id, host=notifier.host)
        case Failed():
            failures = notifier.failures + 1
            since = notifier.failing_since or (unit.now if failures >= FAILING else None)
            last = not ending.category.retryable or job.attempt >= job.max_attempts
            status = NoticeStatus.FAILED if last else NoticeStatus.QUEUED
            notices.settle(unit.tx, notice.id, status, ending.message, tried=True)
            notices.note_health(unit.tx, notifier.id, failures, since)
            if since is not None and notifier.failing_since is None:
                unit.say(EventType.NOTIFIER_FAILING, notifier, notifier=notifier.id, host=notifier.host)
            if since is not None:
                _end_old(unit, notifier)
            until = max(ending.again_at or 0, unit.now + pause_ms(max(failures, job.attempt)))
            notices.put_off(unit.tx, notifier.id, until)
            # Behind what was tried less often, so that no message that is never taken keeps the others from their turn.
            return replace(ending, again_at=until + job.attempt)
        case _:
            pass
    return ending


def give_up(unit: Unit, job: Job, message: str) -> None:
    """The message will not be sent any more, unless somebody asks."""
    notices.settle(unit.tx, job.payload["notice"], NoticeStatus.FAILED, message, tried=False)


def _end_old(unit: Unit, notifier: Notifier) -> None:
    old = [job for job in notices.open_jobs(unit.tx, notifier.id) if unit.now - job.created_at > PATIENCE_MS]
    waiting = [job for job in old if job.state is JobState.QUEUED]
    _end(unit, waiting, f"Not sent: {notifier.host} took no message for too long. Retry this one when it does.")


def _end(unit: Unit, open_jobs: Iterable[Job], message: str) -> None:
    for job in open_jobs:
        stop_job(unit, job, StopRequest.CANCEL)
        give_up(unit, job, message)


def _live(unit: Unit, notifier_id: int) -> Notifier:
    notifier = find.notifier(unit.tx, unit.caller.project_id, notifier_id)
    if notifier.disabled_at is not None:
        raise NotFound(f"Notifier {notifier_id} was removed.")
    return notifier


def _queue(
    unit: Unit, notifier: Notifier, about: str, event_type: str, data: dict[str, Any], project_id: int | None
) -> Notice | None:
    payload = {"type": event_type, "timestamp": at(unit.now), "data": data}
    notice_id = notices.add(unit.tx, notifier.id, about, event_type, payload)
    if notice_id is None:
        return None
    _send(unit, notifier, notice_id, project_id)
    return notices.expect(unit.tx, notice_id)


def _send(unit: Unit, notifier: Notifier, notice_id: int, project_id: int | None) -> None:
    # Whom nothing reaches is tried once with each message, so that it costs little.
    tries = 1 if notifier.failing_since is not None else TRIES
    unit.enqueue(
        JobKind.NOTIFY, project_id=project_id, payload={"notice": notice_id}, priority=LAST, max_attempts=tries
    )


def _items(unit: Unit, said: Iterable[Event]) -> list[Item]:
    """What waits for a person around that which the events are about."""
    said = list(said)
    touched = sorted({event.protocol_id for event in said if event.protocol_id is not None})
    found = [item for each in touched for item in attention.of_protocol(unit.tx, each, unit.rules)]
    for project_id in {event.project_id for event in said if event.event_type in _BESIDE}:
        found += attention.beside(unit.tx, project_id)
    if any(event.event_type in _HELD for event in said):
        found += attention.held(unit.tx)
    return found


def _item_data(unit: Unit, item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "kind": item.kind,
        "urgency": item.kind.urgency,
        "title": item.title,
        "because": item.because,
        "since": at(item.since),
        "project_id": item.project_id,
        "project_name": _project_name(unit, item.project_id),
        "protocol_run_id": item.protocol_id,
        "protocol_name": item.protocol_name,
        "step_run_id": item.step_id,
        "evidence": [{"text": each.text, "url": each.url} for each in item.evidence],
        "answers": [{"action": way.action, "label": way.label, "needs": way.needs} for way in item.ways],
    }


def _event_data(unit: Unit, event: Event) -> dict[str, Any]:
    run = None if event.protocol_id is None else protocols.get(unit.tx, event.protocol_id)
    name = None if run is None else run.protocol_name
    cause = next((words.what for reason, words in CAUSES.items() if reason == event.reason), None)
    return {
        "event_id": event.id,
        "title": f"{name or event.entity}: {event.event_type.replace('_', ' ')}",
        "because": f"{cause[0].upper()}{cause[1:]}." if cause else "",
        "reason": event.reason,
        "actor": event.actor,
        "from_status": event.from_status,
        "to_status": event.to_status,
        "project_id": event.project_id,
        "project_name": _project_name(unit, event.project_id),
        "protocol_run_id": event.protocol_id,
        "protocol_name": name,
        "step_run_id": event.step_id,
    }


def _project_name(unit: Unit, project_id: int | None) -> str | None:
    project = None if project_id is None else projects.get(unit.tx, project_id)
    return None if project is None else project.name


def pause_ms(attempt: int) -> int:
    """How long is waited after this try, in milliseconds."""
    return PAUSES_S[min(attempt, len(PAUSES_S)) - 1] * 1000
